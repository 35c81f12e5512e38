//! Flows that are under way while a Service changes.

use onehop_harness::case::Reach;
use onehop_harness::world::Protocol;

use super::Situation;

/// Whether a flow to a pod goes on as it began.
///
/// | protocol | it ends |
/// |---|---|
/// | TCP, SCTP | never: a connection cannot be moved, and rules look at new ones only |
/// | UDP | when its pod serves no more, ready or terminating: nothing else would ever end it |
///
/// A policy that changes ends no flow.
pub fn goes_on(now: &Situation, protocol: Protocol, pod: &str) -> bool {
    let serves = now.backends.iter().any(|b| b.pod == pod && b.serving);
    match protocol {
        Protocol::Tcp | Protocol::Sctp => true,
        Protocol::Udp => now.is_served() && serves,
    }
}

/// What becomes of further connections of a client with affinity that has drawn a pod before, on the same node and port, no
/// longer ago than the timeout: they reach that one while it is among those that may answer.
#[must_use]
pub fn stays(reach: Reach, drawn: Option<&str>) -> Reach {
    match drawn {
        Some(pod) if reach.sticky && reach.pods.iter().any(|p| p == pod) => {
            reach.named(vec![pod.to_owned()])
        }
        _ => reach,
    }
}
