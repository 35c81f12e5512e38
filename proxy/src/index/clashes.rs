//! Objects that make sense by themselves and not on this node.

use ipnet::IpNet;

use crate::model::{Node, ObjectName, Service};
use crate::objects::Problem;
use crate::plan;

/// Whether a range holds an address of the node.
pub(super) fn holds_own_address(range: &IpNet, node: &Node) -> bool {
    node.addresses.iter().any(|address| range.contains(address))
}

/// What of a Service is not served on the node.
pub(super) fn of_service<'a>(
    service: &'a Service,
    node: &'a Node,
) -> impl Iterator<Item = Problem> + 'a {
    plan::own_cluster_ips(service, node).map(|address| Problem {
        kind: "Service",
        object: service.name.clone(),
        field: "spec.clusterIPs".to_owned(),
        why: format!("{address} is an address of the node; its family is not served here"),
    })
}

/// The ranges of a ServiceCIDR that do not count on the node.
pub(super) fn of_service_cidr<'a>(
    name: &'a str,
    ranges: &'a [IpNet],
    node: &'a Node,
) -> impl Iterator<Item = Problem> + 'a {
    ranges
        .iter()
        .filter(|range| holds_own_address(range, node))
        .map(move |range| Problem {
            kind: "ServiceCIDR",
            object: ObjectName {
                namespace: "".into(),
                name: name.into(),
            },
            field: "spec.cidrs".to_owned(),
            why: format!("{range} holds an address of the node; it does not count here"),
        })
}
