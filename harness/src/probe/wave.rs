//! A wave: connections under way at the same time, polled together.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::outcome::{Connection, Identity, Outcome, Refusal};
use super::refusal::refusal_of;
use super::source_port;
use crate::netns::Namespace;
use crate::tap::choose_sequence;
use crate::world;

/// More than any identity needs; an answer that does not end by then is not one.
const LONGEST_ANSWER: usize = 4096;

enum State {
    /// The SYN is sent and unanswered.
    Unanswered,
    /// The handshake is complete; the answer so far.
    Answering(Vec<u8>),
    /// It has its outcome.
    Settled(Outcome),
}

struct Attempt {
    socket: Socket,
    local: SocketAddr,
    remote: SocketAddr,
    sequence: u32,
    started: Instant,
    state: State,
}

/// Connections that are all under way.
pub(super) struct Wave {
    attempts: Vec<Attempt>,
}

impl Wave {
    /// Sends the SYN of each.
    pub(super) fn start(
        host: &Namespace,
        remotes: &[SocketAddr],
        mark: Option<u32>,
    ) -> io::Result<Self> {
        let sockets = host.within(|| {
            remotes
                .iter()
                .map(|&remote| connecting_socket(remote))
                .collect::<io::Result<Vec<_>>>()
        })??;
        let attempts = sockets.into_iter().zip(remotes).map(|(socket, &remote)| {
            bind(&socket, host, remote)?;
            if let Some(mark) = mark {
                socket.set_mark(mark)?;
            }
            let sequence = next_sequence();
            choose_sequence(&socket, sequence).map_err(io::Error::other)?;
            let started = Instant::now();
            let state = match socket.connect(&remote.into()) {
                Ok(()) => State::Answering(Vec::new()),
                Err(e) if in_progress(&e) => State::Unanswered,
                Err(e) => State::Settled(refused(&socket, e)?),
            };
            let local = socket
                .local_addr()?
                .as_socket()
                .expect("an internet socket");
            Ok(Attempt {
                socket,
                local,
                remote,
                sequence,
                started,
                state,
            })
        });
        Ok(Self {
            attempts: attempts.collect::<io::Result<_>>()?,
        })
    }

    /// Waits for events until the time is over; false if there were none.
    pub(super) fn poll(&mut self, time: PollTimeout) -> io::Result<bool> {
        let open = || |a: &&mut Attempt| !matches!(a.state, State::Settled(_));
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = self
                .attempts
                .iter()
                .filter_map(|attempt| {
                    let events = match attempt.state {
                        State::Unanswered => PollFlags::POLLOUT,
                        State::Answering(_) => PollFlags::POLLIN,
                        State::Settled(_) => return None,
                    };
                    Some(PollFd::new(attempt.socket.as_fd(), events))
                })
                .collect();
            match poll(&mut fds, time) {
                Ok(0) => return Ok(false),
                // Nobody has looked; that is no silence.
                Err(nix::Error::EINTR) => return Ok(true),
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
            fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()
        };
        for (attempt, ready) in self.attempts.iter_mut().filter(open()).zip(ready) {
            if ready {
                attempt.advance()?;
            }
        }
        Ok(true)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.attempts
            .iter()
            .all(|a| matches!(a.state, State::Settled(_)))
    }

    pub(super) fn has_unanswered(&self) -> bool {
        self.attempts
            .iter()
            .any(|a| matches!(a.state, State::Unanswered))
    }

    /// Settles every unanswered SYN as dropped.
    pub(super) fn drop_unanswered(&mut self) {
        for attempt in &mut self.attempts {
            if matches!(attempt.state, State::Unanswered) {
                attempt.state = State::Settled(Outcome::Dropped);
            }
        }
    }

