//! Calls by TCP: the handshake is done by kernels alone, then the backend says who it is.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{State, unmapped};
use crate::probe::outcome::{Identity, Outcome, Refusal};
use crate::probe::refusal::{keep_icmp_errors, refusal_of};
use crate::tap::choose_sequence;

/// More than any identity needs; an answer that does not end by then is not one.
const LONGEST_ANSWER: usize = 4096;

/// Sends the SYN.
///
/// When the socket is closed, a RST ends the connection at once. After an orderly end, every node on
/// the way would remember it for two minutes, and a proxy that looks through what its node remembers
/// whenever something changes, as kube-proxy does, would have tens of thousands to look through.
pub(super) fn begin(socket: &Socket, remote: SocketAddr, sequence: u32) -> io::Result<State> {
    socket.set_linger(Some(Duration::ZERO))?;
    choose_sequence(socket, sequence).map_err(io::Error::other)?;
    Ok(match socket.connect(&remote.into()) {
        Ok(()) => State::Answering(Vec::new()),
        Err(e) if in_progress(&e) => State::Unanswered,
        Err(e) => State::Settled(refused(socket, e)?),
    })
}

/// Asks once more over an open connection, by a line. One that has never been open stays closed.
pub(super) fn again(mut socket: &Socket) -> State {
    match socket.write_all(b"\n") {
        Ok(()) => State::Answering(Vec::new()),
        Err(error) => State::Settled(Outcome::Broken(format!("open no more: {error}"))),
    }
}

/// Reads what there is of an answer, which ends with its line.
pub(super) fn read(mut socket: &Socket, answer: &mut Vec<u8>, started: Instant) -> Option<Outcome> {
    let mut chunk = [0; 1024];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return Some(parse_answer(answer, started.elapsed())),
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
            Err(e) => return Some(Outcome::Broken(format!("accepted, then {e}"))),
        }
        if answer.ends_with(b"\n") {
            return Some(parse_answer(answer, started.elapsed()));
        }
        if answer.len() > LONGEST_ANSWER {
            let text = "accepted, then an endless answer";
            return Some(Outcome::Broken(text.to_owned()));
        }
    }
}

/// What an event says of a SYN that was unanswered.
///
/// The error queue is read before the error of the socket. An ICMP message that comes back
/// while `connect` still holds the socket, as it does over a fast path, is put on the queue at
/// once, but becomes the socket's error only when the SYN is sent again, a second later.
pub(super) fn after_handshake_event(socket: &Socket) -> io::Result<State> {
    if let Some(refusal) = refusal_of(socket)? {
        return Ok(State::Settled(Outcome::Refused(refusal)));
    }
    match socket.take_error()? {
        // It was accepted and has already been torn down again.
        Some(error) if is_torn_down(&error) => {
            let how = format!("accepted, then {error}");
            Ok(State::Settled(Outcome::Broken(how)))
        }
        Some(error) => Ok(State::Settled(refused(socket, error)?)),
        None if socket.peer_addr().is_ok() => Ok(State::Answering(Vec::new())),
        None => Ok(State::Unanswered),
    }
}

fn parse_answer(answer: &[u8], latency: Duration) -> Outcome {
    match serde_json::from_slice::<Identity>(answer) {
        Ok(identity) => Outcome::Reached {
            identity: unmapped(identity),
            latency,
        },
        Err(_) if answer.is_empty() => Outcome::Broken("accepted, then closed".to_owned()),
        Err(_) => Outcome::Broken("accepted, then answered by something else".to_owned()),
    }
}

/// Whether a connection ended after its handshake: a refused one ends otherwise.
fn is_torn_down(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe)
}

/// The outcome of a failed connect. Only what the network said is an outcome; the rest are errors
/// of the probe.
fn refused(socket: &Socket, error: io::Error) -> io::Result<Outcome> {
    match refusal_of(socket)? {
        Some(refusal) => Ok(Outcome::Refused(refusal)),
        None if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(Outcome::Refused(Refusal::Reset))
        }
        None => Err(error),
    }
}

/// A socket that will not block, and that keeps the ICMP errors that it receives.
pub(in crate::probe) fn connecting_socket(remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    keep_icmp_errors(&socket, remote)?;
    Ok(socket)
}

/// Whether a non-blocking connect has merely begun.
pub(in crate::probe) fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)
}

/// Waits until a connected socket has got an identity, by this time.
pub(in crate::probe) fn await_identity(socket: &Socket, deadline: Instant) -> io::Result<()> {
    let mut answer = Vec::new();
    loop {
        match read(socket, &mut answer, deadline) {
            Some(Outcome::Reached { .. }) => return Ok(()),
            Some(other) => return Err(io::Error::other(other.kind())),
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if left.is_zero() || poll(&mut fds, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Waits until a connecting socket is connected.
pub(in crate::probe) fn await_handshake(socket: &Socket, time: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}
