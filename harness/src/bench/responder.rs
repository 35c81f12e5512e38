//! The pod behind every endpoint: it answers each connection with the address that was called.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use super::population::TARGET_PORT;
use crate::netns::Namespace;

/// Threads that accept. More than one, so that a connection does not wait for the answer to the one
/// before.
const THREADS: usize = 2;

/// A listener on all addresses of its host. It stops when dropped.
#[derive(Debug)]
pub(super) struct Responder {
    socket: Socket,
}

impl Responder {
    /// Listens and answers from then on.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) fn start(host: &Namespace) -> io::Result<Self> {
        let socket = host.within(listener)??;
        for _ in 0..THREADS {
            let socket = socket.try_clone()?;
            thread::spawn(move || answer_all(&socket));
        }
        Ok(Self { socket })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // This wakes the threads, which end.
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            tracing::warn!(%error, "an endpoint listens longer than its lab lives");
        }
    }
}

fn listener() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, TARGET_PORT)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}

fn answer_all(listener: &Socket) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // A caller that only opens connections has gone by now, which is as well.
                if let Some(called) = stream.local_addr().ok().and_then(|a| a.as_socket()) {
                    let _ = (&stream).write_all(&octets(called.ip()));
                }
            }
            // What `shutdown` leaves of a listener.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => tracing::debug!(%error, "an endpoint failed to accept"),
        }
    }
}

/// An address as the 16 bytes that are sent.
pub(super) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that these bytes are.
pub(super) fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive_the_wire() {
        for text in ["10.128.0.9", "fd00:10:128::9"] {
            let sent: IpAddr = text.parse().expect("an address");
            assert_eq!(address(octets(sent)), sent);
        }
    }
}
