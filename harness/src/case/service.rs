//! The Service of a case and its backends.

use std::fmt;

use serde::Serialize;

use super::Feature;
use crate::world::Protocol;

/// A traffic policy, external or internal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerMode {
    /// Routes the load-balancer address to a node; the packet keeps its destination.
    Vip,
    /// Rewrites the destination to a node's address and the Service's node port.
    NodePort,
}

impl BalancerMode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Vip, Self::NodePort];

    /// Its name in case ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::NodePort => "node-port",
        }
    }

    /// The `spec.loadBalancerClass` that asks for it.
    pub fn load_balancer_class(self) -> &'static str {
        match self {
            Self::Vip => "onehop.dev/vip",
            Self::NodePort => "onehop.dev/node-port",
        }
    }
}

/// A Service's type, as far as cases use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceType {
    /// `ClusterIP`.
    ClusterIp,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`, served by the lab's load balancer in this mode.
    LoadBalancer(BalancerMode),
}

impl ServiceType {
    /// The value of `spec.type`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer(_) => "LoadBalancer",
        }
    }
}

/// The Service of a case: dual stack, one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its type.
    pub kind: ServiceType,
    /// `externalTrafficPolicy`.
    pub external: Policy,
    /// `internalTrafficPolicy`.
    pub internal: Policy,
    /// The protocol of its port.
    pub protocol: Protocol,
}

impl Service {
    /// A Service of this type under both Cluster policies.
    pub fn new(kind: ServiceType) -> Self {
        Self {
            kind,
            external: Policy::Cluster,
            internal: Policy::Cluster,
            protocol: Protocol::Tcp,
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

    /// What a cluster must offer for this Service to work.
    pub fn features(self) -> Vec<Feature> {
        let mut features = vec![match self.kind {
            ServiceType::ClusterIp => Feature::ClusterIp,
            ServiceType::NodePort => Feature::NodePort,
            ServiceType::LoadBalancer(_) => Feature::LoadBalancer,
        }];
        if self.external == Policy::Local {
            features.push(Feature::ExternalTrafficPolicy);
        }
        if self.internal == Policy::Local {
            features.push(Feature::InternalTrafficPolicy);
        }
        features
    }
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
}

impl Backend {
    /// A ready endpoint.
    pub fn ready(pod: &str) -> Self {
        Self {
            pod: pod.to_owned(),
            ready: true,
            serving: true,
            terminating: false,
        }
    }

    /// An endpoint that is being deleted and still serves.
    pub fn terminating(pod: &str) -> Self {
        Self {
            pod: pod.to_owned(),
            ready: false,
            serving: true,
            terminating: true,
        }
    }
}
