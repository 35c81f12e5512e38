//! Stray segments: segments of an open connection that connection tracking cannot place.
//!
//! One that is out of the connection's window is found invalid, and what is invalid is translated no more. A caller
//! would see it come from its backend's own address, with which it has no connection, and would answer with a reset
//! that ends the connection which the backend has with it (kubernetes#74839). So nodes must not let one pass as it is.
//!
//! An [`EchoBackend`] keeps its connections open. A [`Caller`] opens one; [`send`] has the backend's host send a stray
//! segment of it; and the caller tells whether it saw it and whether the connection still works. The two hosts may be
//! on different machines: what passes between them is data.

mod backend;
mod segment;
mod socket;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

pub use backend::{EchoBackend, EchoError};

use crate::netns::Namespace;
use crate::probe::source_port;
use crate::timing::Timing;
use segment::{Flags, Segment};
use socket::{Listener, Sender};

/// Farther from where a sender is than any window reaches: 65 535 octets, shifted by at most 14.
const FAR: u32 = 1 << 30;

/// A port on which no caller listens (discard).
const FENCE_PORT: u16 = 9;

/// A stray segment could not be sent, or nobody can tell what became of it. It says nothing about the proxy.
#[derive(Debug, thiserror::Error)]
pub enum StrayError {
    /// A socket could not be made or used.
    #[error("failed to send a stray segment, or to look for one, on {host}")]
    Socket {
        /// The host.
        host: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// What was sent after it did not come either.
    #[error("a SYN from the backend never came to {caller}: the lab's own network is at fault")]
    Fence {
        /// The host of the caller.
        caller: String,
    },
}

/// What became of a stray segment and its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// There was no connection of which to send one.
    Unopened(String),
    /// It was sent.
    Sent {
        /// Whether the caller got to see it, from the backend's own address.
        seen: bool,
        /// Why the connection does not work any more, if so.
        broken: Option<String>,
    },
}

/// What a backend's host must know of a connection to send a stray segment of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The caller's own address and port.
    local: SocketAddr,
    /// Whom the backend sees.
    peer: SocketAddr,
    /// The backend's last segment.
    answer: Segment,
}

/// What a backend's host has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    stray: Segment,
    /// What was sent after it by the same socket, on the same way: that it came and the stray did not tells that the
    /// stray was dropped.
    fence: Segment,
}

/// Keeps the port that a fence is sent from, and takes no notice of how its SYN is answered.
#[derive(Debug)]
pub struct FencePort(#[expect(dead_code, reason = "held open")] TcpListener);

/// Has a backend's host send a stray segment of a connection to its backend at `address`, and a fence after it.
///
/// # Errors
/// When a socket cannot be made or used.
pub fn send(
    backend: &Namespace,
    address: SocketAddr,
    opened: &Opened,
) -> Result<(Sent, FencePort), StrayError> {
    let failed = socket_error(backend);
    let sender = Sender::open(backend, address.ip()).map_err(&failed)?;
    let kept = backend
        .within(|| TcpListener::bind((address.ip(), 0)))
        .and_then(|bound| bound)
        .map_err(&failed)?;
    let stray = Segment {
        ports: (address.port(), opened.peer.port()),
        sequence: opened.answer.sequence.wrapping_add(FAR),
        acknowledged: opened.answer.acknowledged,
        flags: Flags::Ack,
        length: 1,
    };
    let fence = Segment {
        ports: (kept.local_addr().map_err(&failed)?.port(), FENCE_PORT),
        sequence: stray.sequence,
        acknowledged: 0,
        flags: Flags::Syn,
        length: 0,
    };
    sender.send(&stray, opened.peer.ip()).map_err(&failed)?;
    sender.send(&fence, opened.local.ip()).map_err(&failed)?;
    Ok((Sent { stray, fence }, FencePort(kept)))
}

fn socket_error(host: &Namespace) -> impl Fn(io::Error) -> StrayError + use<> {
    let host = host.name().to_owned();
    move |source| StrayError::Socket {
        host: host.clone(),
        source,
    }
}

/// A host that has a connection to an [`EchoBackend`], and hears what else comes from there.
#[derive(Debug)]
pub struct Caller {
    host: Namespace,
    strays: Listener,
    connection: Connection,
}

impl Caller {
    /// Calls `remote`, behind which the backend at the address `backend` answers. An error as text where there is no
    /// connection of which a stray could be sent. Blocks.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn open(
        host: &Namespace,
        remote: SocketAddr,
        backend: IpAddr,
        timing: &Timing,
    ) -> Result<Result<(Self, Opened), String>, StrayError> {
        let failed = socket_error(host);
        let answers = Listener::open(host, remote.ip()).map_err(&failed)?;
        let strays = Listener::open(host, backend).map_err(&failed)?;
        let connection = match Connection::open(host, remote, timing.answer) {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let local = connection.local;
        let answer = answers
            .last(|segment| segment.ports == (remote.port(), local.port()) && segment.length > 0);
        let Some(answer) = answer.map_err(&failed)? else {
            return Ok(Err(format!("no answer came from {remote}")));
        };
        let opened = Opened {
            local,
            peer: connection.peer,
            answer,
        };
        let caller = Self {
            host: host.clone(),
            strays,
            connection,
        };
        Ok(Ok((caller, opened)))
    }

    /// Waits until it is known what became of a stray segment. Blocks.
    ///
    /// # Errors
    /// When what was sent after it did not come either.
    pub fn outcome(&mut self, sent: &Sent, timing: &Timing) -> Result<Outcome, StrayError> {
        let failed = socket_error(&self.host);
        let (mut seen, mut come) = (false, None);
        let deadline = Instant::now() + timing.answer;
        while come.is_none_or(|came: Instant| came.elapsed() < timing.fence_grace) {
            if come.is_none() && Instant::now() > deadline {
                let caller = self.host.name().to_owned();
                return Err(StrayError::Fence { caller });
            }
            for segment in self.strays.wait(timing.fence_grace).map_err(&failed)? {
                seen |= segment == sent.stray;
                if segment == sent.fence {
                    come.get_or_insert_with(Instant::now);
                }
            }
        }
        let broken = self.connection.exchange().err();
        let broken = broken.map(|error| error.to_string());
        Ok(Outcome::Sent { seen, broken })
    }
}

/// A connection to an [`EchoBackend`] that has answered once.
#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    local: SocketAddr,
    /// Whom the backend sees.
    peer: SocketAddr,
}

impl Connection {
    fn open(caller: &Namespace, remote: SocketAddr, time: Duration) -> io::Result<Self> {
        let stream = caller.within(|| -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
            source_port::bind(&socket, caller, remote)?;
            socket.connect_timeout(&remote.into(), time)?;
            Ok(socket.into())
        })??;
        stream.set_read_timeout(Some(time))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let peer = line.trim_end().parse().map_err(io::Error::other)?;
        let mut opened = Self {
            stream,
            local,
            peer,
        };
        opened.exchange()?;
        Ok(opened)
    }

    /// Says something, and has it said back.
    fn exchange(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"?")?;
        self.stream.read_exact(&mut [0])
    }
}
