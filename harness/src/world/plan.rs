//! The nodes, pods and clients of a world, and the address plan that they share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Dual, Family};

/// The outside client whose IPv4 address is inside private address space (RFC 1918).
pub const CLIENT_PRIVATE: &str = "client-private";
/// The outside client whose IPv4 address is outside private address space. Some dataplanes
/// masquerade every source that is not private (Azure/AKS#785).
pub const CLIENT_PUBLIC: &str = "client-public";

/// The host of the load balancer.
pub const LOAD_BALANCER: &str = "lb";

/// A node: a machine with a pod subnet, on which one proxy under test runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The name of its Node object.
    pub object: String,
    /// Its addresses on the node network.
    pub address: Dual,
    /// Further addresses of its own, in another network: the Node object does not have them, and they are
    /// outside of `nodePortAddresses`.
    pub other_address: Dual,
    /// Its address towards its pods. A masquerading node shows this one to a pod of its own,
    /// because masquerade takes the address of the interface that the packet leaves by.
    pub pod_gateway: Dual,
    /// All other addresses of its interfaces.
    pub further: Vec<IpAddr>,
    /// The subnet of its pods, IPv4 then IPv6.
    pub pod_cidrs: [IpNet; 2],
    /// The external addresses that the network sends to it, IPv4 then IPv6: `spec.externalIPs`
    /// come from there.
    pub external_cidrs: [IpNet; 2],
    /// Its zone. Each holds two nodes.
    pub zone: String,
}

impl Node {
    /// Whether `address` is one of this node's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        let own = [self.address, self.other_address, self.pod_gateway];
        own.iter().any(|dual| dual.contains(address)) || self.further.contains(&address)
    }
}

/// A pod with a network of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name, also the name of its Pod object.
    pub name: String,
    /// The name of the node that it runs on.
    pub node: String,
    /// Its addresses.
    pub address: Dual,
}

/// A client outside the cluster, behind the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub address: Dual,
    /// The router's addresses on the client's network.
    pub gateway: Dual,
}

impl Client {
    /// The network of its link to the router, IPv4 then IPv6.
    pub fn networks(&self) -> [IpNet; 2] {
        let [v4, v6] = self.address.both();
        let network = |address, prefix| {
            let network = IpNet::new(address, prefix);
            network.expect("a prefix of the family").trunc()
        };
        [network(v4, 24), network(v6, 64)]
    }
}

/// The fixed ranges of the lab.
///
/// All of it exists only inside the run's own network namespaces. The public client and the
/// load-balancer addresses come from the ranges reserved for documentation (RFC 5737, RFC 3849),
/// so that a leak could never reach anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPlan;

impl AddressPlan {
    /// The node network.
    pub fn node_networks() -> [IpNet; 2] {
        [net4([172, 18, 0, 0], 24), net6(0xfd00_0018, 0, 64)]
    }

    /// The host with this number on the node network.
    pub fn node_host(number: u8) -> Dual {
        Dual {
            v4: Ipv4Addr::new(172, 18, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, number.into()),
        }
    }

    /// The network of the nodes' other addresses, which is no link: the load balancer routes each of them to
    /// its node.
    pub fn other_networks() -> [IpNet; 2] {
        [net4([172, 19, 0, 0], 24), net6(0xfd00_0019, 0, 64)]
    }

    /// The other address of the host with this number on the node network.
    pub fn other_address(number: u8) -> Dual {
        Dual {
            v4: Ipv4Addr::new(172, 19, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x19, 0, 0, 0, 0, 0, number.into()),
        }
    }

    /// The load balancer's address on the node network: every node's default gateway.
    pub fn load_balancer() -> Dual {
        Self::node_host(1)
    }

    /// The host of the Kubernetes API.
    pub fn api() -> Dual {
        Self::node_host(2)
    }

    /// All pod subnets of the cluster, IPv4 then IPv6 (`clusterCIDR`).
    pub fn cluster_cidrs() -> [IpNet; 2] {
        [
            net4([10, 244, 0, 0], 16),
            net6(0xfd00_0010, 0x0244_0000, 48),
        ]
    }

    /// The pod subnet of the node with this number.
    pub fn pod_cidrs(node: u8) -> [IpNet; 2] {
        [
            net4([10, 244, node, 0], 24),
            net6(0xfd00_0010, 0x0244_0000 | u32::from(node), 64),
        ]
    }

