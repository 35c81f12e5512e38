//! What can go wrong with a lab on a cluster.

use crate::agent::AgentError;
use crate::lab::{BaselineError, LabError};

/// A lab that could not be built on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API refused something.
    #[error("failed to {what} through the cluster's API")]
    Object {
        /// What was tried.
        what: String,
        /// What the API answered.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something on a host of the lab.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The pod network does not carry connections as it must.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Something did not come about in time.
    #[error("{what} within {seconds} s: {state}")]
    NotInTime {
        /// What was waited for, in the negative.
        what: String,
        /// How long.
        seconds: u64,
        /// How far it has come.
        state: String,
    },
    /// The cluster is too small.
    #[error(
        "the lab needs {needed} nodes that are ready and take pods, and the cluster has {found}"
    )]
    TooFewNodes {
        /// How many it needs.
        needed: usize,
        /// Those that there are.
        found: usize,
    },
    /// A node lacks what every node must have.
    #[error("the node {node} has {what}")]
    Node {
        /// The node.
        node: String,
        /// What it lacks.
        what: String,
    },
    /// A node could not be stopped, or its processes do not go on.
    #[error("failed to {} {node}: {why}", if *.stopped { "stop" } else { "start" })]
    Stop {
        /// The node.
        node: String,
        /// Whether it was to be stopped.
        stopped: bool,
        /// Why not.
        why: String,
    },
    /// Another run is under way.
    #[error(
        "another run of onehop uses the cluster: {holder}; wait for it, or end it and run \
         `onehop clean` half a minute later"
    )]
    InUse {
        /// Who it is: machine, process, run.
        holder: String,
    },
    /// The namespace is somebody else's.
    #[error(
        "the cluster has a namespace onehop that onehop did not make (it has no label \
         onehop.dev/run); it is left as it is: remove it yourself, or use another cluster"
    )]
    Stranger,
    /// No ConfigMap has this name.
    #[error("`{name}` is no ConfigMap: name it as NAMESPACE/NAME")]
    ConfigMap {
        /// The name.
        name: String,
    },
    /// There are no random octets.
    #[error("failed to read random octets")]
    Random(#[source] std::io::Error),
    /// A tunnel to an agent.
    #[error("failed to reach the agent on {node} through the cluster's API")]
    Tunnel {
        /// The node.
        node: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ClusterError {
    /// For `map_err` on requests to the API.
    pub(crate) fn object(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Object {
            what,
            source: Box::new(source),
        }
    }
}

impl From<ClusterError> for LabError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Object { what, source } => Self::Object { what, source },
            ClusterError::Agent(error) => Self::Agent(error),
            other => Self::Cluster(Box::new(other)),
        }
    }
}
