//! What a case asks of the world, and what it expects for an answer.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Feature, HeldExpectation, Place, PodsOf, Target, Variation};
use crate::world::{Family, Length, World};

/// Questions that are asked together, once the world behaves as all of them expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What the world is like at this point, for people.
    pub label: String,
    /// The questions.
    pub questions: Vec<Question>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What becomes of connections, in each family of the world or in one.
    Flow(FlowCheck),
    /// What the health check node port of a node says: the number of local endpoints, or `None`
    /// when the port must be closed. Asked from outside, in each family or in one.
    HealthCheck {
        /// The node.
        node: String,
        /// On which of its addresses.
        at: NodeAddress,
        /// By which path: any is answered, and load balancers differ in which they ask.
        path: &'static str,
        /// `localEndpoints`, if the port is open.
        local_endpoints: Option<u32>,
        /// The only family in which it is asked, if there is one.
        family: Option<Family>,
    },
    /// What the proxy of a node says of its own health, asked from outside over IPv4: `:10256` of kube-proxy
    /// listens on `0.0.0.0` unless it is told otherwise.
    ProxyHealth {
        /// The node.
        node: String,
        /// What is asked.
        path: HealthPath,
        /// Whether the answer must be 200; else 503.
        good: bool,
    },
    /// Which nodes the load balancer finds healthy, by which check, and how it weighs them: in each family that the Service
    /// has, or in one.
    HealthyNodes {
        /// The check that it must use.
        by: BalancerCheck,
        /// The nodes that must be healthy, each with its weight among them; every other must not.
        nodes: BTreeMap<String, u32>,
        /// The only family in which it is asked, if there is one.
        family: Option<Family>,
    },
    /// What has become of flows that were opened in a step before.
    Held {
        /// Their name.
        name: &'static str,
        /// What should have become of them.
        expect: HeldExpectation,
    },
    /// Whether every connection of this traffic was answered by a pod that is ever one of the backends, since it began.
    Answered(&'static str),
    /// Until when connections of this traffic were dropped, since it began: until the load balancer's rules have left a node,
    /// of which its health checks have told it; and the node passes none of them for longer than [`health_check_slack`]
    /// after the first drop was known. The others were answered by a pod that is ever one of the backends.
    ///
    /// [`health_check_slack`]: crate::timing::Timing::health_check_slack
    LostUntilNoticed(&'static str),
    /// Whether `spec.healthCheckNodePort` is allocated.
    HealthCheckAllocated(bool),
    /// Whether the Service's first port has a node port.
    NodePortAllocated(bool),
    /// What becomes of a segment that a backend's host sends far out of the window of a connection that a
    /// pod has open to the ClusterIP. The pod must not see it, and the connection must go on. Asked in each
    /// family. The backends of a case that asks this hold their connections, and answer nothing else.
    StraySegment {
        /// The pod that calls.
        pod: String,
        /// The only backend.
        backend: String,
    },
    /// Flows of a Service with affinity, held against each other in each family. Each of them
    /// must reach one pod with all of its connections.
    Affinity {
        /// The flows. Each expects to reach.
        flows: Vec<FlowCheck>,
        /// What holds for all of them together.
        together: Together,
    },
}

/// Which of a node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAddress {
    /// The one that the Node object has.
    Primary,
    /// The other one, which is outside of `nodePortAddresses`.
    Other,
}

/// The path by which load balancers ask health check ports, if their owners ask for no other
/// (kubernetes/staging/src/k8s.io/cloud-provider/service/helpers/helper.go, `GetServiceHealthCheckPathPort`).
pub const HEALTH_PATH: &str = "/healthz";

/// What a proxy is asked of its own health (KEP-3836).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthPath {
    /// `/healthz`: whether load balancers may use the node.
    Healthz,
    /// `/livez`: whether the proxy works.
    Livez,
}

impl HealthPath {
    /// The path of the URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Healthz => "/healthz",
            Self::Livez => "/livez",
        }
    }
}

/// Which pods flows with affinity reach together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Together {
    /// One and the same: they are one client's, by several addresses of the Service.
    OnePod,
    /// Every pod that may answer: they are many clients', and each has drawn one.
    EveryPod,
}

