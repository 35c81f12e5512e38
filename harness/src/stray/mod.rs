//! Stray segments: segments of an open connection that connection tracking cannot place.
//!
//! One that is out of the connection's window is found invalid, and what is invalid is translated no more. A caller
//! would see it come from its backend's own address, with which it has no connection, and would answer with a reset
//! that ends the connection which the backend has with it (kubernetes#74839). So nodes must not let one pass as it is.
//!
//! An [`EchoBackend`] keeps its connections open. [`send`] opens one, has the backend's host send a stray segment of
//! it, and tells whether the caller saw it and whether the connection still works.

mod backend;
mod segment;
mod socket;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

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
    #[error("failed to send a stray segment from {host}")]
    Socket {
        /// The host of the backend.
        host: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// What was sent after it did not come either.
    #[error("a SYN from {host} never came to {caller}: the lab's own network is at fault")]
    Fence {
        /// The host of the backend.
        host: String,
        /// The host of the caller.
        caller: String,
    },
}

/// Who has a connection to whom.
#[derive(Clone, Debug)]
pub struct Way {
    /// The host that calls.
    pub caller: Namespace,
    /// What it calls.
    pub remote: SocketAddr,
    /// The host of the backend.
    pub backend: Namespace,
    /// Where the backend listens.
    pub backend_address: SocketAddr,
}

/// What became of a stray segment and its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Sends a stray segment of a new connection. Blocks until it is known what became of it.
///
/// What is sent after it by the same socket, on the same way, and did come tells that it was dropped.
///
/// # Errors
/// When a socket cannot be made, or what was sent after it did not come.
pub fn send(way: &Way, timing: &Timing) -> Result<Outcome, StrayError> {
    let Way {
        caller,
        remote,
        backend,
        backend_address,
    } = way;
    let failed = |source| StrayError::Socket {
        host: backend.name().to_owned(),
        source,
    };
    let answers = Listener::open(caller, remote.ip()).map_err(failed)?;
    let strays = Listener::open(caller, backend_address.ip()).map_err(failed)?;
    let sender = Sender::open(backend, backend_address.ip()).map_err(failed)?;
    let mut opened = match Connection::open(caller, *remote, timing.answer) {
        Ok(opened) => opened,
        Err(error) => return Ok(Outcome::Unopened(error.to_string())),
    };
    let answer = answers.last(|segment| {
        segment.ports == (remote.port(), opened.local.port()) && segment.length > 0
    });
    let Some(answer) = answer.map_err(failed)? else {
        return Ok(Outcome::Unopened(format!("no answer came from {remote}")));
    };

    let stray = Segment {
        ports: (backend_address.port(), opened.peer.port()),
        sequence: answer.sequence.wrapping_add(FAR),
        acknowledged: answer.acknowledged,
        flags: Flags::Ack,
        length: 1,
    };
    // A listener keeps the port, and takes no notice of how the SYN is answered.
    let kept = backend
        .within(|| TcpListener::bind((backend_address.ip(), 0)))
        .and_then(|bound| bound)
        .map_err(failed)?;
    let fence = Segment {
        ports: (kept.local_addr().map_err(failed)?.port(), FENCE_PORT),
        sequence: stray.sequence,
        acknowledged: 0,
        flags: Flags::Syn,
        length: 0,
    };
    sender.send(&stray, opened.peer.ip()).map_err(failed)?;
    sender.send(&fence, opened.local.ip()).map_err(failed)?;
    let (mut seen, mut come) = (false, None);
    let deadline = Instant::now() + timing.answer;
    while come.is_none_or(|came: Instant| came.elapsed() < timing.fence_grace) {
        if come.is_none() && Instant::now() > deadline {
            return Err(StrayError::Fence {
                host: backend.name().to_owned(),
                caller: caller.name().to_owned(),
            });
        }
        for segment in strays.wait(timing.fence_grace).map_err(failed)? {
            seen |= segment == stray;
            if segment == fence {
                come.get_or_insert_with(Instant::now);
            }
        }
    }
    let broken = opened.exchange().err().map(|error| error.to_string());
    Ok(Outcome::Sent { seen, broken })
}

/// A connection to an [`EchoBackend`] that has answered once.
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
