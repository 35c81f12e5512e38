//! What a Service costs each connection: opened as fast as possible, and one at a time.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::client;
use super::error::BenchError;
use super::stage::Stage;
use super::statistics::median;
use super::wait::Stop;

/// Threads that open connections.
const THREADS: usize = 2;
/// Connections that are opened before the measured ones.
const WARM_UP: Duration = Duration::from_millis(50);

/// Connections opened and closed in a second, over this time, through one of the Services that
/// are only there.
pub(super) async fn per_second(stage: &Stage, time: Duration) -> Result<f64, BenchError> {
    let remote = remote(stage);
    let work = move |stop: &Stop| -> io::Result<f64> {
        open_for(remote, WARM_UP, stop)?;
        thread::scope(|scope| {
            // A thread begins in the namespace of the one that starts it.
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| open_for(remote, time, stop)))
                .collect();
            let rates = threads.into_iter().map(|thread| {
                let times = thread.join().expect("opening connections does not panic")?;
                Ok(times.len() as f64 / time.as_secs_f64())
            });
            rates.sum()
        })
    };
    let rate = stage.in_client(work).await?;
    rate.map_err(|error| stage.failed(error))
}

/// The median time in which a connection opens, one at a time, in microseconds.
pub(super) async fn median_open(stage: &Stage, time: Duration) -> Result<f64, BenchError> {
    let remote = remote(stage);
    let work = move |stop: &Stop| {
        open_for(remote, WARM_UP, stop)?;
        open_for(remote, time, stop)
    };
    let times = stage.in_client(work).await?;
    let times = times.map_err(|error| stage.failed(error))?;
    let micros: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    let none = || stage.failed(io::ErrorKind::TimedOut.into());
    median(&micros).ok_or_else(none)
}

fn remote(stage: &Stage) -> SocketAddr {
    let last = stage.present.last().expect("there is at least one Service");
    last.target(stage.family()).remote
}

/// Opens and resets connections for a while; how long each took to open.
fn open_for(remote: SocketAddr, time: Duration, stop: &Stop) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.is_set() {
        let socket = client::socket(remote)?;
        let started = Instant::now();
        socket.connect(&remote.into())?;
        times.push(started.elapsed());
    }
    Ok(times)
}