impl Question {
    /// What a proxy must support to answer it.
    pub(super) fn features(&self) -> Vec<Feature> {
        match self {
            Self::Flow(flow) => vec![flow.to.feature()],
            Self::Affinity { flows, .. } => flows.iter().map(|flow| flow.to.feature()).collect(),
            Self::HealthCheck { at, .. } => match at {
                NodeAddress::Primary => vec![Feature::HealthCheckNodePort],
                NodeAddress::Other => {
                    vec![Feature::HealthCheckNodePort, Feature::NodePortAddresses]
                }
            },
            Self::HealthyNodes {
                by: BalancerCheck::HealthCheckNodePort,
                ..
            } => {
                vec![Feature::HealthCheckNodePort]
            }
            Self::HealthyNodes {
                by: BalancerCheck::NodePort,
                ..
            } => vec![Feature::NodePort],
            Self::HealthyNodes {
                by: BalancerCheck::ProxyHealth,
                ..
            } => vec![Feature::ProxyHealth],
            Self::StraySegment { .. } => vec![Feature::ClusterIp],
            Self::ProxyHealth { .. } => vec![Feature::ProxyHealth],
            Self::Held { .. }
            | Self::Answered(_)
            | Self::LostUntilNoticed(_)
            | Self::HealthCheckAllocated(_)
            | Self::NodePortAllocated(_) => Vec::new(),
        }
    }

    /// The traffic that it is about.
    pub fn traffic(&self) -> Option<&'static str> {
        match self {
            Self::Answered(name) | Self::LostUntilNoticed(name) => Some(name),
            _ => None,
        }
    }

    /// Whether its answer is that of the world as it is now. That traffic was answered and that flows go on is true of a world
    /// in which nothing has changed, too.
    pub(super) fn tells_of_now(&self) -> bool {
        let goes_on = |expect: &HeldExpectation| matches!(expect, HeldExpectation::GoesOn);
        match self {
            Self::Held { expect, .. } => !goes_on(expect),
            _ => self.traffic().is_none(),
        }
    }

    /// The flows that it makes.
    pub fn flows(&self) -> &[FlowCheck] {
        match self {
            Self::Flow(flow) => std::slice::from_ref(flow),
            Self::Affinity { flows, .. } => flows,
            Self::HealthCheck { .. }
            | Self::ProxyHealth { .. }
            | Self::HealthyNodes { .. }
            | Self::StraySegment { .. }
            | Self::Held { .. }
            | Self::Answered(_)
            | Self::LostUntilNoticed(_)
            | Self::HealthCheckAllocated(_)
            | Self::NodePortAllocated(_) => &[],
        }
    }

    /// Whether it is asked in this family.
    pub fn is_asked_in(&self, family: Family) -> bool {
        match self {
            Self::Flow(flow) => flow.is_asked_in(family),
            Self::HealthCheck { family: only, .. } | Self::HealthyNodes { family: only, .. } => {
                only.is_none_or(|only| only == family)
            }
            _ => true,
        }
    }

    /// The same in this family alone. Only flows, health check ports and healthy nodes are asked in families.
    #[must_use]
    pub fn only(self, only: Family) -> Self {
        let family = Some(only);
        match self {
            Self::Flow(flow) => Self::Flow(FlowCheck { family, ..flow }),
            Self::HealthCheck {
                node,
                at,
                path,
                local_endpoints,
                ..
            } => Self::HealthCheck {
                node,
                at,
                path,
                local_endpoints,
                family,
            },
            Self::HealthyNodes { by, nodes, .. } => Self::HealthyNodes { by, nodes, family },
            other => other,
        }
    }

    /// The same about another port of the Service. Only flows have one.
    #[must_use]
    pub fn on_port(self, port: &'static str) -> Self {
        match self {
            Self::Flow(flow) => Self::Flow(FlowCheck { port, ..flow }),
            other => other,
        }
    }

    /// The same with datagrams of this length. Only flows have any.
    #[must_use]
    pub fn of_length(self, length: Length) -> Self {
        match self {
            Self::Flow(flow) => Self::Flow(FlowCheck { length, ..flow }),
            other => other,
        }
    }
}

impl Target {
    /// What a proxy must support to serve it.
    pub(super) fn feature(&self) -> Feature {
        match self {
            Self::ClusterIp
            | Self::ClusterIpAt(_)
            | Self::ClusterIpWrongPort
            | Self::Unallocated => Feature::ClusterIp,
            Self::NodePort(_) | Self::Localhost => Feature::NodePort,
            Self::OtherNodePort(_) => Feature::NodePortAddresses,
            Self::ExternalIp(_) => Feature::ExternalIp,
            Self::Vip | Self::OtherVip | Self::VipAt(_) => Feature::LoadBalancer,
        }
    }
}

/// How the load balancer finds out whether a node is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerCheck {
    /// By HTTP on the health check node port: `externalTrafficPolicy: Local`.
    HealthCheckNodePort,
    /// By TCP on the node port: `externalTrafficPolicy: Cluster`.
    NodePort,
    /// By HTTP of the node's proxy (KEP-3836): `externalTrafficPolicy: Cluster` without a TCP node port.
    ProxyHealth,
}

