//! The cases held against the oracle, and the oracle against the tables.

use std::collections::BTreeMap;
use std::fmt::Debug;

use onehop_harness::case::{
    Backend, BalancerMode, Case, Entry, Expectation, FlowCheck, HealthPath, HeldExpectation, Hops,
    NodeAddress, Place, Policy, Question, Reach, Service, Source, Step, Target, Traffic, Variation,
    external, node, pod,
};
use onehop_harness::world::{CLIENT_PUBLIC, Family, World};

use super::*;
use crate::catalogue;

/// One case, held against the oracle step by step.
struct Comparison<'a> {
    world: &'a World,
    case: &'a Case,
    now: Situation,
    /// The flows that are kept open.
    begun: BTreeMap<&'static str, &'a FlowCheck>,
    /// The pods that clients with affinity have drawn: by who calls, in which family, by which nodes, and on which port.
    drawn: BTreeMap<(Place, Family, Vec<String>, &'static str), String>,
    /// The traffic that goes on, with a family in which it does.
    going: Vec<(&'a Traffic, Family)>,
    wrong: Vec<String>,
    compared: usize,
}

/// Holds one case against the oracle. Returns its disagreements, and how much was compared.
fn compare(world: &World, case: &Case) -> (Vec<String>, usize) {
    let mut comparison = Comparison {
        world,
        case,
        now: Situation::at_first(case),
        begun: BTreeMap::new(),
        drawn: BTreeMap::new(),
        going: Vec::new(),
        wrong: Vec::new(),
        compared: 0,
    };
    for step in &case.steps {
        comparison.step(step);
    }
    (comparison.wrong, comparison.compared)
}

impl<'a> Comparison<'a> {
    fn step(&mut self, step: &'a Step) {
        match step {
            Step::Change(change) => self.now = self.now.clone().after(change),
            Step::Open(held) => {
                self.begun.insert(held.name, &held.flow);
                self.flow(&held.flow);
            }
            Step::Check(check) => {
                for question in &check.questions {
                    self.question(question);
                }
            }
            Step::Wait(time) => {
                let timeout = self.now.service.affinity.unwrap_or_default();
                if time.as_secs() >= timeout.into() {
                    self.drawn.clear();
                }
            }
            Step::Traffic(traffic) => {
                let families = self.now.service.families.of(&Family::ALL);
                self.going
                    .extend(families.into_iter().map(|family| (traffic, family)));
            }
            Step::Idle(_) | Step::Settle => {}
        }
        self.is_answered();
    }

    fn question(&mut self, question: &'a Question) {
        let Self { world, now, .. } = self;
        let families = Family::ALL.into_iter();
        let families = families.filter(|family| question.is_asked_in(*family));
        match question {
            Question::Flow(_) | Question::Affinity { .. } => {
                for flow in question.flows() {
                    self.flow(flow);
                }
            }
            Question::HealthCheck {
                node,
                at,
                local_endpoints,
                ..
            } => {
                let oracle: Vec<_> = families
                    .map(|family| match at {
                        NodeAddress::Primary => health_check(world, &now.in_family(family), node),
                        NodeAddress::Other => None,
                    })
                    .collect();
                self.value(question, &vec![*local_endpoints; oracle.len()], &oracle);
            }
            Question::HealthyNodes { by, nodes, .. } => {
                let families = families.filter(|family| now.service.families.has(*family));
                let oracle = families.map(|family| healthy_nodes(world, &now.in_family(family)));
                let oracle: Vec<_> = oracle.collect();
                let by_hand = vec![(*by, nodes.clone()); oracle.len()];
                self.value(question, &by_hand, &oracle);
            }
            Question::HealthCheckAllocated(allocated) => {
                let oracle = has_health_check_port(now);
                self.value(question, allocated, &oracle);
            }
            Question::NodePortAllocated(allocated) => {
                let oracle = now.has_node_ports();
                self.value(question, allocated, &oracle);
            }
            Question::ProxyHealth { node, path, good } => {
                let oracle = *path == HealthPath::Livez || eligible(now, node);
                self.value(question, good, &oracle);
            }
            Question::Held { name, expect } => {
                let flow = self.begun[name];
                match expect {
                    HeldExpectation::GoesOn => {
                        let oracle = self.goes_on(flow);
                        self.value(question, &true, &oracle);
                    }
                    HeldExpectation::Becomes(expect) => {
                        let expect = expect.clone();
                        self.flow(&FlowCheck {
                            expect,
                            ..flow.clone()
                        });
                    }
                }
            }
            // The connection that is to be left alone is one to this backend.
            Question::StraySegment { pod, backend } => {
                let from = onehop_harness::case::pod(pod);
                let call = (&from, &Target::ClusterIp);
                let oracle = Family::ALL.map(|family| match expect(world, now, family, call) {
                    Expectation::Reaches(reach) => reach.pods,
                    _ => Vec::new(),
                });
                self.value(
                    question,
                    &Family::ALL.map(|_| vec![backend.clone()]),
                    &oracle,
                );
            }
            // At every step since it began, the traffic is held against the oracle.
            Question::Answered(_) | Question::LostUntilNoticed(_) => {}
        }
    }

    fn goes_on(&self, flow: &FlowCheck) -> bool {
        let Expectation::Reaches(reach) = &flow.expect else {
            return false;
        };
        let (_, port) = self.now.service.port(flow.port).expect("cases are checked");
        let mut pods = reach.pods.iter();
        pods.all(|pod| goes_on(&self.now, port.protocol, pod))
    }

    /// At any time, somebody is there to answer the traffic that goes on.
    fn is_answered(&mut self) {
        for (Traffic { name, from, to }, family) in &self.going {
            self.compared += 1;
            let oracle = expect(self.world, &self.now, *family, (from, to));
            if !matches!(oracle, Expectation::Reaches(_)) {
                let id = &self.case.id;
                self.wrong.push(format!(
                    "{id}: {name:?} in {family}, and the oracle says: {oracle}"
                ));
            }
        }
    }

    fn flow(&mut self, flow: &FlowCheck) {
        for family in Family::ALL {
            if flow.is_asked_in(family) {
                self.flow_in(family, flow);
            }
        }
    }

    fn flow_in(&mut self, family: Family, flow: &FlowCheck) {
        let oracle = match expect(self.world, &self.now, family, (&flow.from, &flow.to)) {
            Expectation::Reaches(reach) => {
                let entries = reach.entries().to_vec();
                let client = (flow.from.clone(), family, entries, flow.port);
                let drawn = self.drawn.get(&client).map(String::as_str);
                let reach = stays(reach, drawn);
                if let ([pod], true) = (&reach.pods[..], reach.sticky) {
                    self.drawn.insert(client, pod.clone());
                }
                reach.into()
            }
            other => other,
        };
        self.compared += 1;
        let agree = match (&flow.expect, &oracle) {
            (Expectation::Reaches(by_hand), Expectation::Reaches(oracle)) => {
                said(by_hand) == said(oracle)
            }
            // Which of the entry node's addresses a pod sees, and whether one on that node sees it at all, is measured
            // by some cases and left open by all others.
            (
                Expectation::Varies(
                    variation @ (Variation::NodeClientSource | Variation::LocalBackendSource),
                    _,
                ),
                Expectation::Reaches(oracle),
            ) => {
                oracle.source == Source::EntryNode
                    && flow.expect == Expectation::varies(*variation, Some(oracle))
            }
            (by_hand, oracle) => by_hand == oracle,
        };
        if !agree {
            let id = &self.case.id;
            self.wrong.push(format!(
                "{id}: {flow}, and the oracle says in {family}: {oracle}"
            ));
        }
    }

    fn value<T: PartialEq + Debug>(&mut self, question: &Question, by_hand: &T, oracle: &T) {
        self.compared += 1;
        if by_hand != oracle {
            let id = &self.case.id;
            self.wrong.push(format!(
                "{id}: {question:?}, and the oracle says: {oracle:?}"
            ));
        }
    }
}

/// What a reach says, without what only cases decide: the order of pods, and what is judged.
type Said<'a> = (BTreeMap<&'a str, String>, bool, Source, Hops, &'a Entry);

fn said(reach: &Reach) -> Said<'_> {
    let shares = reach.shares.iter().map(|share| format!("{share:.6}"));
    (
        reach.pods.iter().map(String::as_str).zip(shares).collect(),
        // One pod is one pod.
        reach.sticky && reach.pods.len() > 1,
        reach.source,
        reach.hops,
        &reach.entry,
    )
}

