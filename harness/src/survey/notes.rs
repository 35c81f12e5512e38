//! What is worth a word about a Service. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::health::{Answer, Health};
use super::node::NodeFacts;
use super::service::{Side, Subject};
use super::spread::{Fate, Spread};

/// How many names a note lists before it counts the rest.
const NAMED: usize = 5;

/// The kind of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// No endpoint is ready anywhere.
    NoReadyEndpoints,
    /// Ready endpoints are on nodes that load balancers leave out.
    OutOfBalancer,
    /// Usable endpoints have no `nodeName`.
    NoNodeName,
    /// Usable endpoints name a node that does not exist.
    UnknownNode,
    /// Nodes with usable endpoints are not `Ready`.
    NodeNotReady,
    /// EndpointSlices of names, which no proxy serves.
    NamesIgnored,
    /// The Service has no selector.
    NoSelector,
    /// A health check node port disagrees.
    HealthDisagrees,
    /// No health check node port could be reached.
    HealthUnreachable,
}

/// Something worth a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its kind.
    pub kind: NoteKind,
    /// In words.
    pub text: String,
}

fn note(kind: NoteKind, text: String) -> Note {
    Note { kind, text }
}

/// What is worth a word before anybody is asked.
pub(super) fn notes(
    subject: &Subject,
    spreads: &[Spread],
    of_names: usize,
    nodes: &BTreeMap<String, NodeFacts>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    for spread in spreads {
        // Where ports and families are alike, nobody need be told which.
        let which = if spreads.len() > 1 {
            format!("{}: ", spread.label())
        } else {
            String::new()
        };
        let of_spread = of_spread(subject, spread, nodes).into_iter();
        notes.extend(of_spread.map(|Note { kind, text }| note(kind, format!("{which}{text}"))));
    }
    if of_names > 0 {
        let text = format!(
            "{of_names} EndpointSlices hold names instead of addresses; no proxy serves them"
        );
        notes.push(note(NoteKind::NamesIgnored, text));
    }
    if !subject.selects {
        let text = "no selector: its EndpointSlices are written by hand, or by another controller";
        notes.push(note(NoteKind::NoSelector, text.to_owned()));
    }
    notes
}

fn of_spread(subject: &Subject, spread: &Spread, nodes: &BTreeMap<String, NodeFacts>) -> Vec<Note> {
    let mut notes = Vec::new();
    if spread.ready == 0 {
        let what = match spread.without.fate {
            Fate::Refused => "no ready endpoint anywhere: every connection is refused",
            _ => {
                "no ready endpoint anywhere: those that terminate still serve on their nodes, other nodes drop"
            }
        };
        notes.push(note(NoteKind::NoReadyEndpoints, what.to_owned()));
    }
    let placeless = &spread.placeless;
    if placeless.without_node_name > 0 {
        let text = format!(
            "{} endpoints have no nodeName: local to no node, Local traffic never reaches them",
            placeless.without_node_name
        );
        notes.push(note(NoteKind::NoNodeName, text));
    }
    if !placeless.on_unknown_nodes.is_empty() {
        let named = placeless.on_unknown_nodes.keys().map(String::as_str);
        let text = format!("endpoints are on nodes that do not exist: {}", names(named));
        notes.push(note(NoteKind::UnknownNode, text));
    }
    if subject.local.contains(&Side::External) {
        let out = spread.nodes.iter().filter(|row| row.ready > 0);
        let out = out.filter_map(|row| {
            let why = nodes[&row.node].out_of_balancer?;
            Some(format!("{} ({why})", row.node))
        });
        let out: Vec<String> = out.collect();
        if !out.is_empty() {
            let named = names(out.iter().map(String::as_str));
            let text = format!("load balancers leave out nodes with ready endpoints: {named}");
            notes.push(note(NoteKind::OutOfBalancer, text));
        }
    }
    let not_ready = spread.nodes.iter().filter(|row| !nodes[&row.node].ready);
    let not_ready: Vec<&str> = not_ready.map(|row| row.node.as_str()).collect();
    if !not_ready.is_empty() {
        let text = format!("nodes with endpoints are not Ready: {}", names(not_ready));
        notes.push(note(NoteKind::NodeNotReady, text));
    }
    notes
}

/// What is worth a word about the answers of its health check node port.
pub(super) fn of_health(health: &[Health]) -> Vec<Note> {
    let disagree = health.iter().filter_map(|health| {
        let how = health.disagrees.as_ref()?;
        Some(format!("{}: {how}", health.node))
    });
    let disagree: Vec<String> = disagree.collect();
    let mut notes = Vec::new();
    if !disagree.is_empty() {
        let text = joined(disagree.iter().map(String::as_str), "; ");
        let text = format!("health check node port disagrees on {text}");
        notes.push(note(NoteKind::HealthDisagrees, text));
    }
    let unreached = |health: &Health| match &health.answer {
        Answer::Answered(answered) => !answered.is_health(),
        Answer::Refused => false,
        Answer::Silent | Answer::Broken(_) | Answer::NotAsked(_) => true,
    };
    if !health.is_empty() && health.iter().all(unreached) {
        let text = "no health check node port could be reached from here";
        notes.push(note(NoteKind::HealthUnreachable, text.to_owned()));
    }
    notes
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, ", ")
}

/// The first of these, and how many more there are.
fn joined<'a>(all: impl IntoIterator<Item = &'a str>, between: &str) -> String {
    let all: Vec<&str> = all.into_iter().collect();
    let named = all[..all.len().min(NAMED)].join(between);
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}{between}and {more} more"),
    }
}
