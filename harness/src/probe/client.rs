//! Calling: batches of connections or datagrams from one host, and what became of each.
//!
//! A plain `connect` needs a second to notice a drop, because that is when the first SYN is sent
//! again, and a datagram is never sent again at all. Instead, every call of a wave is sent, and
//! when some stay unanswered a *fence* is sent after them: calls that are known to be answered, in
//! a pod of every node. When the fence has come back and, a moment later, a call still has no
//! answer, it was dropped. The moment covers what the fence does not: a probe that is forwarded by
//! one node to another crosses one router more.
//!
//! The handshakes of TCP are done by kernels alone, in the order in which packets come, so that a
//! listener anywhere on a node will do. A datagram is answered by the backend itself, which takes
//! them in the order in which they came to its socket: there the fence is a datagram to each of
//! the backends that may answer, past every Service.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use serde::{Deserialize, Serialize};

use super::fence;
use super::outcome::Connection;
use super::wave::{Flow, Wave};
use crate::netns::Namespace;
use crate::timing::Timing;
use crate::world::{Length, Protocol};

/// Calls of one batch that are under way at the same time. Far below any listen queue.
const WAVE: usize = 64;
/// The same of datagrams that are as long as the MTU, or longer. All that may be under way fit into what the kernel gives
/// the socket of a backend to keep them in, and their fragments into where it puts them together.
const LONG_WAVE: usize = 16;
/// How long a wave may be silent before the fence is sent.
const QUIET: Duration = Duration::from_millis(2);

/// A probe that could not be carried out. It says nothing about the proxy under test.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A socket could not be made or used.
    #[error("failed to probe {remote} from {host}")]
    Socket {
        /// The calling host.
        host: String,
        /// The address called.
        remote: SocketAddr,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The fence did not come back, so nothing can be said about unanswered calls.
    #[error("failed to reach the fence {fence} from {host}: the lab's own network is at fault")]
    Fence {
        /// The calling host.
        host: String,
        /// The fence called.
        fence: SocketAddr,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A backend did not take in all datagrams that came to it, so that nothing can be said about
    /// unanswered ones.
    #[error("the backend at {fence} has lost {lost} datagrams itself")]
    Overflow {
        /// The fence called.
        fence: SocketAddr,
        /// How many.
        lost: u32,
    },
}

impl ProbeError {
    pub(super) fn fence(host: &Namespace, fence: SocketAddr, source: io::Error) -> Self {
        Self::Fence {
            host: host.name().to_owned(),
            fence,
            source,
        }
    }
}

/// Calls that one host makes together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The protocol: TCP or UDP.
    pub protocol: Protocol,
    /// The addresses that are called, one call to each. They are of one family.
    pub remotes: Vec<SocketAddr>,
    /// How long the datagrams are.
    pub length: Length,
    /// With a mark, the host's own rules may route the calls another way than others.
    pub mark: Option<u32>,
    /// Listeners that always answer, on the ways that the probes take. By UDP, every backend that
    /// may answer a probe is one of them.
    pub fences: Vec<SocketAddr>,
}

/// Makes every call of a batch from `host`; blocks until each has an outcome. Results are in the
/// order of the batch's remotes.
///
/// # Errors
/// When a socket cannot be made, or a fence does not answer within [`Timing::fence`].
pub fn call(
    host: &Namespace,
    batch: &Batch,
    timing: &Timing,
) -> Result<Vec<Connection>, ProbeError> {
    let waves = batch.remotes.chunks(wave_of(batch.length));
    let waves = waves.map(|remotes| Ok(call_wave(host, batch, remotes, timing)?.0));
    Ok(waves.collect::<Result<Vec<_>, _>>()?.concat())
}

/// As [`call`], and keeps the sockets, to ask over them again.
///
/// # Errors
/// As [`call`].
pub fn open(
    host: &Namespace,
    batch: &Batch,
    timing: &Timing,
) -> Result<(Vec<Connection>, OpenFlows), ProbeError> {
    let (mut opened, mut flows) = (Vec::new(), Vec::new());
    let together = wave_of(batch.length);
    for remotes in batch.remotes.chunks(together) {
        let (connections, kept) = call_wave(host, batch, remotes, timing)?;
        opened.extend(connections);
        flows.extend(kept);
    }
    let (protocol, fences) = (batch.protocol, batch.fences.clone());
    let flows = OpenFlows {
        protocol,
        fences,
        flows,
        together,
    };
    Ok((opened, flows))
}

