//! When the next sync may run, and when what failed is tried again. Pure.

use std::time::{Duration, Instant};

/// The pause after a first failure, doubled by each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Tries again what failed, later and later, within bounds.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// Nothing has failed. `longest` bounds the pause between two attempts.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            failures: 0,
            last: None,
        }
    }

    /// An attempt ended.
    pub(super) fn ended(&mut self, now: Instant, success: bool) {
        self.last = Some(now);
        self.failures = if success {
            0
        } else {
            self.failures.saturating_add(1)
        };
    }

    /// When the next attempt is due; never, unless the last one failed.
    pub(super) fn due(&self) -> Option<Instant> {
        let doublings = self.failures.checked_sub(1)?;
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16));
        Some(self.last? + pause.min(self.longest))
    }
}

/// Decides when a sync may run that is wanted.
///
/// Without failures that is at once, but never sooner than the least pause after the last. After a
/// failure it is later and later; a change that comes in meanwhile may be the cure, so that it is
/// tried after the first pause already.
#[derive(Debug)]
pub(super) struct Pace {
    least: Duration,
    failed: Backoff,
    made: Instant,
    /// When the last attempt ended.
    last: Option<Instant>,
    /// Since a change came in that no attempt has had.
    changed: bool,
}

impl Pace {
    /// No sync has run. `least` is `minSyncPeriod`; `longest` is `syncPeriod`, which bounds the time after which a
    /// failed sync is tried again.
    pub(super) fn new(least: Duration, longest: Duration) -> Self {
        Self {
            least,
            failed: Backoff::new(longest),
            made: Instant::now(),
            last: None,
            changed: false,
        }
    }

    /// Something came in.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// The least pause is another from now on.
    pub(super) fn rest_for(&mut self, least: Duration) {
        self.least = least;
    }

    /// A sync ended.
    pub(super) fn ended(&mut self, now: Instant, success: bool) {
        self.last = Some(now);
        self.changed = false;
        self.failed.ended(now, success);
    }

    /// When a sync may run that is wanted; never, if none is.
    pub(super) fn due(&self) -> Option<Instant> {
        let Some(last) = self.last else {
            return self.changed.then_some(self.made);
        };
        let due = match self.failed.due() {
            None if self.changed => last,
            None => return None,
            Some(due) if self.changed => due.min(last + FIRST_PAUSE),
            Some(due) => due,
        };
        Some(due.max(last + self.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    fn after(pace: &Pace, start: Instant) -> Option<u128> {
        pace.due().map(|due| (due - start).as_millis())
    }

    #[test]
    fn nothing_is_due_without_a_change_or_a_failure() {
        let mut pace = Pace::new(Duration::ZERO, LONGEST);
        let start = Instant::now();
        assert_eq!(pace.due(), None);
        pace.changed();
        assert!(pace.due().is_some_and(|due| due <= start), "at once");
        pace.ended(start, true);
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn a_change_is_due_at_once_or_after_the_least_pause() {
        let start = Instant::now();
        for least in [0, 250] {
            let mut pace = Pace::new(Duration::from_millis(least), LONGEST);
            pace.ended(start, true);
            pace.changed();
            assert_eq!(after(&pace, start), Some(u128::from(least)));
        }
    }

    #[test]
    fn the_least_pause_may_become_another() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(100), LONGEST);
        pace.rest_for(Duration::from_millis(400));
        pace.ended(start, true);
        pace.changed();
        assert_eq!(after(&pace, start), Some(400));
    }

    #[test]
    fn failures_are_repeated_later_and_later_and_within_bounds() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, LONGEST);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            pace.ended(start, false);
            pauses.push(after(&pace, start).expect("it is repeated"));
        }
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(pauses[8..11], [25_600, 30_000, 30_000]);
        assert_eq!(pauses[39], 30_000);
        pace.changed();
        assert_eq!(after(&pace, start), Some(100), "a change may be the cure");
        pace.ended(start, true);
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn the_longest_pause_is_the_one_that_is_configured() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, Duration::from_millis(250));
        for expected in [100, 200, 250, 250] {
            pace.ended(start, false);
            assert_eq!(after(&pace, start), Some(expected));
        }
    }
}
