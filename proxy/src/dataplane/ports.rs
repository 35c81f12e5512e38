//! The elements that one Service port brings. Pure.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::classes::Class;
use super::element::{FrontKey, Key, List, Value};
use crate::model::{Family, Protocol};
use crate::plan::{FrontKind, PortPlan, ServicePlan};

#[cfg(test)]
mod tests;

/// The keys of a port's fronts. One may come twice, such as an external address that is a VIP as well.
pub(super) fn front_keys(port: &PortPlan) -> impl Iterator<Item = FrontKey> {
    let (family, protocol) = (port.family, port.protocol);
    let fronts = port.fronts.iter();
    fronts.filter_map(move |front| FrontKey::of(front, family, protocol))
}

/// The keys of a Service's fronts of UDP.
pub(super) fn udp_fronts(plan: &ServicePlan) -> impl Iterator<Item = FrontKey> {
    let ports = plan.ports.iter();
    let ports = ports.filter(|port| port.protocol == Protocol::Udp);
    ports.flat_map(front_keys)
}

/// Whether one of a port's fronts is a cluster address.
pub(super) fn is_cluster_ip(port: &PortPlan, key: &FrontKey) -> bool {
    cluster_keys(port).any(|of_port| of_port == *key)
}

/// The keys of a port's cluster addresses.
pub(super) fn cluster_keys(port: &PortPlan) -> impl Iterator<Item = FrontKey> {
    let fronts = port.fronts.iter();
    let fronts = fronts.filter(|front| front.kind == FrontKind::ClusterIp);
    fronts.filter_map(|front| FrontKey::of(front, port.family, port.protocol))
}

/// The class of one of a port's fronts, and whether its sources are restricted. Of fronts with the same key,
/// the first says how it is handled, and any that its sources are restricted.
pub(super) fn front_class(port: &PortPlan, key: FrontKey) -> Option<(Class, bool)> {
    let mut matching = port
        .fronts
        .iter()
        .filter(|front| FrontKey::of(front, port.family, port.protocol) == Some(key))
        .peekable();
    let class = Class::of(matching.peek()?, port);
    let ranged =
        port.source_ranges.is_some() && matching.any(|front| front.kind == FrontKind::LoadBalancer);
    Some((class, ranged))
}

/// All elements of a port but those of its fronts and those that ports share.
pub(super) fn port_elements(
    id: u32,
    port: &PortPlan,
    node_ips: &[IpAddr],
) -> impl Iterator<Item = (Key, Value)> {
    let sticky = port.affinity.is_some();
    let lists = [(List::Cluster, &port.cluster), (List::Local, &port.local)];
    let endpoints = lists.into_iter().flat_map(move |(list, endpoints)| {
        let slots = if sticky { slots(endpoints) } else { Vec::new() };
        (0..).zip(endpoints).flat_map(move |(place, endpoint)| {
            let number = list.offset() + place;
            let slot = slots.get(place as usize).copied();
            let slotted = slot.map(|slot| (Key::Slot { id, number }, Value::Number(slot)));
            let number = slot.map_or(number, |slot| list.offset() + slot);
            let endpoint = (Key::Endpoint { id, number }, Value::Endpoint(*endpoint));
            slotted.into_iter().chain([endpoint])
        })
    });
    let sources = sources(port, node_ips).into_iter();
    let sources =
        sources.map(move |(first, last)| (Key::Sources { id, first, last }, Value::Member));
    endpoints.chain(sources)
}

/// Numbers that stand for endpoints, whatever list they are in and whatever process counts them: affinity
/// remembers them. They are hashes; of two endpoints with the same one, the latter by address gets another.
fn slots(endpoints: &[SocketAddr]) -> Vec<u32> {
    let mut sorted: Vec<_> = endpoints.iter().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, endpoint)| **endpoint);
    let mut taken = HashSet::with_capacity(endpoints.len());
    let mut slots = vec![0; endpoints.len()];
    for (place, endpoint) in sorted {
        let mut slot = hash(*endpoint);
        while !taken.insert(slot) {
            slot = (slot + 1) & SLOT;
        }
        slots[place] = slot;
    }
    slots
}

/// The bits of a slot: below the offset of list Local.
const SLOT: u32 = u32::MAX >> 1;

/// FNV-1a, which will be the same in the next version.
fn hash(endpoint: SocketAddr) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    match endpoint.ip() {
        IpAddr::V4(address) => address.octets().into_iter().for_each(&mut add),
        IpAddr::V6(address) => address.octets().into_iter().for_each(&mut add),
    }
    endpoint.port().to_be_bytes().into_iter().for_each(add);
    let folded = (hash >> 32) ^ (hash & u64::from(u32::MAX));
    u32::try_from(folded & u64::from(SLOT)).expect("31 bits")
}

/// The sources that may use a port's VIPs, as ranges that do not touch each other: the kernel wants it so.
fn sources(port: &PortPlan, node_ips: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let Some(ranges) = &port.source_ranges else {
        return Vec::new();
    };
    let vips = port.fronts.iter().filter_map(|front| match front.kind {
        FrontKind::LoadBalancer => front.address,
        _ => None,
    });
    // Where a VIP is configured on the node, the node's own connections to it have it as their source. They are
    // allowed if the node is (kubernetes/pkg/proxy/nftables/proxier.go, k#109826).
    let node_admitted = node_ips
        .iter()
        .any(|address| ranges.iter().any(|range| range.contains(address)));
    let vips = vips.filter(|_| node_admitted).map(IpNet::from);
    let ranges = ranges.iter().copied().chain(vips);
    merge(ranges.filter(|range| Family::of(range.addr()) == port.family))
}

fn merge(ranges: impl Iterator<Item = IpNet>) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<_> = ranges
        .map(|range| (range.network(), range.broadcast()))
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end || follows(*end, first) => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Whether an address is the next one after another.
fn follows(address: IpAddr, next: IpAddr) -> bool {
    match (address, next) {
        (IpAddr::V4(address), IpAddr::V4(next)) => {
            u32::from(address).checked_add(1) == Some(next.into())
        }
        (IpAddr::V6(address), IpAddr::V6(next)) => {
            u128::from(address).checked_add(1) == Some(next.into())
        }
        _ => false,
    }
}

/// Takes out what a packet could not be sent to: an endpoint of the other family, or port 0.
pub(super) fn without_absurd(port: &mut PortPlan) {
    let family = port.family;
    for list in [&mut port.cluster, &mut port.local] {
        list.retain(|endpoint| Family::of(endpoint.ip()) == family && endpoint.port() != 0);
    }
    port.hairpins
        .retain(|address| Family::of(*address) == family);
}

/// Puts endpoints that a list had before in the places where they were, as far as it is long enough.
pub(super) fn keep_places(before: &[SocketAddr], list: &mut Vec<SocketAddr>) {
    let mut left: HashSet<SocketAddr> = list.iter().copied().collect();
    let mut places = vec![None; list.len()];
    for (place, endpoint) in places.iter_mut().zip(before) {
        *place = left.take(endpoint);
    }
    let mut rest = list.iter().filter(|endpoint| left.contains(endpoint));
    let filled = places
        .iter()
        .map(|place| place.or_else(|| rest.next().copied()));
    *list = filled.flatten().collect();
}
