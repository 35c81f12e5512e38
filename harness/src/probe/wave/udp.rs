//! Calls by UDP: a datagram that asks, and one that answers.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt::IpMtu};
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, Type};

use super::{State, unmapped};
use crate::probe::backend::Said;
use crate::probe::outcome::Outcome;
use crate::probe::refusal::{keep_icmp_errors, refusal_of};
use crate::tap::{DatagramHeader, Purpose};
use crate::world::{Family, Length};

/// More than any answer says: what is behind that only makes it longer.
const LONGEST_ANSWER: usize = 2048;

sockopt_impl!(
    /// The MTU of the way of a connected IPv6 socket, as [`IpMtu`] is of an IPv4 one.
    Ipv6Mtu,
    GetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU,
    libc::c_int
);

/// What came back to a socket.
enum Arrival {
    /// Nothing, so far.
    Nothing,
    /// An answer to the question of this number, and how many octets it has behind its UDP header.
    Answer(u32, Box<Said>, usize),
    /// Something that no backend says.
    Strange,
}

/// Connects the socket and sends the datagram. Returns how many octets it has behind its UDP header, too, where that was
/// asked for.
pub(super) fn begin(
    socket: &Socket,
    remote: SocketAddr,
    nonce: u32,
    length: Length,
) -> io::Result<(State, Option<usize>)> {
    socket.connect(&remote.into())?;
    let family = Family::of(remote.ip());
    let payload = match length {
        Length::Brief => None,
        length => length.payload(mtu(socket, family)?, family),
    };
    send(socket, nonce, payload)?;
    Ok((State::Unanswered, payload))
}

/// The MTU of the way of a connected socket.
fn mtu(socket: &Socket, family: Family) -> io::Result<usize> {
    let mtu = match family {
        Family::V4 => getsockopt(socket, IpMtu)?,
        Family::V6 => getsockopt(socket, Ipv6Mtu)?,
    };
    usize::try_from(mtu).map_err(io::Error::other)
}

/// Sends another datagram between the same two ends, as long as the first.
pub(super) fn again(socket: &Socket, nonce: u32, payload: Option<usize>) -> io::Result<State> {
    // What came too late for the question before is no answer to this one.
    while refusal_of(socket)?.is_some() || !matches!(receive(socket)?, Arrival::Nothing) {}
    send(socket, nonce, payload)?;
    Ok(State::Unanswered)
}

/// What an event says of a datagram that was unanswered.
///
/// An answer is as long as its question. One that is not tells of a question or an answer that did not arrive whole.
pub(super) fn after_event(
    socket: &Socket,
    nonce: u32,
    payload: Option<usize>,
    started: Instant,
) -> io::Result<State> {
    if let Some(refusal) = refusal_of(socket)? {
        return Ok(State::Settled(Outcome::Refused(refusal)));
    }
    loop {
        return Ok(match receive(socket)? {
            Arrival::Nothing => State::Unanswered,
            Arrival::Answer(to, said, octets) if to == nonce => match payload {
                Some(asked) if asked != octets => {
                    let pod = said.identity.pod;
                    let text = format!("{pod} answered {octets} octets to {asked}");
                    State::Settled(Outcome::Broken(text))
                }
                _ => State::Settled(Outcome::Reached {
                    identity: unmapped(said.identity),
                    latency: started.elapsed(),
                }),
            },
            // To an earlier question.
            Arrival::Answer(..) => continue,
            Arrival::Strange => {
                let text = "answered by something else".to_owned();
                State::Settled(Outcome::Broken(text))
            }
        });
    }
}

/// Takes the next datagram that has come to a socket.
fn receive(socket: &Socket) -> io::Result<Arrival> {
    let mut payload = [0; LONGEST_ANSWER];
    // The kernel tells the length that it came with.
    let received = recv(socket.as_raw_fd(), &mut payload, MsgFlags::MSG_TRUNC);
    let length = match received.map_err(io::Error::from) {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Arrival::Nothing),
        // An ICMP error is told twice: here, and by the queue that says which it was.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Ok(Arrival::Nothing);
        }
        Err(error) => return Err(error),
    };
    let payload = &payload[..length.min(payload.len())];
    let header = DatagramHeader::parse(payload);
    let said = payload.get(DatagramHeader::LENGTH..).unwrap_or_default();
    Ok(match (header, serde_json::from_slice(said)) {
        (Some(header), Ok(said)) if header.purpose == Purpose::Answer => {
            Arrival::Answer(header.nonce, Box::new(said), length)
        }
        _ => Arrival::Strange,
    })
}

/// Sends a datagram that asks, as short as it can be.
pub(in crate::probe) fn send_ask(socket: &Socket, nonce: u32) -> io::Result<()> {
    send(socket, nonce, None)
}

/// Sends a datagram that asks, with so many octets behind its UDP header.
fn send(mut socket: &Socket, nonce: u32, payload: Option<usize>) -> io::Result<()> {
    let purpose = Purpose::Ask;
    let mut datagram = DatagramHeader { purpose, nonce }.to_bytes().to_vec();
    if let Some(octets) = payload {
        datagram.resize(octets.max(datagram.len()), 0);
    }
    match socket.write(&datagram) {
        Ok(_) => Ok(()),
        // The host's own rules have dropped or refused it, as the proxy of a calling node may.
        // Which of the two it was shows like that of any other datagram: a refusal comes back.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// A socket that will not block, and that keeps the ICMP errors that it receives.
pub(in crate::probe) fn asking_socket(remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    keep_icmp_errors(&socket, remote)?;
    Ok(socket)
}

/// Waits for the answer to this question until the deadline. Returns how many datagrams the
/// backend has lost so far.
pub(in crate::probe) fn await_answer(
    socket: &Socket,
    nonce: u32,
    deadline: Instant,
) -> io::Result<u32> {
    loop {
        if refusal_of(socket)?.is_some() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        match receive(socket)? {
            Arrival::Answer(to, said, _) if to == nonce => return Ok(said.lost),
            Arrival::Answer(..) => continue,
            Arrival::Strange => return Err(io::ErrorKind::InvalidData.into()),
            Arrival::Nothing => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        )?;
    }
}
