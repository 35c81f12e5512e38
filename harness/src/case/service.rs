//! The Service of a case and its backends.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Feature;
use crate::world::{Family, Protocol, World};

/// A traffic policy, external or internal.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Policy {
    /// All endpoints of the cluster.
    #[default]
    Cluster,
    /// Only endpoints on the node where the traffic enters.
    Local,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        })
    }
}

/// How the load balancer of a `LoadBalancer` Service forwards to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerMode {
    /// Routes the load-balancer address to a node; the packet keeps its destination.
    Vip,
    /// Rewrites the destination to a node's address and the Service's node port.
    NodePort,
    /// As [`Self::Vip`], and under `externalTrafficPolicy: Local` each node gets connections in proportion to the
    /// weight that its health check node port announces: the number of its ready endpoints.
    Weighted,
    /// Accepts TCP connections itself, and opens one of its own to a node's node port for each: nodes see its address,
    /// and leave the load-balancer address alone (KEP-1860).
    Proxy,
}

impl BalancerMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Vip, Self::NodePort, Self::Weighted, Self::Proxy];

    /// Its name in case ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::NodePort => "node-port",
            Self::Weighted => "weighted",
            Self::Proxy => "proxy",
        }
    }

    /// The `spec.loadBalancerClass` that asks for it.
    pub fn load_balancer_class(self) -> &'static str {
        match self {
            Self::Vip => "onehop.dev/vip",
            Self::NodePort => "onehop.dev/node-port",
            Self::Weighted => "onehop.dev/weighted",
            Self::Proxy => "onehop.dev/proxy",
        }
    }

    /// The `ipMode` of its addresses.
    pub fn ip_mode(self) -> IpMode {
        match self {
            Self::Vip | Self::NodePort | Self::Weighted => IpMode::Vip,
            Self::Proxy => IpMode::Proxy,
        }
    }

    /// The mode that this `spec.loadBalancerClass` asks for; none of another load balancer's.
    pub fn of_class(class: &str) -> Option<Self> {
        let mut modes = Self::ALL.into_iter();
        modes.find(|mode| mode.load_balancer_class() == class)
    }
}

/// The annotation of a Service that says how many addresses of each family the load balancer is to give it.
pub const ADDRESSES_ANNOTATION: &str = "onehop.dev/addresses";

/// A network of clients, as `loadBalancerSourceRanges` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceRange {
    /// The networks of an outside client, of each family.
    Client(&'static str),
    /// All pods.
    Pods,
    /// All nodes.
    Nodes,
    /// This network.
    Network(&'static str),
}

impl SourceRange {
    /// Its networks in a world.
    ///
    /// # Panics
    /// When it is a client that the world does not have.
    pub fn networks(self, world: &World) -> Vec<String> {
        let both = match self {
            Self::Network(network) => return vec![network.to_owned()],
            Self::Client(name) => {
                let client = world.client(name).expect("cases are checked");
                client.networks()
            }
            Self::Pods => world.cluster_cidrs,
            Self::Nodes => world.node_networks,
        };
        // A family that the world does not have is one address, which nobody has.
        let there = both
            .iter()
            .filter(|network| !network.addr().is_unspecified());
        there.map(ToString::to_string).collect()
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(name) => f.write_str(name),
            Self::Pods => f.write_str("pods"),
            Self::Nodes => f.write_str("nodes"),
            Self::Network(network) => f.write_str(network),
        }
    }
}

