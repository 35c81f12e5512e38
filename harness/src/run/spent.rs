//! What a case spent its time on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a case waits for, one after the other: together they are all of its time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WaitedFor {
    /// Its backends to listen.
    Backends,
    /// The API to have its Service, and the cluster its workload.
    Objects,
    /// Changes: to be made, and to be noticed where they are waited for.
    Changes,
    /// The load balancer to give the Service its address.
    Balancer,
    /// The world to behave as expected, after its creation and after each change.
    Convergence,
    /// The connections that are judged, and the flows that it opens.
    Connections,
    /// Time to pass, as the case says.
    Time,
    /// The evidence of its failure.
    Evidence,
    /// What it made to be gone.
    Removal,
}

impl fmt::Display for WaitedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backends => "backends",
            Self::Objects => "objects",
            Self::Changes => "changes",
            Self::Balancer => "load balancer",
            Self::Convergence => "convergence",
            Self::Connections => "connections",
            Self::Time => "time to pass",
            Self::Evidence => "evidence",
            Self::Removal => "removal",
        })
    }
}

/// Seconds by what they were spent on.
pub type Spent = BTreeMap<WaitedFor, f64>;

/// Tells the time of a case apart.
pub(super) struct Stopwatch {
    since: Instant,
    spent: Spent,
}

impl Stopwatch {
    /// Starts now.
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            spent: Spent::new(),
        }
    }

    /// All time since the last lap was spent on this.
    pub(super) fn lap(&mut self, on: WaitedFor) {
        let now = Instant::now();
        let lap = now.duration_since(self.since).as_secs_f64();
        *self.spent.entry(on).or_default() += lap;
        self.since = now;
    }

    /// What the laps came to.
    pub(super) fn spent(self) -> Spent {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn laps_are_summed_up_by_what_they_were_spent_on_and_leave_no_time_out() {
        let started = Instant::now();
        let mut watch = Stopwatch::start();
        for on in [WaitedFor::Time, WaitedFor::Changes, WaitedFor::Time] {
            std::thread::sleep(Duration::from_millis(2));
            watch.lap(on);
        }
        let most = started.elapsed().as_secs_f64();
        let spent = watch.spent();
        assert_eq!(
            spent.keys().copied().collect::<Vec<_>>(),
            [WaitedFor::Changes, WaitedFor::Time]
        );
        assert!(spent[&WaitedFor::Changes] >= 0.002 && spent[&WaitedFor::Time] >= 0.004);
        let all: f64 = spent.values().sum();
        assert!((0.006..=most).contains(&all), "{all} of {most}");
    }
}
