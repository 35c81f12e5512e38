//! Real clusters: a client for one of a kubeconfig's, and labs on them, whoever made them.
//!
//! ```text
//! discover (Nodes → World) ─► objects (namespace, pods, agents) ─► agents (sessions) ─► Lab
//! ```
//! Pods run nothing but a process that waits; an agent on their node, a DaemonSet's pod, acts in
//! their networks and in the node's. The way to the agents is the API's port forwarding, so that an
//! agent listens on its node's loopback alone.

mod agents;
mod context;
mod discover;
mod error;
mod existing;
mod lab;
mod lease;
mod network;
mod objects;
mod provider;
mod publish;
mod wait;
mod workload;

pub use agents::AGENT_PORT;
pub use context::{ContextError, client, contexts};
pub(crate) use discover::{dual, networks};
pub use error::ClusterError;
pub(crate) use existing::service_ranges;
pub use existing::{ExistingOptions, abandon, clean, start};
pub(crate) use lab::{ClusterParts, Prepared, nodes_ready, prepare};
pub use network::{PodNetworkError, keep as keep_pod_network};
pub use objects::{PodImage, RunId};
pub(crate) use provider::{Cluster, NodeCommands, ProxyPods, Secretive};
pub use publish::publish;
pub(crate) use wait::until;
pub(crate) use workload::{CASE_LABEL, NamedPort, WorkloadPod};
