//! Since when a change has been on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::Family;

/// The annotation by which the controller says when what it reacts to happened
/// (kubernetes/staging/src/k8s.io/api/core/v1/annotation_key_constants.go).
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// When the changes that are not in the kernel yet were made, as far as their EndpointSlices say so.
#[derive(Debug)]
pub struct TriggerTimes {
    started: Timestamp,
    waiting: BTreeMap<Family, Vec<Timestamp>>,
}

impl TriggerTimes {
    /// None yet. Changes from before `started` do not count, since this proxy was not there to handle them.
    #[must_use]
    pub fn since(started: Timestamp) -> Self {
        Self {
            started,
            waiting: BTreeMap::new(),
        }
    }

    /// An EndpointSlice with these annotations was added or changed. A deletion says nothing: its annotation is that of
    /// the change before.
    pub fn noticed(&mut self, family: Family, annotations: &BTreeMap<String, String>) {
        let time = annotations
            .get(TRIGGER_TIME)
            .and_then(|text| text.parse().ok());
        if let Some(time) = time.filter(|time| *time > self.started) {
            self.waiting.entry(family).or_default().push(time);
        }
    }

    /// The kernel took all changes of a family: how long each took. Where the clocks of the machines disagree that may
    /// come out below zero, and is zero then.
    pub fn take(&mut self, family: Family, now: Timestamp) -> Vec<Duration> {
        let times = self.waiting.remove(&family).unwrap_or_default();
        let passed = |time| Duration::try_from(now.duration_since(time)).unwrap_or_default();
        times.into_iter().map(passed).collect()
    }
}

#[cfg(test)]
mod tests;
