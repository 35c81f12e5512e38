//! What the proxy knows of the cluster: Services, endpoints and its own node, reduced to what
//! decides where a packet goes. Everything here was validated when it was read from the API.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// The name of a namespaced object. Ordered by namespace, then name. It is kept in many places, and its clones
/// share its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A transport protocol that a Service may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// `externalTrafficPolicy` or `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Endpoints of the whole cluster.
    #[default]
    Cluster,
    /// Endpoints of the node alone.
    Local,
}

/// A Service that is programmed: not headless, and not another proxy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// Its cluster addresses, at most one a family.
    pub cluster_ips: Vec<IpAddr>,
    /// Its `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer that nodes take traffic for (`ipMode: VIP`).
    pub vips: Vec<IpAddr>,
    /// `loadBalancerSourceRanges`; both families; empty: all sources.
    pub source_ranges: Vec<IpNet>,
    /// `externalTrafficPolicy`.
    pub external_policy: Policy,
    /// `internalTrafficPolicy`.
    pub internal_policy: Policy,
    /// Session affinity by client address, and its timeout in seconds.
    pub affinity: Option<u32>,
    /// Its `healthCheckNodePort`, of a load balancer Service under `externalTrafficPolicy: Local`.
    pub health_check_node_port: Option<u16>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty if it has none. Endpoint ports are found by it.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number on the Service's addresses.
    pub port: u16,
    /// Its number on the nodes.
    pub node_port: Option<u16>,
}

/// One endpoint of a Service in an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its node, if the slice says so.
    pub node: Option<Box<str>>,
    /// `conditions.ready`, true if absent.
    pub ready: bool,
    /// `conditions.serving`, true if absent.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `hints.forZones`.
    pub zones: BTreeSet<Box<str>>,
    /// `hints.forNodes`.
    pub nodes: BTreeSet<Box<str>>,
}

/// What an EndpointSlice says: its endpoints, each on all of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The Service, by its label.
    pub service: ObjectName,
    /// The family of all its addresses.
    pub family: Family,
    /// Its ports.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Its name, which is the Service port's.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number on the endpoints.
    pub port: u16,
}

/// The node that the proxy runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Box<str>,
    /// Its zone, from `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// Its own addresses, from `status.addresses`: internal before external ones, so that the first of a family
    /// is what kube-proxy calls the node IP.
    pub addresses: Vec<IpAddr>,
    /// Its ports of TCP by which the cluster asks after it: the kubelet's, from
    /// `status.daemonEndpoints.kubeletEndpoint`, and those where this proxy serves its health and metrics.
    pub own_ports: BTreeSet<u16>,
}
