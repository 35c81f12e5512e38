//! The embedded Kubernetes API that onehop's lab serves to a Service proxy.
//!
//! [`ApiServer`] keeps objects in memory and serves them over plain HTTP/1.1, as a kube-apiserver does, to the real
//! kube-proxy, to kube-rs and to kubectl. It reproduces Kubernetes 1.36 for the resources that Service traffic depends
//! on: nodes, pods, services, endpointslices, servicecidrs, namespaces, events, leases and configmaps.
//!
//! # What is served
//! - get, list, watch (also WatchList: `sendInitialEvents`), create, update, patch (JSON, merge, strategic, apply), delete
//!   and deletecollection of these resources, and `/status` where upstream has it; `dryRun`, `fieldValidation`,
//!   preconditions, finalizers, `generateName`; Tables and partial metadata.
//! - `/version`, `/api`, `/apis`, `/healthz`, `/livez`, `/readyz`, and of `/openapi/v3` what kubectl needs.
//! - Bodies in JSON, YAML, and for what typed Go clients create, protobuf. Answers are JSON.
//!
//! `tests/api_fidelity` sends one table of requests to this server and to etcd with kube-apiserver, and compares.
//!
//! # Known differences from a real API server
//! - **Managed fields** are not kept. Server-side apply removes what the same manager applied before and now leaves out,
//!   but one manager never conflicts with another, and an update does not take fields over; one that changes nothing
//!   but who manages a field makes no new version.
//! - **`limit` and `continue`** are ignored: a list is always whole. `resourceVersionMatch=Exact` is answered with the
//!   newest state.
//! - **History** is 32768 events or 64 MiB of JSON for each resource, and starts with the server; the first resource
//!   version comes from the clock.
//! - **Allocation** is in order where upstream picks at random, so that a run repeats. The lower part of each range
//!   is left to those who choose, as upstream does. Only the ranges of [`Config`] are allocated from: ServiceCIDR
//!   objects that are added later change nothing. There is no Service `kubernetes` in `default`.
//! - **Controllers** do not run, as they do not in a bare kube-apiserver, but for one: what is in a deleted namespace goes
//!   at once, pods without their grace period, and the namespace as soon as it is empty. A terminating namespace has no
//!   conditions. EndpointSlices are not derived from Pods.
//! - **Admission** is that of namespaces, default tolerations and pod priority. There are no taints of new nodes, no
//!   service accounts, no quotas, no webhooks; and no authentication or authorization at all.
//! - **Validation** is whole for Services and EndpointSlices; of Pods and Nodes it is what a proxy's test depends on:
//!   names, containers, ports, addresses, taints, CIDRs and immutable fields.
//! - **Sizes**: objects are bounded by the request's 3 MiB alone, not by etcd's 1.5 MiB. Results of a JSON patch may nest
//!   100 levels.
//! - **Protobuf** bodies are read for services, events, leases, config maps, namespaces and the options of a deletion;
//!   of the metadata without `managedFields`. For other kinds they are answered with 415.
//! - **Discovery** has no `storageVersionHash`.
//! - **Warnings** of deprecated fields are those of `externalIPs` and of slices of names. A watch of negative length ends
//!   without the error that upstream sometimes sends. An answer has at most 90, where upstream sends up to 100. Duplicate fields of YAML are refused as bad
//!   YAML, where upstream warns.
//! - **Owner references** that are equal are kept, where upstream merges them with a warning.
//! - **Words**: messages about JSON that cannot be decoded are not those of Go's decoder, and the refusal of a Pod's
//!   change has no diff. Codes, reasons and field paths are the same.
//! - **`networking.k8s.io/v1beta1`** is served, because older releases of kube-proxy ask for it; 1.36 serves it only on
//!   demand. Resources, versions and subresources that are not named above are not served.
//! - **Watches** end with the connection or after 45 minutes, and have a bookmark each minute.
//! - **Tables** have upstream's columns, but no descriptions of them.
//!
//! # Invariants
//! - Network I/O is in `serve` and `http` alone. `identity` reads the clock and random numbers, and the store reads the
//!   clock when it starts; `service`, `selector`, `patch` and `validate` are pure.
//! - A write reads, checks and stores under one lock; allocations become real with the store and never before.
//! - No input panics: what a client can send is answered with a `Status`.
#![forbid(unsafe_code)]

mod codec;
mod direct;
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

pub use direct::Refusal;

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::json;

use lifecycle::{DEFAULT_SERVICE_CIDR, PERMANENT_NAMESPACES};
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
                    "metadata": {"name": DEFAULT_SERVICE_CIDR}, "spec": {"cidrs": cidrs},
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

    /// Serves until the future is dropped, which also ends the connections. The listener may come from another
    /// network namespace.
    ///
    /// # Errors
    /// When the listener fails for good; errors of single connections are logged.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        serve::serve(http::router(self.store), listener).await
    }
}
