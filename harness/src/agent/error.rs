//! What an agent could not do.

use std::io;

use serde::{Deserialize, Serialize};

use crate::balancer::BalancerError;
use crate::error::chain;
use crate::netns::NetworkError;
use crate::probe::{BackendError, ProbeError};
use crate::stray::{EchoError, StrayError};
use crate::tap::TapError;

/// Something that an agent could not do. It says nothing about the proxy under test.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The taps.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A backend of a connection that strays are sent of.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// A stray segment.
    #[error(transparent)]
    Stray(#[from] StrayError),
    /// The network outside of a cluster.
    #[error(transparent)]
    Network(Box<NetworkError>),
    /// The load balancer.
    #[error(transparent)]
    Balancer(Box<BalancerError>),
    /// A host has no such socket, setting or process.
    #[error("failed to {what} on {host}")]
    Host {
        /// The host.
        host: String,
        /// What was tried.
        what: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// There is no such host, or nothing of that number is open.
    #[error("the agent has no {0}")]
    Unknown(String),
    /// An agent elsewhere could not do it.
    #[error("the agent of {agent} failed: {said}")]
    There {
        /// The machine of the agent.
        agent: String,
        /// Whether it only says that the taps cannot tell a way.
        blind: bool,
        /// What it said.
        said: String,
    },
    /// The agent has gone away, or never answered.
    #[error("lost the agent of {agent}: {why}")]
    Gone {
        /// The machine of the agent.
        agent: String,
        /// What is known of it.
        why: String,
    },
}

impl From<NetworkError> for AgentError {
    fn from(error: NetworkError) -> Self {
        Self::Network(Box::new(error))
    }
}

impl From<BalancerError> for AgentError {
    fn from(error: BalancerError) -> Self {
        Self::Balancer(Box::new(error))
    }
}

impl AgentError {
    /// Whether it only says that the taps cannot tell the way of a connection, because packets
    /// were lost or are forgotten by now.
    pub fn is_blindness(&self) -> bool {
        match self {
            Self::Tap(error) => matches!(error, TapError::Lost(_) | TapError::Forgotten),
            Self::There { blind, .. } => *blind,
            _ => false,
        }
    }

    /// Whether it only says that the taps lost packets.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Tap(TapError::Lost(_)))
    }

    /// For `map_err` on what the kernel of a host refuses.
    pub(super) fn host(host: &str, what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let (host, what) = (host.to_owned(), what.into());
        move |source| Self::Host { host, what, source }
    }
}

/// An error as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) blind: bool,
    pub(super) said: String,
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self {
            blind: error.is_blindness(),
            said: chain(&error),
        }
    }
}
