//! A wave: connections or datagrams under way at the same time, polled together.
//!
//! What is peculiar to a protocol, how a call begins and what an event says of it, is in the module
//! of its name.

mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use super::outcome::{Connection, Identity, Outcome};
use super::source_port;
use crate::netns::Namespace;
use crate::tap::choose_sequence;
use crate::world::{Family, Length, Protocol};

pub(super) use tcp::{await_handshake, await_identity, connecting_socket, in_progress};
pub(super) use udp::{asking_socket, await_answer, send_ask};

enum State {
    /// The SYN or the datagram is sent and unanswered.
    Unanswered,
    /// The handshake is complete; the answer so far.
    Answering(Vec<u8>),
    /// It has its outcome.
    Settled(Outcome),
}

/// A connection, or the two ends between which datagrams go.
#[derive(Debug)]
pub(super) struct Flow {
    protocol: Protocol,
    socket: Socket,
    local: SocketAddr,
    remote: SocketAddr,
    /// Of the connection's SYN, or of the last datagram.
    sequence: u32,
    /// How many octets each datagram has behind its UDP header, where that was asked for.
    payload: Option<usize>,
}

impl Flow {
    /// The address that it calls.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }
}

struct Attempt {
    flow: Flow,
    started: Instant,
    state: State,
}

/// Calls that are all under way.
pub(super) struct Wave {
    attempts: Vec<Attempt>,
}

impl Wave {
    /// Sends the SYN or the datagram of each.
    pub(super) fn start(
        host: &Namespace,
        protocol: Protocol,
        remotes: &[SocketAddr],
        length: Length,
        mark: Option<u32>,
    ) -> io::Result<Self> {
        if protocol == Protocol::Sctp {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let make = |remote: &SocketAddr| match protocol {
            Protocol::Udp => asking_socket(*remote),
            Protocol::Tcp | Protocol::Sctp => connecting_socket(*remote),
        };
        let made = host.within(|| remotes.iter().map(make).collect::<io::Result<Vec<_>>>())??;
        let attempts = made.into_iter().zip(remotes).map(|(socket, &remote)| {
            source_port::bind(&socket, host, remote)?;
            if let Some(mark) = mark {
                socket.set_mark(mark)?;
            }
            let sequence = next_sequence();
            let started = Instant::now();
            let (state, payload) = match protocol {
                Protocol::Udp => udp::begin(&socket, remote, sequence, length)?,
                Protocol::Tcp | Protocol::Sctp => (tcp::begin(&socket, remote, sequence)?, None),
            };
            let local = socket
                .local_addr()?
                .as_socket()
                .expect("an internet socket");
            let flow = Flow {
                protocol,
                socket,
                local,
                remote,
                sequence,
                payload,
            };
            Ok(Attempt {
                flow,
                started,
                state,
            })
        });
        Ok(Self {
            attempts: attempts.collect::<io::Result<_>>()?,
        })
    }

    /// Asks once more over flows that were opened before: by a line, or by another datagram.
    pub(super) fn again(flows: Vec<Flow>) -> io::Result<Self> {
        let attempts = flows.into_iter().map(|mut flow| {
            let started = Instant::now();
            let state = match flow.protocol {
                Protocol::Udp => {
                    flow.sequence = next_sequence();
                    udp::again(&flow.socket, flow.sequence, flow.payload)?
                }
                Protocol::Tcp | Protocol::Sctp => tcp::again(&flow.socket),
            };
            Ok(Attempt {
                flow,
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
                    let events = match (&attempt.state, attempt.flow.protocol) {
                        (State::Settled(_), _) => return None,
                        (State::Unanswered, Protocol::Tcp | Protocol::Sctp) => PollFlags::POLLOUT,
                        (State::Unanswered | State::Answering(_), _) => PollFlags::POLLIN,
                    };
                    Some(PollFd::new(attempt.flow.socket.as_fd(), events))
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

    /// Whether a connection was accepted and has said nothing, or not all.
    pub(super) fn has_silent(&self) -> bool {
        self.attempts
            .iter()
            .any(|a| matches!(a.state, State::Answering(_)))
    }

    /// Settles every unanswered call as dropped.
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

    /// What became of each, and the flows, whose sockets are still open.
    pub(super) fn into_parts(self) -> (Vec<Connection>, Vec<Flow>) {
        let parts = self
            .attempts
            .into_iter()
            .map(|Attempt { flow, state, .. }| match state {
                State::Settled(outcome) => {
                    let family = Family::of(flow.remote.ip());
                    let octets = flow.payload.map(|payload| Length::packet(payload, family));
                    let connection = Connection {
                        protocol: flow.protocol,
                        local: flow.local,
                        sequence: flow.sequence,
                        remote: flow.remote,
                        octets,
                        outcome,
                    };
                    (connection, flow)
                }
                State::Unanswered | State::Answering(_) => unreachable!("asked only when settled"),
            });
        parts.unzip()
    }
}

impl Attempt {
    /// Takes the step that an event allows.
    fn advance(&mut self) -> io::Result<()> {
        let (socket, started) = (&self.flow.socket, self.started);
        match (&mut self.state, self.flow.protocol) {
            (State::Settled(_), _) => {}
            (State::Answering(answer), _) => {
                if let Some(outcome) = tcp::read(socket, answer, started) {
                    self.state = State::Settled(outcome);
                }
            }
            (State::Unanswered, Protocol::Udp) => {
                let Flow {
                    sequence, payload, ..
                } = self.flow;
                self.state = udp::after_event(socket, sequence, payload, started)?;
            }
            (State::Unanswered, Protocol::Tcp | Protocol::Sctp) => {
                self.state = tcp::after_handshake_event(socket)?;
            }
        }
        Ok(())
    }
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

/// The initial sequence number or the nonce of the next probe, by which the taps know it.
///
/// Left to chance, one of the many connections of a run would now and then share a number with
/// another, and its journey would show hosts that it never crossed. The step is odd, so that every
/// number of this process's share comes up before any comes again.
pub(super) fn next_sequence() -> u32 {
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    (next.wrapping_mul(4099) << u8::BITS) | u32::from(SHARE.load(Ordering::Relaxed))
}

/// Gives a TCP socket that is not connected yet a number of its own, though nobody asks for its journey: one that the
/// kernel draws may be that of a probe, in whose journey it would show.
///
/// # Errors
/// As of [`choose_sequence`].
pub(crate) fn choose_own_sequence(socket: &impl AsFd) -> io::Result<()> {
    choose_sequence(socket, next_sequence()).map_err(io::Error::other)
}

/// From here on, sequence numbers are those of this share, which no other process of the lab has.
pub(crate) fn share_numbers(share: u8) {
    SHARE.store(share, Ordering::Relaxed);
}

static NEXT: AtomicU32 = AtomicU32::new(0x006f_6e65);
/// The lowest octet of every number.
static SHARE: AtomicU8 = AtomicU8::new(0);
