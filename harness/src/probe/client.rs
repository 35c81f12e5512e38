//! Calling: batches of connections from one host, and the fence that tells a drop.
//!
//! A plain `connect` needs a second to notice a drop, because that is when the first SYN is sent
//! again. Instead, every SYN of a wave is sent, and when some stay unanswered a *fence* is sent
//! after them: connections to listeners that are known to answer, in a pod of every node. The
//! handshakes of both are done by kernels alone, in the order in which packets come. When the
//! fence has come back and, a moment later, a SYN still has no answer, it was dropped. The moment
//! covers what the fence does not: a probe that is forwarded by one node to another crosses one
//! router more.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::outcome::Connection;
use super::wave::{Wave, connecting_socket, in_progress};
use crate::netns::Namespace;
use crate::timing::Timing;

/// Connections of one batch that are under way at the same time. Far below any listen queue.
const WAVE: usize = 64;
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
    /// The fence did not come back, so nothing can be said about unanswered SYNs.
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
}

/// Opens a connection from `host` to each of `remotes`; blocks until each has an outcome.
///
/// With a mark, the host's own rules may route the connections another way than others.
///
/// `fences` are listeners that always answer, on the ways that the probes take. Results are in the order of `remotes`.
///
/// # Errors
/// When a socket cannot be made, or a fence does not answer within [`Timing::answer`].
pub fn call(
    host: &Namespace,
    remotes: &[SocketAddr],
    mark: Option<u32>,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<Vec<Connection>, ProbeError> {
    let waves = remotes
        .chunks(WAVE)
        .map(|wave| call_wave(host, wave, mark, fences, timing));
    Ok(waves.collect::<Result<Vec<_>, _>>()?.concat())
}

fn call_wave(
    host: &Namespace,
    remotes: &[SocketAddr],
    mark: Option<u32>,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<Vec<Connection>, ProbeError> {
    let error = |source| ProbeError::Socket {
        host: host.name().to_owned(),
        remote: remotes[0],
        source,
    };
    let mut wave = Wave::start(host, remotes, mark).map_err(error)?;
    let deadline = Instant::now() + timing.answer;
    let mut fence_back: Option<Instant> = None;
    loop {
        // Asked before the poll: a thread that the scheduler forgets for a while afterwards has not
        // looked since, and would call dropped what was answered in the meantime.
        let overdue = fence_back.is_some_and(|back| back.elapsed() >= timing.fence_grace);
        let quiet = PollTimeout::try_from(QUIET).expect("a short time");
        let progress = wave.poll(quiet).map_err(error)?;
        if wave.is_settled() {
            return Ok(wave.into_connections());
        }
        let late = Instant::now() >= deadline;
        if late {
            wave.break_silent(timing.answer);
        }
        match fence_back {
            // At the latest by the deadline: connections that go on answering are no reason to
            // leave the others without an outcome.
            None if (!progress || late) && wave.has_unanswered() => {
                await_fences(host, fences, timing)?;
                fence_back = Some(Instant::now());
            }
            Some(_) if overdue && !progress => wave.drop_unanswered(),
            _ => {}
        }
    }
}

/// Connects to every fence, one after the other, and waits until each handshake is complete.
fn await_fences(
    host: &Namespace,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<(), ProbeError> {
    for &fence in fences {
        let error = |source| ProbeError::Fence {
            host: host.name().to_owned(),
            fence,
            source,
        };
        let socket = host
            .within(|| connecting_socket(fence))
            .and_then(|made| made)
            .map_err(error)?;
        match socket.connect(&fence.into()) {
            Err(e) if !in_progress(&e) => return Err(error(e)),
            _ => {}
        }
        super::wave::await_handshake(&socket, timing.answer).map_err(error)?;
    }
    Ok(())
}
