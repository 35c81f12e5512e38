//! Which UDP flows are stale. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::Flow;
use crate::model::{Family, Protocol};
use crate::plan::{FrontKind, PortPlan, ServicePlan};

#[cfg(test)]
mod tests;

/// The endpoints that may serve UDP flows, by the address that clients send to.
///
/// A flow is judged by its Service's endpoints and by nothing else: neither policy nor topology ends a
/// flow that a pod still answers (`pkg/proxy/conntrack/cleanup.go`), as they end no TCP connection.
#[derive(Debug, Default)]
pub struct Serving {
    addresses: HashMap<SocketAddr, BTreeSet<SocketAddr>>,
    node_ports: HashMap<(Family, u16), BTreeSet<SocketAddr>>,
}

impl Serving {
    /// Whether there is nothing to judge flows by.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    /// Adds what a Service has of UDP. Services that share an address keep each other's flows.
    pub fn add(&mut self, plan: &ServicePlan) {
        for port in &plan.ports {
            if port.protocol == Protocol::Udp {
                self.add_port(port);
            }
        }
    }

    fn add_port(&mut self, port: &PortPlan) {
        for front in &port.fronts {
            let endpoints = match (front.kind, front.address) {
                (FrontKind::NodePort, _) => self
                    .node_ports
                    .entry((port.family, front.port))
                    .or_default(),
                (_, Some(address)) => self
                    .addresses
                    .entry(SocketAddr::new(address, front.port))
                    .or_default(),
                (_, None) => continue,
            };
            endpoints.extend(&port.serving);
        }
    }

    /// Whether a flow goes where its Service has no endpoint any more, or never was translated
    /// because it began before the Service was programmed.
    ///
    /// `node_addresses` are those that have node ports. Upstream goes by the port alone, and so
    /// ends flows that only pass through this node on their way to another one's node port; and
    /// cannot end those to a node port without endpoints for fear of ending others.
    #[must_use]
    pub fn is_stale(&self, flow: &Flow, node_addresses: &BTreeSet<IpAddr>) -> bool {
        let called = flow.destination;
        let endpoints = self.addresses.get(&called).or_else(|| {
            let on_node = node_addresses.contains(&called.ip());
            let port = (Family::of(called.ip()), called.port());
            on_node.then(|| self.node_ports.get(&port)).flatten()
        });
        endpoints.is_some_and(|endpoints| !endpoints.contains(&flow.answers_from))
    }
}
