//! What the API has said so far, and which Services it concerns. Pure.

use std::collections::{BTreeSet, HashSet};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Resource;

use crate::index::{Index, Observed as Indexed};
use crate::metrics::trigger_time;
use crate::model::{Family, ObjectName};
use crate::objects::Problem;
use crate::watch::{Change, Kind, Observed};

#[cfg(test)]
mod tests;

/// The cluster as this node's proxy knows it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) index: Index,
    /// The ranges of this node's pods, for the detector that goes by them.
    pub(super) pod_cidrs: Vec<IpNet>,
    /// The names that the list under way has had so far, by kind.
    listing: [Option<HashSet<ObjectName>>; 4],
    listed: BTreeSet<Kind>,
}

/// What an observation changes.
#[derive(Debug, Default)]
pub(crate) struct Concerns {
    /// Services to plan anew, those that are gone included.
    pub(crate) touched: BTreeSet<ObjectName>,
    /// The ranges of cluster addresses may have changed.
    pub(super) service_cidrs: bool,
    /// The node's addresses or its pods' ranges may have changed.
    pub(super) node: bool,
    /// There is no Node, or it cannot be read.
    pub(super) node_gone: bool,
    /// What is wrong with the object.
    pub(crate) problems: Vec<Problem>,
    /// When what `touched` follows from happened, and the family of the EndpointSlice that says so.
    pub(super) trigger: Option<(Family, Timestamp)>,
}

impl From<Indexed> for Concerns {
    fn from(indexed: Indexed) -> Self {
        Self {
            touched: indexed.touched,
            service_cidrs: indexed.service_cidrs_changed,
            problems: indexed.problems,
            ..Self::default()
        }
    }
}

impl World {
    /// Nothing is known but the name of the node, and where the proxy serves its health and metrics there.
    pub(crate) fn new(node: &str, proxy_ports: BTreeSet<u16>) -> Self {
        Self {
            index: Index::new(node).serving_at(proxy_ports),
            pod_cidrs: Vec::new(),
            listing: Default::default(),
            listed: BTreeSet::new(),
        }
    }

    /// Whether all has been listed once that rules follow from. Upstream waits for Services and
    /// EndpointSlices (`pkg/proxy/nftables/proxier.go`, `isInitialized`), and for the Node before it
    /// begins; ServiceCIDRs it does not wait for, since old clusters have none.
    pub(super) fn is_complete(&self) -> bool {
        [Kind::Services, Kind::EndpointSlices, Kind::Node]
            .iter()
            .all(|kind| self.listed.contains(kind))
    }

    /// Learns something.
    pub(crate) fn observe(&mut self, observed: Observed) -> Concerns {
        match observed {
            Observed::Service(change) => self.service(change),
            Observed::Slice(change) => self.slice(change),
            Observed::Node(change) => self.node(change),
            Observed::ServiceCidr(change) => self.service_cidr(change),
            Observed::Broken { .. } | Observed::Healed(_) => Concerns::default(),
        }
    }

    fn service(&mut self, change: Change<Service>) -> Concerns {
        match self.step(Kind::Services, change) {
            Step::Apply(service) => self.index.observe_service(&service).into(),
            Step::Remove(name, problem) => {
                Concerns::of(self.index.delete_service(&name)).with(problem)
            }
            Step::KeepOnly(names) => Concerns::of(self.index.keep_services(&names)),
            Step::Nothing => Concerns::default(),
        }
    }

    fn slice(&mut self, change: Change<EndpointSlice>) -> Concerns {
        match self.step(Kind::EndpointSlices, change) {
            Step::Apply(slice) => {
                let concerns: Concerns = self.index.observe_slice(&slice).into();
                let trigger = trigger(&slice).filter(|_| !concerns.touched.is_empty());
                Concerns {
                    trigger,
                    ..concerns
                }
            }
            Step::Remove(name, problem) => {
                Concerns::of(self.index.delete_slice(&name)).with(problem)
            }
            Step::KeepOnly(names) => Concerns::of(self.index.keep_slices(&names)),
            Step::Nothing => Concerns::default(),
        }
    }

