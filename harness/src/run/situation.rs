//! What a report says of the world and of a case's Service, so that a reader can see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::workload::Scene;
use crate::case::{Backend, Policy};
use crate::world::{Dual, Family, World};

/// The Service of a case as a check found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Situation {
    /// The check.
    pub check: String,
    /// `spec.type`.
    pub service_type: String,
    /// `externalTrafficPolicy`.
    pub external: Policy,
    /// `internalTrafficPolicy`.
    pub internal: Policy,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A pod of the Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// Its name.
    pub pod: String,
    /// The node that it runs on.
    pub node: String,
    /// Its state.
    pub state: EndpointState,
    /// The only family in which it is an endpoint, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The zones and nodes that it is meant for (`hints`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// The state of an endpoint, by its conditions.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointState {
    /// `ready`.
    Ready,
    /// `terminating` and `serving`.
    Terminating,
    /// Neither ready nor serving.
    NotServing,
}

/// The world of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorldInfo {
    /// Its nodes.
    pub nodes: Vec<NodeInfo>,
    /// Its pods, but for those of workloads.
    pub pods: Vec<PodInfo>,
    /// The clients outside the cluster.
    pub clients: Vec<ClientInfo>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeInfo {
    /// Its name in cases.
    pub name: String,
    /// The name of its Node object.
    pub object: String,
    /// Its zone.
    pub zone: String,
    /// Its addresses on the node network.
    pub addresses: [std::net::IpAddr; 2],
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodInfo {
    /// Its name.
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// Its addresses.
    pub addresses: [std::net::IpAddr; 2],
}

/// A client outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientInfo {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: [std::net::IpAddr; 2],
}

impl Situation {
    /// What a check finds.
    pub(super) fn of(check: &str, progress: &Progress, scene: &Scene) -> Self {
        let endpoint = |backend: &Backend| {
            let hints = backend.zones.iter().chain(&backend.nodes);
            Endpoint {
                pod: backend.pod.clone(),
                node: scene.node_of(&backend.pod),
                state: match (backend.ready, backend.serving) {
                    (true, _) => EndpointState::Ready,
                    (false, true) => EndpointState::Terminating,
                    (false, false) => EndpointState::NotServing,
                },
                family: backend.family,
                hints: hints.cloned().collect(),
            }
        };
        Self {
            check: check.to_owned(),
            service_type: progress.spec.kind.api_name().to_owned(),
            external: progress.spec.external,
            internal: progress.spec.internal,
            endpoints: match progress.workload {
                Some(_) => scene.endpoints(),
                None => progress.backends.iter().map(endpoint).collect(),
            },
        }
    }
}

impl From<&World> for WorldInfo {
    fn from(world: &World) -> Self {
        let both = |addresses: Dual| addresses.both();
        Self {
            nodes: world
                .nodes
                .iter()
                .map(|node| NodeInfo {
                    name: node.name.clone(),
                    object: node.object.clone(),
                    zone: node.zone.clone(),
                    addresses: both(node.address),
                })
                .collect(),
            pods: world
                .pods
                .iter()
                .map(|pod| PodInfo {
                    name: pod.name.clone(),
                    node: pod.node.clone(),
                    addresses: both(pod.address),
                })
                .collect(),
            clients: world
                .clients
                .iter()
                .map(|client| ClientInfo {
                    name: client.name.clone(),
                    addresses: both(client.address),
                })
                .collect(),
        }
    }
}