/// Nodes with their weights, for people. That of one is not said.
pub fn weighed(nodes: &BTreeMap<String, u32>) -> String {
    let nodes = nodes.iter().map(|(name, weight)| match weight {
        1 => name.clone(),
        weight => format!("{name} ×{weight}"),
    });
    nodes.collect::<Vec<_>>().join("+")
}

/// Connections from one place to one target, and what should become of them. Their protocol is that
/// of the port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowCheck {
    /// Who calls.
    pub from: Place,
    /// What is called.
    pub to: Target,
    /// The name of the Service's port that is called; empty for the first.
    pub port: &'static str,
    /// How long its datagrams are, and their answers, which must come as long.
    pub length: Length,
    /// What should become of every connection.
    pub expect: Expectation,
    /// The only family in which it is asked, if there is one: of a Service that is not the same in both.
    pub family: Option<Family>,
}

impl FlowCheck {
    /// What is called, for people.
    pub fn target(&self) -> String {
        let target = match self.port {
            "" => self.to.to_string(),
            port => format!("{}:{port}", self.to),
        };
        match self.length {
            Length::Brief => target,
            length => format!("{target}, datagrams of {length}"),
        }
    }

    /// Whether it is asked in this family.
    pub fn is_asked_in(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    /// The node whose proxy decides what becomes of the flow, where that is certain beforehand: the
    /// node that is called, or the one that the caller runs on.
    pub fn deciding_node<'a>(&'a self, world: &'a World) -> Option<&'a str> {
        match (&self.to, &self.from) {
            (
                Target::NodePort(node)
                | Target::OtherNodePort(node)
                | Target::VipAt(node)
                | Target::ClusterIpAt(node),
                _,
            ) => Some(node),
            (_, Place::Node(node)) => Some(node),
            (_, Place::Pod(pod)) => Some(&world.pod(pod)?.node),
            (Target::ExternalIp(node), Place::External(_) | Place::LoadBalancer) => Some(node),
            (_, Place::External(_) | Place::LoadBalancer) => None,
        }
    }
}

/// What should become of every connection of a flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// A backend answers.
    Reaches(Reach),
    /// Refused, by RST or ICMP.
    Refused,
    /// Dropped silently: told apart from refused.
    Dropped,
    /// Served by no node: none rewrites it, and nobody answers. Whether it is dropped, refused, or
    /// travels on, is left open.
    Unserved,
    /// Served by no node, and sent on to the load balancer as it was, whatever becomes of it there.
    LeftToBalancer,
    /// One of these, in which implementations differ and all of them are right: by each value of the variation, what it
    /// is. Which of them is measured, connection by connection.
    Varies(Variation, Vec<(&'static str, Expectation)>),
}

/// Which backends answer, and how the connection comes to them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// The pods that may answer; each must, and no other may.
    pub pods: Vec<String>,
    /// Which pods of the workload they are, where their names are not known beforehand. There are no [`Self::pods`]
    /// then until a check begins.
    pub selected: Option<PodsOf>,
    /// The share that each pod should have, in the order of the pods, summing to 1. Says how many
    /// connections it takes to see every pod, also where shares are not judged.
    pub shares: Vec<f64>,
    /// Whether the shares are judged, by χ².
    pub judged: bool,
    /// Whether all connections must reach one pod, any of these: the client has drawn it once.
    pub sticky: bool,
    /// The peer that the backend sees.
    pub source: Source,
    /// The hops compared with the same connection sent straight to the pod.
    pub hops: Hops,
    /// The node by which the connection enters the cluster.
    pub entry: Entry,
    /// The imbalance between the pods, derived in the case: the largest share over the mean
    /// share. It follows from the shares, and is reported beside the measured one.
    pub imbalance: Option<f64>,
}

/// The peer that the backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The client's own address: kept.
    Preserved,
    /// An address of the node by which the connection entered: lost, masqueraded.
    EntryNode,
    /// The load balancer's own address: it answered the caller itself, and nodes kept the source of the connection that
    /// it opened to one of them.
    Balancer,
    /// The address of that node in the network of its nodes, or another one that is not in that of its pods.
    NodeAddress,
    /// The address of that node in the network of its pods.
    PodGateway,
}

/// Extra hops compared with the same connection sent straight to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hops {
    /// None.
    Direct,
    /// One when the pod runs on another node than the one by which the connection entered.
    OneIfRemote,
}

/// Where a connection enters the cluster, as the taps saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// By this node.
    Node(String),
    /// By a node of the load balancer's choice: each of these is chosen, and no other.
    Balanced(Vec<String>),
    /// The same of a load balancer that answers the caller itself. By which node its own connection entered, the pod that
    /// answered has seen: by the address of the node, or by coming without an extra hop.
    Proxied(Vec<String>),
}

