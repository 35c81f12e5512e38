//! What is known of the cluster at the moment, and which Services a change concerns.
//!
//! Changes come one by one, or as a whole list after a watch began anew, in any order: slices before their Service,
//! a Service before its slices. A change that changes nothing concerns no Service.

mod clashes;
mod observe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{Node, ObjectName, Service, Slice};
use crate::plan::ServicePlan;

#[cfg(feature = "faults")]
use crate::faults::plan;
#[cfg(not(feature = "faults"))]
use crate::plan::service as plan;

pub use observe::Observed;

/// The Services that are to be planned anew, those that are gone included.
pub type Touched = BTreeSet<ObjectName>;

/// Services, EndpointSlices, ServiceCIDRs and the node.
#[derive(Clone, Debug, Default)]
pub struct Index {
    node: Node,
    /// By Service, which need not exist yet. Boxed because the nodes of the map are half empty.
    entries: BTreeMap<ObjectName, Box<Entry>>,
    /// The name of the Service that a slice is filed under, in the slice's own namespace.
    owners: BTreeMap<ObjectName, Arc<str>>,
    service_cidrs: BTreeMap<Box<str>, Vec<IpNet>>,
    /// Where this proxy serves its health and metrics on the node's addresses.
    proxy_ports: BTreeSet<u16>,
}

/// A Service and its slices, by their names. Most Services have one slice a family.
#[derive(Clone, Debug, Default)]
struct Entry {
    service: Option<Service>,
    slices: Vec<(Arc<str>, Slice)>,
}

