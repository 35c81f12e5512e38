//! The world of the story on the nodes of a cluster. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod as PodObject, Taint};

use super::ClusterError;
use crate::world::{Dual, Family, Node, World};

/// The taint of a control plane, by which nodes are told that ordinary pods are kept from.
const KEEPS_PODS_AWAY: [&str; 2] = ["NoSchedule", "NoExecute"];

/// Those of these nodes that are ready and take pods, in the order of their names.
pub(super) fn usable(nodes: &[NodeObject]) -> Vec<&NodeObject> {
    let mut usable: Vec<_> = nodes.iter().filter(|node| is_usable(node)).collect();
    usable.sort_by_key(|node| natural(node.metadata.name.as_deref().unwrap_or_default()));
    usable
}

/// Puts `node-10` behind `node-9`.
fn natural(name: &str) -> (usize, &str) {
    (name.len(), name)
}

fn is_usable(node: &NodeObject) -> bool {
    let spec = node.spec.as_ref();
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
    let away = taints(node).any(|taint| KEEPS_PODS_AWAY.contains(&taint.effect.as_str()));
    is_ready(node) && !cordoned && !away
}

fn taints(node: &NodeObject) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten()
}

/// Whether a node says that it is ready.
pub(super) fn is_ready(node: &NodeObject) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a node still has the taint of one that is not ready. It goes a moment after the node says that it is.
pub(super) fn is_starting(node: &NodeObject) -> bool {
    taints(node).any(|taint| taint.key == "node.kubernetes.io/not-ready")
}

/// The families of the cluster: those in which its nodes have addresses and pods.
pub(super) fn families(node: &NodeObject) -> Vec<Family> {
    let addresses = addresses(node);
    let cidrs = pod_cidrs(node);
    let has = |family: &Family| {
        let own = addresses.iter().any(|ip| Family::of(*ip) == *family);
        let pods = cidrs.iter().any(|net| Family::of(net.addr()) == *family);
        own && (pods || cidrs.is_empty())
    };
    Family::ALL.into_iter().filter(has).collect()
}

pub(super) fn addresses(node: &NodeObject) -> Vec<IpAddr> {
    let all = node
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_ref());
    let internal = all
        .into_iter()
        .flatten()
        .filter(|a| a.type_ == "InternalIP");
    internal.filter_map(|a| a.address.parse().ok()).collect()
}

pub(super) fn pod_cidrs(node: &NodeObject) -> Vec<IpNet> {
    let cidrs = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref());
    let cidrs = cidrs.into_iter().flatten();
    cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
}

/// The first addresses of each family; that of a family which is not there is the unspecified one.
pub(crate) fn dual(addresses: impl IntoIterator<Item = IpAddr>) -> Dual {
    let mut found = Dual {
        v4: Ipv4Addr::UNSPECIFIED,
        v6: Ipv6Addr::UNSPECIFIED,
    };
    for address in addresses {
        match address {
            IpAddr::V4(v4) if found.v4.is_unspecified() => found.v4 = v4,
            IpAddr::V6(v6) if found.v6.is_unspecified() => found.v6 = v6,
            _ => {}
        }
    }
    found
}

/// The first networks of each family; that of a family which is not there has one address, the
/// unspecified one.
pub(crate) fn networks(networks: impl IntoIterator<Item = IpNet>) -> [IpNet; 2] {
    let mut found = [None, None];
    for network in networks {
        let place = usize::from(matches!(network, IpNet::V6(_)));
        found[place].get_or_insert(network);
    }
    let none = [
        Ipv4Net::from(Ipv4Addr::UNSPECIFIED).into(),
        Ipv6Net::from(Ipv6Addr::UNSPECIFIED).into(),
    ];
    [found[0].unwrap_or(none[0]), found[1].unwrap_or(none[1])]
}

/// The story's nodes, as those of the cluster, in this order. The pods have no addresses yet.
///
/// # Errors
/// When there are too few nodes.
pub(super) fn world(nodes: &[&NodeObject]) -> Result<World, ClusterError> {
    let mut world = World::story();
    if nodes.len() < world.nodes.len() {
        return Err(ClusterError::TooFewNodes {
            needed: world.nodes.len(),
            found: nodes.len(),
        });
    }
    for (own, object) in world.nodes.iter_mut().zip(nodes) {
        take_on(own, object)?;
    }
    Ok(world)
}

