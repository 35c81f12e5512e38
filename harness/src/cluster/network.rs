//! A plain pod network for clusters that onehop makes: the plugins ptp and host-local, configured on
//! each node, and a route to the pods of each other node.
//!
//! It does what kind's own plugin does beside masquerading. A process of it runs on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::discover::{addresses, pod_cidrs};
use crate::netns::{Host, Namespace, NetworkError};
use crate::world::Family;

/// The nodes' interface to each other.
const INTERFACE: &str = "eth0";

/// A pod network that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// The node's own network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The API cannot be watched.
    #[error("failed to watch the nodes")]
    Watch(#[source] Box<watcher::Error>),
    /// The plugins' configuration.
    #[error("failed to write {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Keeps the pod network of this node as the Nodes of the cluster want it, for ever.
///
/// # Errors
/// When the kernel or the file system refuses.
pub async fn keep(client: Client, node: &str, configuration: &Path) -> Result<(), PodNetworkError> {
    let own = Namespace::own(node).map_err(|source| NetworkError::Namespace {
        host: node.to_owned(),
        source,
    })?;
    let mut network = PodNetwork {
        node: node.to_owned(),
        configuration: configuration.to_owned(),
        host: Host::of(own)?,
        routes: BTreeMap::new(),
    };
    let nodes: Api<NodeObject> = Api::all(client);
    let events = watcher(nodes, watcher::Config::default());
    let mut events = std::pin::pin!(events);
    loop {
        let next = events.try_next().await;
        match next {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => {
                network.take(&object).await?;
            }
            Ok(Some(Event::Delete(object))) => network.forget(&object).await?,
            Ok(Some(Event::Init | Event::InitDone)) => {}
            Ok(None) => return Ok(()),
            // The watcher goes on by itself, with a pause.
            Err(error) => tracing::warn!(error = crate::error::chain(&error), "the watch broke"),
        }
    }
}

/// The pod network as one node knows it.
struct PodNetwork {
    node: String,
    configuration: PathBuf,
    host: Host,
    /// The ways to the other nodes' pods, by the nodes' names.
    routes: BTreeMap<String, BTreeSet<(IpNet, IpAddr)>>,
}

impl PodNetwork {
    async fn take(&mut self, object: &NodeObject) -> Result<(), PodNetworkError> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let cidrs = pod_cidrs(object);
        if cidrs.is_empty() {
            return Ok(());
        }
        if name == self.node {
            return self.configure(&cidrs);
        }
        let wanted = routes(&cidrs, &addresses(object));
        let known = self.routes.entry(name).or_default();
        for (to, via) in wanted.difference(known) {
            self.host.route(*to, Some(*via), INTERFACE).await?;
        }
        *known = wanted;
        Ok(())
    }

    async fn forget(&mut self, object: &NodeObject) -> Result<(), PodNetworkError> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        for (to, _) in self.routes.remove(name).unwrap_or_default() {
            self.host.unroute(to, INTERFACE).await?;
        }
        Ok(())
    }

    /// Tells the kubelet's plugins. The file comes into being whole: the runtime reads it at once.
    fn configure(&self, cidrs: &[IpNet]) -> Result<(), PodNetworkError> {
        let failed = |source| PodNetworkError::File {
            path: self.configuration.clone(),
            source,
        };
        let text = conflist(cidrs).to_string();
        if fs::read_to_string(&self.configuration).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let new = self.configuration.with_extension("new");
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, &self.configuration).map_err(failed)
    }
}

/// The ways to the pods of a node, by its address of each family.
fn routes(cidrs: &[IpNet], addresses: &[IpAddr]) -> BTreeSet<(IpNet, IpAddr)> {
    let via = |cidr: &IpNet| {
        let family = Family::of(cidr.addr());
        let mut own = addresses.iter().filter(|ip| Family::of(**ip) == family);
        own.next().map(|address| (*cidr, *address))
    };
    cidrs.iter().filter_map(via).collect()
}

/// The plugins' configuration of a node with these ranges (containernetworking/cni SPEC.md, plugins/main/ptp).
fn conflist(cidrs: &[IpNet]) -> Value {
    let ranges: Vec<_> = cidrs
        .iter()
        .map(|cidr| json!([{ "subnet": cidr }]))
        .collect();
    let everywhere = |cidr: &IpNet| match cidr {
        IpNet::V4(_) => json!({ "dst": "0.0.0.0/0" }),
        IpNet::V6(_) => json!({ "dst": "::/0" }),
    };
    let routes: Vec<_> = cidrs.iter().map(everywhere).collect();
    json!({
        "cniVersion": "0.4.0",
        "name": "onehop",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-ipam-state",
                    "ranges": ranges,
                    "routes": routes,
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_both_families_are_routed_by_the_nodes_address_of_theirs() {
        let cidrs = ["10.244.1.0/24", "fd00:10:244:1::/64"];
        let cidrs = cidrs.map(|cidr| cidr.parse().expect("a network"));
        let addresses = ["fc00::3", "172.18.0.3"].map(|ip| ip.parse().expect("an address"));
        let routes: Vec<_> = routes(&cidrs, &addresses).into_iter().collect();
        assert_eq!(routes, [(cidrs[0], addresses[1]), (cidrs[1], addresses[0])]);
        let config = conflist(&cidrs);
        let ranges = &config["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges[1][0]["subnet"], "fd00:10:244:1::/64");
    }
}
