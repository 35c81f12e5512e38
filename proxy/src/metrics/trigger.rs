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

    /// An EndpointSlice of a family was added or changed, for what happened at a time, and a Service is to be programmed
    /// by it. One that concerns no Service must not be noticed: no sync would be its own.
    pub fn noticed(&mut self, family: Family, time: Timestamp) {
        if time > self.started {
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

/// When what an EndpointSlice with these annotations reacts to happened, if they say so. Those of one that is deleted
/// say nothing: the annotation is that of the change before.
#[must_use]
pub fn trigger_time(annotations: &BTreeMap<String, String>) -> Option<Timestamp> {
    annotations.get(TRIGGER_TIME)?.parse().ok()
}

#[cfg(test)]
mod tests;
