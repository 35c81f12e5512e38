//! One Service on one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::endpoints::{self, Candidates};
use super::{Front, FrontKind, Handling, HealthPlan, PortPlan, ServicePlan};
use crate::model::{Family, Node, Policy, Protocol, Service, ServicePort, Slice};

/// What `node` does for `service`, whose slices are `slices`, in any order. Slices of other Services must not be
/// among them.
#[must_use]
pub fn service(service: &Service, slices: &[&Slice], node: &Node) -> ServicePlan {
    let cluster_ips = cluster_ips(service, node);
    let families: Vec<Family> = cluster_ips
        .iter()
        .map(|address| Family::of(*address))
        .collect();
    let mut ports = Vec::with_capacity(service.ports.len() * families.len());
    for port in &service.ports {
        ports.extend(
            families
                .iter()
                .map(|family| plan_port(service, port, *family, slices, node)),
        );
    }
    ServicePlan {
        name: service.name.clone(),
        ports,
        health: health(service, &families, slices, node),
        cluster_ips,
    }
}

/// The cluster addresses of a Service that are the node's own: they are not served. Their other ports are the
/// node's, and would be refused as ports that the Service does not have.
pub(crate) fn own_cluster_ips<'a>(
    service: &'a Service,
    node: &'a Node,
) -> impl Iterator<Item = IpAddr> + 'a {
    service
        .cluster_ips
        .iter()
        .filter(|address| node.addresses.contains(address))
        .copied()
}

/// Outside addresses of a Service that are the node's own, with ports of TCP at which the node itself has to answer.
///
/// An outside address may be the node's: upstream serves it at all ports, and so is it served here, but for these.
/// Whoever may write a Service could else answer in the node's place when its health is asked for.
pub(crate) fn own_ports<'a>(
    service: &'a Service,
    node: &'a Node,
) -> impl Iterator<Item = (IpAddr, u16)> + 'a {
    let addresses = service.external_ips.iter().chain(&service.vips);
    let addresses: BTreeSet<IpAddr> = addresses.copied().collect();
    let own = addresses.into_iter().flat_map(|address| {
        let ports = service.ports.iter();
        ports.map(move |port| (address, port))
    });
    own.filter(|(address, port)| is_own_port(*address, port, node))
        .map(|(address, port)| (address, port.port))
}

fn is_own_port(address: IpAddr, port: &ServicePort, node: &Node) -> bool {
    port.protocol == Protocol::Tcp
        && node.own_ports.contains(&port.port)
        && node.addresses.contains(&address)
}

/// The cluster addresses that are served. They decide the families in which anything of the Service is.
fn cluster_ips(service: &Service, node: &Node) -> Vec<IpAddr> {
    let own: Vec<_> = own_cluster_ips(service, node).collect();
    service
        .cluster_ips
        .iter()
        .filter(|address| !own.contains(address))
        .copied()
        .collect()
}

fn plan_port(
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &[&Slice],
    node: &Node,
) -> PortPlan {
    let candidates = Candidates::of(slices, family, &port.name, port.protocol, node);
    let local = candidates.local();
    let fronts = fronts(
        service,
        port,
        family,
        &handlings(service, candidates.any_usable(), local.is_empty()),
        node,
    );

    let uses = |handlings: &[Handling]| {
        fronts
            .iter()
            .any(|front| handlings.contains(&front.handling))
    };
    let cluster = if uses(&[
        Handling::InternalCluster,
        Handling::ExternalCluster,
        Handling::ExternalLocal,
    ]) {
        candidates.cluster(node)
    } else {
        Vec::new()
    };
    let local = if uses(&[Handling::InternalLocal, Handling::ExternalLocal]) {
        local
    } else {
        Vec::new()
    };

    let mut hairpins = endpoints::hairpins(&cluster);
    hairpins.append(&mut endpoints::hairpins(&local));
    PortPlan {
        family,
        protocol: port.protocol,
        port_name: port.name.clone(),
        cluster: endpoints::sockets(&cluster),
        local: endpoints::sockets(&local),
        serving: candidates.serving(),
        hairpins: hairpins.into_iter().collect(),
        affinity: service.affinity,
        source_ranges: source_ranges(service, family),
        fronts,
    }
}

