//! The state of a running proxy, and what it does when something happens.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::comparing::{Cause, Comparing, Found, Why};
use super::pace::{Backoff, Pace};
use super::syncer::{Pending, Surroundings, Syncer};
use super::world::{Concerns, World};
use super::{RunError, chain, settings, tcp_is_liberal, told};
use crate::config::Config;
use crate::dataplane::{NodePorts, Options};
use crate::health::HealthAddresses;
use crate::metrics::{ResyncReason, TriggerTimes};
use crate::model::Family;
use crate::watch::{Change, Observed};

mod begin;

/// How often it is looked whether there is still nothing to begin with.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// A running proxy.
pub(super) struct Proxy {
    config: Config,
    node: String,
    started: Instant,
    world: World,
    /// The machine's addresses.
    own: BTreeSet<IpAddr>,
    /// The node's primary addresses.
    primary: Vec<IpAddr>,
    pending: Pending,
    triggers: TriggerTimes,
    pace: Pace,
    /// Of health check ports, which may be taken, or whose addresses may not be usable yet.
    ports: Backoff,
    /// Of tables that could not be opened anew.
    reopening: Backoff,
    /// The addresses of health check ports could not be read.
    unplaced: bool,
    comparing: Comparing,
    /// Changes of Services and of EndpointSlices that are not in the kernel yet.
    changes: (usize, usize),
    /// Something was queued that metrics and health do not know of. They are told once for all that came
    /// in together: at a start, that is the whole cluster.
    untold: bool,
    work: Work,
}

/// How far the proxy is.
enum Work {
    /// It waits for the API.
    Waiting(Box<Surroundings>),
    /// It programs the kernel, under these options.
    Syncing(Box<Syncer>, Box<Options>),
    /// It is about to.
    Beginning,
}

impl Proxy {
    pub(super) fn new(
        config: Config,
        node: &str,
        around: Surroundings,
        own: BTreeSet<IpAddr>,
    ) -> Self {
        let now = Instant::now();
        Self {
            node: node.to_owned(),
            started: now,
            world: World::new(node, settings::own_ports(&config)),
            own,
            primary: Vec::new(),
            pending: Pending::default(),
            triggers: TriggerTimes::since(around.clock.now().wall),
            pace: Pace::new(config.min_sync_period, config.sync_period),
            ports: Backoff::new(config.sync_period),
            reopening: Backoff::new(config.sync_period),
            unplaced: false,
            comparing: Comparing::new(now),
            changes: (0, 0),
            untold: false,
            work: Work::Waiting(Box::new(around)),
            config,
        }
    }

    fn around(&self) -> &Surroundings {
        match &self.work {
            Work::Waiting(around) => around,
            Work::Syncing(syncer, _) => syncer.around(),
            Work::Beginning => unreachable!("nothing is asked while it begins"),
        }
    }

    /// The API said something.
    pub(super) fn observe(&mut self, observed: Observed) {
        let around = self.around();
        match &observed {
            Observed::Broken { kind, error, again } => {
                let (kind, error) = (kind.name(), chain(error));
                if *again {
                    tracing::debug!(kind, "the watch broke again: {error}");
                } else {
                    tracing::warn!(kind, "the watch broke, the rules stay: {error}");
                }
                return;
            }
            Observed::Healed(kind) => {
                tracing::info!(kind = kind.name(), "the watch works again");
                return;
            }
            Observed::Service(Change::Applied(_) | Change::Deleted(_)) => {
                around.metrics.services_changed(1);
                self.changes.0 += 1;
            }
            Observed::Slice(Change::Applied(_) | Change::Deleted(_)) => {
                around.metrics.slices_changed(1);
                self.changes.1 += 1;
            }
            Observed::Node(Change::Applied(node)) => around.state.node_changed(Some(node)),
            _ => {}
        }
        let concerns = self.world.observe(observed);
        self.take(concerns);
    }

