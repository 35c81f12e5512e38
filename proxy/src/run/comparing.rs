//! When the kernel's state is compared with what it should be, and what follows. Pure.

use std::time::{Duration, Instant};

/// How often everything is compared, though nobody is known to have changed it: as often as upstream writes everything
/// anew (kubernetes/pkg/proxy/util/utils.go, `FullSyncPeriod`).
const PERIODIC: Duration = Duration::from_hours(1);
/// Comparing that finds nothing takes at most this part of the time, whatever others do.
const SHARE: u32 = 20;

/// How sure it is that somebody else changed the proxy's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Somebody changed something, perhaps only tables of their own.
    Suspected,
    /// Somebody changed something in tables of the proxy's name.
    Known,
}

/// When to compare.
#[derive(Debug)]
pub(super) struct Comparing {
    wanted: Option<Cause>,
    /// Until when what is suspected waits, and what is known.
    not_before: [Instant; 2],
    periodic: Instant,
}

/// Why it is time to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody may have changed the state.
    Wanted(Cause),
    /// The period is over, and nobody is known to have.
    Periodic,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Same,
    Different,
    /// The state could not be read.
    Unreadable,
}

impl Comparing {
    /// Nobody is known to have changed anything.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: None,
            not_before: [now; 2],
            periodic: now + PERIODIC,
        }
    }

    /// Somebody may have changed the state.
    pub(super) fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
    }

    /// When to compare next.
    pub(super) fn due(&self) -> Instant {
        let wanted = self.wanted.map(|cause| self.not_before[cause as usize]);
        wanted.map_or(self.periodic, |wanted| wanted.min(self.periodic))
    }

    /// Whether it is time.
    pub(super) fn why(&self, now: Instant) -> Option<Why> {
        // What is wanted may be due by the period alone.
        let why = self.wanted.map_or(Why::Periodic, Why::Wanted);
        (self.due() <= now).then_some(why)
    }

    /// A comparison took from one moment to the other. Whether all is to be written anew: what somebody is known to
    /// have changed, and cannot be read, is written without a comparison.
    pub(super) fn ended(
        &mut self,
        why: Why,
        (began, ended): (Instant, Instant),
        found: Found,
    ) -> bool {
        let anew = match (found, why) {
            (Found::Different, _) | (Found::Unreadable, Why::Wanted(_)) => true,
            (Found::Same, _) | (Found::Unreadable, Why::Periodic) => false,
        };
        // Where something was found, the next damage is repaired as soon as it is done, too. What cannot be read is
        // not known to be damaged, and writing it anew takes time as well.
        let pause = match found {
            Found::Different => Duration::ZERO,
            Found::Same | Found::Unreadable => (ended - began) * SHARE,
        };
        // That nothing came of a suspicion says nothing of what is known.
        let known = match why {
            Why::Wanted(Cause::Known) => pause,
            Why::Wanted(Cause::Suspected) | Why::Periodic => Duration::ZERO,
        };
        *self = Self {
            wanted: None,
            not_before: [ended + pause, ended + known],
            periodic: ended + PERIODIC,
        };
        anew
    }

    /// All was written anew, whatever was wanted before.
    pub(super) fn rewritten(&mut self) {
        self.wanted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(100);

    /// Compares at a moment, and says whether all is to be written anew.
    fn compare(comparing: &mut Comparing, at: Instant, found: Found) -> bool {
        let why = comparing.why(at).expect("it is time");
        comparing.ended(why, (at, at + TOOK), found)
    }

    #[test]
    fn nothing_is_compared_before_somebody_changes_something_or_the_period_is_over() {
        let now = Instant::now();
        let mut comparing = Comparing::new(now);
        assert_eq!(comparing.why(now), None);
        assert_eq!(comparing.due(), now + PERIODIC);
        assert_eq!(comparing.why(now + PERIODIC), Some(Why::Periodic));
        comparing.want(Cause::Suspected);
        assert_eq!(comparing.due(), now);
        assert_eq!(comparing.why(now), Some(Why::Wanted(Cause::Suspected)));
        comparing.want(Cause::Known);
        comparing.want(Cause::Suspected);
        assert_eq!(comparing.why(now), Some(Why::Wanted(Cause::Known)));
        comparing.rewritten();
        assert_eq!(comparing.why(now), None);
    }

    #[test]
    fn comparing_in_vain_takes_a_small_part_of_the_time_and_repairs_follow_at_once() {
        let now = Instant::now();
        for (found, anew, pause) in [
            (Found::Same, false, TOOK * SHARE),
            (Found::Different, true, Duration::ZERO),
            (Found::Unreadable, true, TOOK * SHARE),
        ] {
            for cause in [Cause::Suspected, Cause::Known] {
                let mut comparing = Comparing::new(now);
                comparing.want(cause);
                assert_eq!(compare(&mut comparing, now, found), anew, "{found:?}");
                comparing.want(cause);
                assert_eq!(comparing.due(), now + TOOK + pause, "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_known_does_not_wait_because_a_suspicion_was_wrong() {
        let now = Instant::now();
        let mut comparing = Comparing::new(now);
        comparing.want(Cause::Suspected);
        assert!(!compare(&mut comparing, now, Found::Same));
        comparing.want(Cause::Suspected);
        assert_eq!(comparing.due(), now + TOOK + TOOK * SHARE);
        comparing.want(Cause::Known);
        assert_eq!(comparing.due(), now + TOOK);
    }

    #[test]
    fn what_nobody_is_known_to_have_changed_is_not_written_anew_because_it_cannot_be_read() {
        let now = Instant::now();
        let mut comparing = Comparing::new(now);
        assert!(!compare(&mut comparing, now + PERIODIC, Found::Unreadable));
        assert_eq!(comparing.due(), now + PERIODIC + TOOK + PERIODIC);
    }
}