#[test]
fn every_expectation_by_hand_is_the_oracles() {
    let world = World::story();
    let cases = catalogue();
    // Which pods a cluster's own controllers start is not known beforehand.
    let by_hand = cases.iter().filter(|case| case.workload.is_none());
    let (wrong, compared): (Vec<_>, Vec<_>) = by_hand.map(|case| compare(&world, case)).unzip();
    let wrong = wrong.concat();
    assert!(
        wrong.is_empty(),
        "{} disagree:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(compared.iter().all(|of_case| *of_case > 0), "{compared:?}");
    println!("{} expectations compared", compared.iter().sum::<usize>());
}

#[test]
fn a_wrong_expectation_is_a_disagreement() {
    let world = World::story();
    let service = Service::node_port().external(Policy::Local);
    let to = Target::NodePort("vm2".to_owned());
    let refused = external(CLIENT_PUBLIC).calls(to, Expectation::Refused);
    let case =
        Case::new("a/wrong/case", "A claim.", service, &["web-0"]).check("one pod", [refused]);
    let (wrong, compared) = compare(&world, &case);
    // One in each family.
    assert_eq!((wrong.len(), compared), (2, 2));
}

/// The table of endpoint states: what a node port, an external address and a load balancer's do under Cluster for anybody,
/// under Local for a pod or process of the node, and under Local for an outside client.
#[test]
fn endpoint_states_decide_as_the_table_says() {
    let world = World::story();
    let (here, there) = ("web-0", "web-1");
    let ready = Backend::ready;
    let terminating = Backend::terminating;
    let rows: [(&str, Vec<Backend>, [&str; 3]); 7] = [
        (
            "local ready and remote",
            vec![ready(here), ready(there)],
            ["here there", "here there", "here"],
        ),
        (
            "only remote ready",
            vec![ready(there)],
            ["there", "there", "dropped"],
        ),
        (
            "local terminating, remote ready",
            vec![terminating(here), ready(there)],
            ["there", "there", "here"],
        ),
        (
            "local ready, remote terminating",
            vec![ready(here), terminating(there)],
            ["here", "here", "here"],
        ),
        (
            "only terminating, local",
            vec![terminating(here)],
            ["here", "here", "here"],
        ),
        (
            "only terminating, remote",
            vec![terminating(there)],
            ["there", "there", "dropped"],
        ),
        (
            "none",
            vec![Backend::finished(here), Backend::unready(there)],
            ["refused", "refused", "refused"],
        ),
    ];
    let at = "vm1".to_owned();
    let targets = [
        Target::NodePort(at.clone()),
        Target::ExternalIp(at.clone()),
        Target::VipAt(at),
    ];
    let outside = [external(CLIENT_PUBLIC), Place::LoadBalancer];
    let inside = [pod("client-vm1"), node("vm1")];
    for (name, backends, [cluster, local_inside, local_outside]) in rows {
        for to in &targets {
            let decide = |policy, from: &Place| {
                let service = Service::load_balancer(BalancerMode::Vip)
                    .external_ips()
                    .external(policy);
                let case = Case::new("a/b/c", "A claim.", service, &[]).backends(backends.clone());
                let now = Situation::at_first(&case);
                match expect(&world, &now, Family::V4, (from, to)) {
                    Expectation::Reaches(reach) => {
                        let names = reach
                            .pods
                            .iter()
                            .map(|pod| if pod == here { "here" } else { "there" });
                        names.collect::<Vec<_>>().join(" ")
                    }
                    other => other.to_string(),
                }
            };
            for from in outside.iter().chain(&inside) {
                assert_eq!(
                    decide(Policy::Cluster, from),
                    cluster,
                    "{name}: {from} -> {to}"
                );
            }
            for from in &inside {
                assert_eq!(
                    decide(Policy::Local, from),
                    local_inside,
                    "{name}: {from} -> {to}"
                );
            }
            for from in &outside {
                assert_eq!(
                    decide(Policy::Local, from),
                    local_outside,
                    "{name}: {from} -> {to}"
                );
            }
        }
    }
}