    /// The pod with this number on the node with that number; number 1 is the node's own gateway.
    pub fn pod(node: u8, number: u8) -> Dual {
        Dual {
            v4: Ipv4Addr::new(10, 244, node, number),
            v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, number.into()),
        }
    }

    /// The ranges that ClusterIPs come from.
    pub fn service_cidrs() -> [IpNet; 2] {
        [
            net4([10, 96, 0, 0], 16),
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112).into(),
        ]
    }

    /// The ranges that load-balancer addresses (VIPs) come from.
    pub fn vip_cidrs() -> [IpNet; 2] {
        [
            net4([198, 51, 100, 0], 24),
            Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0), 64).into(),
        ]
    }

    /// The load-balancer address with this number (1 to 254).
    pub fn vip(number: u8) -> Dual {
        Dual {
            v4: Ipv4Addr::new(198, 51, 100, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, number.into()),
        }
    }

    /// The ranges that external addresses come from: RFC 2544's for benchmarks, which nobody
    /// routes, and one of RFC 3849.
    pub fn external_cidrs() -> [IpNet; 2] {
        [
            net4([198, 18, 0, 0], 15),
            net6(0x2001_0db8, 0x0200_0000, 48),
        ]
    }

    /// The external addresses that the network sends to the node with this number (1 to 127).
    pub fn external_cidrs_of(node: u8) -> [IpNet; 2] {
        let base = Self::external_ip(node, 0);
        [
            Ipv4Net::new_assert(base.v4, 22).into(),
            Ipv6Net::new_assert(base.v6, 64).into(),
        ]
    }

    /// The external address with this number (1 to 1022) of the node with that number.
    pub fn external_ip(node: u8, number: u16) -> Dual {
        let v4 = Ipv4Addr::new(198, 18, 0, 0).to_bits();
        Dual {
            v4: Ipv4Addr::from_bits(v4 | (u32::from(node) << 10) | u32::from(number)),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0x200, node.into(), 0, 0, 0, number),
        }
    }

    /// The network of the link between router and load balancer.
    pub fn transit_networks() -> [IpNet; 2] {
        [net4([172, 31, 255, 0], 30), net6(0xfd00_0031, 0, 126)]
    }

    /// The two ends of the link between router and load balancer, router first.
    pub fn transit() -> [Dual; 2] {
        [1, 2].map(|host| Dual {
            v4: Ipv4Addr::new(172, 31, 255, host),
            v6: Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, host.into()),
        })
    }
}

/// Everything that a provider builds: nodes, pods and outside clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// The networks of the nodes' addresses, IPv4 then IPv6.
    pub node_networks: [IpNet; 2],
    /// The load balancer's own addresses on the node network.
    pub balancer: Dual,
    /// All pod subnets, IPv4 then IPv6.
    pub cluster_cidrs: [IpNet; 2],
    /// The ranges that ClusterIPs come from, IPv4 then IPv6.
    pub service_cidrs: [IpNet; 2],
    /// The nodes, each with a proxy under test.
    pub nodes: Vec<Node>,
    /// The pods, backends and clients alike.
    pub pods: Vec<Pod>,
    /// The clients outside the cluster.
    pub clients: Vec<Client>,
}

impl World {
    /// The world that most cases share: nodes vm1, vm2, vm3, one client pod on each
    /// (`client-vm1`…), and backends `web-0`, `web-1`, … of which cases use a part. With
    /// `web-0` on vm1 and `web-1`, `web-2` on vm3 the placement is 1–0–2, the story that everyone
    /// knows.
    pub fn story() -> Self {
        let placement = ["vm1", "vm3", "vm3", "vm2", "vm1", "vm1", "vm1", "vm1"];
        let mut world = Self::with_nodes(3);
        for node in world.nodes.clone() {
            world.add_pod(&format!("client-{}", node.name), &node.name);
        }
        for (index, node) in placement.into_iter().enumerate() {
            world.add_pod(&format!("web-{index}"), node);
        }
        world
    }

    /// Nodes `vm1`…`vmN` with no pods, and both outside clients.
    ///
    /// # Panics
    /// If `count` is more than 99.
    pub fn with_nodes(count: u8) -> Self {
        assert!(count <= 99, "a world has at most 99 nodes");
        let nodes = (1..=count).map(|number| Node {
            name: format!("vm{number}"),
            object: format!("vm{number}"),
            address: AddressPlan::node_host(10 + number),
            other_address: AddressPlan::other_address(10 + number),
            pod_gateway: AddressPlan::pod(number, 1),
            further: Vec::new(),
            pod_cidrs: AddressPlan::pod_cidrs(number),
            external_cidrs: AddressPlan::external_cidrs_of(number),
            zone: format!("zone-{}", number.div_ceil(2)),
        });
        let host = |v4: [u8; 3], v6: [u16; 3], number: u8| Dual {
            v4: Ipv4Addr::new(v4[0], v4[1], v4[2], number),
            v6: Ipv6Addr::new(v6[0], v6[1], v6[2], 0, 0, 0, 0, number.into()),
        };
        let client = |name: &str, v4, v6| Client {
            name: name.to_owned(),
            address: host(v4, v6, 10),
            gateway: host(v4, v6, 1),
        };
        Self {
            node_networks: AddressPlan::node_networks(),
            balancer: AddressPlan::load_balancer(),
            cluster_cidrs: AddressPlan::cluster_cidrs(),
            service_cidrs: AddressPlan::service_cidrs(),
            nodes: nodes.collect(),
            pods: Vec::new(),
            clients: vec![
                client(CLIENT_PRIVATE, [10, 99, 0], [0xfd00, 0x99, 0]),
                client(CLIENT_PUBLIC, [203, 0, 113], [0x2001, 0xdb8, 0x113]),
            ],
        }
    }

