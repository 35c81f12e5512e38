//! Waiting for a cluster.

use std::time::{Duration, Instant};

use super::ClusterError;
use crate::error::chain;

const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is there, or the time is over; meanwhile, the answer is how far it has
/// come.
pub(super) async fn until<T>(
    what: &str,
    time: Duration,
    ask: impl AsyncFn() -> Result<Result<T, String>, ClusterError>,
) -> Result<T, ClusterError> {
    let started = Instant::now();
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
        if started.elapsed() > time {
            return Err(ClusterError::NotInTime {
                what: what.to_owned(),
                seconds: time.as_secs(),
                state,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
