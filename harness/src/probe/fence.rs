//! The fence that tells a drop: calls that are known to be answered, sent after those that were
//! not.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::Socket;

use super::client::ProbeError;
use super::wave::{
    asking_socket, await_answer, await_handshake, await_identity, choose_own_sequence,
    connecting_socket, in_progress, next_sequence, send_ask,
};
use crate::netns::Namespace;
use crate::timing::Timing;
use crate::world::Protocol;

/// Calls every fence and waits until all have answered: kernels, by TCP; backends, by UDP.
pub(super) fn wait(
    host: &Namespace,
    protocol: Protocol,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<(), ProbeError> {
    match protocol {
        Protocol::Udp => wait_for_backends(host, fences, timing),
        Protocol::Tcp | Protocol::Sctp => wait_for_kernels(host, fences, timing),
    }
}

/// Connects to every fence, one after the other, and waits until each handshake is complete.
fn wait_for_kernels(
    host: &Namespace,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<(), ProbeError> {
    for &fence in fences {
        connect(host, fence, timing).map_err(|source| ProbeError::fence(host, fence, source))?;
    }
    Ok(())
}

/// The same, and waits until the backend of each has said who it is: a connection that was accepted before, and is silent still, is so
/// for another reason than that its backend has had no processor.
pub(super) fn wait_for_identities(
    host: &Namespace,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<(), ProbeError> {
    let deadline = Instant::now() + timing.fence;
    for &fence in fences {
        let answered = connect(host, fence, timing);
        answered
            .and_then(|socket| await_identity(&socket, deadline))
            .map_err(|source| ProbeError::fence(host, fence, source))?;
    }
    Ok(())
}

fn connect(host: &Namespace, fence: SocketAddr, timing: &Timing) -> io::Result<Socket> {
    let socket = host.within(|| connecting_socket(fence))??;
    choose_own_sequence(&socket)?;
    match socket.connect(&fence.into()) {
        Err(e) if !in_progress(&e) => return Err(e),
        _ => {}
    }
    await_handshake(&socket, timing.fence)?;
    Ok(socket)
}

/// Asks every fence at once, and waits until each has answered.
fn wait_for_backends(
    host: &Namespace,
    fences: &[SocketAddr],
    timing: &Timing,
) -> Result<(), ProbeError> {
    let deadline = Instant::now() + timing.fence;
    let ask = |&fence: &SocketAddr| {
        let nonce = next_sequence();
        let asked = host.within(|| asking_socket(fence)).and_then(|made| {
            let socket = made?;
            socket.connect(&fence.into())?;
            send_ask(&socket, nonce)?;
            Ok(socket)
        });
        let socket = asked.map_err(|source: io::Error| ProbeError::fence(host, fence, source))?;
        Ok((fence, socket, nonce))
    };
    let asked = fences.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
    for (fence, socket, nonce) in asked {
        let lost = await_answer(&socket, nonce, deadline)
            .map_err(|source| ProbeError::fence(host, fence, source))?;
        if lost > 0 {
            return Err(ProbeError::Overflow { fence, lost });
        }
    }
    Ok(())
}