impl Place {
    /// A flow from here to a target.
    pub fn calls(&self, to: Target, expect: Expectation) -> Question {
        Question::Flow(FlowCheck {
            from: self.clone(),
            to,
            port: "",
            length: Length::Brief,
            expect,
            family: None,
        })
    }
}

impl Reach {
    /// These pods, every one and no other, with equal shares that are not judged.
    pub fn pods(pods: &[&str], source: Source, hops: Hops, entry: Entry) -> Self {
        Self {
            pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
            selected: None,
            shares: vec![1.0 / pods.len() as f64; pods.len()],
            judged: false,
            sticky: false,
            source,
            hops,
            entry,
            imbalance: None,
        }
    }

    /// These pods of the workload in place of those that it names, with equal shares.
    #[must_use]
    pub fn of(self, selected: PodsOf) -> Self {
        Self {
            selected: Some(selected),
            ..self.named(Vec::new())
        }
    }

    /// The same, now that it is known who its pods are.
    #[must_use]
    pub fn named(self, pods: Vec<String>) -> Self {
        Self {
            shares: vec![1.0 / pods.len() as f64; pods.len()],
            pods,
            ..self
        }
    }

    /// The same with these shares, in the order of the pods.
    #[must_use]
    pub fn shares(self, shares: &[f64]) -> Self {
        Self {
            shares: shares.to_vec(),
            ..self
        }
    }

    /// The same with its shares judged.
    #[must_use]
    pub fn judged(self) -> Self {
        Self {
            judged: true,
            ..self
        }
    }

    /// The same with all connections at one of the pods.
    #[must_use]
    pub fn sticky(self) -> Self {
        Self {
            sticky: true,
            ..self
        }
    }

    /// The same with this imbalance.
    #[must_use]
    pub fn imbalance(self, imbalance: f64) -> Self {
        Self {
            imbalance: Some(imbalance),
            ..self
        }
    }

    /// Whether a load balancer is to answer the caller itself, on another connection than the one to the pod.
    pub fn is_proxied(&self) -> bool {
        matches!(self.entry, Entry::Proxied(_))
    }

    /// The nodes by which connections may enter; each must be seen.
    pub fn entries(&self) -> &[String] {
        match &self.entry {
            Entry::Node(node) => std::slice::from_ref(node),
            Entry::Balanced(nodes) | Entry::Proxied(nodes) => nodes,
        }
    }
}

impl Expectation {
    /// Who answers, if anybody is to, or may where implementations differ.
    pub fn reach(&self) -> Option<&Reach> {
        match self {
            Self::Reaches(reach) => Some(reach),
            Self::Varies(_, by_value) => by_value.iter().find_map(|(_, expect)| expect.reach()),
            Self::Refused | Self::Dropped | Self::Unserved | Self::LeftToBalancer => None,
        }
    }
}

impl From<Reach> for Expectation {
    fn from(reach: Reach) -> Self {
        Self::Reaches(reach)
    }
}

impl fmt::Display for FlowCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = self.family.map(|family| format!(", {family} only"));
        let family = family.unwrap_or_default();
        write!(
            f,
            "{} -> {}{family}: {}",
            self.from,
            self.target(),
            self.expect
        )
    }
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnePod => "one pod for all",
            Self::EveryPod => "one pod each, and every pod for some",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preserved => "the caller's own",
            Self::EntryNode => "the entry node's",
            Self::Balancer => "the load balancer's",
            Self::NodeAddress => "the entry node's outside of its pods' network",
            Self::PodGateway => "the entry node's in its pods' network",
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("dropped"),
            Self::Refused => f.write_str("refused"),
            Self::Unserved => f.write_str("unserved"),
            Self::LeftToBalancer => f.write_str("left to the load balancer"),
            Self::Varies(variation, by_value) => {
                let values = by_value.iter().map(|(value, _)| *value);
                let values = values.collect::<Vec<_>>().join(" or ");
                match self.reach() {
                    Some(reach) => write!(f, "{variation}, {values}: {}", reach.pods.join(" ")),
                    None => write!(f, "{variation}, {values}"),
                }
            }
            Self::Reaches(reach) => reach.fmt(f),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sticky && self.pods.len() > 1 {
            f.write_str("one of ")?;
        }
        match &self.selected {
            Some(selected) => selected.fmt(f)?,
            None => f.write_str(&self.pods.join(" "))?,
        }
        if self.judged {
            let parts: Vec<_> = self
                .shares
                .iter()
                .map(|s| format!("{:.0}", s * 100.0))
                .collect();
            write!(f, " {} %", parts.join("/"))?;
        }
        let hops = match self.hops {
            Hops::Direct => "+0",
            Hops::OneIfRemote => "+0 local, +1 remote",
        };
        write!(
            f,
            "; source {}; hops {hops}; by {}",
            self.source,
            self.entries().join("+")
        )
    }
}
