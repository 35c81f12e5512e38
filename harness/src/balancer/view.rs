//! What the load balancer shows of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wanted::HealthCheck;
use crate::case::BalancerMode;
use crate::world::{Dual, Family};

/// One Service as the load balancer serves it, as of the last rules that the kernel accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The first addresses given to the Service. Only those of its families are served; nothing while
    /// the pool is exhausted.
    pub vip: Option<Dual>,
    /// How traffic is handed to a node.
    pub mode: BalancerMode,
    /// What makes a node healthy; nothing while the API has not allocated the port for it.
    pub check: Option<HealthCheck>,
    /// Every node of the world, by name, for each family of the Service.
    pub nodes: BTreeMap<Family, BTreeMap<String, NodeHealth>>,
}

/// The health of one node for one Service and family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Whether new connections may go to it.
    pub healthy: bool,
    /// Its weight among the healthy ones, by which their shares of new connections are measured. One, unless the mode
    /// goes by what nodes announce.
    pub weight: u32,
    /// Since when the kernel has the rules for `healthy` as it is, by the clock of the taps ([`tap::now`](crate::tap::now)):
    /// whoever calls later meets them. Zero for a node that it has never sent anything to.
    pub since: Duration,
    /// When the last health check that it passed was begun, by the same clock; none where it has never passed any. As of the last
    /// change of the view: one more that it passes is none, the first that it fails is one.
    pub passed: Option<Duration>,
    /// Whether `healthy` was found by the current check; otherwise it is what the check before
    /// had found, and the current one has no verdict yet.
    pub settled: bool,
    /// The last result in words, such as `200`, `503` or `connection refused`.
    pub last: String,
}

impl View {
    /// The weights of the healthy nodes in a family; nothing if the Service does not have it.
    pub fn weights(&self, family: Family) -> Option<BTreeMap<String, u32>> {
        let nodes = self.nodes.get(&family)?.iter();
        let healthy = nodes.filter(|(_, node)| node.healthy);
        let weights = healthy.map(|(name, node)| (name.clone(), node.weight));
        Some(weights.collect())
    }

    /// Whether every node's health was found by the current check, in every family.
    pub fn settled(&self) -> bool {
        let mut nodes = self.nodes.values().flat_map(BTreeMap::values);
        nodes.all(|node| node.settled)
    }
}

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) services: BTreeMap<String, View>,
    /// What does not work at present: the part, and why.
    pub(super) problems: BTreeMap<String, String>,
}
