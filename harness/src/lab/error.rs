//! What can go wrong with a lab.

use super::{ApiError, BaselineError, DirectoryError, ProxyError};
use crate::agent::AgentError;
use crate::balancer::BalancerError;
use crate::case::Place;
use crate::cluster::ClusterError;
use crate::netns::NetworkError;
use crate::probe::Connection;

/// A lab that could not be built, or broke.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Something on one of its hosts: a probe, a backend, the taps.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The network without a proxy does not behave as it must.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Its API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An object.
    #[error("failed to {what} through the API")]
    Object {
        /// What was tried.
        what: String,
        /// What the API answered.
        #[source]
        source: Box<kube::Error>,
    },
    /// Its load balancer.
    #[error(transparent)]
    Balancer(#[from] BalancerError),
    /// The proxy under test.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The load balancer gave a Service no address.
    #[error("the load balancer gave the Service no address; its problems: {problems}")]
    NoVip {
        /// What it says of itself.
        problems: String,
    },
    /// What became of connections to a Service kept changing.
    #[error(
        "what became of the connections did not settle within {seconds} s, the last was \
         {last}; look at the proxy in a lab of its own: onehop lab up"
    )]
    Unsettled {
        /// How long they were observed.
        seconds: u64,
        /// What became of the last one.
        last: String,
    },
    /// A node still serves a Service that is gone.
    #[error("{node} still serves the Service after its deletion, at {addresses}")]
    Undeleted {
        /// The node.
        node: String,
        /// Its addresses that are not gone.
        addresses: String,
    },
    /// The pods of a workload were not the same at the end of a round of questions.
    #[error("the pods changed while they were judged: {before} became {now}")]
    Moved {
        /// At the beginning of the round.
        before: String,
        /// At its end.
        now: String,
    },
    /// A pod of a workload could not be told what to say of itself.
    #[error("failed to tell {pod} whether it is ready: {said}")]
    Untold {
        /// The pod.
        pod: String,
        /// What it said.
        said: String,
    },
    /// A test of the suite could not make the proxy wrong.
    #[error("failed to make the proxy wrong: {0}")]
    Sabotage(String),
    /// The taps did not see a connection that must have crossed an interface.
    #[error("no tap saw {from} make this connection: {connection:?}")]
    Unseen {
        /// Who called.
        from: Place,
        /// The connection.
        connection: Box<Connection>,
    },
    /// The cluster that it is on.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl LabError {
    /// Whether it only says that the taps cannot tell the way of a connection, because packets
    /// were lost or are forgotten by now.
    pub fn is_blindness(&self) -> bool {
        matches!(self, Self::Unseen { .. })
            || matches!(self, Self::Agent(error) if error.is_blindness())
    }

    /// Whether it only says that the taps lost packets: what they were to see can be done again.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, Self::Agent(error) if error.is_loss())
    }

    /// For `map_err` on requests to the API.
    pub fn object(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Object {
            what,
            source: Box::new(source),
        }
    }
}
