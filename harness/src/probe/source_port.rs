//! The source ports of probes: none is used twice for the same address.
//!
//! Left to the kernel, a port comes up again after some thousand connections. By then the
//! connection tracking of a node may remember another connection from it: one that was made, to see
//! whether the proxy is ready, before the node had any rule, and that it therefore let pass as it
//! was. The new connection would be taken for that one and would not be rewritten either, and the
//! proxy would be blamed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{LazyLock, Mutex};

use socket2::Socket;

use crate::netns::Namespace;

/// Above the node ports, so that a node's own calls never come from one.
const FIRST: u16 = 33_000;
const COUNT: u16 = 32_000;

/// Where the ports of an address begin: in each process elsewhere, because the nodes of a cluster
/// remember the connections of the run before.
static STARTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// How often a port was taken for each host and address.
static TAKEN: LazyLock<Mutex<HashMap<(String, SocketAddr), u16>>> = LazyLock::new(Mutex::default);

/// The next source port for a connection from this host to this address. Ports come around after
/// 32 000 connections.
fn next(host: &str, remote: SocketAddr) -> u16 {
    // Different addresses begin at different ports: connections that end at one backend by two
    // ways should not meet there with the same port.
    let start = STARTS.hash_one(remote) % u64::from(COUNT);
    let start = u16::try_from(start).expect("below the count");
    let mut taken = TAKEN.lock().expect("no holder panics");
    let taken = taken.entry((host.to_owned(), remote)).or_insert(start);
    *taken = (*taken + 1) % COUNT;
    FIRST + *taken
}

/// Gives a socket a source port that was not used for this address before.
pub(crate) fn bind(socket: &Socket, host: &Namespace, remote: SocketAddr) -> io::Result<()> {
    // Calls of other addresses may share the port.
    socket.set_reuse_address(true)?;
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    loop {
        let port = next(host.name(), remote);
        match socket.bind(&SocketAddr::new(any, port).into()) {
            // Somebody else on the host has it: a process of the proxy under test.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_comes_twice_before_all_have_come() {
        let remote = SocketAddr::from(([192, 0, 2, 1], 80));
        let ports: BTreeSet<u16> = (0..COUNT).map(|_| next("somebody", remote)).collect();
        assert_eq!(ports.len(), usize::from(COUNT));
        assert!(ports.iter().all(|port| (33_000..65_000).contains(port)));
    }
}