    fn take(&mut self, concerns: Concerns) {
        for problem in &concerns.problems {
            told::problem(&self.around().events, problem);
        }
        if concerns.node_gone {
            self.around().state.node_changed(None);
        }
        if let Some((family, time)) = concerns.trigger {
            self.triggers.noticed(family, time);
        }
        let changed = !concerns.touched.is_empty() || concerns.service_cidrs;
        // Not `append`, whose time is that of all that is pending.
        self.pending.services.extend(concerns.touched);
        self.pending.service_cidrs |= concerns.service_cidrs;
        if changed {
            self.queued();
        }
        if concerns.node {
            self.node_changed();
        }
    }

    /// Something is to be synced.
    fn queued(&mut self) {
        self.pace.changed();
        self.untold = true;
    }

    fn tell_queued(&mut self) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        let around = self.around();
        let now = around.clock.now().wall;
        for family in Family::ALL {
            around.state.queued(family);
            around.metrics.queued(family, now);
        }
        let (services, slices) = self.changes;
        around.metrics.pending(services, slices);
    }

    /// The machine's addresses are these now.
    pub(super) fn addresses_changed(&mut self, own: BTreeSet<IpAddr>) {
        if own != self.own {
            self.own = own;
            self.place_node_ports();
        }
    }

    /// By which the kernel names the proxy as the one who changed its rules, once it has had a whole cluster from it.
    pub(super) fn synced_as(&self) -> Option<u32> {
        match &self.work {
            Work::Syncing(syncer, _) if syncer.has_synced() => Some(syncer.port()),
            _ => None,
        }
    }

    /// From now on it is told of changes of nftables. Those before are noticed by the generation.
    pub(super) fn listens(&mut self) {
        if let Work::Syncing(syncer, _) = &mut self.work
            && syncer.may_be_disturbed()
        {
            self.comparing.want(Cause::Suspected);
        }
    }

    /// Somebody changed nftables.
    pub(super) fn rules_changed(&mut self, cause: Cause) {
        self.comparing.want(cause);
    }

    /// The Node may say something else than before. What it no longer says stays: it has not left the machine.
    fn node_changed(&mut self) {
        let primary = settings::primary(&self.config, &self.world.index.node().addresses);
        if primary.is_empty() || matches!(self.work, Work::Waiting(_)) {
            return;
        }
        let moved = primary != self.primary;
        self.primary = primary;
        if !self.take_options() && moved {
            self.place_node_ports();
        }
    }

    /// Opens the tables anew if the node's addresses and ranges ask for other rules than before. Whether they do.
    fn take_options(&mut self) -> bool {
        let wanted = self.options();
        let Work::Syncing(syncer, options) = &mut self.work else {
            return false;
        };
        if **options == wanted {
            self.reopening.ended(Instant::now(), true);
            return false;
        }
        tracing::info!("the node's addresses or ranges changed; all rules are written anew");
        let opened = syncer.reopen(wanted.clone());
        self.reopening.ended(Instant::now(), opened.is_ok());
        match opened {
            Ok(()) => {
                **options = wanted;
                self.want_all();
            }
            Err(error) => tracing::error!("the rules stay as they were: {}", chain(&error)),
        }
        true
    }

    fn options(&self) -> Options {
        let liberal = tcp_is_liberal(&self.config);
        let options =
            settings::options(&self.config, &self.primary, &self.world.pod_cidrs, liberal);
        #[cfg(feature = "faults")]
        let options = crate::faults::options(options);
        options
    }

    fn want_all(&mut self) {
        self.pending
            .services
            .extend(self.world.index.services().cloned());
        self.pending.service_cidrs = true;
        self.place_node_ports();
    }

    /// Says anew which addresses have node ports and health check ports.
    fn place_node_ports(&mut self) {
        let networks = settings::networks(&self.config, &self.primary);
        if let Work::Syncing(syncer, _) = &mut self.work {
            let within = HealthAddresses::within(&networks);
            self.unplaced = within.is_err();
            match within {
                Ok(addresses) => {
                    #[cfg(feature = "faults")]
                    let addresses = crate::faults::health_addresses(addresses);
                    syncer.set_health_addresses(addresses);
                }
                Err(error) => tracing::warn!(%error, "health check ports stay where they are"),
            }
            let addresses = settings::node_port_addresses(&networks, &self.own);
            self.pending.node_port_addresses = Some(addresses);
            self.queued();
        }
    }

    /// When there is something to do though nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.work {
            Work::Syncing(syncer, _) => {
                let comparable = syncer.has_synced() && !self.pending.resync;
                let comparing = comparable.then(|| self.comparing.due());
                let flows = syncer.stale_flows_due();
                let (ports, reopening) = (self.ports.due(), self.reopening.due());
                let all = [self.pace.due(), ports, reopening, comparing, flows];
                all.into_iter().flatten().min()
            }
            // The Node may never come to have what is waited for.
            _ if self.world.is_complete() => Some(Instant::now() + BEGIN_AGAIN),
            _ => None,
        }
    }

    /// Does what is due.
    pub(super) async fn work(&mut self) -> Result<(), RunError> {
        if matches!(self.work, Work::Waiting(_)) && self.may_begin()? {
            self.begin()?;
        }
        let now = Instant::now();
        if self.reopening.due().is_some_and(|due| due <= now) {
            self.take_options();
        }
        self.compare(now);
        // What begins and what is compared queue as well: told after the sync, it would never be done.
        self.tell_queued();
        if self.pace.due().is_some_and(|due| due <= now) {
            self.sync().await;
        } else if self.ports.due().is_some_and(|due| due <= now) {
            self.open_ports().await;
        }
        if let Work::Syncing(syncer, _) = &mut self.work {
            syncer.end_stale_flows();
        }
        Ok(())
    }

    /// Tries the health check ports again, whether or not anything else changes.
    async fn open_ports(&mut self) {
        if self.unplaced {
            self.place_node_ports();
        }
        if let Work::Syncing(syncer, _) = &mut self.work {
            syncer.open_ports().await;
            let open = syncer.ports_are_open() && !self.unplaced;
            self.ports.ended(Instant::now(), open);
        }
    }

    /// Compares the kernel's state with what it should be, if it is time.
    fn compare(&mut self, now: Instant) {
        let (Work::Syncing(syncer, _), Some(why)) = (&mut self.work, self.comparing.why(now))
        else {
            return;
        };
        // What is to be written anew needs no comparison, and tables that were opened anew can have none yet.
        if self.pending.resync || !syncer.has_synced() {
            return;
        }
        let found = match syncer.verify() {
            Ok(true) => Found::Same,
            Ok(false) => Found::Different,
            Err(error) => {
                tracing::warn!("{}", chain(&error));
                Found::Unreadable
            }
        };
        if why == Why::Periodic {
            self.around().metrics.resync(ResyncReason::Periodic);
        }
        if self.comparing.ended(why, (now, Instant::now()), found) {
            tracing::warn!("somebody else changed the rules; they are written anew");
            self.around().metrics.resync(ResyncReason::Foreign);
            self.pending.resync = true;
            self.queued();
        }
    }

    async fn sync(&mut self) {
        #[cfg(feature = "faults")]
        crate::faults::late().await;
        let Work::Syncing(syncer, options) = &mut self.work else {
            return;
        };
        debug_assert!(
            options.node_ports == NodePorts::AnyLocal || !self.own.is_empty(),
            "a machine has addresses"
        );
        let anew = self.pending.resync;
        let synced = syncer
            .sync(&self.world.index, &mut self.pending, &mut self.triggers)
            .await;
        match &synced {
            Ok(()) => {
                if anew {
                    self.comparing.rewritten();
                }
                let open = syncer.ports_are_open() && !self.unplaced;
                self.ports.ended(Instant::now(), open);
                self.changes = (0, 0);
                self.around().metrics.pending(0, 0);
            }
            Err(error) => tracing::error!("failed to sync, the old rules stay: {}", chain(error)),
        }
        self.pace.ended(Instant::now(), synced.is_ok());
    }
}
