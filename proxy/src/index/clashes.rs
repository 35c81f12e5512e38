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
    let problem = |field: &str, why| Problem {
        kind: "Service",
        object: service.name.clone(),
        field: field.to_owned(),
        why,
    };
    let cluster_ips = plan::own_cluster_ips(service, node).map(move |address| {
        let why = format!("{address} is an address of the node; its family is not served here");
        problem("spec.clusterIPs", why)
    });
    let ports = plan::own_ports(service, node).map(move |(address, port)| {
        let why = format!("the node itself answers at {address}, and the port is not served there");
        problem(&format!("spec.ports ({port})"), why)
    });
    cluster_ips.chain(ports)
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
