//! The lab's network: hosts, links, addresses and routes, with no proxy and no rule anywhere.
//!
//! ```text
//!  client-private ─┐                              ┌─ vm1 ── pods
//!                  ├─ router ── lb ── fabric ─────┼─ vm2 ── pods
//!  client-public ──┘                  (bridge)    ├─ vm3 ── pods
//!                                                 └─ api
//! ```
//! Every link of a pod is point-to-point, so each packet of a pod crosses its node's IP layer
//! and the number of hops is the number of routers. The load balancer is the gateway of the node
//! network: it sees both directions, as a cloud's does, and it routes what is not addressed to a
//! load-balancer address like any router. External addresses and the nodes' other ones it routes to
//! the node that each belongs to.

use std::collections::BTreeMap;
use std::io;
use std::iter;

use futures::future::try_join_all;
use ipnet::IpNet;

use super::link::{Host, NetworkError};
use super::namespace::Namespace;
use crate::world::{AddressPlan, Client, LOAD_BALANCER, Node, Pod, World};

/// The host that routes between the outside clients and the load balancer.
pub const ROUTER: &str = "router";
/// The host of the Kubernetes API.
pub const API: &str = "api";
/// The host whose bridge is the node network.
pub const FABRIC: &str = "fabric";

const BRIDGE: &str = "br0";
const UPLINK: &str = "eth0";
const LOOPBACK: &str = "lo";

/// Kernel parameters of every host.
const EVERY_HOST: &[(&str, &str)] = &[
    // Asymmetric paths are normal behind a load balancer; a drop must come from the proxy alone.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // A node that forwards out of the interface that a packet came by would otherwise tell the
    // gateway a shorter way, and later packets would not cross the entry node.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    // A rejected connection is answered by ICMP. The kernel limits those answers, per peer and in
    // all, which turns a burst of refused connections into silently dropped ones. No limit applies
    // to types that are not in the mask; the one that is left in IPv6's is the echo request.
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv6/icmp/ratemask", "128"),
    // Addresses serve at once: duplicate address detection takes a second.
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/core/somaxconn", "8192"),
];

const FORWARDING: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];

/// For how long a node knows a connection that was reset, in seconds: probes reset theirs. With the default of 10 a table
/// has tens of thousands of them, and a proxy that looks through it for stale flows does little else.
pub(crate) const RESET_IS_KNOWN: (&str, &str) =
    ("net/netfilter/nf_conntrack_tcp_timeout_close", "1");

/// The switch between all hosts is a switch: netfilter need not see what it passes on. A kernel that has its bridges ask netfilter
/// does so in every namespace, which costs each packet some percent of its way.
const ONLY_A_SWITCH: [(&str, &str); 2] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
];

/// The hosts of a world, connected.
#[derive(Debug)]
pub struct Network {
    hosts: BTreeMap<String, Host>,
}

impl Network {
    /// Builds the network of a world. Must be called inside the sandbox, on a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a namespace, a link, an address or a route.
    pub async fn build(world: &World) -> Result<Self, NetworkError> {
        let hosts = create_hosts(world)?;
        let network = Self { hosts };
        network.build_core(world).await?;
        try_join_all(
            world
                .nodes
                .iter()
                .map(|node| network.build_node(world, node)),
        )
        .await?;
        try_join_all(world.pods.iter().map(|pod| network.build_pod(world, pod))).await?;
        Ok(network)
    }

    /// A host by its name: a node, a pod, a client, or one of the constants of this module.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    fn get(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    /// Everything outside of a cluster whose nodes are elsewhere: the clients, the router, and the
    /// load balancer, which is the machine that this namespace belongs to, with its own link to the
    /// node network. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a namespace, a link, an address, a route or a parameter.
    pub async fn outside(world: &World, balancer: Namespace) -> Result<Self, NetworkError> {
        let settings = || {
            EVERY_HOST
                .iter()
                .chain(FORWARDING)
                .copied()
                .collect::<Vec<_>>()
        };
        let refused = |source| NetworkError::Namespace {
            host: LOAD_BALANCER.to_owned(),
            source,
        };
        balancer.sysctl(&settings()).map_err(refused)?;
        let mut hosts = BTreeMap::new();
        hosts.insert(LOAD_BALANCER.to_owned(), Host::of(balancer)?);
        hosts.insert(ROUTER.to_owned(), Host::create(ROUTER, &settings())?);
        for client in &world.clients {
            let host = Host::create(&client.name, EVERY_HOST)?;
            hosts.insert(client.name.clone(), host);
        }
        let network = Self { hosts };
        network.build_outside(world).await?;
        for node in &world.nodes {
            network.route_to_node(node).await?;
        }
        Ok(network)
    }

    /// The hosts that every world has, and what connects them.
    async fn build_core(&self, world: &World) -> Result<(), NetworkError> {
        let (lb, api) = (self.get(LOAD_BALANCER), self.get(API));
        self.get(FABRIC).bridge(BRIDGE).await?;
        self.attach(lb, AddressPlan::load_balancer()).await?;
        self.attach(api, AddressPlan::api()).await?;
        api.route_both(everywhere(), AddressPlan::load_balancer(), UPLINK)
            .await?;
        self.build_outside(world).await
    }

