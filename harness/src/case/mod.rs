//! A conformance case as data: a claim, a Service with its backends, and steps that change the
//! world or check flows in it.
//!
//! Nothing here does I/O and nothing knows which provider or proxy there is: a case is the same
//! data everywhere.

mod check;
mod flow;
mod harm;
mod held;
mod need;
mod service;
mod vary;
mod workload;

pub use check::{
    BalancerCheck, Check, Entry, Expectation, FlowCheck, HEALTH_PATH, HealthPath, Hops,
    NodeAddress, Question, Reach, Source, Together, weighed,
};
pub use flow::{Place, Target, external, node, pod};
pub use harm::{Harm, TO_BE_DELETED};
pub use held::{HeldExpectation, HeldFlow, held};
pub use need::Need;
pub use service::{
    ADDRESSES_ANNOTATION, Backend, BalancerMode, Families, IpMode, Policy, Port, SERVICE_PORT,
    Service, ServiceType, SourceRange, Stated,
};
pub use workload::{Deployment, PodState, PodsOf, Update, Workload};

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

pub use crate::profile::{Feature, Variation};
use crate::timing::Timing;
use crate::world::{Length, Protocol};

/// The longest id of a case, which names its Service, in a label too.
const LONGEST_ID: usize = 63;
/// The ports that a Service may have.
pub const MOST_PORTS: u16 = 3;
/// The EndpointSlices of a family that a Service may have.
pub const MOST_SLICES: u16 = 3;

