//! How long a broken watch rests before it is repeated.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use kube::runtime::watcher;

/// The first pause, doubled by each that follows soon, up to the other.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A watch that worked for so long is no longer taken for one that keeps breaking. That it answered
/// once proves nothing: a list may begin, and break.
const SOON: Duration = Duration::from_secs(20);

/// The pauses of one watch.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    last: Option<(Duration, Instant)>,
}

impl Pauses {
    /// How long to rest after an error: up to half as long again, by chance, so that the proxies of
    /// a cluster do not all come back at once.
    pub(super) fn after(&mut self, error: &watcher::Error, now: Instant) -> Duration {
        let pause = self.pause(is_expired(error), now);
        let chance = u32::try_from(RandomState::new().hash_one(now) % 1000).expect("below 1000");
        pause + pause / 2 * chance / 1000
    }

    fn pause(&mut self, expired: bool, now: Instant) -> Duration {
        let pause = match self.last {
            // The API is there, and has only forgotten where the watch was.
            _ if expired => FIRST,
            Some((pause, at)) if now < at + pause + SOON => (pause * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some((pause, now));
        pause
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_a_watch_keeps_breaking_and_begin_anew_once_it_worked() {
        let mut pauses = Pauses::default();
        let mut now = Instant::now();
        let mut next = |expired, worked: Duration| {
            now += worked;
            let pause = pauses.pause(expired, now);
            now += pause;
            pause.as_millis()
        };
        let grown: Vec<_> = (0..8)
            .map(|_| next(false, Duration::from_millis(50)))
            .collect();
        assert_eq!(grown, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(next(true, Duration::ZERO), 200, "the API is back");
        assert_eq!(next(false, Duration::ZERO), 400);
        assert_eq!(next(false, SOON), 200);
    }

    #[test]
    fn chance_adds_at_most_half() {
        let now = Instant::now();
        for _ in 0..100 {
            let pause = Pauses::default().after(&watcher::Error::NoResourceVersion, now);
            assert!((FIRST..=FIRST * 3 / 2).contains(&pause), "{pause:?}");
        }
    }
}
