//! Values of arguments that are one of a few.

use clap::ValueEnum;
use onehop_harness::case::{self, BalancerMode};
use onehop_harness::world::{Family, Protocol};

/// How something is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For tools
    Json,
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum CompareFormat {
    /// For a terminal
    #[default]
    Text,
    /// GitHub-flavoured Markdown
    Markdown,
    /// A page that needs no network
    Html,
    /// For tools
    Json,
}

/// How many times as much: 1 or more.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if factor >= 1.0 && factor.is_finite() {
        Ok(factor)
    } else {
        Err("not 1 or more".to_owned())
    }
}

/// How cases are listed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum ListFormat {
    #[default]
    Text,
    Json,
    Markdown,
}

/// A traffic policy. Spelled as in the API.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Policy {
    #[default]
    Cluster,
    Local,
}

impl From<Policy> for case::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Cluster => Self::Cluster,
            Policy::Local => Self::Local,
        }
    }
}

/// A mode of the load balancer.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Balancer {
    #[default]
    Vip,
    NodePort,
    Weighted,
    Proxy,
}

impl From<Balancer> for BalancerMode {
    fn from(mode: Balancer) -> Self {
        match mode {
            Balancer::Vip => Self::Vip,
            Balancer::NodePort => Self::NodePort,
            Balancer::Weighted => Self::Weighted,
            Balancer::Proxy => Self::Proxy,
        }
    }
}

/// A transport protocol that is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArgument {
    #[default]
    Tcp,
    Udp,
}

impl From<ProtocolArgument> for Protocol {
    fn from(protocol: ProtocolArgument) -> Self {
        match protocol {
            ProtocolArgument::Tcp => Self::Tcp,
            ProtocolArgument::Udp => Self::Udp,
        }
    }
}

/// An address family. Spelled as in the API.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum FamilyArgument {
    #[default]
    #[value(name = "IPv4")]
    V4,
    #[value(name = "IPv6")]
    V6,
}

impl From<FamilyArgument> for Family {
    fn from(family: FamilyArgument) -> Self {
        match family {
            FamilyArgument::V4 => Self::V4,
            FamilyArgument::V6 => Self::V6,
        }
    }
}
