//! What makes a case prove nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Case, Change, Expectation, Families, FlowCheck, HeldExpectation, HeldFlow, MOST_PORTS,
    MOST_SLICES, Question, Step,
};
use crate::world::{Length, Protocol};

/// The longest id of a case, which names its Service, in a label too.
const LONGEST_ID: usize = 63;
/// The least time that counts as one in which a proxy takes a change in.
const TAKEN_IN: Duration = Duration::from_millis(500);

impl Case {
    /// What is wrong with the case itself, if anything: it has no source or no check, a check
    /// asks nothing, or a backend is listed twice. Such a case would prove nothing.
    pub fn defects(&self) -> Vec<String> {
        let mut defects = Vec::new();
        let mut defect = |found: bool, text: &str| {
            if found {
                defects.push(format!("{}: {text}", self.id));
            }
        };
        defect(
            self.id.len() > LONGEST_ID,
            "has an id that its Service cannot have for a name",
        );
        defect(self.sources.is_empty(), "names no source");
        defect(self.claim.is_empty(), "claims nothing");
        defect(self.checks().next().is_none(), "checks nothing");
        defect(
            self.checks().any(|c| c.questions.is_empty()),
            "has a check that asks nothing",
        );
        for backends in self.every_backends() {
            let mut pods: Vec<_> = backends.iter().map(|b| &b.pod).collect();
            pods.sort();
            pods.dedup();
            defect(pods.len() != backends.len(), "lists a backend twice");
            let most = backends.iter().map(|b| b.slice).max().unwrap_or_default();
            defect(most >= MOST_SLICES, "has too many EndpointSlices");
        }
        let ports = self.service.ports;
        defect(
            ports.is_empty() || ports.len() > usize::from(MOST_PORTS),
            "has no port, or too many",
        );
        let port = |flow: &FlowCheck| self.service.port(flow.port).map(|(_, port)| port.protocol);
        defect(
            self.flows().iter().any(|flow| port(flow).is_none()),
            "calls a port that the Service does not have",
        );
        defect(
            self.has_strays() && !self.flows().is_empty(),
            "asks about flows to backends that only say back what they are told",
        );
        defect(
            self.flows()
                .iter()
                .any(|flow| port(flow) == Some(Protocol::Sctp)),
            "calls a port of a protocol that is not probed",
        );
        defect(
            self.service.kind.is_proxied()
                && ports.iter().any(|port| port.protocol != Protocol::Tcp),
            "has a port that a load balancer which terminates connections does not serve",
        );
        defect(
            self.flows()
                .iter()
                .any(|flow| flow.length != Length::Brief && port(flow) != Some(Protocol::Udp)),
            "wants datagrams of some length by another protocol than UDP",
        );
        let mut families = self.service.families;
        for change in self.changes() {
            if let Change::Families(to) = change {
                let other = |from, to| matches!((from, to), (Families::Only(a), Families::Only(b)) if a != b);
                defect(
                    other(families, *to),
                    "changes the first family of its Service",
                );
                families = *to;
            }
        }
        for defective in self.defects_of_held_flows(port) {
            defect(true, defective);
        }
        defect(
            self.has_hasty_traffic(),
            "begins traffic whose way no check right before it has seen served",
        );
        defect(
            self.has_blind_check(),
            "has a check after a change that whoever has not taken that in passes as well",
        );
        for defective in self.defects_of_the_workload() {
            defect(true, defective);
        }
        let affine = |question: &Question| match question {
            Question::Affinity { flows, .. } => flows
                .iter()
                .any(|flow| !matches!(&flow.expect, Expectation::Reaches(reach) if reach.sticky)),
            _ => false,
        };
        defect(
            self.checks().flat_map(|c| &c.questions).any(affine),
            "asks about the affinity of a flow that has none",
        );
        defects
    }