/// A change to the world, made through the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Sets `externalTrafficPolicy`.
    ExternalPolicy(Policy),
    /// Sets `internalTrafficPolicy`.
    InternalPolicy(Policy),
    /// Sets the Service's type, and with it which addresses it has.
    Type(ServiceType),
    /// Replaces the backends, as the EndpointSlice controller would.
    Backends(Vec<Backend>),
    /// Sets the families of the Service, as its owner and the EndpointSlice controller would. The first one stays.
    Families(Families),
    /// Sets the affinity of clients to pods, by its timeout in seconds, or removes it.
    Affinity(Option<u32>),
    /// Sets `loadBalancerSourceRanges`.
    SourceRanges(&'static [SourceRange]),
    /// Sets `ipMode` of the Service's load-balancer addresses.
    IpMode(IpMode),
    /// Has so many other Services beside this one, on the pods of its own first backends. They go with the case.
    Crowd(u16),
    /// Sets the label that says which proxy is to serve the Service, or removes it.
    ProxyName(Option<&'static str>),
    /// Gives a node one taint by its key, or takes all from it. That [harms](Case::harms) others. Taints end with the
    /// case.
    Taint {
        /// The node.
        node: &'static str,
        /// The key.
        key: Option<&'static str>,
        /// What it does.
        effect: TaintEffect,
    },
    /// Sets how many pods a Deployment of the workload is to have. Pods that are too many are asked
    /// to end, and nobody waits for that.
    Scale {
        /// The Deployment.
        deployment: &'static str,
        /// Its pods.
        replicas: u16,
    },
    /// Has the pods of a Deployment say that they are ready, or that they are not. They serve in any case.
    Readiness {
        /// The Deployment.
        deployment: &'static str,
        /// What they say.
        ready: bool,
    },
    /// Begins a rolling update of every Deployment of the workload.
    Roll,
    /// Drains a node: no pod is put there any more, and those of the workload are evicted. That [harms](Case::harms)
    /// other workloads, and the node takes pods again when the case ends.
    Drain(&'static str),
    /// Lets a drained node take pods again.
    Uncordon(&'static str),
    /// Ends the proxy of every node and has it start again, as an update of it does, and waits until all are ready. That
    /// [harms](Case::harms) everybody.
    RestartProxies,
    /// Stops every process on a node, or lets them go on, and waits until the cluster has noticed. That
    /// [harms](Case::harms) everybody, and they go on when the case ends.
    Stop {
        /// The node.
        node: &'static str,
        /// Whether they are to be stopped.
        stopped: bool,
    },
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TaintEffect {
    /// No further ones come.
    NoSchedule,
    /// Nor do those stay that are there.
    NoExecute,
}

impl TaintEffect {
    /// The value of `effect`.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

impl Change {
    /// What a proxy must support for this change to have its effect.
    fn features(&self) -> Vec<Feature> {
        match self {
            Self::ExternalPolicy(Policy::Local) => vec![Feature::ExternalTrafficPolicy],
            Self::InternalPolicy(Policy::Local) => vec![Feature::InternalTrafficPolicy],
            Self::Backends(backends) => backend_features(backends),
            Self::Affinity(Some(_)) => vec![Feature::SessionAffinity],
            Self::SourceRanges([_, ..]) => vec![Feature::SourceRanges],
            Self::IpMode(IpMode::Proxy) => vec![Feature::IpModeProxy],
            Self::ProxyName(Some(_)) => vec![Feature::ServiceProxyName],
            Self::Families(_) => vec![Feature::Ipv6],
            Self::ExternalPolicy(Policy::Cluster)
            | Self::InternalPolicy(Policy::Cluster)
            | Self::Type(_)
            | Self::Affinity(None)
            | Self::SourceRanges([])
            | Self::IpMode(IpMode::Vip)
            | Self::ProxyName(None)
            | Self::Crowd(_)
            | Self::Taint { .. }
            | Self::Scale { .. }
            | Self::Readiness { .. }
            | Self::Roll
            | Self::Drain(_)
            | Self::Uncordon(_)
            | Self::RestartProxies
            | Self::Stop { .. } => Vec::new(),
        }
    }
}

/// What a proxy must support for backends in these states.
fn backend_features(backends: &[Backend]) -> Vec<Feature> {
    let any = |has: fn(&Backend) -> bool| backends.iter().any(has);
    let mut features = Vec::new();
    if any(|backend| backend.terminating) {
        features.push(Feature::TerminatingEndpoints);
    }
    if any(|backend| backend.family.is_some()) {
        features.push(Feature::Ipv6);
    }
    if any(|backend| !backend.zones.is_empty() || !backend.nodes.is_empty()) {
        features.push(Feature::TopologyHints);
    }
    features
}

/// One step of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Changes the world.
    Change(Change),
    /// Waits until the world behaves as expected, then judges it.
    Check(Check),
    /// Opens flows, and keeps them until the end of the case.
    Open(HeldFlow),
    /// Lets time pass, for what must happen by itself.
    Wait(Duration),
    /// Lets one of so many equal parts pass of the time for which flows are idle ([`idle`](crate::timing::Timing::idle)).
    Idle(u32),
    /// Waits until the workload has the pods that its Deployments want, all of them ready, and no others.
    Settle,
    /// Calls again and again from now on, a few at a time, until the end of the case, in every family that the Service
    /// has now. Every call must be answered by a pod that is ever one of its backends, as far as the question about it does not
    /// say otherwise.
    Traffic(Traffic),
}

/// Connections, or datagrams from ports of their own, that go on being made while the world changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traffic {
    /// What later questions call it.
    pub name: &'static str,
    /// Who calls.
    pub from: Place,
    /// What is called, on the Service's first port.
    pub to: Target,
}

/// One conformance case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// Its unique id, `subject/policy/claim`.
    pub id: String,
    /// What it proves, in one sentence.
    pub claim: String,
    /// Where the claim comes from: KEPs, upstream files, bugs. Never empty.
    pub sources: Vec<&'static str>,
    /// What it needs.
    pub features: Vec<Feature>,
    /// The Service that it is about, as first created.
    pub service: Service,
    /// The Service's backends at first.
    pub backends: Vec<Backend>,
    /// What the cluster runs in their place: the Service selects its pods, and the cluster's own controllers write
    /// the EndpointSlices.
    pub workload: Option<Workload>,
    /// What happens, in order. Holds at least one check.
    pub steps: Vec<Step>,
}

impl Case {
    /// A case with no steps yet. Its features are those that the Service implies.
    pub fn new(id: &str, claim: &str, service: Service, backends: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            claim: claim.to_owned(),
            sources: Vec::new(),
            features: service.features(),
            service,
            backends: backends.iter().map(|pod| Backend::ready(pod)).collect(),
            workload: None,
            steps: Vec::new(),
        }
    }

    /// Has the cluster run these Deployments. Each of their pods serves so many seconds on once it is asked to end.
    #[must_use]
    pub fn workload(self, lingers: u16, deployments: &[Deployment]) -> Self {
        let workload = Workload {
            deployments: deployments.to_vec(),
            lingers,
        };
        Self {
            workload: Some(workload),
            ..self
        }
    }

    /// Adds where the claim comes from.
    #[must_use]
    pub fn sources(mut self, sources: &[&'static str]) -> Self {
        self.sources.extend(sources);
        self
    }

    /// Adds a feature that the Service alone does not imply.
    #[must_use]
    pub fn needs(mut self, feature: Feature) -> Self {
        if !self.features.contains(&feature) {
            self.features.push(feature);
        }
        self
    }

    /// Adds a check of everything that should now be so. What its questions need is added too.
    #[must_use]
    pub fn check(mut self, label: &str, questions: impl IntoIterator<Item = Question>) -> Self {
        let questions: Vec<_> = questions.into_iter().collect();
        for feature in questions.iter().flat_map(Question::features) {
            self = self.needs(feature);
        }
        self.steps.push(Step::Check(Check {
            label: label.to_owned(),
            questions,
        }));
        self
    }

    /// Adds a change. What it needs is added too.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        for feature in change.features() {
            self = self.needs(feature);
        }
        self.steps.push(Step::Change(change));
        self
    }

    /// Opens flows by this name, and keeps them until the end of the case.
    #[must_use]
    pub fn open(mut self, name: &'static str, flow: FlowCheck) -> Self {
        self = self.needs(flow.to.feature());
        self.steps.push(Step::Open(HeldFlow { name, flow }));
        self
    }

    /// Starts with backends in these states, in place of ready ones.
    #[must_use]
    pub fn backends(mut self, backends: Vec<Backend>) -> Self {
        for feature in backend_features(&backends) {
            self = self.needs(feature);
        }
        self.backends = backends;
        self
    }

    /// Lets time pass.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Lets one of so many parts pass of the time for which flows are idle.
    #[must_use]
    pub fn idle(mut self, parts: u32) -> Self {
        self.steps.push(Step::Idle(parts));
        self
    }

    /// Waits until the workload is as its Deployments want it.
    #[must_use]
    pub fn settle(mut self) -> Self {
        self.steps.push(Step::Settle);
        self
    }

    /// Begins traffic by this name, that goes on until the end of the case.
    #[must_use]
    pub fn traffic(mut self, name: &'static str, from: &Place, to: Target) -> Self {
        self = self.needs(to.feature());
        let from = from.clone();
        self.steps.push(Step::Traffic(Traffic { name, from, to }));
        self
    }

    /// The traffic that goes on while it changes the world, in order.
    pub fn traffics(&self) -> impl Iterator<Item = &Traffic> {
        self.steps.iter().filter_map(|step| match step {
            Step::Traffic(traffic) => Some(traffic),
            _ => None,
        })
    }

    /// Every change, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().filter_map(|step| match step {
            Step::Change(change) => Some(change),
            _ => None,
        })
    }

    /// Every list of backends that it ever has.
    pub fn every_backends(&self) -> impl Iterator<Item = &Vec<Backend>> {
        let changed = self.steps.iter().filter_map(|step| match step {
            Step::Change(Change::Backends(backends)) => Some(backends),
            _ => None,
        });
        std::iter::once(&self.backends).chain(changed)
    }

    /// Whether strays are sent of its connections: its backends say back what they are told then, see
    /// [`Question::StraySegment`].
    pub fn has_strays(&self) -> bool {
        let mut questions = self.checks().flat_map(|check| &check.questions);
        questions.any(|question| matches!(question, Question::StraySegment { .. }))
    }

    /// The nodes that it ever gives a taint, with its key.
    pub fn tainted(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.changes().filter_map(|change| match change {
            Change::Taint {
                node,
                key: Some(key),
                ..
            } => Some((*node, *key)),
            _ => None,
        })
    }

    /// The nodes that it ever drains.
    pub fn drained(&self) -> impl Iterator<Item = &'static str> {
        self.changes().filter_map(|change| match change {
            Change::Drain(node) => Some(*node),
            _ => None,
        })
    }

    /// The nodes that it ever stops.
    pub fn stopped(&self) -> impl Iterator<Item = &'static str> {
        self.changes().filter_map(|change| match change {
            Change::Stop {
                node,
                stopped: true,
            } => Some(*node),
            _ => None,
        })
    }

    /// The time that it lets pass, all in all, unless flows are to be idle for longer.
    pub fn waits(&self) -> Duration {
        let waits = self.steps.iter().filter_map(|step| match step {
            Step::Wait(time) => Some(*time),
            Step::Idle(parts) => Some(Timing::default().idle / *parts),
            _ => None,
        });
        waits.sum()
    }

    /// All checks, in order.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.steps.iter().filter_map(|step| match step {
            Step::Check(check) => Some(check),
            _ => None,
        })
    }

    /// The flows that are opened and kept, in order.
    pub fn held(&self) -> impl Iterator<Item = &HeldFlow> {
        self.steps.iter().filter_map(|step| match step {
            Step::Open(held) => Some(held),
            _ => None,
        })
    }

    /// Every flow that it makes, in the order of the steps' kinds. One that is kept comes once more
    /// for each time that something else is to become of it.
    pub fn flows(&self) -> Vec<FlowCheck> {
        let questions = || self.checks().flat_map(|check| &check.questions);
        let asked = questions().flat_map(Question::flows).cloned();
        let opened = self.held().map(|held| held.flow.clone());
        let moved = questions().filter_map(|question| {
            let Question::Held {
                name,
                expect: HeldExpectation::Becomes(expect),
            } = question
            else {
                return None;
            };
            let held = self.held().find(|held| held.name == *name)?;
            Some(FlowCheck {
                expect: expect.clone(),
                ..held.flow.clone()
            })
        });
        asked.chain(opened).chain(moved).collect()
    }

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
