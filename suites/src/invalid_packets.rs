//! Packets that connection tracking cannot place, and therefore does not translate.

use onehop_harness::case::{Case, Policy, Question, Service};

use crate::story::NODES;

const IPTABLES: &str = "kubernetes/pkg/proxy/iptables/proxier.go";
/// The backend, which runs on vm1.
const BACKEND: &str = "web-0";

pub(crate) fn cases() -> Vec<Case> {
    let case = |policy: &str, service: Service, callers: &[&str]| {
        Case::new(
            &format!("invalid-packets/out-of-window/{policy}"),
            "A segment far out of the window of an open connection never reaches the caller from the \
             backend's own address, which it would answer with a reset; the connection goes on.",
            service,
            &[BACKEND],
        )
        .sources(&[IPTABLES, "k#74839", "k#122663"])
        .check(
            "a connection is open",
            callers.iter().map(|node| Question::StraySegment {
                pod: format!("client-{node}"),
                backend: BACKEND.to_owned(),
            }),
        )
    };
    vec![
        case("cluster", Service::cluster_ip(), &NODES),
        case(
            "internal-local",
            Service::cluster_ip().internal(Policy::Local),
            &NODES[..1],
        ),
    ]
}