    /// Whether traffic may begin before a proxy serves it. That a node has taken in one address of a Service says nothing of
    /// another, nor of the other family: kube-proxy syncs each by itself.
    fn has_hasty_traffic(&self) -> bool {
        let mut seen = Vec::new();
        for step in &self.steps {
            match step {
                Step::Check(check) => {
                    let flows = check.questions.iter().flat_map(Question::flows);
                    let reached = flows.filter(|flow| self.is_wholly_reached(flow));
                    seen = reached.map(|flow| (&flow.from, &flow.to)).collect();
                }
                Step::Change(_) => seen.clear(),
                Step::Traffic(traffic) if !seen.contains(&(&traffic.from, &traffic.to)) => {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Whether a check asks, after a change, nothing but what was asked since the change before: who has not begun with it
    /// passes, and what is lost by it is lost when traffic has ended. Time that passes in between, or a step that waits, is enough.
    fn has_blind_check(&self) -> bool {
        let mut seen = Vec::new();
        let mut changed = false;
        for step in &self.steps {
            match step {
                Step::Change(Change::RestartProxies | Change::Stop { .. })
                | Step::Idle(_)
                | Step::Settle => changed = false,
                Step::Wait(time) if *time >= TAKEN_IN => changed = false,
                Step::Change(_) => changed = true,
                Step::Check(check) => {
                    let asked = || check.questions.iter().filter(|q| q.tells_of_now());
                    if changed {
                        if asked().all(|question| seen.contains(&question)) {
                            return true;
                        }
                        seen.clear();
                    }
                    seen.extend(asked());
                    changed = false;
                }
                Step::Wait(_) | Step::Open(_) | Step::Traffic(_) => {}
            }
        }
        false
    }

    /// Whether a flow must reach the Service's first port, to which traffic goes, in each of its families.
    fn is_wholly_reached(&self, flow: &FlowCheck) -> bool {
        let alone = |family| self.service.families == Families::Only(family);
        matches!(flow.expect, Expectation::Reaches(_))
            && flow.port.is_empty()
            && flow.family.is_none_or(alone)
    }

    /// What is wrong with its workload, and with what it does to it and asks of it.
    fn defects_of_the_workload(&self) -> Vec<&'static str> {
        let mut defects = Vec::new();
        let traffics: BTreeSet<_> = self.traffics().map(|traffic| traffic.name).collect();
        let questions = || self.checks().flat_map(|check| &check.questions);
        let asked: BTreeSet<_> = questions().filter_map(Question::traffic).collect();
        if asked != traffics {
            defects.push("begins traffic and does not ask about it, or asks about another one");
        }
        let flows = self.flows();
        let selects = |flow: &FlowCheck| match &flow.expect {
            Expectation::Reaches(reach) => Some(reach.selected.is_some()),
            _ => None,
        };
        let named = self.every_backends().flatten().next().is_some();
        let Some(workload) = &self.workload else {
            let of_workload = |change: &Change| {
                use Change::{Drain, Readiness, Roll, Scale};
                matches!(change, Scale { .. } | Readiness { .. } | Roll | Drain(_))
            };
            if self.steps.contains(&Step::Settle)
                || self.changes().any(of_workload)
                || flows.iter().any(|f| selects(f) == Some(true))
            {
                defects.push("has no workload, and speaks of one");
            }
            return defects;
        };
        if named || flows.iter().any(|flow| selects(flow) == Some(false)) {
            defects.push("has a workload, and names backends");
        }
        let names: BTreeSet<_> = workload.deployments.iter().map(|one| one.name).collect();
        if names.is_empty() || names.len() != workload.deployments.len() {
            defects.push("has no Deployment, or two by one name");
        }
        let known = |change: &Change| match change {
            Change::Scale { deployment, .. } | Change::Readiness { deployment, .. } => {
                names.contains(deployment)
            }
            _ => true,
        };
        if !self.changes().all(known) {
            defects.push("changes a Deployment that it does not have");
        }
        defects
    }

    /// What is wrong with the flows that it keeps and with what it asks about them.
    fn defects_of_held_flows(
        &self,
        protocol: impl Fn(&FlowCheck) -> Option<Protocol>,
    ) -> Vec<&'static str> {
        let mut defects = Vec::new();
        let mut open = Vec::<&HeldFlow>::new();
        let mut asked = Vec::new();
        for step in &self.steps {
            if let Step::Open(held) = step {
                open.push(held);
            }
            let Step::Check(check) = step else { continue };
            for question in &check.questions {
                let Question::Held { name, expect } = question else {
                    continue;
                };
                asked.push(*name);
                match open.iter().find(|held| held.name == *name) {
                    None => defects.push("asks about flows that were not opened before"),
                    Some(held) => {
                        let moved = matches!(expect, HeldExpectation::Becomes(_));
                        if moved && protocol(&held.flow) != Some(Protocol::Udp) {
                            defects.push("expects a connection to move");
                        }
                        let reached = matches!(held.flow.expect, Expectation::Reaches(_));
                        if !moved && !reached {
                            defects.push("expects flows to go on that never began");
                        }
                    }
                }
            }
        }
        let names: BTreeSet<_> = open.iter().map(|held| held.name).collect();
        if names.len() != open.len() {
            defects.push("opens two flows by one name");
        }
        if names.iter().any(|name| !asked.contains(name)) {
            defects.push("opens flows and never asks about them");
        }
        defects
    }
}

#[cfg(test)]
mod tests;
