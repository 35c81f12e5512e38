//! What becomes of one flow.
//!
//! Clients are of three classes, as the node sees them that decides: *pods* of its own, the *node* itself, and all else,
//! which is *outside*: so are pods and processes of another node.
//!
//! | address | policy | pod | node | outside |
//! |---|---|---|---|---|
//! | ClusterIP | internal Cluster | cluster, source kept | cluster | cluster, masqueraded |
//! | | internal Local | local or drop, source kept | local or drop | local or drop, masqueraded |
//! | node port, external, load balancer's | external Cluster | cluster, masqueraded | cluster | cluster, masqueraded |
//! | | external Local | cluster, source kept | cluster | local or drop, source kept |
//!
//! Where no endpoint serves on any node, all of these are refused.
//!
//! A load balancer that answers callers itself is an outside client of node ports, on behalf of whoever called it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use onehop_harness::case::{
    Backend, BalancerMode, Entry, Expectation, Hops, IpMode, Place, Policy, Reach, ServiceType,
    Source, Target, Variation,
};
use onehop_harness::world::{Family, Node, World};

use super::{Situation, endpoints, healthy_nodes};

/// What the node that decides makes of the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Pod,
    Node,
    Outside,
}

/// Which policy an address is under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Internal,
    External,
}

/// What should become of every connection from a place to an address of the Service in a family, as the situation is.
///
/// Shares are always given; whether a case judges them is its own decision.
///
/// # Panics
/// When the world does not have the place, or a node that the target names.
pub fn expect(
    world: &World,
    now: &Situation,
    family: Family,
    (from, to): (&Place, &Target),
) -> Expectation {
    let now = &now.in_family(family);
    let (_, healthy) = healthy_nodes(world, now);
    if matches!(to, Target::Vip | Target::OtherVip) && now.service.kind.is_proxied() {
        return proxied(world, now, &healthy);
    }
    if let Some(unserved) = unserved(world, now, to) {
        return unserved;
    }
    if is_kept_out(world, now, from, to) {
        return Expectation::Dropped;
    }
    if *to == Target::Localhost {
        return on_loopback(world, now, from);
    }
    let address = match to {
        Target::ClusterIp | Target::ClusterIpAt(_) => Address::Internal,
        _ => Address::External,
    };
    let at = |node: &str| at_node(world, now, (from, node), address);
    match entry(world, from, to) {
        Some(node) => at(&node),
        None => balanced(now, &healthy, at),
    }
}

/// What becomes of traffic to an address or port that no node serves.
fn unserved(world: &World, now: &Situation, to: &Target) -> Option<Expectation> {
    let served = now.is_served();
    match to {
        Target::Unallocated => Some(Expectation::varies(Variation::UnallocatedAddress, None)),
        // Nothing listens on the port, and a node refuses that by itself.
        Target::NodePort(_) | Target::OtherNodePort(_) | Target::Localhost
            if !served || !now.has_node_ports() =>
        {
            Some(Expectation::Refused)
        }
        Target::Vip | Target::OtherVip | Target::VipAt(_)
            if !served || now.ip_mode == IpMode::Proxy =>
        {
            Some(Expectation::LeftToBalancer)
        }
        _ if !served => Some(Expectation::Unserved),
        Target::ClusterIpWrongPort => Some(Expectation::Refused),
        Target::OtherNodePort(node) => Some(on_other_address(world, now, node)),
        Target::ExternalIp(_) if !now.service.external_ips => Some(Expectation::Unserved),
        Target::ClusterIp
        | Target::ClusterIpAt(_)
        | Target::NodePort(_)
        | Target::Localhost
        | Target::ExternalIp(_)
        | Target::Vip
        | Target::OtherVip
        | Target::VipAt(_) => None,
    }
}

