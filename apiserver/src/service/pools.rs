//! Cluster addresses and node ports: what is in use, and tentative claims that a failed request just drops.
//!
//! Claims are made on a [`Claim`], which only reads the pools; [`Pools::commit`] makes them real once everything
//! else has passed. So neither an error nor a dry run can leak an allocation.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// The two families, as the API spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

#[derive(Debug)]
struct Range {
    network: IpNet,
    family: Family,
    /// Where the next search starts, so that an address is not reused at once.
    next: u128,
}

/// What is allocated.
#[derive(Debug)]
pub(crate) struct Pools {
    ranges: Vec<Range>,
    addresses: BTreeSet<IpAddr>,
    node_ports: RangeInclusive<u16>,
    ports: BTreeSet<u16>,
    next_port: u16,
}

/// The tentative changes of one request.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    released_addresses: Vec<IpAddr>,
    released_ports: Vec<u16>,
    /// Those that were picked here; what a client asks for leaves the next search where it was.
    picked_addresses: Vec<IpAddr>,
    picked_port: Option<u16>,
}

/// Allocates for one request without changing the pools.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pools: &'a Pools,
    changes: Changes,
}

fn offset(range: &Range, index: u128) -> IpAddr {
    match range.network.network() {
        IpAddr::V4(base) => {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(index)))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).wrapping_add(index))),
    }
}

impl Range {
    /// How many addresses it has, up to 2^16: as upstream caps IPv6 ranges.
    fn size(&self) -> u128 {
        let bits = u32::from(self.network.max_prefix_len() - self.network.prefix_len());
        1u128 << bits.min(if self.family == Family::V4 { 32 } else { 16 })
    }

    /// The first address is the network's, the last IPv4 address is its broadcast address.
    fn usable(&self) -> std::ops::Range<u128> {
        let end = if self.family == Family::V4 {
            self.size().saturating_sub(1)
        } else {
            self.size()
        };
        1..end
    }

    /// The lower part is left to addresses that people choose (KEP-3070).
    fn dynamic_start(&self) -> u128 {
        let size = self.size();
        if size < 32 {
            1
        } else {
            (size / 16).clamp(16, 256) + 1
        }
    }
}

impl Pools {
    /// Pools of one range per family and the node ports.
    pub(crate) fn new(networks: &[IpNet], node_ports: RangeInclusive<u16>) -> Self {
        let ranges = networks
            .iter()
            .map(|network| {
                let mut range = Range {
                    network: network.trunc(),
                    family: Family::of(network.addr()),
                    next: 0,
                };
                range.next = range.dynamic_start();
                range
            })
            .collect();
        let next_port = Self::dynamic_ports(&node_ports);
        Self {
            ranges,
            addresses: BTreeSet::new(),
            node_ports,
            ports: BTreeSet::new(),
            next_port,
        }
    }

    /// The lower node ports are left to people, too (KEP-3668).
    fn dynamic_ports(node_ports: &RangeInclusive<u16>) -> u16 {
        let size = node_ports.end() - node_ports.start();
        if size < 16 {
            *node_ports.start()
        } else {
            node_ports.start() + (size / 32).clamp(16, 128)
        }
    }

    /// The families, primary first.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        self.ranges.iter().map(|range| range.family)
    }

    pub(crate) fn has(&self, family: Family) -> bool {
        self.families().any(|found| found == family)
    }

    /// Starts a request.
    pub(crate) fn claim(&self) -> Claim<'_> {
        Claim {
            pools: self,
            changes: Changes::default(),
        }
    }

    /// Makes the changes of a request real.
    pub(crate) fn commit(&mut self, changes: Changes) {
        for address in &changes.released_addresses {
            self.addresses.remove(address);
        }
        for port in &changes.released_ports {
            self.ports.remove(port);
        }
        if let Some(port) = changes.picked_port {
            self.next_port = port.saturating_add(1);
        }
        self.ports.extend(changes.ports);
        self.addresses.extend(changes.addresses);
        for address in changes.picked_addresses {
            for range in &mut self.ranges {
                if range.network.contains(&address) {
                    range.next = index_of(range.network.network(), address) + 1;
                }
            }
        }
    }

    /// How many addresses and ports are in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.addresses.len(), self.ports.len())
    }
}

