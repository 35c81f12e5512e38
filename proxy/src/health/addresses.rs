//! Which addresses of the node health check ports listen on.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::model::Family;

/// The addresses that health check ports listen on, in both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthAddresses {
    /// With port 0, and IPv6 addresses with their scope. A wildcard stands for its own family alone.
    pub(super) addresses: BTreeSet<SocketAddr>,
}

impl HealthAddresses {
    /// Every address of the node.
    #[must_use]
    pub fn all() -> Self {
        let addresses = Family::ALL.map(wildcard);
        Self {
            addresses: addresses.into(),
        }
    }

    /// The addresses that the node's interfaces have now and that lie in one of the networks of `nodePortAddresses`.
    ///
    /// A family that has none of the networks, or the network of length 0, is not restricted
    /// (kubernetes/pkg/proxy/util/nodeport_addresses.go).
    ///
    /// # Errors
    /// The interfaces cannot be read.
    pub fn within(networks: &[IpNet]) -> io::Result<Self> {
        let unrestricted = |family| {
            let mut of_family = networks
                .iter()
                .filter(|net| Family::of(net.addr()) == family);
            let mut any = false;
            let whole = of_family.any(|net| {
                any = true;
                net.prefix_len() == 0
            });
            whole || !any
        };
        let (whole, parts): (Vec<_>, Vec<_>) =
            Family::ALL.into_iter().partition(|f| unrestricted(*f));
        let mut addresses: BTreeSet<_> = whole.into_iter().map(wildcard).collect();
        if !parts.is_empty() {
            let inside = |address: &SocketAddr| {
                let ip = address.ip();
                parts.contains(&Family::of(ip)) && networks.iter().any(|net| net.contains(&ip))
            };
            addresses.extend(own_addresses()?.into_iter().filter(inside));
        }
        Ok(Self { addresses })
    }

    /// Those of one family.
    pub(super) fn of(&self, family: Family) -> impl Iterator<Item = SocketAddr> + use<'_> {
        let addresses = self.addresses.iter().copied();
        addresses.filter(move |address| Family::of(address.ip()) == family)
    }
}

fn wildcard(family: Family) -> SocketAddr {
    let address: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    (address, 0).into()
}

/// The addresses of all interfaces.
fn own_addresses() -> io::Result<Vec<SocketAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| interface.address);
    Ok(addresses
        .filter_map(|address| without_port(&address))
        .collect())
}

fn without_port(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some((v4.ip(), 0).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into())
}

#[cfg(test)]
mod tests;