    /// Settles every connection that was accepted and then stayed silent as broken.
    pub(super) fn break_silent(&mut self, after: Duration) {
        for attempt in &mut self.attempts {
            if matches!(attempt.state, State::Answering(_)) {
                let text = format!("accepted, then silent for {after:?}");
                attempt.state = State::Settled(Outcome::Broken(text));
            }
        }
    }

    pub(super) fn into_connections(self) -> Vec<Connection> {
        let connections = self
            .attempts
            .into_iter()
            .map(|attempt| match attempt.state {
                State::Settled(outcome) => Connection {
                    protocol: world::Protocol::Tcp,
                    local: attempt.local,
                    sequence: attempt.sequence,
                    remote: attempt.remote,
                    outcome,
                },
                State::Unanswered | State::Answering(_) => unreachable!("asked only when settled"),
            });
        connections.collect()
    }
}

impl Attempt {
    /// Takes the step that an event allows.
    fn advance(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Unanswered) {
            self.state = self.after_handshake_event()?;
            return Ok(());
        }
        let State::Answering(answer) = &mut self.state else {
            return Ok(());
        };
        let mut chunk = [0; 1024];
        let outcome = loop {
            match (&self.socket).read(&mut chunk) {
                Ok(0) => break parse_answer(answer, self.started.elapsed()),
                Ok(n) => answer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => break Outcome::Broken(format!("accepted, then {e}")),
            }
            if answer.len() > LONGEST_ANSWER {
                break Outcome::Broken("accepted, then an endless answer".to_owned());
            }
        };
        self.state = State::Settled(outcome);
        Ok(())
    }
}

impl Attempt {
    /// What an event says of a SYN that was unanswered.
    ///
    /// The error queue is read before the error of the socket. An ICMP message that comes back
    /// while `connect` still holds the socket, as it does over a fast path, is put on the queue at
    /// once, but becomes the socket's error only when the SYN is sent again, a second later.
    fn after_handshake_event(&self) -> io::Result<State> {
        if let Some(refusal) = refusal_of(&self.socket)? {
            return Ok(State::Settled(Outcome::Refused(refusal)));
        }
        match self.socket.take_error()? {
            // It was accepted and has already been torn down again.
            Some(error) if is_torn_down(&error) => {
                let how = format!("accepted, then {error}");
                Ok(State::Settled(Outcome::Broken(how)))
            }
            Some(error) => Ok(State::Settled(refused(&self.socket, error)?)),
            None if self.socket.peer_addr().is_ok() => Ok(State::Answering(Vec::new())),
            None => Ok(State::Unanswered),
        }
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

/// Backends listen on IPv6 sockets for both families and see IPv4 peers as mapped addresses.
fn unmapped(mut identity: Identity) -> Identity {
    if let IpAddr::V6(v6) = identity.peer.ip()
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        identity.peer.set_ip(v4.into());
    }
    identity
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

/// Gives a socket a source port that was not used for this address before.
fn bind(socket: &Socket, host: &Namespace, remote: SocketAddr) -> io::Result<()> {
    // Connections to other addresses may share the port.
    socket.set_reuse_address(true)?;
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    loop {
        let port = source_port::next(host.name(), remote);
        match socket.bind(&SocketAddr::new(any, port).into()) {
            // Somebody else on the host has it: a process of the proxy under test.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

/// The initial sequence number of the next probe, by which the taps know it.
///
/// Left to chance, one of the many connections of a run would now and then share a number with
/// another, and its journey would show hosts that it never crossed. The step is odd, so that every
/// number comes up before any comes again.
fn next_sequence() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0x6f6e_6568);
    NEXT.fetch_add(4099, Ordering::Relaxed)
}

/// A socket that will not block, and that keeps the ICMP errors that it receives.
pub(super) fn connecting_socket(remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    super::refusal::keep_icmp_errors(&socket, remote)?;
    Ok(socket)
}

/// Whether a non-blocking connect has merely begun.
pub(super) fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)
}

/// Waits until a connecting socket is connected.
pub(super) fn await_handshake(socket: &Socket, time: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}