/// What happens at a cluster address, and at an outside one.
struct Handlings {
    internal: Handling,
    external: Handling,
}

fn handlings(service: &Service, any_usable: bool, no_local: bool) -> Handlings {
    if !any_usable {
        return Handlings {
            internal: Handling::Reject,
            external: Handling::Reject,
        };
    }
    Handlings {
        internal: match service.internal_policy {
            Policy::Cluster => Handling::InternalCluster,
            Policy::Local if no_local => Handling::Drop,
            Policy::Local => Handling::InternalLocal,
        },
        // Pods and the node itself get to endpoints elsewhere, so nothing here is plainly dropped.
        external: match service.external_policy {
            Policy::Cluster => Handling::ExternalCluster,
            Policy::Local => Handling::ExternalLocal,
        },
    }
}

/// The fronts of a port in one family. An address that the Service has in several kinds counts as a cluster
/// address, or else as the load balancer's, whose source ranges then hold for it.
fn fronts(
    service: &Service,
    port: &ServicePort,
    family: Family,
    handlings: &Handlings,
    node: &Node,
) -> Vec<Front> {
    let Handlings { internal, external } = *handlings;
    let of_family = |addresses: &'_ [IpAddr]| {
        addresses
            .iter()
            .copied()
            .filter(|address| Family::of(*address) == family)
            .collect::<Vec<_>>()
    };
    let outside = |addresses: &'_ [IpAddr]| {
        let mut addresses = of_family(addresses);
        addresses.retain(|address| !is_own_port(*address, port, node));
        addresses
    };
    let mut by_address: BTreeMap<Option<IpAddr>, (u16, FrontKind, Handling)> = BTreeMap::new();
    let mut add = |addresses: Vec<IpAddr>, kind, handling| {
        for address in addresses {
            by_address
                .entry(Some(address))
                .or_insert((port.port, kind, handling));
        }
    };
    add(
        of_family(&service.cluster_ips),
        FrontKind::ClusterIp,
        internal,
    );
    add(outside(&service.vips), FrontKind::LoadBalancer, external);
    add(
        outside(&service.external_ips),
        FrontKind::ExternalIp,
        external,
    );
    if let Some(node_port) = port.node_port {
        by_address.insert(None, (node_port, FrontKind::NodePort, external));
    }
    let front = |(address, (port, kind, handling))| Front {
        address,
        port,
        kind,
        handling,
    };
    by_address.into_iter().map(front).collect()
}

/// The sources that may use the load balancer's addresses of a family; `None`: all.
///
/// Ranges of the other family say nothing about this one, and a range of all addresses is none
/// (`pkg/proxy/serviceport.go`).
fn source_ranges(service: &Service, family: Family) -> Option<Vec<IpNet>> {
    let is_of_family = |address: &IpAddr| Family::of(*address) == family;
    let ranges: Vec<_> = service
        .source_ranges
        .iter()
        .copied()
        .filter(|range| is_of_family(&range.addr()))
        .collect();
    let has_vips = service.vips.iter().any(is_of_family);
    if !has_vips || ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    let mut ranges = IpNet::aggregate(&ranges);
    ranges.sort_unstable();
    Some(ranges)
}

/// The health check port. Every port of the slices counts, also one that the Service has not
/// (`pkg/proxy/endpointschangetracker.go`).
fn health(
    service: &Service,
    families: &[Family],
    slices: &[&Slice],
    node: &Node,
) -> Option<HealthPlan> {
    let port = service.health_check_node_port?;
    if service.ports.is_empty() || families.is_empty() {
        return None;
    }
    let ports: BTreeSet<_> = slices
        .iter()
        .flat_map(|slice| &slice.ports)
        .map(|port| (&port.name, port.protocol))
        .collect();
    let count = |family: Family| {
        let mut addresses = BTreeSet::new();
        for &(name, protocol) in &ports {
            addresses.extend(Candidates::of(slices, family, name, protocol, node).local_ready());
        }
        u32::try_from(addresses.len()).unwrap_or(u32::MAX)
    };
    Some(HealthPlan {
        port,
        local_endpoints: families
            .iter()
            .map(|family| (*family, count(*family)))
            .collect(),
    })
}
