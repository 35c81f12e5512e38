//! Which Services a survey is about. Pure.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde::Serialize;

use crate::world::Family;

const LOCAL: &str = "Local";
/// Services of another proxy than the cluster's own: kube-proxy does not watch them (`cmd/kube-proxy/app/server.go`).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The same for headless ones.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A side on which a Service has a traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// `externalTrafficPolicy`: node ports, load-balancer addresses and `externalIPs`, called from outside.
    External,
    /// `internalTrafficPolicy`: the cluster addresses, called by pods (KEP-2086).
    Internal,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "external",
            Self::Internal => "internal",
        })
    }
}

/// A Service that has a Local policy and is none of the proxy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why it is not looked at.
    pub reason: String,
}

/// What a survey has to know of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) local: BTreeSet<Side>,
    pub(super) families: Vec<Family>,
    /// Name and protocol, as kube-proxy joins them with the ports of slices (`ServicePortName`).
    pub(super) ports: Vec<(String, String)>,
    pub(super) health_check_node_port: Option<u16>,
    pub(super) selects: bool,
}

/// How a Service concerns a survey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Concern {
    /// It has no Local policy that means anything.
    None,
    /// It has one, and the cluster's own proxy does not serve it.
    Skipped(Skipped),
    Subject(Box<Subject>),
}

/// How this Service concerns a survey.
pub(super) fn concern(service: &Service) -> Concern {
    let Some(spec) = &service.spec else {
        return Concern::None;
    };
    let local = local_sides(spec);
    if local.is_empty() {
        return Concern::None;
    }
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    if let Some(reason) = unserved(service, spec) {
        return Concern::Skipped(Skipped {
            namespace,
            name,
            reason,
        });
    }
    let ports = spec.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), protocol)
    });
    let health = spec
        .health_check_node_port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0);
    Concern::Subject(Box::new(Subject {
        namespace,
        name,
        kind: kind(spec).to_owned(),
        families: families(spec),
        ports: ports.collect(),
        // The API removes the port together with the policy; an old object may have kept it.
        health_check_node_port: health.filter(|_| local.contains(&Side::External)),
        selects: spec.selector.as_ref().is_some_and(|s| !s.is_empty()),
        local,
    }))
}

fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

/// The sides on which a policy is Local and means something: the external one needs an external address or a node port.
fn local_sides(spec: &ServiceSpec) -> BTreeSet<Side> {
    let external = matches!(kind(spec), "NodePort" | "LoadBalancer")
        || spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty());
    let is_local = |policy: &Option<String>| policy.as_deref() == Some(LOCAL);
    let mut sides = BTreeSet::new();
    if external && is_local(&spec.external_traffic_policy) {
        sides.insert(Side::External);
    }
    if is_local(&spec.internal_traffic_policy) {
        sides.insert(Side::Internal);
    }
    sides
}

/// Why the cluster's proxy does not serve it, if it does not.
fn unserved(service: &Service, spec: &ServiceSpec) -> Option<String> {
    let labels = service.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    if kind(spec) == "ExternalName" {
        return Some("ExternalName: a name in DNS, no proxy serves it".to_owned());
    }
    if spec.cluster_ip.as_deref() == Some("None") || label(HEADLESS).is_some() {
        return Some("headless: clients call its pods themselves, no proxy serves it".to_owned());
    }
    label(PROXY_NAME).map(|name| format!("left to the proxy {name:?} by {PROXY_NAME}"))
}

/// Its address families: those that it states, else those of its cluster addresses.
fn families(spec: &ServiceSpec) -> Vec<Family> {
    let stated: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|name| Family::ALL.into_iter().find(|f| f.api_name() == name))
        .collect();
    if !stated.is_empty() {
        return stated;
    }
    let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut families: Vec<Family> = addresses
        .filter_map(|address| address.parse().ok())
        .map(Family::of)
        .collect();
    families.dedup();
    families
}
