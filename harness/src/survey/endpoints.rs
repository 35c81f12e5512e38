//! The endpoints of a Service, joined from its EndpointSlices. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::service::Subject;
use crate::world::Family;

/// By this label a slice belongs to a Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An endpoint: one address of one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The pod's name, else the address: what is the same in both families is one pod.
    pub(super) pod: String,
    pub(super) node: Option<String>,
    pub(super) ready: bool,
    /// Serving and terminating, and not ready: what a node without ready ones falls back to (KEP-1669).
    pub(super) terminating: bool,
}

impl Place {
    fn new(endpoint: &Endpoint, address: &str) -> Self {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let serving = conditions.serving.unwrap_or(true);
        let target = endpoint.target_ref.as_ref();
        Self {
            pod: target
                .and_then(|target| target.name.clone())
                .unwrap_or_else(|| address.to_owned()),
            node: endpoint.node_name.clone().filter(|name| !name.is_empty()),
            ready,
            terminating: !ready && serving && conditions.terminating == Some(true),
        }
    }
}

/// Endpoints by their address, which is what makes two of them one.
pub(super) type Places = BTreeMap<String, Place>;

/// What the slices of one Service say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// For each family and port (name and protocol).
    pub(super) by_port: BTreeMap<(Family, (String, String)), Places>,
    /// Slices of names instead of addresses, which no proxy serves.
    pub(super) of_names: usize,
}

impl Endpoints {
    /// Joins the slices of a Service, which may be many, as kube-proxy's `EndpointSliceCache` does.
    pub(super) fn join<'a>(
        subject: &Subject,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut joined = Self::default();
        for slice in slices {
            let mut families = Family::ALL.into_iter();
            let Some(family) = families.find(|f| f.api_name() == slice.address_type) else {
                joined.of_names += 1;
                continue;
            };
            if !subject.families.contains(&family) {
                continue;
            }
            for port in slice.ports.iter().flatten() {
                if port.port.unwrap_or_default() == 0 {
                    continue;
                }
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                let port = (port.name.clone().unwrap_or_default(), protocol);
                let places = joined.by_port.entry((family, port)).or_default();
                for endpoint in slice.endpoints.iter().flatten() {
                    add(places, endpoint);
                }
            }
        }
        joined
    }

    /// The endpoints of this port in this family.
    pub(super) fn of(&self, family: Family, port: &(String, String)) -> Places {
        let key = (family, port.clone());
        self.by_port.get(&key).cloned().unwrap_or_default()
    }

    /// How many addresses of this family are ready on a node, over all ports: what the node's health check port counts
    /// (`getLocalReadyEndpointIPs` in `pkg/proxy/endpointschangetracker.go`).
    pub(super) fn ready_by_node(&self, family: Family) -> BTreeMap<&str, usize> {
        let ports = self.by_port.iter().filter(|((of, _), _)| *of == family);
        let places = ports.flat_map(|(_, places)| places);
        let ready = places.filter(|(_, place)| place.ready);
        let on_nodes: std::collections::BTreeSet<(&str, &str)> = ready
            .filter_map(|(address, place)| Some((place.node.as_deref()?, address.as_str())))
            .collect();
        let mut counts = BTreeMap::new();
        for (node, _) in on_nodes {
            *counts.entry(node).or_default() += 1;
        }
        counts
    }
}

/// Takes an endpoint in by its first address, which is the only one that counts (KEP-752).
///
/// One that is in two slices for a moment is what the better of the two says.
fn add(places: &mut Places, endpoint: &Endpoint) {
    let Some(address) = endpoint.addresses.first() else {
        return;
    };
    let place = Place::new(endpoint, address);
    let rank = |place: &Place| (place.ready, place.terminating, place.node.is_some());
    let known = places.entry(address.clone()).or_insert(place.clone());
    if rank(&place) > rank(known) {
        *known = place;
    }
}
