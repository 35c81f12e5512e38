//! What may be asked of an agent elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::error::Failure;
use super::node::NodeSettings;
use crate::probe::Batch;
use crate::stray::{Opened, Sent};
use crate::timing::Timing;
use crate::world::{Pod, World};

/// The version of what is below. Both ends are of one build, unless somebody mixes images.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every answer is: octets of what the request's documentation says, or why not.
pub(super) type Answer = Result<ByteBuf, Failure>;

/// How a session begins. It has a secret, and no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: String,
    /// What the agent was started with.
    pub(super) token: String,
    /// The agent's number, which no other of the lab has: its probes take their sequence numbers
    /// from a share of their own.
    pub(super) number: u8,
    /// Since when sightings count their time.
    pub(super) epoch: Duration,
    pub(super) timing: Timing,
}

/// A request. Some have secrets, and it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first of a session. Answers nothing.
    Hello(Box<Hello>),
    /// Changes the machine's own network, until the session ends. Answers nothing.
    Settle(NodeSettings),
    /// Becomes a node and pods that run on it, which are known by the run's name and theirs. Answers
    /// the addresses of the node's interfaces and by which start of its machine they are, `(Vec<IpAddr>, String)`.
    Node {
        node: String,
        run: String,
        pods: Vec<String>,
    },
    /// Takes further pods of a run on, that have come to the node since, and taps every interface that has. They stay
    /// until the session ends, whatever becomes of them. Answers nothing.
    Adopt { run: String, pods: Vec<String> },
    /// Becomes everything outside of a cluster: clients, router, load balancer. Answers nothing.
    Outside(Box<World>),
    /// Starts the load balancer, with a kubeconfig by which it reaches the API. Answers nothing.
    Balance(String),
    /// How a Service is served by the load balancer. Answers `Option<View>`.
    View(String),
    /// What does not work of the load balancer. Answers `Vec<String>`.
    Problems,
    /// Makes these calls from a host. Answers `Vec<Connection>`.
    Call { host: String, batch: Batch },
    /// Makes these calls from a host, and keeps them. Answers `(Vec<Connection>, u64)`, with the number of what is
    /// kept.
    Open { host: String, batch: Batch },
    /// Asks flows again that are kept. Answers `Vec<Connection>`.
    Ask { host: String, flows: u64 },
    /// What the taps have seen of these numbers. Answers `Seen`.
    Seen(Vec<u32>),
    /// Gets a path from a server. Answers `HttpOutcome`.
    Get {
        host: String,
        server: SocketAddr,
        path: String,
    },
    /// Opens backends. Answers the number of what is kept.
    Listen { pod: Pod, ports: Vec<u16> },
    /// Opens backends that say back what they are told. Answers the number of what is kept.
    Echo { pod: String, ports: Vec<u16> },
    /// Opens a connection for a stray segment. Answers `Result<(u64, Opened), String>`, with the number of what is
    /// kept.
    OpenForStray {
        host: String,
        remote: SocketAddr,
        backend: IpAddr,
    },
    /// Sends a stray segment. Answers `(u64, Sent)`, with the number of what is kept.
    SendStray {
        host: String,
        address: SocketAddr,
        opened: Opened,
    },
    /// What became of a stray segment. Answers its `Outcome`.
    OutcomeOfStray { caller: u64, sent: Sent },
    /// Closes what is kept by this number. Answers nothing.
    Release(u64),
}
