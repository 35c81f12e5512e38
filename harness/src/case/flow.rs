//! Who calls, and which address is called.

use std::fmt;

use serde::Serialize;

use crate::world::LOAD_BALANCER;

/// Where a flow starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A client outside the cluster, by name.
    External(String),
    /// A pod, by name.
    Pod(String),
    /// A node's own processes, by the node's name.
    Node(String),
    /// The load balancer's own host: a client outside that can choose the node by which it enters.
    LoadBalancer,
}

impl Place {
    /// The name of the host that calls.
    pub fn host(&self) -> &str {
        match self {
            Self::External(name) | Self::Pod(name) | Self::Node(name) => name,
            Self::LoadBalancer => LOAD_BALANCER,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(name) => write!(f, "external({name})"),
            Self::Pod(name) => write!(f, "pod({name})"),
            Self::Node(name) => write!(f, "node({name})"),
            Self::LoadBalancer => f.write_str("load-balancer"),
        }
    }
}

/// A client outside the cluster.
pub fn external(client: &str) -> Place {
    Place::External(client.to_owned())
}

/// A pod as a client.
pub fn pod(name: &str) -> Place {
    Place::Pod(name.to_owned())
}

/// A process in a node's own network as a client.
pub fn node(name: &str) -> Place {
    Place::Node(name.to_owned())
}

/// The address that a flow calls. Which numbers it stands for depends on the case's Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The Service's ClusterIP.
    ClusterIp,
    /// The Service's ClusterIP, sent to this node as a network does that routes the range of ClusterIPs to nodes. Only
    /// [`Place::LoadBalancer`] can do that.
    ClusterIpAt(String),
    /// The Service's ClusterIP, on a port that the Service does not have.
    ClusterIpWrongPort,
    /// A service address that no Service has.
    Unallocated,
    /// The Service's external address that the network sends to this node.
    ExternalIp(String),
    /// The Service's node port on this node.
    NodePort(String),
    /// The same port on this node's other address, which is outside of `nodePortAddresses`.
    OtherNodePort(String),
    /// The Service's node port on the loopback address of the node that calls. There is none of IPv6 that a node could
    /// rewrite to another host's: its kernel lets nothing from `::1` leave.
    Localhost,
    /// The Service's load-balancer address.
    Vip,
    /// The second load-balancer address of a Service that has two.
    OtherVip,
    /// The Service's load-balancer address, sent to this node whether it is healthy or not. Only
    /// [`Place::LoadBalancer`] can do that.
    VipAt(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterIp => f.write_str("cluster-ip"),
            Self::ClusterIpAt(node) => write!(f, "cluster-ip@{node}"),
            Self::ClusterIpWrongPort => f.write_str("cluster-ip, wrong port"),
            Self::Unallocated => f.write_str("unallocated service address"),
            Self::ExternalIp(node) => write!(f, "external-ip@{node}"),
            Self::NodePort(node) => write!(f, "node-port@{node}"),
            Self::OtherNodePort(node) => write!(f, "node-port@{node}, other address"),
            Self::Localhost => f.write_str("node-port@localhost"),
            Self::Vip => f.write_str("vip"),
            Self::OtherVip => f.write_str("vip, the second"),
            Self::VipAt(node) => write!(f, "vip@{node}"),
        }
    }
}
