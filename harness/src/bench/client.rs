//! The pod that calls: single connections, whose answer says which endpoint they reached.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use socket2::{Domain, Protocol, Socket, Type};

use super::responder;

/// How long a connection may take to open, and again to be answered. Below the second after which the kernel sends a lost SYN again:
/// a connection that needed that is one that failed.
pub(super) const PATIENCE: Duration = Duration::from_millis(900);

/// Source ports in turn, so that none comes back to a Service while a node's connection tracking
/// remembers what became of it before the proxy had a rule.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 50_000;

/// A connection, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// Before its SYN was sent.
    pub(super) started: Instant,
    /// When it was open, or had failed.
    pub(super) opened: Instant,
    /// When the answer had come, or the connection had failed.
    pub(super) ended: Instant,
    pub(super) outcome: Outcome,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This endpoint answered.
    Reached(IpAddr),
    /// The network refused it: the kind of the error that the kernel gave.
    Refused(io::ErrorKind),
    /// Nothing came in time.
    Silent,
    /// It was open and ended without the whole answer.
    Broken,
}

impl Outcome {
    /// The endpoint that answered.
    pub(super) fn reached(self) -> Option<IpAddr> {
        match self {
            Self::Reached(address) => Some(address),
            _ => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reached(address) => write!(f, "it reached {address}"),
            Self::Refused(kind) => write!(f, "it was refused: {kind}"),
            Self::Silent => f.write_str("it was not answered"),
            Self::Broken => f.write_str("it broke"),
        }
    }
}

/// Opens a connection from the namespace that this thread is in, reads the answer, and resets it:
/// nothing of it stays behind. It is given up if it is not open in time.
///
/// # Errors
/// When the kernel gives no socket. What becomes of the connection is no error.
pub(super) fn call(remote: SocketAddr, open_within: Duration) -> io::Result<Connection> {
    let socket = socket(remote)?;
    socket.set_nonblocking(true)?;
    bind_next(&socket, remote)?;
    let started = Instant::now();
    let opened = open(&socket, remote, started + open_within);
    let opened_at = Instant::now();
    let outcome = match opened {
        Ok(()) => answer(&socket, opened_at + PATIENCE)?,
        Err(outcome) => outcome,
    };
    Ok(Connection {
        started,
        opened: opened_at,
        ended: Instant::now(),
        outcome,
    })
}

/// A socket that is reset when it is closed, so that no connection waits out its time.
pub(super) fn socket(remote: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.cloexec();
    let socket = Socket::new(Domain::for_address(remote), kind, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

fn bind_next(socket: &Socket, remote: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    loop {
        let turn = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS);
        let port = FIRST_PORT + u16::try_from(turn).expect("below the number of ports");
        match socket.bind(&SocketAddr::new(any, port).into()) {
            // Somebody else's, or of a connection still under way.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
}

fn open(socket: &Socket, remote: SocketAddr, deadline: Instant) -> Result<(), Outcome> {
    let refused = |error: io::Error| Outcome::Refused(error.kind());
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        done => return done.map_err(refused),
    }
    if !ready(socket, PollFlags::POLLOUT, deadline).map_err(refused)? {
        return Err(Outcome::Silent);
    }
    match socket.take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(refused(error)),
    }
}

fn answer(socket: &Socket, deadline: Instant) -> io::Result<Outcome> {
    let mut octets = [0_u8; 16];
    let mut read = 0;
    while read < octets.len() {
        if !ready(socket, PollFlags::POLLIN, deadline)? {
            return Ok(Outcome::Silent);
        }
        match (&*socket).read(&mut octets[read..]) {
            Ok(0) => return Ok(Outcome::Broken),
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(Outcome::Broken),
        }
    }
    Ok(Outcome::Reached(responder::address(octets)))
}

/// Waits until the socket is ready or the time is over.
fn ready(socket: &Socket, flags: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(socket.as_fd(), flags)];
        match ppoll(&mut polled, Some(left.into()), None) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
