//! Where the endpoints of a Service are, what each node does with traffic under a Local policy, and the pods' shares. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::endpoints::{Endpoints, Place, Places};
use super::node::NodeFacts;
use super::service::{Side, Subject};
use crate::world::Family;

/// What becomes of a connection that Local traffic of a node is: one from outside that enters there, or one of a pod there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Served by the node's ready endpoints.
    Served,
    /// The node has no ready endpoint, and those that terminate and still serve take it (KEP-1669). Its health check port
    /// says 503, so that a load balancer stops sending.
    ServedByTerminating,
    /// Dropped: there are usable endpoints, on other nodes only.
    Dropped,
    /// Refused: there is no usable endpoint anywhere.
    Refused,
}

/// A node with usable endpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeShare {
    /// The node.
    pub node: String,
    /// How many ready endpoints it has.
    pub ready: usize,
    /// How many that terminate and still serve.
    pub terminating: usize,
    /// The pods that take its traffic: the ready ones, else the terminating ones. Addresses where there are no pods.
    pub pods: Vec<String>,
    /// What becomes of its traffic.
    pub fate: Fate,
    /// The share that each of its ready pods gets of what an even load balancer sends, of 1. Nothing where there is no
    /// external Local policy, or no ready endpoint.
    pub share: Option<f64>,
}

/// The nodes that have no usable endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Without {
    /// What becomes of their traffic: [`Fate::Dropped`] or [`Fate::Refused`].
    pub fate: Fate,
    /// Their names.
    pub nodes: Vec<String>,
}

/// Usable endpoints that are local to no node, so that no Local traffic reaches them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placeless {
    /// How many have no `nodeName`.
    pub without_node_name: usize,
    /// How many name a node that does not exist.
    pub on_unknown_nodes: BTreeMap<String, usize>,
}

/// A port of a Service in one address family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FamilyPort {
    /// The family.
    pub family: Family,
    /// The port's name, empty for the only one.
    pub port: String,
    /// Its protocol.
    pub protocol: String,
}

impl fmt::Display for FamilyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.family)?;
        if !self.port.is_empty() {
            write!(f, " {}", self.port)?;
        }
        if self.protocol == "TCP" {
            return Ok(());
        }
        write!(f, " {}", self.protocol)
    }
}

/// Where endpoints are. Ports and families whose endpoints are the same pods have one between them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The ports and families.
    pub of: Vec<FamilyPort>,
    /// All ready endpoints, wherever they are.
    pub ready: usize,
    /// The nodes with usable endpoints, by name.
    pub nodes: Vec<NodeShare>,
    /// The other nodes.
    pub without: Without,
    /// Endpoints that are on no node.
    pub placeless: Placeless,
    /// The biggest share over an even one: 1 is even. Nothing where no pod has a share.
    pub imbalance: Option<f64>,
}

impl Spread {
    /// Its ports and families in a few words: `IPv4 http, IPv6 http`.
    pub fn label(&self) -> String {
        let of = self.of.iter().map(ToString::to_string);
        of.collect::<Vec<_>>().join(", ")
    }
}

/// The spreads of a Service; several when its ports or families differ.
pub(super) fn spreads(
    subject: &Subject,
    endpoints: &Endpoints,
    nodes: &BTreeMap<String, NodeFacts>,
) -> Vec<Spread> {
    let mut groups: Vec<(BTreeSet<Place>, Places, Vec<FamilyPort>)> = Vec::new();
    for family in &subject.families {
        for port in &subject.ports {
            let places = endpoints.of(*family, port);
            let pods: BTreeSet<Place> = places.values().cloned().collect();
            let of = FamilyPort {
                family: *family,
                port: port.0.clone(),
                protocol: port.1.clone(),
            };
            match groups.iter_mut().find(|(known, ..)| *known == pods) {
                Some((_, _, same)) => same.push(of),
                None => groups.push((pods, places, vec![of])),
            }
        }
    }
    let external = subject.local.contains(&Side::External);
    let spread = |(_, places, of)| spread(of, &places, nodes, external);
    groups.into_iter().map(spread).collect()
}

fn spread(
    of: Vec<FamilyPort>,
    places: &Places,
    nodes: &BTreeMap<String, NodeFacts>,
    external: bool,
) -> Spread {
    let ready = places.values().filter(|place| place.ready).count();
    let mut placeless = Placeless::default();
    let mut by_node: BTreeMap<&str, Vec<&Place>> = BTreeMap::new();
    for place in places.values().filter(|p| p.ready || p.terminating) {
        match &place.node {
            Some(node) if nodes.contains_key(node) => by_node.entry(node).or_default().push(place),
            Some(node) => *placeless.on_unknown_nodes.entry(node.clone()).or_default() += 1,
            None => placeless.without_node_name += 1,
        }
    }
    let usable = places
        .values()
        .any(|place| place.ready || place.terminating);
    let fate = if usable { Fate::Dropped } else { Fate::Refused };
    let others = nodes
        .keys()
        .filter(|name| !by_node.contains_key(name.as_str()));
    let without = Without {
        fate,
        nodes: others.cloned().collect(),
    };
    let mut rows: Vec<NodeShare> = by_node
        .iter()
        .map(|(node, places)| on_node(node, places))
        .collect();
    if external {
        share_out(&mut rows, |node| nodes[node].out_of_balancer.is_none());
    }
    let biggest = rows.iter().filter_map(|row| row.share).reduce(f64::max);
    Spread {
        of,
        ready,
        nodes: rows,
        without,
        placeless,
        imbalance: biggest
            .filter(|share| *share > 0.0)
            .map(|share| share * count(ready)),
    }
}

/// What the usable endpoints of one node make of it. There is at least one.
fn on_node(node: &str, places: &[&Place]) -> NodeShare {
    let ready = places.iter().filter(|place| place.ready).count();
    let fate = if ready > 0 {
        Fate::Served
    } else {
        Fate::ServedByTerminating
    };
    let taking = places.iter().filter(|place| place.ready == (ready > 0));
    NodeShare {
        node: node.to_owned(),
        ready,
        terminating: places.len() - ready,
        pods: taking.map(|place| place.pod.clone()).collect(),
        fate,
        share: None,
    }
}

/// Gives each node that the load balancer has, and whose health check passes, the same part, and its ready endpoints the
/// same part of that.
fn share_out(rows: &mut [NodeShare], balanced: impl Fn(&str) -> bool) {
    let takes_part = |row: &NodeShare| row.ready > 0 && balanced(&row.node);
    let healthy = count(rows.iter().filter(|row| takes_part(row)).count());
    for row in rows.iter_mut().filter(|row| row.ready > 0) {
        row.share = Some(if takes_part(row) {
            1.0 / healthy / count(row.ready)
        } else {
            0.0
        });
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