    /// A service address that no Service is ever given: next to the last one of the range, which is
    /// the broadcast address of small ranges.
    pub fn unallocated(&self) -> Dual {
        let [v4, v6] = self.service_cidrs;
        let (IpNet::V4(v4), IpNet::V6(v6)) = (v4, v6) else {
            unreachable!("service ranges are IPv4, then IPv6");
        };
        Dual {
            v4: Ipv4Addr::from_bits(v4.broadcast().to_bits().saturating_sub(1)),
            v6: Ipv6Addr::from_bits(v6.broadcast().to_bits().saturating_sub(1)),
        }
    }

    /// Adds a pod with the next free address of its node.
    ///
    /// # Panics
    /// If the node does not exist or its subnet is full.
    pub fn add_pod(&mut self, name: &str, node: &str) {
        let position = self
            .nodes
            .iter()
            .position(|n| n.name == node)
            .unwrap_or_else(|| panic!("no node {node}"));
        let on_node = self.pods.iter().filter(|p| p.node == node).count();
        let number = |n: usize| u8::try_from(n).expect("a node has at most 200 pods");
        self.pods.push(Pod {
            name: name.to_owned(),
            node: node.to_owned(),
            address: AddressPlan::pod(number(position + 1), number(on_node + 10)),
        });
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The pod with this name.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|p| p.name == name)
    }

    /// The outside client with this name.
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|c| c.name == name)
    }

    /// The node that owns this address, if any.
    pub fn node_owning(&self, address: IpAddr) -> Option<&Node> {
        self.nodes.iter().find(|n| n.owns(address))
    }

    /// What people call this address: a node, a pod, a client, a load-balancer address; the
    /// address itself when it is nobody's.
    pub fn describe(&self, address: IpAddr) -> String {
        let pods = self.pods.iter().map(|p| (p.name.clone(), p.address));
        let clients = self.clients.iter().map(|c| (c.name.clone(), c.address));
        if let Some(node) = self.node_owning(address) {
            return node.name.clone();
        }
        if self.balancer.contains(address) {
            return LOAD_BALANCER.to_owned();
        }
        if let Some((name, _)) = pods.chain(clients).find(|(_, dual)| dual.contains(address)) {
            return name;
        }
        match address {
            _ if AddressPlan::vip_cidrs()
                .iter()
                .any(|n| n.contains(&address)) =>
            {
                "vip".to_owned()
            }
            _ if self.service_cidrs.iter().any(|n| n.contains(&address)) => "cluster-ip".to_owned(),
            _ if AddressPlan::external_cidrs()
                .iter()
                .any(|n| n.contains(&address)) =>
            {
                "external-ip".to_owned()
            }
            other => other.to_string(),
        }
    }

    /// The families in which every host of the world has an address.
    pub fn families(&self) -> [Family; 2] {
        Family::ALL
    }
}

fn net4(octets: [u8; 4], prefix: u8) -> IpNet {
    Ipv4Net::new_assert(octets.into(), prefix).into()
}

/// The IPv6 network whose first 64 bits are `high` and `low`.
fn net6(high: u32, low: u32, prefix: u8) -> IpNet {
    let bits = (u128::from(high) << 96) | (u128::from(low) << 64);
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_places_its_first_three_backends_one_none_two() {
        let world = World::story();
        let count = |node: &str| {
            let first = world
                .pods
                .iter()
                .filter(|p| p.name.starts_with("web-"))
                .take(3);
            first.filter(|p| p.node == node).count()
        };
        assert_eq!([count("vm1"), count("vm2"), count("vm3")], [1, 0, 2]);
    }

    #[test]
    fn every_address_lies_in_its_range_and_none_is_given_twice() {
        let world = World::story();
        let mut seen = std::collections::BTreeSet::new();
        for node in &world.nodes {
            for (address, network) in node.address.both().iter().zip(AddressPlan::node_networks()) {
                assert!(network.contains(address), "{address} not in {network}");
            }
            let other = node.other_address.both();
            for (address, network) in other.iter().zip(AddressPlan::other_networks()) {
                assert!(network.contains(address), "{address} not in {network}");
            }
            for own in [node.address, node.other_address, node.pod_gateway] {
                assert!(seen.insert(own), "{own} twice");
            }
        }
        for pod in &world.pods {
            let node = world.node(&pod.node).expect("the node exists");
            for (index, address) in pod.address.both().iter().enumerate() {
                assert!(node.pod_cidrs[index].contains(address));
                assert!(AddressPlan::cluster_cidrs()[index].contains(address));
            }
            assert!(seen.insert(pod.address), "{} twice", pod.address);
        }
    }

    #[test]
    fn one_client_is_inside_private_address_space_and_one_outside() {
        let world = World::story();
        assert!(
            world
                .client(CLIENT_PRIVATE)
                .expect("exists")
                .address
                .v4
                .is_private()
        );
        assert!(
            !world
                .client(CLIENT_PUBLIC)
                .expect("exists")
                .address
                .v4
                .is_private()
        );
    }
}