/// A node port on an address that `nodePortAddresses` leaves out. Some look only at the port before they drop.
fn on_other_address(world: &World, now: &Situation, node: &str) -> Expectation {
    let node = world.node(node).expect("a node of the world");
    let drops = now.service.external == Policy::Local
        && endpoints::any(&now.backends)
        && endpoints::local(world, &now.backends, node).is_empty();
    if drops {
        Expectation::varies(Variation::NodePortElsewhere, None)
    } else {
        Expectation::Refused
    }
}

/// A node port on the loopback address of the node that calls: who may answer is as on its other addresses.
fn on_loopback(world: &World, now: &Situation, from: &Place) -> Expectation {
    let node = own_node(world, from).expect("a node calls its own loopback address");
    match at_node(world, now, (from, &node), Address::External) {
        Expectation::Reaches(reach) => {
            Expectation::varies(Variation::LocalhostNodePort, Some(&reach))
        }
        _ => Expectation::Unserved,
    }
}

/// `loadBalancerSourceRanges` restrict the load balancer's addresses and no others, by the address that the caller has.
/// A balancer that calls node ports is not held to them by nodes.
fn is_kept_out(world: &World, now: &Situation, from: &Place, to: &Target) -> bool {
    let ranges = now.service.source_ranges;
    let is_vip = matches!(to, Target::Vip | Target::OtherVip | Target::VipAt(_));
    let by_node_port = now.service.kind == ServiceType::LoadBalancer(BalancerMode::NodePort)
        && matches!(from, Place::External(_) | Place::LoadBalancer);
    if ranges.is_empty() || !is_vip || by_node_port {
        return false;
    }
    let own = addresses(world, from);
    let networks = ranges.iter().flat_map(|range| range.networks(world));
    let allowed = networks
        .map(|network| network.parse::<IpNet>().expect("ranges are networks"))
        .any(|network| own.iter().any(|address| network.contains(address)));
    !allowed
}

fn addresses(world: &World, place: &Place) -> [IpAddr; 2] {
    let dual = match place {
        Place::External(name) => world.client(name).map(|client| client.address),
        Place::Pod(name) => world.pod(name).map(|pod| pod.address),
        Place::Node(name) => world.node(name).map(|node| node.address),
        Place::LoadBalancer => Some(world.balancer),
    };
    dual.expect("a place of the world").both()
}

/// The node that decides; none where a load balancer chooses it.
fn entry(world: &World, from: &Place, to: &Target) -> Option<String> {
    match to {
        Target::NodePort(node)
        | Target::OtherNodePort(node)
        | Target::VipAt(node)
        | Target::ClusterIpAt(node) => Some(node.clone()),
        Target::ExternalIp(node) => Some(own_node(world, from).unwrap_or_else(|| node.clone())),
        _ => own_node(world, from),
    }
}

fn own_node(world: &World, place: &Place) -> Option<String> {
    match place {
        Place::Node(name) => Some(name.clone()),
        Place::Pod(name) => world.pod(name).map(|pod| pod.node.clone()),
        Place::External(_) | Place::LoadBalancer => None,
    }
}

/// What becomes of the flow at a node.
fn at_node(
    world: &World,
    now: &Situation,
    (from, node): (&Place, &str),
    address: Address,
) -> Expectation {
    let node = world.node(node).expect("a node of the world");
    let client = match from {
        _ if own_node(world, from).as_ref() != Some(&node.name) => Client::Outside,
        Place::Pod(_) => Client::Pod,
        _ => Client::Node,
    };
    if !endpoints::any(&now.backends) {
        return Expectation::Refused;
    }
    let serving = match (address, client) {
        (Address::Internal, _) if now.service.internal == Policy::Local => {
            endpoints::local(world, &now.backends, node)
        }
        (Address::External, Client::Outside) if now.service.external == Policy::Local => {
            endpoints::local(world, &now.backends, node)
        }
        // Local restricts outside traffic only: who is on the node is given any endpoint.
        _ => endpoints::of_cluster(&now.backends, node),
    };
    if serving.is_empty() {
        return Expectation::Dropped;
    }
    let reach = reach(now, from, node, (address, client), &serving);
    let whole = (address, client, now.service.external);
    if is_hairpin(from, &serving) && whole == (Address::External, Client::Pod, Policy::Local) {
        // Whether it is masqueraded as the node or as the gateway to its pods differs, and so does whether a pod of its
        // own, that nobody masquerades, counts as a hairpin.
        return Expectation::varies(Variation::HairpinVipSource, Some(&reach));
    }
    reach.into()
}

