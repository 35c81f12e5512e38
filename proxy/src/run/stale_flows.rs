//! The clean-up of UDP flows, beside the loop: the kernel may know of a million flows.
//!
//! One clean-up runs at a time, on a thread of its own, and begins after a transaction. What comes meanwhile is for the
//! next one, and so is what failed. The thread is nobody's to wait for when the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::pace::Pace;
use crate::conntrack::{ConntrackError, Removed, Serving, Table};
use crate::dataplane::FrontKey;
use crate::model::Family;

#[cfg(test)]
mod tests;

/// The shortest pause after a clean-up. The first one after a quiet time is not kept waiting.
const PAUSE: Duration = Duration::from_millis(100);
/// How many times as long as a clean-up took the pause after it is. Each walks through the table of the whole machine, however
/// little is stale: while many changes come, they take about a tenth of a processor together, as long as each takes less than
/// a ninth of [`LONGEST_REST`].
const REST: u32 = 9;
/// But a pause is no longer than this: as often as kube-proxy syncs, and cleans up, by default (`minSyncPeriod`).
const LONGEST_REST: Duration = Duration::from_secs(1);
/// The longest pause after a clean-up that failed: as often as a failed sync is tried again by default.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a clean-up took, and what it came to.
pub(super) type Cleaned = (Duration, Result<BTreeMap<Family, Removed>, ConntrackError>);

/// Cleans up, given who serves and which addresses have node ports.
type Clean = dyn Fn(&Mutex<Serving>, &BTreeSet<IpAddr>) -> Cleaned + Send + Sync;

/// Which fronts have flows that may be stale, and the clean-up that is under way.
pub(super) struct StaleFlows {
    clean: Arc<Clean>,
    /// Whose flows the next clean-up judges.
    wanted: BTreeSet<FrontKey>,
    pace: Pace,
    running: Option<Running>,
    ended: Arc<Notify>,
}

struct Running {
    fronts: BTreeSet<FrontKey>,
    serving: Arc<Mutex<Serving>>,
    outcome: Receiver<Cleaned>,
}

impl StaleFlows {
    /// Those of the kernel's connection tracking, in the network namespace of the threads that begin a clean-up.
    pub(super) fn of_kernel() -> Self {
        let table = Mutex::new(None);
        Self::new(move |serving, addresses| {
            // A socket in the middle of an answer is of no use, whoever panicked.
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            let started = Instant::now();
            let opened = table.take().map_or_else(Table::open, Ok);
            let result = opened.and_then(|mut opened| {
                let done = opened.clean(serving, addresses)?;
                // Kept for the next time, unless it failed.
                *table = Some(opened);
                Ok(done)
            });
            (started.elapsed(), result)
        })
    }

    fn new(
        clean: impl Fn(&Mutex<Serving>, &BTreeSet<IpAddr>) -> Cleaned + Send + Sync + 'static,
    ) -> Self {
        Self {
            clean: Arc::new(clean),
            wanted: BTreeSet::new(),
            pace: Pace::new(PAUSE, LONGEST_PAUSE),
            running: None,
            ended: Arc::default(),
        }
    }

    /// Is notified when a clean-up ended: [`Self::finish`] has its outcome.
    pub(super) fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }

    /// Who serves these fronts is about to change: the clean-up that runs touches their flows no more.
    pub(super) fn withhold(&mut self, fronts: BTreeSet<FrontKey>) {
        let Some(running) = &self.running else {
            return;
        };
        let mut serving = running.serving.lock().expect("no holder panics");
        fronts.iter().for_each(|front| serving.withhold(*front));
        drop(serving);
        self.want(fronts);
    }

    /// The flows of these fronts may be stale.
    pub(super) fn want(&mut self, fronts: BTreeSet<FrontKey>) {
        if !fronts.is_empty() {
            self.wanted.extend(fronts);
            self.pace.changed();
        }
    }

    /// When the next clean-up may begin; `None` if there is nothing to clean up, or one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let may = self.running.is_none() && !self.wanted.is_empty();
        may.then(|| self.pace.due()).flatten()
    }

    /// Begins a clean-up of all that is wanted, in which `judge` says who serves.
    pub(super) fn start(
        &mut self,
        addresses: Arc<BTreeSet<IpAddr>>,
        judge: impl FnOnce(&BTreeSet<FrontKey>) -> Serving,
    ) {
        assert!(self.running.is_none(), "one clean-up at a time");
        let fronts = std::mem::take(&mut self.wanted);
        let serving = Arc::new(Mutex::new(judge(&fronts)));
        let (sender, outcome) = channel();
        let (clean, ended) = (Arc::clone(&self.clean), Arc::clone(&self.ended));
        let of_thread = Arc::clone(&serving);
        let spawned = thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || {
                // Nobody receives it if the proxy ended.
                let _ = sender.send(clean(&of_thread, &addresses));
                ended.notify_one();
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "failed to start a clean-up of UDP flows");
            self.wanted = fronts;
            self.pace.ended(Instant::now(), false);
            return;
        }
        self.running = Some(Running {
            fronts,
            serving,
            outcome,
        });
    }

    /// What a clean-up came to that has ended. What failed is wanted again.
    pub(super) fn finish(&mut self) -> Option<Cleaned> {
        let (took, result) = match self.running.as_ref()?.outcome.try_recv() {
            Ok(cleaned) => cleaned,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => panic!("a clean-up does not panic"),
        };
        let fronts = self.running.take().map(|running| running.fronts);
        let came = !self.wanted.is_empty();
        if result.is_err() {
            self.wanted.extend(fronts.into_iter().flatten());
        }
        self.pace.rest_for((took * REST).clamp(PAUSE, LONGEST_REST));
        self.pace.ended(Instant::now(), result.is_ok());
        if came {
            self.pace.changed();
        }
        Some((took, result))
    }
}
