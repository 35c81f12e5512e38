//! What a case asks of the world, and what it expects for an answer.

use std::fmt;

use serde::Serialize;

use super::{Place, Target};

/// Questions that are asked together, once the world behaves as all of them expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What the world is like at this point, for people.
    pub label: String,
    /// The questions.
    pub questions: Vec<Question>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What becomes of connections, in each family of the world.
    Flow(FlowCheck),
    /// What the health check node port of a node says: the number of local endpoints, or `None`
    /// when the port must be closed. Asked from outside, in each family.
    HealthCheck {
        /// The node.
        node: String,
        /// `localEndpoints`, if the port is open.
        local_endpoints: Option<u32>,
    },
    /// Which nodes the load balancer finds healthy, and by which check.
    HealthyNodes {
        /// The check that it must use.
        by: BalancerCheck,
        /// The nodes that must be healthy; every other must not.
        nodes: Vec<String>,
    },
    /// Whether `spec.healthCheckNodePort` is allocated.
    HealthCheckAllocated(bool),
}

/// How the load balancer finds out whether a node is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerCheck {
    /// By HTTP on the health check node port: `externalTrafficPolicy: Local`.
    HealthCheckNodePort,
    /// By TCP on the node port: `externalTrafficPolicy: Cluster`.
    NodePort,
}

/// Connections from one place to one target, and what should become of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowCheck {
    /// Who calls.
    pub from: Place,
    /// What is called.
    pub to: Target,
    /// What should become of every connection.
    pub expect: Expectation,
}

/// What should become of every connection of a flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// A backend answers.
    Reaches(Reach),
    /// Refused, by RST or ICMP.
    Refused,
    /// Dropped silently: told apart from refused.
    Dropped,
}

/// Which backends answer, and how the connection comes to them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// The pods that may answer; each must, and no other may.
    pub pods: Vec<String>,
    /// Whether the shares of the pods are judged, and against what.
    pub spread: Spread,
    /// The peer that the backend sees.
    pub source: Source,
    /// The hops compared with the same connection sent straight to the pod.
    pub hops: Hops,
    /// The node by which the connection enters the cluster.
    pub entry: Entry,
    /// The imbalance between the pods, derived in the case: the largest share over the mean
    /// share. Judged together with the shares.
    pub imbalance: Option<f64>,
}

/// The shares of the pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Every pod answers at least once; shares are not judged.
    Covered,
    /// Every pod has the same share, judged by χ².
    Even,
    /// Shares in the order of the pods, summing to 1, judged by χ².
    Shares(Vec<f64>),
}

/// The peer that the backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The client's own address: kept.
    Preserved,
    /// An address of the node by which the connection entered: lost, masqueraded.
    EntryNode,
}

/// Extra hops compared with the same connection sent straight to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hops {
    /// None.
    Direct,
    /// One when the pod runs on another node than the one by which the connection entered.
    OneIfRemote,
}

/// Where a connection enters the cluster, as the taps saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// By this node.
    Node(String),
    /// By a node of the load balancer's choice: each of these is chosen, and no other.
    Balanced(Vec<String>),
}

impl Place {
    /// A flow from here to a target.
    pub fn calls(&self, to: Target, expect: Expectation) -> Question {
        Question::Flow(FlowCheck {
            from: self.clone(),
            to,
            expect,
        })
    }
}

impl Reach {
    /// These pods, every one and no other.
    pub fn pods(pods: &[&str], source: Source, hops: Hops, entry: Entry) -> Self {
        let pods = pods.iter().map(|&pod| pod.to_owned()).collect();
        Self {
            pods,
            spread: Spread::Covered,
            source,
            hops,
            entry,
            imbalance: None,
        }
    }

    /// The same with equal shares.
    #[must_use]
    pub fn even(self) -> Self {
        Self {
            spread: Spread::Even,
            ..self
        }
    }

    /// The same with these shares, in the order of the pods.
    #[must_use]
    pub fn shares(self, shares: &[f64]) -> Self {
        Self {
            spread: Spread::Shares(shares.to_vec()),
            ..self
        }
    }

    /// The same with this imbalance.
    #[must_use]
    pub fn imbalance(self, imbalance: f64) -> Self {
        Self {
            imbalance: Some(imbalance),
            ..self
        }
    }

    /// The share that each pod should have, if shares are judged.
    pub fn expected_shares(&self) -> Option<Vec<f64>> {
        match &self.spread {
            Spread::Covered => None,
            Spread::Even => Some(vec![1.0 / self.pods.len() as f64; self.pods.len()]),
            Spread::Shares(shares) => Some(shares.clone()),
        }
    }
}

impl From<Reach> for Expectation {
    fn from(reach: Reach) -> Self {
        Self::Reaches(reach)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preserved => "the caller's own",
            Self::EntryNode => "the entry node's",
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("dropped"),
            Self::Refused => f.write_str("refused"),
            Self::Reaches(reach) => reach.fmt(f),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pods.join(" "))?;
        match &self.spread {
            Spread::Covered => {}
            Spread::Even => f.write_str(" evenly")?,
            Spread::Shares(shares) => {
                let parts: Vec<_> = shares.iter().map(|s| format!("{:.0}", s * 100.0)).collect();
                write!(f, " {} %", parts.join("/"))?;
            }
        }
        let hops = match self.hops {
            Hops::Direct => "+0",
            Hops::OneIfRemote => "+0 local, +1 remote",
        };
        let entry = match &self.entry {
            Entry::Node(node) => node.clone(),
            Entry::Balanced(nodes) => nodes.join("+"),
        };
        write!(f, "; source {}; hops {hops}; by {entry}", self.source)
    }
}