    fn node(&mut self, change: Change<Node>) -> Concerns {
        match self.step(Kind::Node, change) {
            Step::Apply(node) => {
                let ranges = pod_cidrs(&node);
                if !ranges.is_empty() {
                    self.pod_cidrs = ranges;
                }
                Concerns {
                    node: true,
                    ..self.index.observe_node(&node).into()
                }
            }
            // A Node that is gone, or that cannot be read, takes no address from the machine:
            // what it said stays until it is there again.
            Step::Remove(_, problem) => Concerns {
                node_gone: true,
                ..Concerns::default().with(problem)
            },
            Step::KeepOnly(names) => Concerns {
                node_gone: names.is_empty(),
                ..Concerns::default()
            },
            Step::Nothing => Concerns::default(),
        }
    }

    fn service_cidr(&mut self, change: Change<ServiceCIDR>) -> Concerns {
        let mut concerns = Concerns::default();
        match self.step(Kind::ServiceCidrs, change) {
            Step::Apply(range) => return self.index.observe_service_cidr(&range).into(),
            Step::Remove(name, problem) => {
                concerns.service_cidrs = self.index.delete_service_cidr(&name.name);
                concerns = concerns.with(problem);
            }
            Step::KeepOnly(names) => {
                concerns.service_cidrs = self.index.keep_service_cidrs(&names);
            }
            Step::Nothing => {}
        }
        concerns
    }

    /// Follows a list to its end, so that what was deleted while nobody watched shows by not being
    /// listed. What is listed is applied at once.
    fn step<K: Resource<DynamicType = ()>>(&mut self, kind: Kind, change: Change<K>) -> Step<K> {
        let listing = &mut self.listing[kind as usize];
        match change {
            Change::Listing => *listing = Some(HashSet::new()),
            Change::Listed => {
                self.listed.insert(kind);
                return listing.take().map_or(Step::Nothing, Step::KeepOnly);
            }
            Change::Applied(object) => {
                if let Some(names) = listing {
                    names.insert(name_of(&*object));
                }
                return Step::Apply(object);
            }
            Change::Deleted(name) => return Step::Remove(name, None),
            Change::Unreadable { name, error } => {
                let problem = Problem {
                    kind: object_kind(kind),
                    object: name.clone(),
                    field: "(all of it)".to_owned(),
                    why: format!("cannot be read: {error}"),
                };
                return Step::Remove(name, Some(problem));
            }
        }
        Step::Nothing
    }
}

/// What a change of one kind comes to.
enum Step<K> {
    Apply(Box<K>),
    /// With what is wrong, where that is why.
    Remove(ObjectName, Option<Problem>),
    KeepOnly(HashSet<ObjectName>),
    Nothing,
}

impl Concerns {
    fn of(touched: BTreeSet<ObjectName>) -> Self {
        Self {
            touched,
            ..Self::default()
        }
    }

    fn with(mut self, problem: Option<Problem>) -> Self {
        self.problems.extend(problem);
        self
    }
}

fn name_of<K: Resource<DynamicType = ()>>(object: &K) -> ObjectName {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    ObjectName {
        namespace: text(&object.meta().namespace),
        name: text(&object.meta().name),
    }
}

/// The family of a slice, and when what it reacts to happened.
fn trigger(slice: &EndpointSlice) -> Option<(Family, Timestamp)> {
    let family = match slice.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let time = trigger_time(slice.metadata.annotations.as_ref()?)?;
    Some((family, time))
}

/// The kind of one object, as a [`Problem`] has it.
fn object_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Services => "Service",
        Kind::EndpointSlices => "EndpointSlice",
        Kind::Node => "Node",
        Kind::ServiceCidrs => "ServiceCIDR",
    }
}

/// The ranges of a node's pods, without what is none.
fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let listed = spec.and_then(|spec| spec.pod_cidrs.as_deref());
    let listed = listed.unwrap_or_default().iter();
    listed.filter_map(|text| text.parse().ok()).collect()
}
