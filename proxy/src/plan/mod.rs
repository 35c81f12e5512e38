//! What the kernel of one node should do for each Service. Pure: the world in, desired handling out.
//!
//! A [`ServicePlan`] depends on nothing but its own Service, the slices of that Service, and the node,
//! so that a change to one Service plans that Service anew and no other.

mod endpoints;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::model::{Family, ObjectName, Protocol};

pub use service::service;
pub(crate) use service::{own_cluster_ips, own_ports};

/// All that one node does for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// The Service.
    pub name: ObjectName,
    /// Its cluster addresses: a port of theirs that no front has is refused.
    pub cluster_ips: Vec<IpAddr>,
    /// One for each of its ports and families.
    pub ports: Vec<PortPlan>,
    /// Its health check port.
    pub health: Option<HealthPlan>,
}

/// One port of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// The family.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// The name of the Service port.
    pub port_name: Box<str>,
    /// Endpoints for traffic under policy Cluster. Sorted, none twice. Empty unless a front sends traffic there,
    /// which [`Handling::ExternalLocal`] does as well.
    pub cluster: Vec<SocketAddr>,
    /// Endpoints for traffic under policy Local. Sorted, none twice. Empty unless a front is Local.
    pub local: Vec<SocketAddr>,
    /// Every endpoint that may still serve, by any policy: established UDP flows to others are ended. Sorted,
    /// none twice.
    pub serving: Vec<SocketAddr>,
    /// Endpoint addresses that may be clients of this node: those on it, and those whose node is unknown.
    /// A connection from one of them to itself is masqueraded. Sorted, none twice.
    pub hairpins: Vec<IpAddr>,
    /// Session affinity, in seconds, among all fronts.
    pub affinity: Option<u32>,
    /// Sources that may use the fronts of kind [`FrontKind::LoadBalancer`], of this family; `None`: all may.
    /// Sorted, and no two overlap.
    pub source_ranges: Option<Vec<IpNet>>,
    /// The addresses under which clients reach it. Sorted; no two have the same address and port.
    pub fronts: Vec<Front>,
}

/// An address and port under which clients reach a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// The address; `None` for the node port, which every address for node ports has.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// What kind of address it is.
    pub kind: FrontKind,
    /// What happens to a new connection.
    pub handling: Handling,
}

/// The kind of an address of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontKind {
    /// `clusterIPs`.
    ClusterIp,
    /// A port on the nodes' own addresses.
    NodePort,
    /// `externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
}

/// What happens to a new connection to a [`Front`], by the class of its client (`behaviour.md`, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handling {
    /// A cluster address under policy Cluster: to `cluster`; masqueraded unless the client is a pod
    /// (if the proxy can tell), or if all is masqueraded.
    InternalCluster,
    /// A cluster address under policy Local: to `local`; masqueraded as above.
    InternalLocal,
    /// An outside address under policy Cluster: to `cluster`, masqueraded.
    ExternalCluster,
    /// An outside address under policy Local: pods to `cluster`, their address kept; the node itself to
    /// `cluster`, masqueraded; all others to `local`, their address kept, or dropped if that is empty.
    ExternalLocal,
    /// No client gets anywhere, without an answer: usable endpoints exist, and the policy excludes them.
    Drop,
    /// No client gets anywhere, and is told so: there is no usable endpoint at all.
    Reject,
}

/// A health check port that is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// The port (`healthCheckNodePort`).
    pub port: u16,
    /// For each family of the Service, and so for each listener: how many distinct addresses of ready endpoints
    /// of that family are on the node. A family without an entry is not listened on: a pod of a dual-stack
    /// Service counts once for whoever asks, and an IPv4 Service has no port on IPv6 addresses
    /// (kube-proxy runs one health server a family, `healthcheck/service_health.go`).
    pub local_endpoints: BTreeMap<Family, u32>,
}
