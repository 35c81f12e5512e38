//! The objects of a bench: many Services, and the endpoints of each, which all lead to one pod.
//!
//! That pod owns a whole network of addresses ([`networks`]), and answers with the one that was
//! called. So every Service of a bench is really served, and each connection tells which endpoint
//! it reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use crate::lab::{NAMESPACE, SERVICE_PORT};
use crate::world::Family;

/// The port on which endpoints listen.
pub(super) const TARGET_PORT: u16 = 8080;
/// The node that everything is on.
pub(super) const NODE: &str = "vm1";
/// Endpoints of the Service with many.
pub(super) const MANY: u32 = 1000;
/// Endpoints of one slice, at most, as the EndpointSlice controller makes them.
const SLICE: usize = 100;
/// Endpoints are numbered below this.
const NUMBERS: u32 = 1 << 20;
/// The name of the Service with many endpoints.
const LARGE: &str = "large";

/// A Service of a bench, and the numbers of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    first: u32,
    count: u32,
}

impl Member {
    /// One of the Services that are only there, with two endpoints.
    pub(super) fn present(index: u32) -> Self {
        Self {
            name: format!("service-{index:06}"),
            first: index * 2,
            count: 2,
        }
    }

    /// One of the Services that change, with one endpoint: a connection through it tells at once
    /// whether a change has arrived. Its name sorts behind all that are only there.
    pub(super) fn changing(index: u32) -> Self {
        Self {
            name: format!("swapped-{index:06}"),
            first: NUMBERS / 2 + index,
            count: 1,
        }
    }

    /// The Service with many endpoints.
    pub(super) fn large() -> Self {
        Self {
            name: LARGE.to_owned(),
            first: NUMBERS - MANY,
            count: MANY,
        }
    }

    /// Its endpoints. Those of a generation differ from those of the one before and the one after.
    pub(super) fn endpoints(&self, family: Family, generation: u32) -> Vec<IpAddr> {
        (self.first..self.first + self.count)
            .map(|number| address(family, number, generation))
            .collect()
    }

    /// The Service object.
    pub(super) fn service(&self, family: Family) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": [family],
                "ports": [{"protocol": "TCP", "port": SERVICE_PORT, "targetPort": TARGET_PORT}],
            },
        })
    }

    /// Its EndpointSlices.
    pub(super) fn slices(&self, family: Family, generation: u32) -> Vec<Value> {
        let endpoints = self.endpoints(family, generation);
        let slice = |(index, part): (usize, &[IpAddr])| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": slice_name(&self.name, index),
                    "namespace": NAMESPACE,
                    "labels": {
                        "kubernetes.io/service-name": self.name,
                        "endpointslice.kubernetes.io/managed-by": "onehop.dev",
                    },
                },
                "addressType": family,
                "endpoints": endpoint_objects(part),
                "ports": [{"name": "", "protocol": "TCP", "port": TARGET_PORT}],
            })
        };
        endpoints.chunks(SLICE).enumerate().map(slice).collect()
    }

    /// The name of its only slice and the merge patch that gives it the endpoints of a generation.
    pub(super) fn patch(&self, family: Family, generation: u32) -> (String, Value) {
        let endpoints = endpoint_objects(&self.endpoints(family, generation));
        (slice_name(&self.name, 0), json!({ "endpoints": endpoints }))
    }
}

/// The networks of all endpoints, IPv4 then IPv6. They lie outside of the pods' own, and the lab's
/// clients, nodes and Services have none of their addresses.
pub(super) fn networks() -> [IpNet; 2] {
    [
        Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 10).into(),
        Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x128, 0, 0, 0, 0, 0), 64).into(),
    ]
}

fn address(family: Family, number: u32, generation: u32) -> IpAddr {
    assert!(number < NUMBERS, "endpoints are numbered below {NUMBERS}");
    // The first address of a network is nobody's.
    let offset = (generation % 2) * NUMBERS + number + 1;
    match (family, networks()) {
        (Family::V4, [IpNet::V4(network), _]) => {
            IpAddr::V4(Ipv4Addr::from_bits(network.addr().to_bits() + offset))
        }
        (Family::V6, [_, IpNet::V6(network)]) => IpAddr::V6(Ipv6Addr::from_bits(
            network.addr().to_bits() + u128::from(offset),
        )),
        _ => unreachable!("the networks are IPv4, then IPv6"),
    }
}

fn slice_name(service: &str, index: usize) -> String {
    format!("{service}-{index}")
}

fn endpoint_objects(addresses: &[IpAddr]) -> Vec<Value> {
    let endpoint = |address: &IpAddr| {
        let pod = format!("web-{}", address.to_string().replace([':', '.'], "-"));
        json!({
            "addresses": [address],
            "nodeName": NODE,
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod},
        })
    };
    addresses.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::world::{AddressPlan, World};

    #[test]
    fn no_two_services_and_no_two_generations_in_a_row_share_an_endpoint() {
        let members = (0..100)
            .map(Member::present)
            .chain((0..100).map(Member::changing))
            .chain([Member::large()]);
        let mut seen = BTreeSet::new();
        for member in members {
            for family in Family::ALL {
                for address in [0, 1].map(|g| member.endpoints(family, g)).concat() {
                    assert!(seen.insert(address), "{address} twice");
                    assert!(networks().iter().any(|network| network.contains(&address)));
                }
            }
        }
        assert_eq!(seen.len(), 2 * 2 * (200 + 100 + 1000));
    }

    #[test]
    fn endpoints_are_nobody_elses_addresses() {
        let world = World::story();
        let pods = world.pods.iter().flat_map(|pod| pod.address.both());
        let nodes = world.nodes.iter().flat_map(|node| node.address.both());
        let clients = world.clients.iter().flat_map(|c| c.address.both());
        for address in pods.chain(nodes).chain(clients) {
            assert!(!networks().iter().any(|network| network.contains(&address)));
        }
        for other in [AddressPlan::service_cidrs(), AddressPlan::cluster_cidrs()].concat() {
            for network in networks() {
                assert!(!network.contains(&other) && !other.contains(&network));
            }
        }
    }

    #[test]
    fn a_large_service_has_ten_slices() {
        let slices = Member::large().slices(Family::V4, 0);
        assert_eq!(slices.len(), 10);
        assert_eq!(slices[9]["endpoints"].as_array().map(Vec::len), Some(100));
    }
}