/// A Service's type, as far as cases use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceType {
    /// `ClusterIP`.
    ClusterIp,
    /// `ClusterIP` with no address: `clusterIP: None`.
    Headless,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`, served by the lab's load balancer in this mode.
    LoadBalancer(BalancerMode),
}

impl ServiceType {
    /// Whether a load balancer of this Service answers callers itself.
    pub fn is_proxied(self) -> bool {
        self == Self::LoadBalancer(BalancerMode::Proxy)
    }

    /// The value of `spec.type`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::ClusterIp | Self::Headless => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer(_) => "LoadBalancer",
        }
    }
}

/// The port that every Service has, unless a case says otherwise.
pub const SERVICE_PORT: u16 = 80;

/// One port of a Service. Its target port is a name, and each EndpointSlice says which number
/// that is in its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name; empty where it is the only one.
    pub name: &'static str,
    /// Its number.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// One TCP port without a name.
const ONE_PORT: &[Port] = &[Port {
    name: "",
    number: SERVICE_PORT,
    protocol: Protocol::Tcp,
}];

/// One UDP port without a name.
const ONE_UDP_PORT: &[Port] = &[Port {
    name: "",
    number: SERVICE_PORT,
    protocol: Protocol::Udp,
}];

/// Whether nodes serve a load-balancer address themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum IpMode {
    /// `VIP`: they do, as if it were their own.
    #[serde(rename = "VIP")]
    Vip,
    /// `Proxy`: all traffic to it goes to the load balancer.
    Proxy,
}

impl IpMode {
    /// The value of `ipMode`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Vip => "VIP",
            Self::Proxy => "Proxy",
        }
    }
}

/// The address families of a Service: `ipFamilyPolicy` and `ipFamilies` (KEP-563).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// `RequireDualStack`: all that the cluster has.
    #[default]
    Dual,
    /// `SingleStack`: this one.
    Only(Family),
}

impl Families {
    /// Whether a Service of these has that one.
    pub fn has(self, family: Family) -> bool {
        match self {
            Self::Dual => true,
            Self::Only(only) => only == family,
        }
    }

    /// Those of a cluster's that a Service of these has, in the order of `ipFamilies`.
    pub fn of(self, clusters: &[Family]) -> Vec<Family> {
        let own = clusters.iter().copied();
        own.filter(|family| self.has(*family)).collect()
    }

    /// The value of `ipFamilyPolicy`, where the cluster has so many.
    pub fn policy(self, clusters: usize) -> &'static str {
        match self {
            Self::Dual if clusters > 1 => "RequireDualStack",
            Self::Dual | Self::Only(_) => "SingleStack",
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dual => f.write_str("RequireDualStack"),
            Self::Only(family) => write!(f, "SingleStack {family}"),
        }
    }
}

/// The Service of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its type.
    pub kind: ServiceType,
    /// `externalTrafficPolicy`.
    pub external: Policy,
    /// `internalTrafficPolicy`.
    pub internal: Policy,
    /// Its ports. Never empty.
    pub ports: &'static [Port],
    /// Whether it has external addresses: one for each node, which the network sends there.
    pub external_ips: bool,
    /// The timeout, in seconds, of its affinity of clients to pods; none where it has no affinity.
    pub affinity: Option<u32>,
    /// `loadBalancerSourceRanges`.
    pub source_ranges: &'static [SourceRange],
    /// `allocateLoadBalancerNodePorts`.
    pub allocate_node_ports: bool,
    /// Its address families.
    pub families: Families,
    /// Whether a load balancer gives it two addresses of each family instead of one.
    pub two_addresses: bool,
}

impl Service {
    /// A Service of this type under both Cluster policies, dual stack.
    pub fn new(kind: ServiceType) -> Self {
        Self {
            kind,
            external: Policy::Cluster,
            internal: Policy::Cluster,
            ports: ONE_PORT,
            external_ips: false,
            affinity: None,
            source_ranges: &[],
            allocate_node_ports: true,
            families: Families::Dual,
            two_addresses: false,
        }
    }

    /// A `ClusterIP` Service.
    pub fn cluster_ip() -> Self {
        Self::new(ServiceType::ClusterIp)
    }

    /// A `NodePort` Service.
    pub fn node_port() -> Self {
        Self::new(ServiceType::NodePort)
    }

    /// A `LoadBalancer` Service.
    pub fn load_balancer(mode: BalancerMode) -> Self {
        Self::new(ServiceType::LoadBalancer(mode))
    }

    /// The same with two load-balancer addresses of each family.
    #[must_use]
    pub fn two_addresses(self) -> Self {
        Self {
            two_addresses: true,
            ..self
        }
    }

    /// The same under this `externalTrafficPolicy`.
    #[must_use]
    pub fn external(self, external: Policy) -> Self {
        Self { external, ..self }
    }

    /// The same under this `internalTrafficPolicy`.
    #[must_use]
    pub fn internal(self, internal: Policy) -> Self {
        Self { internal, ..self }
    }

    /// The same with these ports.
    #[must_use]
    pub fn ports(self, ports: &'static [Port]) -> Self {
        Self { ports, ..self }
    }

    /// The same with one port, by UDP.
    #[must_use]
    pub fn udp(self) -> Self {
        self.ports(ONE_UDP_PORT)
    }

    /// The same with an external address for each node.
    #[must_use]
    pub fn external_ips(self) -> Self {
        Self {
            external_ips: true,
            ..self
        }
    }

    /// The same with an affinity of clients to pods that lasts so many seconds.
    #[must_use]
    pub fn affinity(self, seconds: u32) -> Self {
        Self {
            affinity: Some(seconds),
            ..self
        }
    }

    /// The same with these `loadBalancerSourceRanges`.
    #[must_use]
    pub fn source_ranges(self, source_ranges: &'static [SourceRange]) -> Self {
        Self {
            source_ranges,
            ..self
        }
    }

    /// The same without node ports, which only a `LoadBalancer` can do without.
    #[must_use]
    pub fn without_node_ports(self) -> Self {
        Self {
            allocate_node_ports: false,
            ..self
        }
    }

    /// The same in this family alone.
    #[must_use]
    pub fn only(self, family: Family) -> Self {
        Self {
            families: Families::Only(family),
            ..self
        }
    }

    /// The position and the port of this name; the first port for the empty name.
    pub fn port(&self, name: &str) -> Option<(usize, &'static Port)> {
        let mut ports = self.ports.iter().enumerate();
        ports.find(|(_, port)| name.is_empty() || port.name == name)
    }

    fn has_port_of(&self, protocol: Protocol) -> bool {
        self.ports.iter().any(|port| port.protocol == protocol)
    }

    /// Whether a load balancer has nothing of the Service itself to ask, and so asks the nodes' proxies: under Cluster, and
    /// without a TCP node port.
    pub fn is_balanced_by_proxy_health(&self) -> bool {
        let is_balanced = matches!(self.kind, ServiceType::LoadBalancer(_));
        let has_node_port = self.allocate_node_ports && self.has_port_of(Protocol::Tcp);
        is_balanced && self.external == Policy::Cluster && !has_node_port
    }

    /// What a cluster must offer for this Service to work.
    pub fn features(self) -> Vec<Feature> {
        let mut features = vec![match self.kind {
            ServiceType::ClusterIp | ServiceType::Headless => Feature::ClusterIp,
            ServiceType::NodePort => Feature::NodePort,
            ServiceType::LoadBalancer(_) => Feature::LoadBalancer,
        }];
        if self.external == Policy::Local {
            features.push(Feature::ExternalTrafficPolicy);
        }
        if self.internal == Policy::Local {
            features.push(Feature::InternalTrafficPolicy);
        }
        for (wanted, feature) in [
            (self.kind.is_proxied(), Feature::IpModeProxy),
            (self.external_ips, Feature::ExternalIp),
            (self.affinity.is_some(), Feature::SessionAffinity),
            (!self.source_ranges.is_empty(), Feature::SourceRanges),
            (self.families != Families::Dual, Feature::Ipv6),
            (self.has_port_of(Protocol::Udp), Feature::Udp),
            (self.has_port_of(Protocol::Sctp), Feature::Sctp),
            (self.is_balanced_by_proxy_health(), Feature::ProxyHealth),
        ] {
            if wanted {
                features.push(feature);
            }
        }
        features
    }
}

/// Which of an endpoint's conditions its EndpointSlice states. What it does not state has a default
/// (kubernetes/staging/src/k8s.io/api/discovery/v1/types.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stated {
    /// Each of them.
    All,
    /// All but `serving`, which then is true.
    AllButServing,
    /// None: it is ready.
    Nothing,
}

/// A pod as an endpoint of the Service, in the state that its EndpointSlice says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// The pod's name.
    pub pod: String,
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// What the EndpointSlice says of these.
    pub stated: Stated,
    /// The zones that it is meant for: `hints.forZones`.
    pub zones: Vec<String>,
    /// The nodes that it is meant for: `hints.forNodes`.
    pub nodes: Vec<String>,
    /// The only family in which it is an endpoint, if there is one.
    pub family: Option<Family>,
    /// The EndpointSlice that it is in, from 0 on. Each has a port number of its own for every
    /// port of the Service, as pods have whose target port of that name is another number.
    pub slice: u16,
}

impl Backend {
    /// A ready endpoint.
    pub fn ready(pod: &str) -> Self {
        Self::new(pod, true, true, false)
    }

    /// An endpoint of whose conditions nothing is said, which means that it is ready.
    pub fn unstated(pod: &str) -> Self {
        Self {
            stated: Stated::Nothing,
            ..Self::ready(pod)
        }
    }

    /// An endpoint that is being deleted, of which nothing is said of serving: which means that it still does.
    pub fn terminating_unstated(pod: &str) -> Self {
        Self {
            stated: Stated::AllButServing,
            ..Self::terminating(pod)
        }
    }

    /// An endpoint that is ready though it is being deleted: `publishNotReadyAddresses`.
    pub fn published(pod: &str) -> Self {
        Self::new(pod, true, true, true)
    }

    /// An endpoint that is being deleted and still serves.
    pub fn terminating(pod: &str) -> Self {
        Self::new(pod, false, true, true)
    }

    /// An endpoint that is being deleted and serves no longer.
    pub fn finished(pod: &str) -> Self {
        Self::new(pod, false, false, true)
    }

    /// An endpoint that does not serve, and is not being deleted.
    pub fn unready(pod: &str) -> Self {
        Self::new(pod, false, false, false)
    }

    fn new(pod: &str, ready: bool, serving: bool, terminating: bool) -> Self {
        Self {
            pod: pod.to_owned(),
            ready,
            serving,
            terminating,
            stated: Stated::All,
            zones: Vec::new(),
            nodes: Vec::new(),
            family: None,
            slice: 0,
        }
    }

    /// The same with a hint that it is meant for this zone.
    #[must_use]
    pub fn for_zone(mut self, zone: &str) -> Self {
        self.zones.push(zone.to_owned());
        self
    }

    /// The same with a hint that it is meant for this node.
    #[must_use]
    pub fn for_node(mut self, node: &str) -> Self {
        self.nodes.push(node.to_owned());
        self
    }

    /// The same in the EndpointSlices of this family alone.
    #[must_use]
    pub fn only(self, family: Family) -> Self {
        let family = Some(family);
        Self { family, ..self }
    }

    /// Whether it is an endpoint in this family.
    pub fn is_in(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    /// The same in another EndpointSlice.
    #[must_use]
    pub fn in_slice(self, slice: u16) -> Self {
        Self { slice, ..self }
    }
}
