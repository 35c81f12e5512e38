//! What became of one connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::world::Protocol;

/// What a backend says of itself and of the connection or the datagram that it got. JSON on the
/// wire: a line by TCP, and behind the header of the datagram by UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The pod that answered.
    pub pod: String,
    /// The node that the pod runs on.
    pub node: String,
    /// The port that it was called on. Each case has a port of its own, so that no
    /// other case's Service can answer for it unnoticed.
    pub port: u16,
    /// The peer that it saw.
    pub peer: SocketAddr,
    /// The TTL (IPv4) or hop limit (IPv6) with which the SYN or the datagram arrived.
    pub ttl: u8,
}

/// How a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// By a TCP RST.
    Reset,
    /// By an ICMP or ICMPv6 destination-unreachable message.
    Icmp {
        /// The message's type.
        kind: u8,
        /// The message's code, for example 3 (IPv4) or 4 (IPv6): port unreachable.
        code: u8,
        /// The host that sent it.
        from: IpAddr,
    },
}

impl Refusal {
    /// Whether somebody meant to refuse: by RST, or by an ICMP message that the port is
    /// unreachable or the connection prohibited. The other codes say that there was no way.
    pub fn is_deliberate(self) -> bool {
        match self {
            Self::Reset => true,
            Self::Icmp {
                kind,
                code,
                from: IpAddr::V4(_),
            } => kind == 3 && matches!(code, 3 | 9 | 10 | 13),
            Self::Icmp {
                kind,
                code,
                from: IpAddr::V6(_),
            } => kind == 1 && matches!(code, 1 | 4),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("RST"),
            Self::Icmp { kind, code, from } => {
                // The numbers mean other things in each.
                let version = if from.is_ipv6() { "v6" } else { "" };
                write!(f, "ICMP{version} {kind}/{code}")
            }
        }
    }
}

/// The outcome of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A backend answered.
    Reached {
        /// What it said.
        identity: Identity,
        /// From the call to the end of the answer.
        latency: Duration,
    },
    /// The call was refused.
    Refused(Refusal),
    /// The call was never answered, while the fence sent after it on the same path came back.
    Dropped,
    /// The handshake succeeded, and then no backend said who it was; or what answered was none.
    Broken(String),
}

impl Outcome {
    /// Whether a backend answered.
    pub fn is_reached(&self) -> bool {
        matches!(self, Self::Reached { .. })
    }

    /// In a word or two, by which calls are told apart.
    pub fn kind(&self) -> String {
        match self {
            Self::Reached { identity, .. } => format!("reached {}", identity.pod),
            Self::Refused(refusal) => format!("refused ({refusal})"),
            Self::Dropped => "dropped".to_owned(),
            Self::Broken(how) => format!("broken ({how})"),
        }
    }
}

/// One connection or datagram: its two ends as the caller saw them, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// The caller's address and port.
    pub local: SocketAddr,
    /// The address and port that were called.
    pub remote: SocketAddr,
    /// Its initial sequence number or its nonce, by which the taps know it.
    pub sequence: u32,
    /// Of a datagram that was to have a certain length, that of its IP packet, in octets.
    pub octets: Option<usize>,
    /// What became of it.
    pub outcome: Outcome,
}