    /// The clients and the router, and the load balancer's link to it.
    async fn build_outside(&self, world: &World) -> Result<(), NetworkError> {
        let (router, lb) = (self.get(ROUTER), self.get(LOAD_BALANCER));
        let [router_end, lb_end] = AddressPlan::transit();
        router.connect("lb", lb, "router").await?;
        router.address("lb", router_end, [30, 126]).await?;
        lb.address("router", lb_end, [30, 126]).await?;
        // The router knows the cluster and nothing else: what strays is unreachable, and does not
        // circle between the two default routes.
        for networks in [
            world.node_networks,
            AddressPlan::other_networks(),
            world.cluster_cidrs,
            AddressPlan::vip_cidrs(),
            AddressPlan::external_cidrs(),
        ] {
            router.route_both(networks, lb_end, "lb").await?;
        }
        lb.route_both(everywhere(), router_end, "router").await?;
        try_join_all(world.clients.iter().map(|client| self.build_client(client))).await?;
        Ok(())
    }

    /// What the load balancer, as a router, knows of a node.
    async fn route_to_node(&self, node: &Node) -> Result<(), NetworkError> {
        let others = node.other_address.both().map(IpNet::from);
        for networks in [node.pod_cidrs, node.external_cidrs, others] {
            self.get(LOAD_BALANCER)
                .route_both(networks, node.address, UPLINK)
                .await?;
        }
        Ok(())
    }

    /// Puts a host on the node network.
    async fn attach(&self, host: &Host, address: crate::world::Dual) -> Result<(), NetworkError> {
        let fabric = self.get(FABRIC);
        host.connect(UPLINK, fabric, host.name()).await?;
        fabric.enslave(host.name(), BRIDGE).await?;
        let prefixes = AddressPlan::node_networks().map(|network| network.prefix_len());
        host.address(UPLINK, address, prefixes).await
    }

    async fn build_node(&self, world: &World, node: &Node) -> Result<(), NetworkError> {
        let host = self.get(&node.name);
        self.attach(host, node.address).await?;
        host.route_both(everywhere(), AddressPlan::load_balancer(), UPLINK)
            .await?;
        for other in world.nodes.iter().filter(|other| other.name != node.name) {
            host.route_both(other.pod_cidrs, other.address, UPLINK)
                .await?;
        }
        // Not on the uplink: there it might become the source of what the node sends.
        host.address(LOOPBACK, node.other_address, [32, 128])
            .await?;
        self.route_to_node(node).await?;
        self.get(API)
            .route_both(node.pod_cidrs, node.address, UPLINK)
            .await
    }

    async fn build_pod(&self, world: &World, pod: &Pod) -> Result<(), NetworkError> {
        let node = world
            .node(&pod.node)
            .expect("a world's pods run on its nodes");
        let (host, node_host) = (self.get(&pod.name), self.get(&node.name));
        host.connect(UPLINK, node_host, &pod.name).await?;
        host.address(UPLINK, pod.address, [32, 128]).await?;
        node_host
            .address(&pod.name, node.pod_gateway, [32, 128])
            .await?;
        host.route_both(everywhere(), node.pod_gateway, UPLINK)
            .await?;
        for address in pod.address.both() {
            node_host.route(address.into(), None, &pod.name).await?;
        }
        Ok(())
    }

    async fn build_client(&self, client: &Client) -> Result<(), NetworkError> {
        let (host, router) = (self.get(&client.name), self.get(ROUTER));
        host.connect(UPLINK, router, &client.name).await?;
        host.address(UPLINK, client.address, [24, 64]).await?;
        router
            .address(&client.name, client.gateway, [24, 64])
            .await?;
        host.route_both(everywhere(), client.gateway, UPLINK).await
    }
}

fn create_hosts(world: &World) -> Result<BTreeMap<String, Host>, NetworkError> {
    let ends = world
        .pods
        .iter()
        .map(|p| &*p.name)
        .chain(world.clients.iter().map(|c| &*c.name));
    let ends = ends.chain([API, FABRIC]).map(|name| (name, false));
    let routers = world
        .nodes
        .iter()
        .map(|n| &*n.name)
        .chain([ROUTER, LOAD_BALANCER]);
    let routers = routers.map(|name| (name, true));
    let mut hosts = BTreeMap::new();
    for (name, forwards) in ends.chain(routers) {
        let settings: Vec<_> = EVERY_HOST
            .iter()
            .chain(FORWARDING.iter().filter(|_| forwards))
            .copied()
            .collect();
        let host = Host::create(name, &settings)?;
        for setting in
            iter::once(RESET_IS_KNOWN).chain(ONLY_A_SWITCH.into_iter().filter(|_| name == FABRIC))
        {
            match host.namespace().sysctl(&[setting]) {
                // The kernel tracks no connections yet, or has bridges that ask nobody.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|source| NetworkError::Namespace {
                    host: name.to_owned(),
                    source,
                })?,
            }
        }
        hosts.insert(name.to_owned(), host);
    }
    Ok(hosts)
}

/// The default routes of both families.
fn everywhere() -> [IpNet; 2] {
    ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a valid network"))
}
