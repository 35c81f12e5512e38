//! One sync: what changed is planned and programmed, and then, only then, told to everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::clock::Clock;
use crate::conntrack::{Removed, Serving};
use crate::dataplane::{Changes, Dataplane, DataplaneError, Options, Report};
use crate::events::Events;
use crate::health::{HealthAddresses, HealthState, ServiceHealth};
use crate::index::Index;
use crate::metrics::{Metrics, ResyncReason, SyncKind, TriggerTimes};
use crate::model::{Family, ObjectName};
use crate::plan::{HealthPlan, ServicePlan};

use super::stale_flows::StaleFlows;
use super::told::Conflicts;
use super::without_local::WithoutLocal;

/// What is not in the kernel yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Services to plan anew.
    pub(super) services: BTreeSet<ObjectName>,
    /// The ranges of cluster addresses may have changed.
    pub(super) service_cidrs: bool,
    /// The machine's addresses that have node ports, if they changed.
    pub(super) node_port_addresses: Option<BTreeSet<IpAddr>>,
    /// All is to be written anew.
    pub(super) resync: bool,
}

/// Everything that learns of a sync besides the kernel's rules.
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: Arc<HealthState>,
    pub(super) events: Events,
    pub(super) ports: ServiceHealth,
    pub(super) flows: StaleFlows,
}

/// Carries syncs out.
pub(super) struct Syncer {
    dataplane: Dataplane,
    node_port_addresses: Arc<BTreeSet<IpAddr>>,
    health: BTreeMap<ObjectName, HealthPlan>,
    without_local: WithoutLocal,
    conflicts: Conflicts,
    synced: bool,
    /// What could not be opened of the health check ports, as it was logged.
    closed: BTreeSet<String>,
    /// Whether the last sync succeeded, so that the kernel has what the dataplane says.
    in_step: bool,
    around: Surroundings,
}

impl Syncer {
    /// Opens the kernel's tables. Nothing is changed before the first sync.
    pub(super) fn open(options: Options, around: Surroundings) -> Result<Self, DataplaneError> {
        Ok(Self {
            dataplane: Dataplane::open(options)?,
            node_port_addresses: Arc::default(),
            health: BTreeMap::new(),
            without_local: WithoutLocal::default(),
            conflicts: Conflicts::default(),
            synced: false,
            closed: BTreeSet::new(),
            in_step: false,
            around,
        })
    }

    /// Opens the kernel's tables anew, under other options. The next sync has to bring all Services.
    pub(super) fn reopen(&mut self, options: Options) -> Result<(), DataplaneError> {
        self.dataplane = Dataplane::open(options)?;
        // It knows of no Service yet.
        self.synced = false;
        self.in_step = false;
        Ok(())
    }

    /// Everything that learns of a sync.
    pub(super) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// By which the kernel names this as the one who changed its rules.
    pub(super) fn port(&self) -> u32 {
        self.dataplane.port()
    }

    /// Changes where health check ports listen, from the next sync on.
    pub(super) fn set_health_addresses(&mut self, addresses: HealthAddresses) {
        self.around.ports.set_addresses(addresses);
    }

    /// Whether a sync has succeeded since the tables were opened.
    pub(super) fn has_synced(&self) -> bool {
        self.synced
    }

    /// Whether somebody else may have changed rules since the last sync, which was one of all.
    pub(super) fn may_be_disturbed(&mut self) -> bool {
        !self.dataplane.is_undisturbed()
    }

    /// Whether the kernel has what it should.
    pub(super) fn verify(&mut self) -> Result<bool, DataplaneError> {
        let differences = self.dataplane.verify()?;
        for difference in differences.iter().take(10) {
            tracing::warn!("{difference}");
        }
        Ok(differences.is_empty())
    }

    /// Programs what is pending, which is forgotten once the kernel took it.
    pub(super) async fn sync(
        &mut self,
        index: &Index,
        pending: &mut Pending,
        triggers: &mut TriggerTimes,
    ) -> Result<(), DataplaneError> {
        let started = self.around.clock.now().steady;
        if pending.resync {
            self.dataplane.distrust();
        }
        let changes = changes(index, pending);
        #[cfg(feature = "faults")]
        let changes = crate::faults::changes(changes);
        #[cfg(feature = "faults")]
        if let Some((first, time)) = crate::faults::first(&changes) {
            self.dataplane.apply(first)?;
            tokio::time::sleep(time).await;
        }
        #[cfg(feature = "faults")]
        if let Some(time) = crate::faults::health_is_ahead() {
            for (name, plan) in &changes.services {
                learn_health(&mut self.health, name, plan.as_ref());
            }
            self.open_ports().await;
            tokio::time::sleep(time).await;
        }
        let concerned = self.dataplane.udp_fronts(&changes);
        self.around.flows.withhold(concerned);
        let applied = self.dataplane.apply(changes);
        self.in_step = applied.is_ok();
        let took = self.around.clock.now().steady.duration_since(started);
        let report = match applied {
            Ok(report) => report,
            Err(error) => {
                self.failed(took);
                // The kernel's state may be another than is believed: the next attempt writes all.
                self.around.metrics.resync(ResyncReason::Failure);
                return Err(error);
            }
        };
        self.synced = true;
        self.succeeded(&report, pending.services.len(), took);
        for name in &pending.services {
            self.learn(name);
        }
        if let Some(addresses) = pending.node_port_addresses.take() {
            self.node_port_addresses = Arc::new(addresses);
        }
        if !pending.services.is_empty() {
            self.conflicts
                .tell(&self.around.events, self.dataplane.conflicts());
        }
        *pending = Pending::default();
        #[cfg(feature = "faults")]
        if let Some(time) = crate::faults::health_is_behind() {
            tokio::time::sleep(time).await;
        }
        self.tell(triggers).await;
        #[cfg(feature = "faults")]
        if crate::faults::keeps_stale_flows() {
            return Ok(());
        }
        self.around.flows.want(report.udp_changed);
        self.end_stale_flows();
        Ok(())
    }

