//! What users are told of objects that are not served as they were written: in the log and as Warning events.

use std::collections::BTreeSet;

use crate::dataplane::{Conflict, FrontKey};
use crate::events::{Event, Events, Regarding};
use crate::model::{ObjectName, Protocol};
use crate::objects::Problem;

#[cfg(test)]
mod tests;

/// Tells of a part of an object that is left out.
pub(super) fn problem(events: &Events, problem: &Problem) {
    tracing::warn!("{problem}");
    events.send(event_of(problem));
}

fn event_of(problem: &Problem) -> Event {
    let object = problem.object.clone();
    let regarding = match problem.kind {
        "Service" => Regarding::Service(object),
        "EndpointSlice" => Regarding::EndpointSlice(object),
        "ServiceCIDR" => Regarding::ServiceCidr((*object.name).into()),
        _ => Regarding::Node((*object.name).into()),
    };
    let note = format!("{}: {}", problem.field, problem.why);
    Event::warning(regarding, "PartIgnored", "ReadObject", note)
}

/// The fronts that Services ask for in vain. Each is told of once, and anew if it was resolved meanwhile.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    known: BTreeSet<Lost>,
}

/// A front that a Service does not get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lost {
    front: FrontKey,
    winner: ObjectName,
    /// Whether it is a cluster address of the winner.
    cluster_ip: bool,
    loser: ObjectName,
}

impl Conflicts {
    /// Tells of those that are new.
    pub(super) fn tell(&mut self, events: &Events, conflicts: Vec<Conflict>) {
        for lost in self.learn(conflicts) {
            let event = lost.event();
            tracing::warn!("Service {}: {}", lost.loser, event.note);
            events.send(event);
        }
    }

    /// Takes over those that there are now. Returns the new ones.
    fn learn(&mut self, conflicts: Vec<Conflict>) -> Vec<Lost> {
        let lost = |conflict: Conflict| {
            let Conflict {
                front,
                winner,
                cluster_ip,
                losers,
            } = conflict;
            losers.into_iter().map(move |loser| Lost {
                front,
                winner: winner.clone(),
                cluster_ip,
                loser,
            })
        };
        let now: BTreeSet<_> = conflicts.into_iter().flat_map(lost).collect();
        let new = now.difference(&self.known).cloned().collect();
        self.known = now;
        new
    }
}

impl Lost {
    fn event(&self) -> Event {
        let FrontKey {
            address,
            protocol,
            port,
        } = self.front;
        let protocol = match protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        let front = if self.front.is_node_port() {
            let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("node port {port}/{protocol} of {version}")
        } else {
            format!("port {port}/{protocol} of {address}")
        };
        let why = if self.cluster_ip {
            "whose cluster address it is"
        } else {
            "which asks for it as well and is first by name"
        };
        let note = format!("{front} leads to Service {}, {why}", self.winner);
        let loser = Regarding::Service(self.loser.clone());
        Event::warning(loser, "AddressConflict", "ProgramRules", note)
    }
}
