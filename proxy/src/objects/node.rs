//! The node that the proxy runs on.

use k8s_openapi::api::core::v1 as api;

use super::{Problems, Reading, address, is_named_in_cluster, port_number, reading};
use crate::model::{Node, ObjectName};

/// Where the zone of a node stands.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Reads a Node. An address of its status that makes no sense is left out; host names are no addresses, and link-local
/// ones do not count.
#[must_use]
pub fn node(object: &api::Node) -> Reading<Node> {
    reading("Node", &object.metadata, |name, problems| {
        read(object, name, problems)
    })
}

fn read(object: &api::Node, name: &ObjectName, problems: &mut Problems) -> Option<Node> {
    if !is_named_in_cluster(name, problems) {
        return None;
    }
    let zone = object
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(ZONE))
        .filter(|zone| !zone.is_empty());
    let listed = object
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_deref())
        .unwrap_or_default();
    let mut addresses = Vec::new();
    for kind in ["InternalIP", "ExternalIP"] {
        for (at, listed) in listed
            .iter()
            .enumerate()
            .filter(|(_, listed)| listed.type_ == kind)
        {
            match address::usable_address(&listed.address) {
                // Nodes may well have them, and nobody reaches a node port by one.
                Err(_) if address::is_link_local(&listed.address) => {}
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(why) => problems.add(
                    format_args!("status.addresses[{at}]"),
                    format_args!("{why}; left out"),
                ),
            }
        }
    }
    let daemons = object
        .status
        .as_ref()
        .and_then(|status| status.daemon_endpoints.as_ref());
    let kubelet = daemons.and_then(|daemons| daemons.kubelet_endpoint.as_ref());
    // It is 0 before the kubelet has said it.
    let kubelet = kubelet.and_then(|endpoint| port_number(endpoint.port));
    Some(Node {
        name: name.name.as_ref().into(),
        zone: zone.map(|zone| zone.as_str().into()),
        addresses,
        own_ports: kubelet.into_iter().collect(),
    })
}