    fn failed(&self, took: Duration) {
        for family in Family::ALL {
            self.around.metrics.sync_ended(family, SyncKind::Full, took);
            self.around.metrics.sync_failed(family);
        }
        self.around.metrics.transaction(0, false);
    }

    fn succeeded(&self, report: &Report, services: usize, took: Duration) {
        let kind = if report.replaced {
            SyncKind::Full
        } else {
            SyncKind::Partial
        };
        for family in Family::ALL {
            self.around.metrics.sync_ended(family, kind, took);
            self.around.state.synced(family);
        }
        if report.bytes > 0 {
            self.around.metrics.transaction(report.bytes, true);
        }
        self.around.metrics.elements(report.elements);
        for family in Family::ALL {
            // Both families are one transaction.
            let metrics = &self.around.metrics;
            metrics.cleanups_failed(family, report.failed_cleanups);
        }
        let Report {
            replaced, bytes, ..
        } = report;
        tracing::debug!(services, bytes, replaced, ?took, "synced");
    }

    /// Takes over what the new plan of a Service says besides its rules.
    fn learn(&mut self, name: &ObjectName) {
        let plan = self.dataplane.plan(name);
        self.without_local.replace(name, plan);
        #[cfg(feature = "faults")]
        if plan.is_none() && crate::faults::health_outlives() {
            return;
        }
        learn_health(&mut self.health, name, plan);
    }

    /// Whether every health check port is open that should be.
    pub(super) fn ports_are_open(&self) -> bool {
        self.closed.is_empty()
    }

    /// Opens the health check ports that are not open and should be. What fails is told to users; the log has it once.
    pub(super) async fn open_ports(&mut self) {
        let around = &mut self.around;
        let failures = around.ports.sync(&self.health).await;
        around
            .metrics
            .health_ports(around.ports.open_ports(), failures.len());
        let mut closed = BTreeSet::new();
        for failure in failures {
            let said = failure.to_string();
            if !self.closed.contains(&said) {
                tracing::warn!("{said}");
            }
            around.events.send(failure.event());
            closed.insert(said);
        }
        self.closed = closed;
    }

    /// Tells load balancers and metrics.
    async fn tell(&mut self, triggers: &mut TriggerTimes) {
        self.open_ports().await;
        let around = &self.around;
        let now = around.clock.now().wall;
        for family in Family::ALL {
            let passed = triggers.take(family, now);
            let without = self.without_local.of(family);
            around.metrics.sync_succeeded(family, now, &passed, without);
        }
    }

    /// When UDP flows are to be judged; `None` if none are, or it is being done.
    pub(super) fn stale_flows_due(&self) -> Option<Instant> {
        // They are judged by what the kernel has, and so not while it may have something else.
        self.in_step.then(|| self.around.flows.due()).flatten()
    }

    /// Tells what ending UDP flows came to, that go where their Service has no endpoint any more, and begins anew if
    /// it is due.
    pub(super) fn end_stale_flows(&mut self) {
        let around = &mut self.around;
        match around.flows.finish() {
            Some((took, Ok(done))) => {
                for (family, Removed { listed, removed }) in done {
                    let count = removed as u64;
                    around.metrics.conntrack_reconciled(family, took, count);
                    tracing::debug!(?family, listed, removed, ?took, "stale UDP flows ended");
                }
            }
            Some((_, Err(error))) => {
                tracing::warn!("{}; it is tried again", super::chain(&error));
            }
            None => {}
        }
        if self
            .stale_flows_due()
            .is_none_or(|due| due > Instant::now())
        {
            return;
        }
        let addresses = Arc::clone(&self.node_port_addresses);
        let dataplane = &self.dataplane;
        self.around.flows.start(Arc::clone(&addresses), |fronts| {
            Serving::of(fronts, &addresses, |front| dataplane.serving(front))
        });
    }
}

/// Takes over what the health check port of a Service says by its plan.
fn learn_health(
    ports: &mut BTreeMap<ObjectName, HealthPlan>,
    name: &ObjectName,
    plan: Option<&ServicePlan>,
) {
    match plan.and_then(|plan| plan.health.clone()) {
        Some(health) => ports.insert(name.clone(), health),
        None => ports.remove(name),
    };
}

fn changes(index: &Index, pending: &Pending) -> Changes {
    let services = pending.services.iter();
    let service_cidrs: Option<Vec<IpNet>> = pending.service_cidrs.then(|| index.service_cidrs());
    Changes {
        services: services
            .map(|name| (name.clone(), index.plan(name)))
            .collect(),
        node_port_addresses: pending.node_port_addresses.clone(),
        service_cidrs,
    }
}
