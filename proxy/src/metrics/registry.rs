//! The names, types and labels.

use std::sync::atomic::AtomicU64;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family as Labelled, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::process::Process;
use super::{EventFate, ResyncReason};
use crate::model::Family;

/// A family of addresses, by kube-proxy's label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct IpFamily {
    ip_family: FamilyName,
}

impl IpFamily {
    pub(super) fn new(family: Family) -> Self {
        Self {
            ip_family: family.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum FamilyName {
    IPv4,
    IPv6,
}

impl From<Family> for FamilyName {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::IPv4,
            Family::V6 => Self::IPv6,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyOfFamily {
    traffic_policy: Policy,
    ip_family: FamilyName,
}

impl PolicyOfFamily {
    pub(super) fn new(policy: Policy, family: Family) -> Self {
        Self {
            traffic_policy: policy,
            ip_family: family.into(),
        }
    }
}

/// The label is the variant's name.
#[expect(
    non_camel_case_types,
    reason = "the derive writes the variant's name as the label"
)]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Policy {
    internal,
    external,
}

/// An HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    code: u16,
}

impl From<StatusCode> for Code {
    fn from(status: StatusCode) -> Self {
        Self {
            code: status.as_u16(),
        }
    }
}

/// Whether the kernel took a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    result: &'static str,
}

impl Outcome {
    pub(super) fn new(accepted: bool) -> Self {
        Self {
            result: if accepted { "accepted" } else { "refused" },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    reason: &'static str,
}

impl From<ResyncReason> for Reason {
    fn from(reason: ResyncReason) -> Self {
        let reason = match reason {
            ResyncReason::Start => "start",
            ResyncReason::Failure => "failure",
            ResyncReason::Foreign => "foreign",
            ResyncReason::Periodic => "periodic",
        };
        Self { reason }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Fate {
    fate: &'static str,
}

impl From<EventFate> for Fate {
    fn from(fate: EventFate) -> Self {
        let fate = match fate {
            EventFate::Sent => "sent",
            EventFate::Failed => "failed",
            EventFate::Repeated => "repeated",
            EventFate::Limited => "limited",
            EventFate::Overflowed => "overflowed",
        };
        Self { fate }
    }
}

type Seconds = Gauge<f64, AtomicU64>;

/// Makes histograms with the bounds of one of kube-proxy's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Buckets {
    /// From a millisecond by doubling, 15 of them.
    Doubling,
    /// From 0 to 5 minutes, by a second where it matters.
    Programming,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.bounds())
    }
}

impl Buckets {
    pub(super) fn bounds(self) -> Vec<f64> {
        match self {
            Self::Doubling => (0..15).map(|n| 0.001 * f64::from(1 << n)).collect(),
            Self::Programming => {
                let seconds = (1..60)
                    .chain((60..120).step_by(5))
                    .chain((120..=300).step_by(30));
                let early = [0.0, 0.25, 0.5];
                early.into_iter().chain(seconds.map(f64::from)).collect()
            }
        }
    }
}

type Histograms = Labelled<IpFamily, Histogram, Buckets>;
type Counters<L> = Labelled<L, Counter>;

/// Everything that is counted. Clones share their numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) sync: Histograms,
    pub(super) sync_full: Histograms,
    pub(super) sync_partial: Histograms,
    pub(super) network_programming: Histograms,
    pub(super) conntrack_sync: Histograms,
    pub(super) last_synced: Labelled<IpFamily, Seconds>,
    pub(super) last_queued: Labelled<IpFamily, Seconds>,
    pub(super) endpoint_changes: Counter,
    pub(super) endpoint_changes_pending: Gauge,
    pub(super) service_changes: Counter,
    pub(super) service_changes_pending: Gauge,
    pub(super) no_local_endpoints: Labelled<PolicyOfFamily, Gauge>,
    pub(super) sync_failures: Counters<IpFamily>,
    pub(super) cleanup_failures: Counters<IpFamily>,
    pub(super) conntrack_deleted: Counters<IpFamily>,
    pub(super) healthz: Counters<Code>,
    pub(super) livez: Counters<Code>,
    pub(super) transactions: Counters<Outcome>,
    pub(super) transaction_bytes: Counter,
    pub(super) elements: Gauge,
    pub(super) resyncs: Counters<Reason>,
    pub(super) health_ports: Gauge,
    pub(super) health_port_failures: Counter,
    pub(super) events: Counters<Fate>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            sync: Labelled::new_with_constructor(Buckets::Doubling),
            sync_full: Labelled::new_with_constructor(Buckets::Doubling),
            sync_partial: Labelled::new_with_constructor(Buckets::Doubling),
            network_programming: Labelled::new_with_constructor(Buckets::Programming),
            conntrack_sync: Labelled::new_with_constructor(Buckets::Doubling),
            last_synced: Labelled::default(),
            last_queued: Labelled::default(),
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            no_local_endpoints: Labelled::default(),
            sync_failures: Labelled::default(),
            cleanup_failures: Labelled::default(),
            conntrack_deleted: Labelled::default(),
            healthz: Labelled::default(),
            livez: Labelled::default(),
            transactions: Labelled::default(),
            resyncs: Labelled::default(),
            events: Labelled::default(),
            transaction_bytes: Counter::default(),
            health_port_failures: Counter::default(),
            elements: Gauge::default(),
            health_ports: Gauge::default(),
        }
    }
}