fn index_of(base: IpAddr, address: IpAddr) -> u128 {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            u128::from(u32::from(address).wrapping_sub(u32::from(base)))
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            u128::from(address).wrapping_sub(u128::from(base))
        }
        _ => 0,
    }
}

impl Claim<'_> {
    /// What was claimed and released.
    pub(crate) fn finish(self) -> Changes {
        self.changes
    }

    fn address_free(&self, address: IpAddr) -> bool {
        !self.pools.addresses.contains(&address) && !self.changes.addresses.contains(&address)
    }

    fn port_free(&self, port: u16) -> bool {
        !self.pools.ports.contains(&port) && !self.changes.ports.contains(&port)
    }

    /// Claims one given address.
    ///
    /// # Errors
    /// The sentence of upstream's allocator.
    pub(crate) fn address(&mut self, address: IpAddr) -> Result<(), String> {
        let range = self
            .pools
            .ranges
            .iter()
            .find(|range| range.family == Family::of(address))
            .ok_or_else(|| {
                format!(
                    "{} is not configured on this cluster",
                    Family::of(address).name()
                )
            })?;
        let inside = range.network.contains(&address)
            && range
                .usable()
                .contains(&index_of(range.network.network(), address));
        if !inside {
            return Err("the provided network does not match the current range".into());
        }
        if !self.address_free(address) {
            return Err("provided IP is already allocated".into());
        }
        self.changes.addresses.push(address);
        Ok(())
    }

    /// Claims the next free address of a family.
    ///
    /// # Errors
    /// When the range is full.
    pub(crate) fn next_address(&mut self, family: Family) -> Result<IpAddr, String> {
        let range = self
            .pools
            .ranges
            .iter()
            .find(|range| range.family == family)
            .ok_or_else(|| format!("{} is not configured on this cluster", family.name()))?;
        let usable = range.usable();
        let dynamic = range.dynamic_start().min(usable.end);
        let next = range.next.clamp(dynamic, usable.end);
        let found = (next..usable.end)
            .chain(dynamic..next)
            .chain(usable.start..dynamic)
            .map(|index| offset(range, index))
            .find(|address| self.address_free(*address))
            .ok_or("range is full")?;
        self.changes.addresses.push(found);
        self.changes.picked_addresses.push(found);
        Ok(found)
    }

    /// Releases an address when the request is committed.
    pub(crate) fn release_address(&mut self, address: IpAddr) {
        self.changes.released_addresses.push(address);
    }

    /// Claims one given port.
    ///
    /// # Errors
    /// The sentence of upstream's allocator.
    pub(crate) fn port(&mut self, port: i32) -> Result<(), String> {
        let range = &self.pools.node_ports;
        let number = u16::try_from(port)
            .ok()
            .filter(|port| range.contains(port))
            .ok_or_else(|| {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    range.start(),
                    range.end()
                )
            })?;
        if !self.port_free(number) {
            return Err("provided port is already allocated".into());
        }
        self.changes.ports.push(number);
        Ok(())
    }

    /// Claims the next free port.
    ///
    /// # Errors
    /// When the range is full.
    pub(crate) fn next_port(&mut self) -> Result<i32, String> {
        let (start, end) = (*self.pools.node_ports.start(), *self.pools.node_ports.end());
        let dynamic = Pools::dynamic_ports(&self.pools.node_ports);
        let next = self.pools.next_port.max(dynamic);
        let found = (next..=end)
            .chain(dynamic..=end)
            .chain(start..dynamic)
            .find(|port| self.port_free(*port))
            .ok_or("range is full")?;
        self.changes.ports.push(found);
        self.changes.picked_port = Some(found);
        Ok(found.into())
    }

    /// Releases a port when the request is committed.
    pub(crate) fn release_port(&mut self, port: i32) {
        self.changes.released_ports.extend(u16::try_from(port));
    }
}
