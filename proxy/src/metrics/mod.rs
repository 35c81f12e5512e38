//! What the proxy counts, under kube-proxy's names where the meaning is the same
//! (kubernetes/pkg/proxy/metrics/metrics.go), and under `onehop_` where there is no such name.

mod http;
mod process;
mod registry;
mod trigger;

use std::time::Duration;

use ::http::StatusCode;
use jiff::Timestamp;

use crate::model::Family;
use registry::{Code, Fate, IpFamily, Numbers, Outcome, Policy, PolicyOfFamily, Reason};

pub use http::serve;
pub use trigger::{TriggerTimes, trigger_time};

/// All metrics. Every method is cheap and may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    numbers: Numbers,
    registry: prometheus_client::registry::Registry,
}

/// How much a sync looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Everything: at the start, and whenever the kernel's state is not the one that was left there.
    Full,
    /// What had changed.
    Partial,
}

/// How many Service ports of a family have endpoints elsewhere, and none that their policy allows on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// Under `internalTrafficPolicy: Local`.
    pub internal: u32,
    /// Under `externalTrafficPolicy: Local`.
    pub external: u32,
}

/// Why everything was compared with the kernel's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResyncReason {
    /// The proxy started.
    Start,
    /// A transaction had failed.
    Failure,
    /// Somebody else changed the table.
    Foreign,
    /// An hour had passed.
    Periodic,
}

/// What became of an event for the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// The API has it.
    Sent,
    /// The API did not take it.
    Failed,
    /// It had been said a short while before.
    Repeated,
    /// There were too many.
    Limited,
    /// Too many were waiting for the API.
    Overflowed,
}

impl Metrics {
    /// All at zero, with the process's own numbers beside them.
    #[must_use]
    pub fn new() -> Self {
        let (numbers, registry) = Numbers::registered();
        Self { numbers, registry }
    }

    /// Changes of Services came in.
    pub fn services_changed(&self, count: usize) {
        self.numbers.service_changes.inc_by(count as u64);
    }

    /// Changes of EndpointSlices came in.
    pub fn slices_changed(&self, count: usize) {
        self.numbers.endpoint_changes.inc_by(count as u64);
    }

    /// How many changes of Services and of EndpointSlices are not in the kernel yet.
    pub fn pending(&self, services: usize, slices: usize) {
        self.numbers.service_changes_pending.set(clamped(services));
        self.numbers.endpoint_changes_pending.set(clamped(slices));
    }

    /// A sync of a family was asked for.
    pub fn queued(&self, family: Family, now: Timestamp) {
        let gauge = self.numbers.last_queued.get_or_create(&family.into());
        gauge.set(seconds(now));
    }

    /// A sync of a family ended, by success or failure.
    pub fn sync_ended(&self, family: Family, kind: SyncKind, took: Duration) {
        let of_kind = match kind {
            SyncKind::Full => &self.numbers.sync_full,
            SyncKind::Partial => &self.numbers.sync_partial,
        };
        for histogram in [&self.numbers.sync, of_kind] {
            let histogram = histogram.get_or_create(&family.into());
            histogram.observe(took.as_secs_f64());
        }
    }

    /// The kernel accepted a sync of a family. `since_change` are the times that passed since the changes in it were
    /// made, from [`TriggerTimes::take`].
    pub fn sync_succeeded(
        &self,
        family: Family,
        now: Timestamp,
        since_change: &[Duration],
        without: NoLocalEndpoints,
    ) {
        let numbers = &self.numbers;
        numbers
            .last_synced
            .get_or_create(&family.into())
            .set(seconds(now));
        let programming = numbers.network_programming.get_or_create(&family.into());
        for passed in since_change {
            programming.observe(passed.as_secs_f64());
        }
        for (policy, count) in [
            (Policy::internal, without.internal),
            (Policy::external, without.external),
        ] {
            let labels = PolicyOfFamily::new(policy, family);
            let gauge = numbers.no_local_endpoints.get_or_create(&labels);
            gauge.set(i64::from(count));
        }
    }

    /// The kernel refused a sync of a family.
    pub fn sync_failed(&self, family: Family) {
        self.numbers
            .sync_failures
            .get_or_create(&family.into())
            .inc();
    }

    /// The kernel refused so many times to remove what nothing uses any more.
    pub fn cleanups_failed(&self, family: Family, count: u32) {
        let counter = self.numbers.cleanup_failures.get_or_create(&family.into());
        counter.inc_by(count.into());
    }

    /// Flows of a family were compared with the endpoints, and some of them ended.
    pub fn conntrack_reconciled(&self, family: Family, took: Duration, deleted: u64) {
        let numbers = &self.numbers;
        let reconciling = numbers.conntrack_sync.get_or_create(&family.into());
        reconciling.observe(took.as_secs_f64());
        let counter = numbers.conntrack_deleted.get_or_create(&family.into());
        counter.inc_by(deleted);
    }

    /// A batch of `bytes` bytes was sent to the kernel, which took it or not.
    pub fn transaction(&self, bytes: usize, accepted: bool) {
        let outcome = Outcome::new(accepted);
        self.numbers.transactions.get_or_create(&outcome).inc();
        self.numbers.transaction_bytes.inc_by(bytes as u64);
    }

    /// How many elements the proxy's sets and maps have from it, not counting those that packets add.
    pub fn elements(&self, count: usize) {
        self.numbers.elements.set(clamped(count));
    }

    /// Everything is compared with the kernel's own state.
    pub fn resync(&self, reason: ResyncReason) {
        self.numbers
            .resyncs
            .get_or_create(&Reason::from(reason))
            .inc();
    }

    /// How many health check ports are open, and how many could not be opened by this sync.
    pub fn health_ports(&self, open: usize, failed: usize) {
        self.numbers.health_ports.set(clamped(open));
        self.numbers.health_port_failures.inc_by(failed as u64);
    }

    /// An event for the API was sent, or not.
    pub fn event(&self, fate: EventFate) {
        self.numbers.events.get_or_create(&Fate::from(fate)).inc();
    }

    pub(crate) fn healthz_answered(&self, status: StatusCode) {
        self.numbers
            .healthz
            .get_or_create(&Code::from(status))
            .inc();
    }

    pub(crate) fn livez_answered(&self, status: StatusCode) {
        self.numbers.livez.get_or_create(&Code::from(status)).inc();
    }

    /// All of it, as text in the OpenMetrics format.
    pub(crate) fn open_metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Family> for IpFamily {
    fn from(family: Family) -> Self {
        Self::new(family)
    }
}

fn clamped(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds since 1970, to the microsecond or so that such a number can hold.
fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;
