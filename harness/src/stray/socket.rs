//! Raw sockets of TCP: what a host sends without having a connection, and what comes to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::segment::Segment;
use crate::netns::Namespace;

/// More than any segment of the lab has, its IP header included.
const LONGEST: usize = 4096;

fn raw(host: &Namespace, family: IpAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(SocketAddr::new(family, 0));
    let kind = Type::RAW.nonblocking().cloexec();
    host.within(|| Socket::new(domain, kind, Some(Protocol::TCP)))?
}

/// Sends segments from a host's own address.
pub(super) struct Sender {
    socket: Socket,
    source: IpAddr,
}

impl Sender {
    pub(super) fn open(host: &Namespace, source: IpAddr) -> io::Result<Self> {
        let socket = raw(host, source)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        Ok(Self { socket, source })
    }

    pub(super) fn send(&self, segment: &Segment, to: IpAddr) -> io::Result<()> {
        let octets = segment.write(self.source, to);
        let sent = self
            .socket
            .send_to(&octets, &SocketAddr::new(to, 0).into())?;
        if sent == octets.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }
}

/// Hears all segments that come to a host from one address, also those of no connection.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// IPv4 gives the IP header as well.
    v4: bool,
}

impl Listener {
    pub(super) fn open(host: &Namespace, from: IpAddr) -> io::Result<Self> {
        let socket = raw(host, from)?;
        socket.connect(&SocketAddr::new(from, 0).into())?;
        Ok(Self {
            socket,
            v4: from.is_ipv4(),
        })
    }

    /// Everything that has come, after waiting for some of it.
    pub(super) fn wait(&self, time: Duration) -> io::Result<Vec<Segment>> {
        let time = PollTimeout::try_from(time).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, time) {
            Ok(_) | Err(nix::Error::EINTR) => self.come(),
            Err(error) => Err(error.into()),
        }
    }

    /// The last that has come of those that are wanted.
    pub(super) fn last(&self, wanted: impl Fn(&Segment) -> bool) -> io::Result<Option<Segment>> {
        Ok(self.come()?.into_iter().rfind(wanted))
    }

    fn come(&self) -> io::Result<Vec<Segment>> {
        let mut all = Vec::new();
        let mut buffer = [0; LONGEST];
        loop {
            let length = match io::Read::read(&mut &self.socket, &mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // It hears of ICMP errors as well, whatever they are about: of connections before this one, say.
                Err(error) if is_of_icmp(&error) => continue,
                Err(error) => return Err(error),
            };
            let packet = &buffer[..length];
            let header = match packet.first() {
                Some(first) if self.v4 => usize::from(first & 0x0f) * 4,
                _ => 0,
            };
            all.extend(packet.get(header..).and_then(Segment::read));
        }
    }
}

/// Whether an error is what an ICMP message said.
fn is_of_icmp(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
    )
}
