//! Waiting for a cluster.

use std::time::{Duration, Instant};

use super::ClusterError;
use crate::error::chain;

const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is there, or the time is over; meanwhile, the answer is how far it has
/// come.
pub(crate) async fn until<T>(
    what: &str,
    time: Duration,
    ask: impl AsyncFn() -> Result<Result<T, String>, ClusterError>,
) -> Result<T, ClusterError> {
    let patience = Patience::new(what, time);
    loop {
        let state = match ask().await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(state)) => state,
            // A refusal stays one; an API that is away may come back.
            Err(ClusterError::Object { source, .. }) if !matches!(*source, kube::Error::Api(_)) => {
                chain(&*source)
            }
            Err(error) => return Err(error),
        };
        patience.pause(state).await?;
    }
}

/// The same for loops of their own: what an async closure borrows keeps a task from being spawned
/// (rust-lang/rust#110338).
pub(super) struct Patience<'a> {
    what: &'a str,
    time: Duration,
    started: Instant,
}

impl<'a> Patience<'a> {
    /// Begins to wait for something, in the negative.
    pub(super) fn new(what: &'a str, time: Duration) -> Self {
        let started = Instant::now();
        Self {
            what,
            time,
            started,
        }
    }

    /// Lets some time pass; it has come so far.
    ///
    /// # Errors
    /// When the time is over.
    pub(super) async fn pause(&self, state: String) -> Result<(), ClusterError> {
        if self.started.elapsed() > self.time {
            return Err(ClusterError::NotInTime {
                what: self.what.to_owned(),
                seconds: self.time.as_secs(),
                state,
            });
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
