//! A conformance case as data: a claim, a Service with its backends, and steps that change the
//! world or check flows in it.
//!
//! Nothing here does I/O and nothing knows which provider or proxy there is: a case is the same
//! data everywhere.

mod check;
mod flow;
mod service;

pub use check::{
    BalancerCheck, Check, Entry, Expectation, FlowCheck, Hops, Question, Reach, Source,
};
pub use flow::{Place, Target, external, node, pod};
pub use service::{Backend, BalancerMode, Policy, Service, ServiceType};

use serde::Serialize;

pub use crate::profile::Feature;

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
}

impl Change {
    /// What a proxy must support for this change to have its effect.
    fn features(&self) -> Vec<Feature> {
        match self {
            Self::ExternalPolicy(Policy::Local) => vec![Feature::ExternalTrafficPolicy],
            Self::InternalPolicy(Policy::Local) => vec![Feature::InternalTrafficPolicy],
            Self::Backends(backends) if backends.iter().any(|b| b.terminating) => {
                vec![Feature::TerminatingEndpoints]
            }
            Self::ExternalPolicy(Policy::Cluster)
            | Self::InternalPolicy(Policy::Cluster)
            | Self::Type(_)
            | Self::Backends(_) => Vec::new(),
        }
    }
}

/// One step of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Changes the world.
    Change(Change),
    /// Waits until the world behaves as expected, then judges it.
    Check(Check),
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
            steps: Vec::new(),
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

    /// All checks, in order.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.steps.iter().filter_map(|step| match step {
            Step::Check(check) => Some(check),
            Step::Change(_) => None,
        })
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
        defect(self.sources.is_empty(), "names no source");
        defect(self.claim.is_empty(), "claims nothing");
        defect(self.checks().next().is_none(), "checks nothing");
        defect(
            self.checks().any(|c| c.questions.is_empty()),
            "has a check that asks nothing",
        );
        let mut pods: Vec<_> = self.backends.iter().map(|b| &b.pod).collect();
        pods.sort();
        pods.dedup();
        defect(pods.len() != self.backends.len(), "lists a backend twice");
        defects
    }
}
