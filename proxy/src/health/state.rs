//! What the proxy knows of its own health.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use crate::clock::{Clock, Moment};
use crate::model::Family;

/// The taint that the cluster autoscaler puts on a node that it is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether updates reach the kernel in time, and whether the node should get traffic from outside.
///
/// Shared between the sync loop, which writes, and the servers, which read. Every method takes a lock for a few
/// instructions, and none waits for anything else.
#[derive(Debug)]
pub struct HealthState {
    clock: Clock,
    timeout: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each family was last in step. A family that never was is not judged.
    synced: BTreeMap<Family, Moment>,
    /// Since when each family has been waiting for its oldest update.
    queued: BTreeMap<Family, Instant>,
    /// The Node was seen, and nothing about it says that it goes away.
    node_eligible: bool,
}

/// The health of the proxy at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// That moment.
    pub now: Timestamp,
    /// No family waits for longer than it may.
    pub healthy: bool,
    /// The Node exists, is not being deleted, and is not about to be removed by the cluster autoscaler.
    pub node_eligible: bool,
    /// When a family was last in step, of the one that was so most recently.
    pub last_updated: Option<Timestamp>,
    /// Each family that has started.
    pub families: BTreeMap<Family, FamilyHealth>,
}

/// The health of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyHealth {
    /// When it was last in step.
    pub last_updated: Timestamp,
    /// It does not wait for longer than it may.
    pub healthy: bool,
}

impl HealthState {
    /// A proxy that has done nothing yet: healthy, on a Node that was not seen.
    ///
    /// `sync_period` is `nftables.syncPeriod`; an update may wait for twice that
    /// (kubernetes/cmd/kube-proxy/app/server.go).
    #[must_use]
    pub fn new(clock: Clock, sync_period: Duration) -> Self {
        Self {
            clock,
            timeout: sync_period * 2,
            inner: Mutex::default(),
        }
    }

    /// The sync loop starts: from now on each family is judged.
    pub fn started(&self) {
        for family in Family::ALL {
            self.synced(family);
        }
    }

    /// An update for a family came in that is not in the kernel yet.
    pub fn queued(&self, family: Family) {
        let now = self.clock.now().steady;
        self.lock().queued.entry(family).or_insert(now);
    }

    /// The kernel accepted all that was queued for a family. Not called after a transaction that failed.
    pub fn synced(&self, family: Family) {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.queued.remove(&family);
        inner.synced.insert(family, now);
    }

    /// The Node was added, changed, or deleted (`None`).
    pub fn node_changed(&self, node: Option<&Node>) {
        self.lock().node_eligible = eligible(node);
    }

    /// Whether no family waits for longer than it may. What `/livez` and the health check ports of Services report.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let now = self.clock.now().steady;
        let inner = self.lock();
        let mut started = inner.synced.keys();
        started.all(|family| !self.overdue(&inner, *family, now))
    }

    /// All of it.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.clock.now();
        let inner = self.lock();
        let families: BTreeMap<_, _> = inner
            .synced
            .iter()
            .map(|(family, last)| {
                let health = FamilyHealth {
                    last_updated: last.wall,
                    healthy: !self.overdue(&inner, *family, now.steady),
                };
                (*family, health)
            })
            .collect();
        Health {
            now: now.wall,
            healthy: families.values().all(|family| family.healthy),
            node_eligible: inner.node_eligible,
            last_updated: families.values().map(|family| family.last_updated).max(),
            families,
        }
    }

    fn overdue(&self, inner: &Inner, family: Family, now: Instant) -> bool {
        let waiting = inner.queued.get(&family);
        waiting.is_some_and(|since| now.saturating_duration_since(*since) >= self.timeout)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether load balancers should send to a node: it exists, is not being deleted, and is not tainted
/// `ToBeDeletedByClusterAutoscaler` (KEP-3836; kubernetes/pkg/proxy/healthcheck/proxy_health.go).
///
/// kube-proxy has no answer at all until it saw the Node or waited 30 s for it, and keeps the last Node that it saw
/// after a deletion. Here a Node that was never seen and one that was deleted are the same: absent, so not eligible.
#[must_use]
pub fn eligible(node: Option<&Node>) -> bool {
    let Some(node) = node else { return false };
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let tainted = taints
        .unwrap_or_default()
        .iter()
        .any(|taint| taint.key == TO_BE_DELETED);
    node.metadata.deletion_timestamp.is_none() && !tainted
}

#[cfg(test)]
mod tests;