impl Numbers {
    /// All of them at zero, and the registry that reads them. Counters' names get `_total` from the library.
    pub(super) fn registered() -> (Self, Registry) {
        let mut registry = Registry::default();
        let numbers = Self::default();
        let mut kube_proxys = Prefixed(&mut registry, "kubeproxy");
        numbers.syncs(&mut kube_proxys);
        numbers.changes(&mut kube_proxys);
        numbers.failures_and_probes(&mut kube_proxys);
        numbers.own(&mut Prefixed(&mut registry, "onehop"));
        registry.register_collector(Box::new(Process));
        (numbers, registry)
    }

    fn syncs(&self, to: &mut Prefixed<'_>) {
        to.add(
            "sync_proxy_rules_duration_seconds",
            "Seconds that a sync took, of either kind",
            &self.sync,
        );
        to.add(
            "sync_full_proxy_rules_duration_seconds",
            "Seconds that a sync of everything took",
            &self.sync_full,
        );
        to.add(
            "sync_partial_proxy_rules_duration_seconds",
            "Seconds that a sync of what had changed took",
            &self.sync_partial,
        );
        to.add(
            "network_programming_duration_seconds",
            "Seconds from a change in the cluster until the kernel had it",
            &self.network_programming,
        );
        to.add(
            "conntrack_reconciler_sync_duration_seconds",
            "Seconds that comparing tracked flows with the endpoints took",
            &self.conntrack_sync,
        );
        to.add(
            "sync_proxy_rules_last_timestamp_seconds",
            "When a sync last succeeded",
            &self.last_synced,
        );
        to.add(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When a sync was last asked for",
            &self.last_queued,
        );
    }

    fn changes(&self, to: &mut Prefixed<'_>) {
        to.add(
            "sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices that came in",
            &self.endpoint_changes,
        );
        to.add(
            "sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlices that the kernel does not have yet",
            &self.endpoint_changes_pending,
        );
        to.add(
            "sync_proxy_rules_service_changes",
            "Changes of Services that came in",
            &self.service_changes,
        );
        to.add(
            "sync_proxy_rules_service_changes_pending",
            "Changes of Services that the kernel does not have yet",
            &self.service_changes_pending,
        );
        to.add(
            "sync_proxy_rules_no_local_endpoints_total",
            "Service ports whose Local policy leaves them no endpoint on this node",
            &self.no_local_endpoints,
        );
    }

    fn failures_and_probes(&self, to: &mut Prefixed<'_>) {
        to.add(
            "sync_proxy_rules_nftables_sync_failures",
            "Syncs that the kernel refused",
            &self.sync_failures,
        );
        to.add(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Removals of unused rules that the kernel refused",
            &self.cleanup_failures,
        );
        to.add(
            "conntrack_reconciler_deleted_entries",
            "Tracked flows that were ended because their endpoint serves no more",
            &self.conntrack_deleted,
        );
        to.add(
            "proxy_healthz",
            "Answers of /healthz, by status",
            &self.healthz,
        );
        to.add("proxy_livez", "Answers of /livez, by status", &self.livez);
    }

    fn own(&self, to: &mut Prefixed<'_>) {
        to.add(
            "nftables_transactions",
            "Netlink transactions, by whether the kernel took them",
            &self.transactions,
        );
        to.add(
            "nftables_transaction_bytes",
            "Bytes of all netlink transactions",
            &self.transaction_bytes,
        );
        to.add(
            "nftables_elements",
            "Elements that the proxy has put into its sets and maps",
            &self.elements,
        );
        to.add(
            "resyncs",
            "Comparisons of everything with the state of the kernel, by what made them necessary",
            &self.resyncs,
        );
        to.add(
            "health_check_ports",
            "Open health check node ports",
            &self.health_ports,
        );
        to.add(
            "health_check_port_failures",
            "Attempts to open a health check node port that failed",
            &self.health_port_failures,
        );
        to.add(
            "events",
            "Events for the API, by what became of them",
            &self.events,
        );
    }
}

/// A registry and what the names in it begin with.
struct Prefixed<'a>(&'a mut Registry, &'static str);

impl Prefixed<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        let Self(registry, prefix) = self;
        registry.register(format!("{prefix}_{name}"), help, metric.clone());
    }
}
