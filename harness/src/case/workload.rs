//! Pods that a cluster runs for a case by itself: Deployments, whose pods the Service selects.
//!
//! Nobody knows their names beforehand. What is expected of them says how many there must be, in
//! which state and where; who they are is read when a check begins.

use std::fmt;

use serde::Serialize;

/// The pods of a case that has no backends of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// How long a pod goes on serving once it is asked to end, in seconds.
    pub lingers: u16,
}

/// A Deployment of pods that may run on some nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// Its name within the case.
    pub name: &'static str,
    /// The nodes that its pods may run on. They are spread as evenly as can be.
    pub nodes: &'static [&'static str],
    /// Its pods.
    pub replicas: u16,
    /// How a rolling update goes about.
    pub update: Update,
}

/// What comes first in a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// A new pod is ready before an old one ends: `maxSurge: 1`, `maxUnavailable: 0`.
    NewFirst,
    /// An old pod is asked to end before a new one starts: `maxSurge: 0`, `maxUnavailable: 1`.
    OldFirst,
}

impl Deployment {
    /// A Deployment by this name.
    pub const fn new(name: &'static str, nodes: &'static [&'static str], replicas: u16) -> Self {
        Self {
            name,
            nodes,
            replicas,
            update: Update::NewFirst,
        }
    }

    /// The same, updated in this way.
    #[must_use]
    pub const fn updated(self, update: Update) -> Self {
        Self { update, ..self }
    }
}

/// The state of a pod, as its endpoint has it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// Ready.
    Ready,
    /// Being deleted, and still serving.
    Terminating,
    /// Not serving.
    Unready,
}

/// Pods of a workload: exactly so many in this state, on these nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PodsOf {
    /// How many.
    pub count: u16,
    /// Their state.
    pub state: PodState,
    /// The nodes that they run on.
    pub nodes: &'static [&'static str],
}

impl PodsOf {
    /// So many ready pods on these nodes.
    pub const fn ready(count: u16, nodes: &'static [&'static str]) -> Self {
        Self {
            count,
            state: PodState::Ready,
            nodes,
        }
    }

    /// So many pods on these nodes that are being deleted and serve on.
    pub const fn terminating(count: u16, nodes: &'static [&'static str]) -> Self {
        Self {
            state: PodState::Terminating,
            ..Self::ready(count, nodes)
        }
    }
}

impl fmt::Display for PodState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Terminating => "terminating",
            Self::Unready => "unready",
        })
    }
}

impl fmt::Display for PodsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = if self.count == 1 { "pod" } else { "pods" };
        let nodes = self.nodes.join(" and ");
        write!(f, "the {} {} {pods} on {nodes}", self.count, self.state)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Deployment {
            name,
            nodes,
            replicas,
            update,
        } in &self.deployments
        {
            let old_first = match update {
                Update::NewFirst => "",
                Update::OldFirst => ", updated old pods first",
            };
            write!(f, "{name}: {replicas} on {}{old_first}; ", nodes.join(" "))?;
        }
        write!(f, "each serves {} s on when asked to end", self.lingers)
    }
}
