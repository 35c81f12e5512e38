//! What a lab is made of beside its hosts: this differs from provider to provider.

use std::io;
use std::path::Path;

use super::netns::Netns;
use super::{LabError, NodeProxy, evidence};
use crate::balancer::View;
use crate::cluster::Cluster;
use crate::timing::Timing;
use crate::world::World;

/// Who provides a lab.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Network namespaces of this machine.
    Netns(Box<Netns>),
    /// A cluster.
    Cluster(Box<Cluster>),
}

/// What has become of the proxies under test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFates {
    /// How often one was started again.
    pub restarts: u32,
    /// How often one exited after it was ready.
    pub exits: u32,
    /// What is known of those exits, one text a node.
    pub texts: Vec<String>,
}

impl Provider {
    /// The network namespaces that it is made of, if it is.
    pub(crate) fn netns(&self) -> Option<&Netns> {
        match self {
            Self::Netns(netns) => Some(netns),
            Self::Cluster(_) => None,
        }
    }

    /// What it is: for results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Netns(_) => "netns",
            Self::Cluster(cluster) => cluster.provider,
        }
    }

    /// What its Kubernetes API is: for results.
    pub(crate) fn api_name(&self) -> String {
        match self {
            Self::Netns(netns) => netns.api().name().to_owned(),
            Self::Cluster(cluster) => format!("kube-apiserver {}", cluster.version),
        }
    }

    /// How a Service (`namespace/name`) is served by the load balancer; nothing if it is not.
    pub(crate) async fn view(&self, service: &str) -> Result<Option<View>, LabError> {
        match self {
            Self::Netns(netns) => Ok(netns.balancer().view(service)),
            Self::Cluster(cluster) => cluster.view(service).await,
        }
    }

    /// What does not work of the load balancer.
    pub(crate) async fn problems(&self) -> Result<Vec<String>, LabError> {
        match self {
            Self::Netns(netns) => Ok(netns.balancer().problems()),
            Self::Cluster(cluster) => cluster.problems().await,
        }
    }

    /// What has become of the proxies.
    pub(crate) async fn fates(&self) -> Result<ProxyFates, LabError> {
        match self {
            Self::Netns(netns) => {
                let proxies = netns.proxies();
                let exits: Vec<_> = proxies
                    .iter()
                    .filter_map(NodeProxy::unexpected_exit)
                    .collect();
                Ok(ProxyFates {
                    restarts: proxies.iter().map(NodeProxy::restarts).sum(),
                    exits: exits.iter().map(|exit| exit.exits).sum(),
                    texts: exits.iter().map(ToString::to_string).collect(),
                })
            }
            Self::Cluster(cluster) => cluster.fates().await,
        }
    }

    /// Leaves everything as it was that does not end by itself.
    pub(crate) async fn end(&self, timing: &Timing) -> Result<(), LabError> {
        match self {
            Self::Netns(_) => Ok(()),
            Self::Cluster(cluster) => cluster.end(timing).await,
        }
    }

    /// Writes the rules and connections of each node and of the load balancer, and the proxies'
    /// logs, to a directory.
    pub(crate) async fn evidence(&self, world: &World, dir: &Path) -> io::Result<()> {
        match self {
            Self::Netns(netns) => evidence::capture(netns, world, dir).await,
            Self::Cluster(cluster) => cluster.evidence(world, &evidence::COMMANDS, dir).await,
        }
    }
}