/// Makes a node of the story one of the cluster's. Its zone, its second address and its external
/// ones stay the story's.
fn take_on(node: &mut Node, object: &NodeObject) -> Result<(), ClusterError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    node.address = dual(addresses(object));
    node.pod_cidrs = networks(pod_cidrs(object));
    if node.address == dual([]) {
        return Err(ClusterError::Node {
            node: name,
            what: "no InternalIP in its status".to_owned(),
        });
    }
    node.pod_gateway = dual(node.pod_cidrs.iter().filter_map(first));
    node.object = name;
    Ok(())
}

/// The first address of a network, which plugins give to the node itself; none of a family that is
/// not there.
fn first(network: &IpNet) -> Option<IpAddr> {
    match network {
        _ if network.addr().is_unspecified() => None,
        IpNet::V4(v4) => Some(Ipv4Addr::from_bits(v4.network().to_bits() + 1).into()),
        IpNet::V6(v6) => Some(Ipv6Addr::from_bits(v6.network().to_bits() + 1).into()),
    }
}

/// The addresses of a pod, once it has one of each family.
pub(super) fn pod_addresses(pod: &PodObject, families: &[Family]) -> Option<Dual> {
    let all = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ips.as_ref())?;
    let found = dual(all.iter().filter_map(|ip| ip.ip.parse().ok()));
    let has = |family: &Family| !found.of(*family).is_unspecified();
    families.iter().all(has).then_some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, number: u8, taint: Option<&str>, ready: bool) -> NodeObject {
        let taints = taint.map(|effect| json!([{ "key": "k", "effect": effect }]));
        let text = json!({
            "metadata": { "name": name },
            "spec": {
                "podCIDRs": [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")],
                "taints": taints,
            },
            "status": {
                "addresses": [
                    { "type": "InternalIP", "address": format!("172.18.0.{number}") },
                    { "type": "Hostname", "address": name },
                    { "type": "InternalIP", "address": format!("fc00::{number}") },
                ],
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
            },
        });
        serde_json::from_value(text).expect("a Node")
    }

    fn names<'a>(nodes: &'a [&NodeObject]) -> Vec<&'a str> {
        let names = nodes.iter().map(|node| node.metadata.name.as_deref());
        names.map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn a_node_starts_until_its_taint_is_gone() {
        let mut starting = node("n", 1, Some("NoSchedule"), true);
        assert!(!is_starting(&starting), "another taint is somebody's wish");
        let taints = starting.spec.as_mut().and_then(|spec| spec.taints.as_mut());
        taints.expect("it has one")[0].key = "node.kubernetes.io/not-ready".to_owned();
        assert!(is_starting(&starting) && is_ready(&starting));
    }

    #[test]
    fn nodes_that_take_no_pods_are_left_out_and_the_others_sorted_as_people_count() {
        let nodes = [
            node("kind-worker10", 7, None, true),
            node("kind-control-plane", 2, Some("NoSchedule"), true),
            node("kind-worker2", 3, None, true),
            node("kind-worker", 4, Some("PreferNoSchedule"), true),
            node("kind-worker3", 5, None, false),
        ];
        let usable = usable(&nodes);
        assert_eq!(
            names(&usable),
            ["kind-worker", "kind-worker2", "kind-worker10"]
        );
    }

    #[test]
    fn a_world_has_the_clusters_addresses_and_the_storys_names() {
        let nodes = [1, 2, 3].map(|number| node(&format!("n{number}"), number, None, true));
        let nodes: Vec<_> = nodes.iter().collect();
        assert_eq!(families(nodes[0]), Family::ALL);
        let world = world(&nodes).expect("three are enough");
        let second = &world.nodes[1];
        assert_eq!(
            (second.name.as_str(), second.object.as_str()),
            ("vm2", "n2")
        );
        assert_eq!(second.address.to_string(), "172.18.0.2,fc00::2");
        assert_eq!(
            second.pod_gateway.to_string(),
            "10.244.2.1,fd00:10:244:2::1"
        );
        assert!(matches!(
            super::world(&nodes[..2]),
            Err(ClusterError::TooFewNodes {
                needed: 3,
                found: 2
            })
        ));
    }

    #[test]
    fn what_a_family_lacks_is_unspecified() {
        let found = dual(["10.0.0.1".parse().expect("an address")]);
        assert!(found.v6.is_unspecified());
        let [v4, v6] = networks(["10.0.0.0/8".parse().expect("a network")]);
        assert_eq!(
            (v4.to_string().as_str(), v6.to_string().as_str()),
            ("10.0.0.0/8", "::/128")
        );
    }
}
