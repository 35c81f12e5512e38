//! What the configuration comes to on this node, given its addresses. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Config, LocalDetector};
use crate::dataplane::{Detector, NodePorts, Options};
use crate::model::Family;

#[cfg(test)]
mod tests;

/// The primary addresses of the node, at most one a family: `bindAddress`, else the first that the
/// Node has (`detectNodeIPs` of kubernetes/cmd/kube-proxy/app/server.go).
pub(super) fn primary(config: &Config, listed: &[IpAddr]) -> Vec<IpAddr> {
    let stated = config
        .bind_address
        .filter(|address| !address.is_unspecified());
    let of_family = |family| {
        let all = stated.iter().chain(listed).copied();
        all.into_iter()
            .find(|address| Family::of(*address) == family)
    };
    Family::ALL.into_iter().filter_map(of_family).collect()
}

/// The ports of the node's own addresses at which the proxy serves its health and metrics.
pub(super) fn own_ports(config: &Config) -> BTreeSet<u16> {
    let served = [config.healthz, config.metrics].into_iter().flatten();
    let outside = served.filter(|address| !address.ip().is_loopback());
    outside.map(|address| address.port()).collect()
}

/// What shapes the rules. `liberal`: whether connection tracking takes packets of TCP for valid
/// that are out of its window.
pub(super) fn options(
    config: &Config,
    primary: &[IpAddr],
    pod_cidrs: &[IpNet],
    liberal: bool,
) -> Options {
    Options {
        families: Family::ALL.to_vec(),
        masquerade_mark: 1 << config.masquerade_bit,
        masquerade_all: config.masquerade_all,
        detector: detector(&config.local_detector, pod_cidrs),
        node_ports: if is_unrestricted(&networks(config, primary)) {
            NodePorts::AnyLocal
        } else {
            NodePorts::Listed
        },
        node_ips: primary.to_vec(),
        drop_invalid: !liberal,
    }
}

/// The networks whose addresses have node ports. A family without any is not restricted.
pub(super) fn networks(config: &Config, primary: &[IpAddr]) -> Vec<IpNet> {
    config.node_port_addresses.of_node(primary)
}

/// Those of the machine's addresses that have node ports. Loopback has none under nftables.
pub(super) fn node_port_addresses(networks: &[IpNet], own: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let admitted = |address: &&IpAddr| {
        let family = Family::of(**address);
        let mut of_family = networks
            .iter()
            .filter(|net| Family::of(net.addr()) == family)
            .peekable();
        let restricted = of_family.peek().is_some();
        !address.is_loopback() && (!restricted || of_family.any(|net| net.contains(*address)))
    };
    own.iter().filter(admitted).copied().collect()
}

/// Whether every address of both families has node ports.
fn is_unrestricted(networks: &[IpNet]) -> bool {
    Family::ALL.into_iter().all(|family| {
        let mut of_family = networks
            .iter()
            .filter(|net| Family::of(net.addr()) == family)
            .peekable();
        of_family.peek().is_none() || of_family.any(|net| net.prefix_len() == 0)
    })
}

/// The first range of a family counts, as upstream has it.
fn detector(configured: &LocalDetector, pod_cidrs: &[IpNet]) -> Detector {
    let first_of_each = |ranges: &[IpNet]| {
        let first = |family| {
            ranges
                .iter()
                .find(|range| Family::of(range.addr()) == family)
        };
        let ranges: Vec<_> = Family::ALL.into_iter().filter_map(first).copied().collect();
        if ranges.is_empty() {
            Detector::None
        } else {
            Detector::Sources(ranges)
        }
    };
    match configured {
        LocalDetector::ClusterCidr(ranges) => first_of_each(ranges),
        LocalDetector::NodeCidr => first_of_each(pod_cidrs),
        LocalDetector::BridgeInterface(name) => Detector::Interface(name.as_str().into()),
        LocalDetector::InterfaceNamePrefix(prefix) => {
            Detector::InterfacePrefix(prefix.as_str().into())
        }
    }
}
