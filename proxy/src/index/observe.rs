//! Changes as objects of the API: read, checked and applied.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;

use super::{Index, Touched, clashes};
use crate::objects::{self, Problem};

/// What came of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The Services that are to be planned anew.
    pub touched: Touched,
    /// Whether the ranges of cluster addresses may have changed.
    pub service_cidrs_changed: bool,
    /// What is wrong with the object, or between it and the node.
    pub problems: Vec<Problem>,
}

impl Index {
    /// A Service was added or changed.
    pub fn observe_service(&mut self, object: &core::Service) -> Observed {
        #[cfg(feature = "faults")]
        let object = &*crate::faults::object(object);
        let reading = objects::service(object);
        let mut problems = reading.problems;
        let touched = match reading.value {
            Some(service) => {
                problems.extend(clashes::of_service(&service, &self.node));
                self.apply_service(service)
            }
            None => self.delete_service(&reading.name),
        };
        Observed {
            touched,
            problems,
            ..Observed::default()
        }
    }

    /// An EndpointSlice was added or changed.
    pub fn observe_slice(&mut self, object: &discovery::EndpointSlice) -> Observed {
        let reading = objects::slice(object);
        let touched = match reading.value {
            Some(slice) => self.apply_slice(&reading.name.name, slice),
            None => self.delete_slice(&reading.name),
        };
        Observed {
            touched,
            problems: reading.problems,
            ..Observed::default()
        }
    }

    /// A Node was added or changed. Only the node of the index counts.
    pub fn observe_node(&mut self, object: &core::Node) -> Observed {
        let reading = objects::node(object);
        let Some(node) = reading.value.filter(|node| node.name == self.node.name) else {
            return Observed::default();
        };
        let (addresses, ports) = (self.node.addresses.clone(), self.node.own_ports.clone());
        let mut problems = reading.problems;
        let touched = self.apply_node(node);
        let moved = addresses != self.node.addresses;
        if moved || ports != self.node.own_ports {
            for service in self
                .entries
                .values()
                .filter_map(|entry| entry.service.as_ref())
            {
                problems.extend(clashes::of_service(service, &self.node));
            }
            for (name, ranges) in &self.service_cidrs {
                problems.extend(clashes::of_service_cidr(name, ranges, &self.node));
            }
        }
        Observed {
            touched,
            service_cidrs_changed: moved,
            problems,
        }
    }

    /// A ServiceCIDR was added or changed.
    pub fn observe_service_cidr(&mut self, object: &networking::ServiceCIDR) -> Observed {
        let reading = objects::service_cidr(object);
        let name = &reading.name.name;
        let mut problems = reading.problems;
        let service_cidrs_changed = match reading.value {
            Some(ranges) => {
                problems.extend(clashes::of_service_cidr(name, &ranges, &self.node));
                self.apply_service_cidr(name, ranges)
            }
            None => self.delete_service_cidr(name),
        };
        Observed {
            service_cidrs_changed,
            problems,
            ..Observed::default()
        }
    }
}
