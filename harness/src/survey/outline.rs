//! Objects in, survey out. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Serialize;

use super::endpoints::{Endpoints, SERVICE_NAME};
use super::health::{self, Answer, Health};
use super::node::NodeFacts;
use super::notes::{self, Note, NoteKind};
use super::service::{Concern, Side, Skipped, Subject, concern};
use super::spread::{Spread, spreads};
use crate::world::Family;

/// The objects of a cluster that a survey is made of.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Services.
    pub services: Vec<Service>,
    /// EndpointSlices. Those of Services that are not surveyed may be left out.
    pub slices: Vec<EndpointSlice>,
    /// All Nodes.
    pub nodes: Vec<Node>,
}

/// A Service with a Local policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SurveyedService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// On which sides its policy is Local.
    pub local: BTreeSet<Side>,
    /// Its address families.
    pub families: Vec<Family>,
    /// Its health check node port.
    pub health_check_node_port: Option<u16>,
    /// The worst imbalance of its spreads.
    pub imbalance: Option<f64>,
    /// Where its endpoints are.
    pub spreads: Vec<Spread>,
    /// What its health check node port answers, by node; empty unless asked.
    pub health: Vec<Health>,
    /// What is worth a word.
    pub notes: Vec<Note>,
    /// The ready endpoints of each node, by family, as the slices have them.
    #[serde(skip)]
    ready: BTreeMap<Family, BTreeMap<String, usize>>,
}

/// A survey of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// How many Services were read.
    pub read: usize,
    /// Those with a Local policy: first those of which nothing is reached, then the worst imbalance first.
    pub services: Vec<SurveyedService>,
    /// Those that have one and are not served by the cluster's proxy.
    pub skipped: Vec<Skipped>,
}

/// One question to a health check node port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The Service's position in the survey.
    pub(super) service: usize,
    pub(super) node: String,
    /// Where; nothing when the node has no address of the Service's families.
    pub(super) address: Option<SocketAddr>,
}

/// Surveys these objects. Nobody has been asked then.
pub fn survey(objects: &Objects) -> Survey {
    let nodes = objects.nodes.iter().map(NodeFacts::new);
    let nodes: BTreeMap<String, NodeFacts> = nodes.map(|node| (node.name.clone(), node)).collect();
    let mut slices: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in &objects.slices {
        if let Some(owner) = owner(slice) {
            slices.entry(owner).or_default().push(slice);
        }
    }
    let mut survey = Survey {
        read: objects.services.len(),
        ..Survey::default()
    };
    for service in &objects.services {
        match concern(service) {
            Concern::None => {}
            Concern::Skipped(skipped) => survey.skipped.push(skipped),
            Concern::Subject(subject) => {
                let id = (subject.namespace.as_str(), subject.name.as_str());
                let own = slices.get(&id).into_iter().flatten().copied();
                let endpoints = Endpoints::join(&subject, own);
                let surveyed = SurveyedService::new(*subject, &endpoints, &nodes);
                survey.services.push(surveyed);
            }
        }
    }
    survey.nodes = nodes;
    survey.services.sort_by(SurveyedService::worst_first);
    survey.skipped.sort_by(|a, b| {
        let id = |s: &Skipped| (s.namespace.clone(), s.name.clone());
        id(a).cmp(&id(b))
    });
    survey
}

/// The namespace and name of the Service that a slice belongs to.
pub(super) fn owner(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let labels = slice.metadata.labels.as_ref()?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    Some((namespace, labels.get(SERVICE_NAME)?))
}

impl SurveyedService {
    fn new(subject: Subject, endpoints: &Endpoints, nodes: &BTreeMap<String, NodeFacts>) -> Self {
        let spreads = spreads(&subject, endpoints, nodes);
        let notes = notes::notes(&subject, &spreads, endpoints.of_names, nodes);
        let ready = subject.families.iter().map(|family| {
            let counts = endpoints.ready_by_node(*family).into_iter();
            let counts = counts.map(|(node, count)| (node.to_owned(), count));
            (*family, counts.collect())
        });
        Self {
            imbalance: spreads.iter().filter_map(|s| s.imbalance).reduce(f64::max),
            ready: ready.collect(),
            namespace: subject.namespace,
            name: subject.name,
            kind: subject.kind,
            local: subject.local,
            families: subject.families,
            health_check_node_port: subject.health_check_node_port,
            spreads,
            health: Vec::new(),
            notes,
        }
    }

    /// Its namespace and name, with a slash.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a port, in a family, has no ready endpoint, or none that an external Local policy and a load balancer leave
    /// to clients outside.
    pub fn is_out(&self) -> bool {
        let external = self.local.contains(&Side::External);
        let mut spreads = self.spreads.iter();
        spreads.any(|spread| spread.ready == 0 || external && spread.imbalance.is_none())
    }

    fn worst_first(&self, other: &Self) -> std::cmp::Ordering {
        let out = other.is_out().cmp(&self.is_out());
        let imbalance = |service: &Self| service.imbalance.unwrap_or_default();
        let without = |service: &Self| {
            let nodes = service.spreads.iter().map(|s| s.without.nodes.len());
            nodes.max().unwrap_or_default()
        };
        out.then(imbalance(other).total_cmp(&imbalance(self)))
            .then(without(other).cmp(&without(self)))
            .then(self.id().cmp(&other.id()))
    }

    /// What the slices have ready on a node, for each family.
    fn ready_on(&self, node: &str) -> BTreeMap<Family, usize> {
        let families = self.ready.iter();
        families
            .map(|(family, nodes)| (*family, nodes.get(node).copied().unwrap_or_default()))
            .collect()
    }
}

impl Survey {
    /// What there is to ask: each health check node port, at each node.
    pub(super) fn questions(&self) -> Vec<Question> {
        let services = self.services.iter().enumerate();
        let asked = services.filter_map(|(at, s)| Some((at, s, s.health_check_node_port?)));
        asked
            .flat_map(|(service, surveyed, port)| {
                self.nodes.values().map(move |node| Question {
                    service,
                    node: node.name.clone(),
                    address: node
                        .address(&surveyed.families)
                        .map(|ip| SocketAddr::new(ip, port)),
                })
            })
            .collect()
    }

    /// Takes in what was answered, and holds it against the slices.
    pub(super) fn judge(&mut self, answers: Vec<(Question, Answer)>) {
        for (question, answer) in answers {
            let service = &mut self.services[question.service];
            let expected = service.ready_on(&question.node);
            service.health.push(Health {
                disagrees: health::disagreement(&service.id(), &expected, &answer),
                node: question.node,
                address: question.address,
                expected,
                answer,
            });
        }
        for service in &mut self.services {
            service.health.sort_by(|a, b| a.node.cmp(&b.node));
            service.notes.extend(notes::of_health(&service.health));
        }
    }

    /// Whether a health check node port disagrees with the EndpointSlices.
    pub fn disagrees(&self) -> bool {
        let mut notes = self.services.iter().flat_map(|service| &service.notes);
        notes.any(|note| note.kind == NoteKind::HealthDisagrees)
    }
}