/// Whether a pod is given to itself in any case. It could not know its own answer from itself.
fn is_hairpin(from: &Place, serving: &[&Backend]) -> bool {
    matches!((from, serving), (Place::Pod(name), [only]) if only.pod == *name)
}

fn reach(
    now: &Situation,
    from: &Place,
    node: &Node,
    (address, client): (Address, Client),
    serving: &[&Backend],
) -> Reach {
    let names: Vec<&str> = serving.iter().map(|backend| backend.pod.as_str()).collect();
    let policy = match address {
        Address::Internal => now.service.internal,
        Address::External => now.service.external,
    };
    let source = match (address, client, policy) {
        _ if is_hairpin(from, serving) => Source::EntryNode,
        (Address::Internal, Client::Pod, _)
        | (Address::External, Client::Pod | Client::Outside, Policy::Local) => Source::Preserved,
        (Address::Internal, Client::Node | Client::Outside, _)
        | (Address::External, Client::Node, _)
        | (Address::External, _, Policy::Cluster) => Source::EntryNode,
    };
    // Who is on the node is one hop from a remote pod in any case.
    let hops = match (address, client, policy) {
        (_, Client::Outside, Policy::Cluster) => Hops::OneIfRemote,
        _ => Hops::Direct,
    };
    let reach = Reach::pods(&names, source, hops, Entry::Node(node.name.clone()));
    if now.service.affinity.is_some() {
        reach.sticky()
    } else {
        reach
    }
}

/// What becomes of connections that a load balancer answers itself: what becomes of its own, wherever the caller is.
fn proxied(world: &World, now: &Situation, healthy: &BTreeMap<String, u32>) -> Expectation {
    let from = &Place::LoadBalancer;
    let at = |node: &str| at_node(world, now, (from, node), Address::External);
    match balanced(now, healthy, at) {
        Expectation::Reaches(reach) => Expectation::Reaches(Reach {
            source: match reach.source {
                Source::Preserved => Source::Balancer,
                other => other,
            },
            entry: Entry::Proxied(reach.entries().to_vec()),
            ..reach
        }),
        other => other,
    }
}

/// What becomes of connections that a load balancer gives to the nodes that it finds healthy, to each by its weight:
/// nothing is heard of those that it has no node for.
///
/// Healthy nodes do all the same: their health is that they have somebody to answer.
fn balanced(
    now: &Situation,
    nodes: &BTreeMap<String, u32>,
    at: impl Fn(&str) -> Expectation,
) -> Expectation {
    let mut reaches = Vec::new();
    for (node, weight) in nodes {
        match at(node) {
            Expectation::Reaches(reach) => reaches.push((reach, f64::from(*weight))),
            other => return other,
        }
    }
    let Some((first, _)) = reaches.first() else {
        return Expectation::Dropped;
    };
    let sum: f64 = reaches.iter().map(|(_, weight)| weight).sum();
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for (reach, weight) in &reaches {
        for (pod, share) in reach.pods.iter().zip(&reach.shares) {
            *shares.entry(pod).or_default() += share * weight / sum;
        }
    }
    // In the order of the endpoints.
    let pods: Vec<&str> = now
        .backends
        .iter()
        .map(|backend| backend.pod.as_str())
        .filter(|pod| shares.contains_key(pod))
        .collect();
    let in_order: Vec<f64> = pods.iter().map(|pod| shares[pod]).collect();
    let reach = Reach::pods(
        &pods,
        first.source,
        first.hops,
        Entry::Balanced(nodes.keys().cloned().collect()),
    );
    let reach = reach.shares(&in_order);
    if first.sticky { reach.sticky() } else { reach }.into()
}
