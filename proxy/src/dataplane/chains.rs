//! The chains of classes that the kernel has, and those that it may soon not have. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Kernels before 6.2 notice only a moment after a verdict map's element went that its chain may go.
pub(super) const REST: Duration = Duration::from_secs(2);

/// The chains of classes that the kernel has in a table.
#[derive(Debug, Default)]
pub(super) struct Chains {
    pub(super) present: BTreeSet<String>,
    /// Those that no class needs, and since when.
    pub(super) retired: BTreeMap<String, Instant>,
}

impl Chains {
    /// After a replacement of all contents: these are the classes', and those are left of what was there before.
    pub(super) fn replaced(
        of_classes: BTreeSet<String>,
        left: impl Iterator<Item = String>,
    ) -> Self {
        let now = Instant::now();
        Self {
            present: of_classes,
            retired: left.map(|name| (name, now)).collect(),
        }
    }

    /// The kernel has these as well.
    pub(super) fn made(&mut self, made: BTreeSet<String>) {
        self.retired.retain(|name, _| !made.contains(name));
        self.present.extend(made);
    }

    /// No class needs any other than these.
    pub(super) fn keep(&mut self, needed: BTreeSet<String>) {
        let now = Instant::now();
        let retired = self.present.difference(&needed).cloned();
        self.retired.extend(retired.map(|name| (name, now)));
        self.present = needed;
    }

    /// Those that were retired long enough ago to be deleted.
    pub(super) fn ripe(&self, now: Instant) -> impl Iterator<Item = &String> + Clone {
        let ripe = self
            .retired
            .iter()
            .filter(move |(_, since)| is_ripe(**since, now));
        ripe.map(|(name, _)| name)
    }

    /// The ripe ones were deleted, or could not be: then they rest anew.
    pub(super) fn swept(&mut self, now: Instant, success: bool) {
        if success {
            self.retired.retain(|_, since| !is_ripe(*since, now));
        } else {
            self.retired.values_mut().for_each(|since| *since = now);
        }
    }
}

fn is_ripe(since: Instant, now: Instant) -> bool {
    now.duration_since(since) >= REST
}
