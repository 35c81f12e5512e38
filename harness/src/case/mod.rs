//! A conformance case as data: a claim, a Service with its backends, and steps that change the
//! world or check flows in it.
//!
//! Nothing here does I/O and nothing knows which provider or proxy there is: a case is the same
//! data everywhere.

mod check;
mod defects;
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

use std::time::Duration;

use serde::Serialize;

pub use crate::profile::{Feature, Variation};
use crate::timing::Timing;

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
    /// Has so many other Services beside this one, on the pod of its own first backend. They go with the case.
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
}
