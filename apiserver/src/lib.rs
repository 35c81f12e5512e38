//! The embedded Kubernetes API that onehop's lab serves to a Service proxy.
//!
//! [`ApiServer`] keeps objects in memory and serves them over plain HTTP/1.1, as a kube-apiserver does, to the real
//! kube-proxy, to kube-rs and to kubectl. It reproduces Kubernetes 1.36 for the resources that Service traffic depends
//! on: nodes, pods, services, endpointslices, servicecidrs, namespaces, events, leases and configmaps.
//!
//! # Invariants
//! - Everything but `http` is free of I/O; `service`, `selector`, `patch` and `validate` are pure.
//! - A write reads, checks and stores under one lock; allocations become real with the store and never before.
//! - No input panics: what a client can send is answered with a `Status`.
#![forbid(unsafe_code)]

mod codec;
mod field;
mod http;
mod identity;
mod lifecycle;
mod patch;
mod resource;
mod selector;
mod serve;
mod service;
mod status;
mod store;
mod validate;

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::json;

use lifecycle::PERMANENT_NAMESPACES;
use resource::{Kind, by_kind};
use service::{Family, Pools};
use store::{Applied, Store};

/// What the embedded API allocates from.
#[derive(Clone, Debug)]
pub struct Config {
    /// One range of cluster addresses per family; the first is the primary family.
    pub service_cidrs: Vec<IpNet>,
    /// Node ports and health check node ports.
    pub node_ports: RangeInclusive<u16>,
}

impl Default for Config {
    fn default() -> Self {
        let network = |address: [u16; 8], length| {
            IpNet::new(std::net::Ipv6Addr::from(address).into(), length).ok()
        };
        let first = IpNet::new(std::net::Ipv4Addr::new(10, 96, 0, 0).into(), 16).ok();
        let second = network([0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0], 112);
        Self {
            service_cidrs: first.into_iter().chain(second).collect(),
            node_ports: 30_000..=32_767,
        }
    }
}

/// A configuration that no API server could run with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No range of cluster addresses.
    #[error("at least one service CIDR is needed")]
    NoServiceCidr,
    /// More than two ranges, or two of one family.
    #[error("service CIDRs must be one, or one of each family")]
    ServiceCidrFamilies,
    /// The range of node ports is empty, or contains port 0.
    #[error("node ports {0}-{1} are not a range of ports")]
    NodePorts(u16, u16),
    /// The objects that every cluster has could not be stored.
    #[error("failed to create the first objects: {0}")]
    FirstObjects(String),
}

/// The server; a cheap handle, whose clones serve the same objects.
#[derive(Clone, Debug)]
pub struct ApiServer {
    store: Arc<Store>,
}

impl ApiServer {
    /// Makes a server with the namespaces that always exist and the ServiceCIDR `kubernetes`.
    ///
    /// # Errors
    /// When the ranges of the configuration cannot be allocated from.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let families: Vec<Family> = config
            .service_cidrs
            .iter()
            .map(|cidr| Family::of(cidr.addr()))
            .collect();
        match families.as_slice() {
            [] => return Err(ConfigError::NoServiceCidr),
            [_] => {}
            [first, second] if first != second => {}
            _ => return Err(ConfigError::ServiceCidrFamilies),
        }
        if config.node_ports.is_empty() || *config.node_ports.start() == 0 {
            return Err(ConfigError::NodePorts(
                *config.node_ports.start(),
                *config.node_ports.end(),
            ));
        }
        let cidrs: Vec<String> = config
            .service_cidrs
            .iter()
            .map(|cidr| cidr.trunc().to_string())
            .collect();
        let store = Store::new(Pools::new(&config.service_cidrs, config.node_ports));
        let first = PERMANENT_NAMESPACES
            .iter()
            .map(|name| {
                (
                    Kind::Namespace,
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                )
            })
            .chain(std::iter::once((
                Kind::ServiceCidr,
                json!({
                    "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                    "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
                }),
            )));
        for (kind, value) in first {
            store
                .write(|state| {
                    lifecycle::create(state, by_kind(kind), "", value, Applied::default(), false)
                })
                .map_err(|status| ConfigError::FirstObjects(status.message))?;
        }
        Ok(Self {
            store: Arc::new(store),
        })
    }

    /// The routes, to be served by the caller's own HTTP server.
    pub fn router(&self) -> axum::Router {
        http::router(self.store.clone())
    }

    /// Serves until the future is dropped, which also ends the connections. The listener may come from another
    /// network namespace.
    ///
    /// # Errors
    /// When the listener fails for good; errors of single connections are logged.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        serve::serve(self.router(), listener).await
    }
}