/// Connections, or pairs of ends between which datagrams go, that are kept open.
#[derive(Debug)]
pub struct OpenFlows {
    protocol: Protocol,
    fences: Vec<SocketAddr>,
    flows: Vec<Flow>,
    /// How many are asked at the same time.
    together: usize,
}

/// How many calls with datagrams of this length are under way at the same time.
fn wave_of(length: Length) -> usize {
    match length {
        Length::Brief => WAVE,
        Length::Mtu(_) | Length::Mtus(_) => LONG_WAVE,
    }
}

impl OpenFlows {
    /// Asks once more over each flow, in the order in which they were opened: the backend at the
    /// other end of a connection answers another time; a datagram goes where datagrams of its two
    /// ends go now.
    ///
    /// # Errors
    /// As [`call`].
    pub fn ask(
        &mut self,
        host: &Namespace,
        timing: &Timing,
    ) -> Result<Vec<Connection>, ProbeError> {
        let mut answers = Vec::new();
        let mut flows = std::mem::take(&mut self.flows).into_iter();
        loop {
            let some: Vec<_> = flows.by_ref().take(self.together).collect();
            let Some(first) = some.first() else {
                return Ok(answers);
            };
            let error = socket_error(host, first.remote());
            let wave = Wave::again(some).map_err(&error)?;
            let settled = settle(host, wave, self.protocol, &self.fences, timing, error)?;
            answers.extend(settled.0);
            self.flows.extend(settled.1);
        }
    }
}

fn call_wave(
    host: &Namespace,
    batch: &Batch,
    remotes: &[SocketAddr],
    timing: &Timing,
) -> Result<(Vec<Connection>, Vec<Flow>), ProbeError> {
    let error = socket_error(host, remotes[0]);
    let wave =
        Wave::start(host, batch.protocol, remotes, batch.length, batch.mark).map_err(&error)?;
    settle(host, wave, batch.protocol, &batch.fences, timing, error)
}

fn socket_error(host: &Namespace, remote: SocketAddr) -> impl Fn(io::Error) -> ProbeError + use<> {
    let host = host.name().to_owned();
    move |source| ProbeError::Socket {
        host: host.clone(),
        remote,
        source,
    }
}

/// Waits until every call of a wave has its outcome.
fn settle(
    host: &Namespace,
    mut wave: Wave,
    protocol: Protocol,
    fences: &[SocketAddr],
    timing: &Timing,
    error: impl Fn(io::Error) -> ProbeError,
) -> Result<(Vec<Connection>, Vec<Flow>), ProbeError> {
    let deadline = Instant::now() + timing.answer;
    let mut fence_back: Option<Instant> = None;
    loop {
        // Asked before the poll: a thread that the scheduler forgets for a while afterwards has not
        // looked since, and would call dropped what was answered in the meantime.
        let overdue = fence_back.is_some_and(|back| back.elapsed() >= timing.fence_grace);
        let late = Instant::now() >= deadline;
        let quiet = PollTimeout::try_from(QUIET).expect("a short time");
        let progress = wave.poll(quiet).map_err(&error)?;
        if wave.is_settled() {
            return Ok(wave.into_parts());
        }
        if late && wave.has_silent() {
            // Not by the clock alone: backends that a busy machine keeps from running are silent, too.
            fence::wait_for_identities(host, fences, timing)?;
            wave.poll(quiet).map_err(&error)?;
            wave.break_silent(timing.answer);
        }
        match fence_back {
            // At the latest by the deadline: connections that go on answering are no reason to
            // leave the others without an outcome.
            None if (!progress || late) && wave.has_unanswered() => {
                fence::wait(host, protocol, fences, timing)?;
                fence_back = Some(Instant::now());
            }
            Some(_) if overdue && !progress => wave.drop_unanswered(),
            _ => {}
        }
    }
}
