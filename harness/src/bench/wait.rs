//! Waiting for Services to be served right, by real connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{self, Outcome};

/// The shortest and the longest pause between two connections.
const PAUSE: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(100)];
/// The pause is this part of the time that has gone by: the time that is measured is right to 2 %,
/// and a slow proxy does not lose a processor to those who wait for it.
const PART: u32 = 50;

/// How long a connection is given to open, at least and at most, and else the same part of the
/// time. On the way through the namespaces a SYN is answered in 50 µs, and one that is dropped is not
/// to keep the next from finding out that none is any more.
const OPEN: [Duration; 2] = [Duration::from_micros(250), Duration::from_millis(100)];

/// Tells work on another thread to end, because nobody waits for it any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on the work is not wanted.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is not wanted any more.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A Service as a prober sees it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// Its address and port.
    pub(super) remote: SocketAddr,
    /// The endpoints that may answer.
    pub(super) right: Vec<IpAddr>,
}

/// How long a Service is waited for.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// From now on.
    pub(super) limit: Duration,
    pub(super) stop: Stop,
}

/// Why no longer is waited.
#[derive(Debug)]
pub(super) enum Impatience {
    /// It took too long.
    TooLong { what: String, last: String },
    /// No socket.
    Io(io::Error),
    /// Nobody waits for it.
    Stopped,
}

/// A Service that is served right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// When the first of the right connections was open.
    pub(super) at: Instant,
    /// Whether it was so from the first connection on.
    pub(super) at_once: bool,
}

/// Calls until so many connections in a row were right. Must be called inside the client's
/// namespace.
pub(super) fn until_right(
    target: &Target,
    in_a_row: usize,
    patience: &Patience,
) -> Result<Settled, Impatience> {
    let since = Instant::now();
    let mut first: Option<Instant> = None;
    let (mut right, mut at_once) = (0, true);
    loop {
        if patience.stop.is_set() {
            return Err(Impatience::Stopped);
        }
        let open_within = part_of(since.elapsed(), OPEN);
        let connection = client::call(target.remote, open_within).map_err(Impatience::Io)?;
        let reached = connection.outcome.reached();
        if reached.is_some_and(|endpoint| target.right.contains(&endpoint)) {
            let at = *first.get_or_insert(connection.opened);
            right += 1;
            if right >= in_a_row {
                return Ok(Settled { at, at_once });
            }
            // What is right is looked at without a pause: that is no longer part of the time.
            continue;
        }
        tracing::debug!(service = target.name, right, outcome = %connection.outcome);
        (first, right, at_once) = (None, 0, false);
        if since.elapsed() > patience.limit {
            return Err(too_long(target, connection.outcome));
        }
        thread::sleep(part_of(since.elapsed(), PAUSE));
    }
}

fn part_of(time: Duration, [least, most]: [Duration; 2]) -> Duration {
    (time / PART).clamp(least, most)
}

/// Calls each of these until it is right, the last first. Returns when the last that had to be
/// waited for was right, and that of the last of the list if it did not have to be.
///
/// # Panics
/// When there is none.
pub(super) fn until_all_right(
    targets: &[Target],
    patience: &Patience,
) -> Result<Instant, Impatience> {
    let (last, others) = targets.split_last().expect("somebody to wait for");
    let mut at = until_right(last, 1, patience)?.at;
    for target in others {
        let settled = until_right(target, 1, patience)?;
        if !settled.at_once {
            at = at.max(settled.at);
        }
    }
    Ok(at)
}

fn too_long(target: &Target, last: Outcome) -> Impatience {
    Impatience::TooLong {
        what: target.name.clone(),
        last: last.to_string(),
    }
}