impl Index {
    /// An empty one for the node of a name, whose Node is not known yet.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            node: Node {
                name: node_name.into(),
                ..Node::default()
            },
            ..Self::default()
        }
    }

    /// The same, for a proxy that serves its health and metrics at these ports of the node's addresses, which no
    /// Service gets there.
    #[must_use]
    pub fn serving_at(mut self, proxy_ports: BTreeSet<u16>) -> Self {
        self.node.own_ports.extend(&proxy_ports);
        self.proxy_ports = proxy_ports;
        self
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The names of the Services that exist, in order.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.service.is_some())
            .map(|(name, _)| name)
    }

    /// The names of the slices, in order.
    pub fn slices(&self) -> impl Iterator<Item = &ObjectName> {
        self.owners.keys()
    }

    /// The plan of a Service, if it exists.
    #[must_use]
    pub fn plan(&self, name: &ObjectName) -> Option<ServicePlan> {
        let entry = self.entries.get(name)?;
        let slices: Vec<&Slice> = entry.slices.iter().map(|(_, slice)| slice).collect();
        Some(plan(entry.service.as_ref()?, &slices, &self.node))
    }

    /// The ranges of the ServiceCIDRs, sorted, none twice. One that holds an address of the node is left out: what
    /// is dropped for want of a Service would be the node's own traffic.
    #[must_use]
    pub fn service_cidrs(&self) -> Vec<IpNet> {
        let ranges: BTreeSet<_> = self.service_cidrs.values().flatten().copied().collect();
        ranges
            .into_iter()
            .filter(|range| !clashes::holds_own_address(range, &self.node))
            .collect()
    }

    /// Adds or replaces a Service.
    pub fn apply_service(&mut self, mut service: Service) -> Touched {
        // What is kept many times shares its text.
        if let Some((name, _)) = self.entries.get_key_value(&service.name) {
            service.name = name.clone();
        }
        let name = service.name.clone();
        let entry = self.entries.entry(name.clone()).or_default();
        if entry.service.as_ref() == Some(&service) {
            return Touched::new();
        }
        entry.service = Some(service);
        Touched::from([name])
    }

    /// Removes a Service. Its slices stay: it may come back.
    pub fn delete_service(&mut self, name: &ObjectName) -> Touched {
        let Some(entry) = self.entries.get_mut(name) else {
            return Touched::new();
        };
        let existed = entry.service.take().is_some();
        if entry.slices.is_empty() {
            self.entries.remove(name);
        }
        if existed {
            Touched::from([name.clone()])
        } else {
            Touched::new()
        }
    }

    /// Removes all Services but those of these names: what a list that has ended did not have.
    pub fn keep_services(&mut self, names: &HashSet<ObjectName>) -> Touched {
        let gone = absent(self.services(), names);
        let gone = gone.iter().map(|name| self.delete_service(name));
        gone.flatten().collect()
    }

    /// Adds or replaces the slice of a name in the namespace of its Service. It may have been another Service's.
    pub fn apply_slice(&mut self, name: &Arc<str>, mut slice: Slice) -> Touched {
        // What is kept many times shares its text.
        if let Some((service, _)) = self.entries.get_key_value(&slice.service) {
            slice.service = service.clone();
        }
        let service = slice.service.clone();
        let object = ObjectName {
            namespace: service.namespace.clone(),
            name: name.clone(),
        };
        let mut touched = match self.owners.get(&object) {
            Some(owner) if *owner != service.name => self.delete_slice(&object),
            _ => Touched::new(),
        };
        self.owners.insert(object, service.name.clone());

        let entry = self.entries.entry(service.clone()).or_default();
        match entry.slices.iter_mut().find(|(other, _)| other == name) {
            Some((_, present)) if *present == slice => return touched,
            Some((_, present)) => *present = slice,
            None => {
                entry.slices.reserve_exact(1);
                entry.slices.push((name.clone(), slice));
            }
        }
        if entry.service.is_some() {
            touched.insert(service);
        }
        touched
    }

    /// Removes a slice.
    pub fn delete_slice(&mut self, name: &ObjectName) -> Touched {
        let Some(owner) = self.owners.remove(name) else {
            return Touched::new();
        };
        let service = ObjectName {
            namespace: name.namespace.clone(),
            name: owner,
        };
        let Some(entry) = self.entries.get_mut(&service) else {
            return Touched::new();
        };
        entry.slices.retain(|(other, _)| *other != name.name);
        if entry.service.is_some() {
            return Touched::from([service]);
        }
        if entry.slices.is_empty() {
            self.entries.remove(&service);
        }
        Touched::new()
    }

    /// Removes all slices but those of these names.
    pub fn keep_slices(&mut self, names: &HashSet<ObjectName>) -> Touched {
        let gone = absent(self.slices(), names);
        let gone = gone.iter().map(|name| self.delete_slice(name));
        gone.flatten().collect()
    }

    /// Learns of the node. Another node's is ignored. What changes about it concerns every Service.
    pub fn apply_node(&mut self, mut node: Node) -> Touched {
        node.own_ports.extend(&self.proxy_ports);
        if node.name != self.node.name || node == self.node {
            return Touched::new();
        }
        self.node = node;
        self.services().cloned().collect()
    }

    /// Adds or replaces a ServiceCIDR, by its name. Returns whether [`Self::service_cidrs`] may have changed.
    pub fn apply_service_cidr(&mut self, name: &str, ranges: Vec<IpNet>) -> bool {
        self.service_cidrs.insert(name.into(), ranges.clone()) != Some(ranges)
    }

    /// Removes a ServiceCIDR. Returns whether [`Self::service_cidrs`] may have changed.
    pub fn delete_service_cidr(&mut self, name: &str) -> bool {
        self.service_cidrs.remove(name).is_some()
    }

    /// Removes all ServiceCIDRs but those of these names, which have no namespace. Returns whether
    /// [`Self::service_cidrs`] may have changed.
    pub fn keep_service_cidrs(&mut self, names: &HashSet<ObjectName>) -> bool {
        let kept = |name: &str| names.iter().any(|kept| *kept.name == *name);
        let before = self.service_cidrs.len();
        self.service_cidrs.retain(|name, _| kept(name));
        self.service_cidrs.len() != before
    }
}

fn absent<'a>(
    known: impl Iterator<Item = &'a ObjectName>,
    names: &HashSet<ObjectName>,
) -> Vec<ObjectName> {
    let gone = known.filter(|name| !names.contains(*name));
    gone.cloned().collect()
}
