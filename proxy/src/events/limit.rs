//! How many events are too many. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Event;

/// How long the same thing is not said again.
const SILENCE: Duration = Duration::from_secs(300);
/// How many events may be said at once, as client-go allows for one object
/// (client-go/tools/record/events_cache.go); here it is for all of them.
const BURST: u32 = 25;
/// After what time one more may be said.
const REFILL: Duration = Duration::from_secs(1);

/// Remembers what was said, and how much lately.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    said: HashMap<Event, Instant>,
    /// How many of the burst are used up, as of `since`.
    used: u32,
    since: Option<Instant>,
}

/// Whether an event may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Repeated,
    TooMany,
}

impl Limiter {
    /// Asks for an event, and counts it if it is allowed.
    pub(super) fn ask(&mut self, event: &Event, now: Instant) -> Verdict {
        self.said
            .retain(|_, at| now.saturating_duration_since(*at) < SILENCE);
        if self.said.contains_key(event) {
            return Verdict::Repeated;
        }
        self.refill(now);
        if self.used >= BURST {
            return Verdict::TooMany;
        }
        self.used += 1;
        Verdict::Allowed
    }

    /// An event reached the API: it is not said again for a while. One that did not reach it may be tried again.
    pub(super) fn said(&mut self, event: Event, now: Instant) {
        self.said.insert(event, now);
    }

    fn refill(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let whole = now.saturating_duration_since(since).as_secs() / REFILL.as_secs();
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        self.used = self.used.saturating_sub(whole);
        self.since = Some(since + REFILL * whole);
    }
}

#[cfg(test)]
mod tests;
