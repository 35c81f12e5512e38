//! Endpoints are swapped under load, and no connection may fail or go to a wrong one.
//!
//! Callers connect to a few Services again and again. The endpoint of each is swapped as soon as
//! the change before has arrived. A connection is right if it reached an endpoint that was the
//! Service's at some time between its start and its end: an old one is, until the first of three
//! connections in a row that reached the new one; the new one is, from the request on.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::client::{self, Connection, Outcome};
use super::error::BenchError;
use super::stage::Stage;
use super::wait::{Stop, Target};

/// Threads that call.
const THREADS: usize = 2;
/// Pause of each between two calls: it leaves the processors to the proxy.
const PAUSE: Duration = Duration::from_micros(200);
/// Connections in a row that show that a change has arrived.
const IN_A_ROW: usize = 3;

/// What a bench of swaps found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Connections that were judged.
    pub(super) connections: usize,
    /// What became of the wrong ones.
    pub(super) wrong: Vec<Outcome>,
}

/// The swaps of one Service so far, and the connections to it.
#[derive(Debug)]
struct Record {
    swaps: Vec<Swap>,
    connections: Vec<Connection>,
    /// The connections in a row that reached the newest endpoint, by their start.
    right: Vec<Instant>,
}

/// An endpoint of a Service, and since when it may and until when the one before may be reached.
#[derive(Clone, Copy, Debug)]
struct Swap {
    endpoint: IpAddr,
    requested: Instant,
    /// When the first of the connections began that show that it has arrived.
    arrived: Option<Instant>,
}

/// One Service under load.
#[derive(Debug)]
struct Subject {
    target: Target,
    record: Mutex<Record>,
    arrived: Notify,
}

impl Subject {
    fn new(target: Target, now: Instant) -> Self {
        let swap = Swap {
            endpoint: target.right[0],
            requested: now,
            arrived: Some(now),
        };
        Self {
            target,
            record: Mutex::new(Record {
                swaps: vec![swap],
                connections: Vec::new(),
                right: Vec::new(),
            }),
            arrived: Notify::new(),
        }
    }

    /// From now on this endpoint may be reached.
    fn request(&self, endpoint: IpAddr) {
        let mut record = self.record.lock().expect("no holder panics");
        record.right.clear();
        record.swaps.push(Swap {
            endpoint,
            requested: Instant::now(),
            arrived: None,
        });
    }

    fn note(&self, connection: Connection) {
        let mut record = self.record.lock().expect("no holder panics");
        if record.note(connection) {
            self.arrived.notify_one();
        }
    }
}

impl Record {
    /// Keeps a connection; whether it is the one that shows that the newest change has arrived.
    fn note(&mut self, connection: Connection) -> bool {
        self.connections.push(connection);
        let newest = self.swaps.last_mut().expect("there is always one");
        if newest.arrived.is_some() || connection.started < newest.requested {
            return false;
        }
        if connection.outcome.reached() != Some(newest.endpoint) {
            self.right.clear();
            return false;
        }
        self.right.push(connection.started);
        let shown = self.right.len() >= IN_A_ROW;
        if shown {
            newest.arrived = self.right.iter().min().copied();
        }
        shown
    }

    /// What became of the connections that were wrong.
    fn wrong(&self) -> Vec<Outcome> {
        let wrong = self.connections.iter().filter(|c| !self.is_right(c));
        wrong.map(|connection| connection.outcome).collect()
    }

    fn is_right(&self, connection: &Connection) -> bool {
        let Some(reached) = connection.outcome.reached() else {
            return false;
        };
        self.swaps.iter().enumerate().any(|(index, swap)| {
            let next = self.swaps.get(index + 1);
            let gone = next.and_then(|next| next.arrived);
            swap.endpoint == reached
                && connection.ended >= swap.requested
                && gone.is_none_or(|gone| connection.started < gone)
        })
    }
}

/// Swaps endpoints of the first so many changing Services, so many times in all, under load.
pub(super) async fn under_load(
    stage: &mut Stage,
    services: usize,
    swaps: u32,
    patience: Duration,
) -> Result<Found, BenchError> {
    let now = Instant::now();
    let subjects: Vec<_> = stage.changing[..services]
        .iter()
        .map(|service| Arc::new(Subject::new(service.target(stage.family()), now)))
        .collect();
    // Each swap is made on a copy: the stage is also used to reach the client.
    let mut changing = stage.changing[..services].to_vec();
    let ended = Stop::default();
    let called = async {
        let (subjects, ended) = (subjects.clone(), ended.clone());
        let work = move |stop: &Stop| call_all(&subjects, &|| stop.is_set() || ended.is_set());
        let called = stage.in_client(work).await?;
        called.map_err(BenchError::socket("open a connection"))
    };
    let swapped = async {
        let work = changing.iter_mut().zip(&subjects).enumerate();
        let work = work.map(|(index, (service, subject))| {
            let stage = &*stage;
            let share = share(swaps, services, index);
            async move {
                for _ in 0..share {
                    service.next_generation();
                    let target = service.target(stage.family());
                    subject.request(target.right[0]);
                    stage.patch(service).await?;
                    let arrived = tokio::time::timeout(patience, subject.arrived.notified());
                    arrived.await.map_err(|_| BenchError::Unsettled {
                        proxy: stage.name().to_owned(),
                        what: format!("the changed {}", subject.target.name),
                        after: patience,
                        last: "did not show it three times in a row".to_owned(),
                    })?;
                }
                Ok::<_, BenchError>(())
            }
        });
        let done = futures::future::try_join_all(work).await.map(drop);
        ended.set();
        done
    };
    tokio::try_join!(called, swapped)?;
    stage.changing[..services].clone_from_slice(&changing);
    let mut found = Found::default();
    for subject in subjects {
        let record = subject.record.lock().expect("no holder panics");
        found.connections += record.connections.len();
        found.wrong.extend(record.wrong());
    }
    Ok(found)
}

/// How many of all swaps the Service with this index makes.
fn share(swaps: u32, services: usize, index: usize) -> usize {
    let swaps = swaps as usize;
    swaps / services + usize::from(index < swaps % services)
}

/// Calls one Service after the other until `ended`.
fn call_all(subjects: &[Arc<Subject>], ended: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mine = subjects.iter().skip(thread).step_by(THREADS);
                    for subject in mine.cycle() {
                        if ended() {
                            break;
                        }
                        subject.note(client::call(subject.target.remote, client::PATIENCE)?);
                        thread::sleep(PAUSE);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut ends = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ends.try_for_each(|end| end.expect("calling does not panic"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 128, 0, 1));
    const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 128, 0, 2));

    /// Connections that each take a millisecond, by when they start, to a Service whose swap is
    /// requested at 10 ms.
    fn wrong(connections: &[(u64, Outcome)]) -> Vec<Outcome> {
        let zero = Instant::now();
        let at = |millis| zero + Duration::from_millis(millis);
        let swap = |endpoint, requested, arrived| Swap {
            endpoint,
            requested: at(requested),
            arrived,
        };
        let mut record = Record {
            swaps: vec![swap(OLD, 0, Some(zero))],
            connections: Vec::new(),
            right: Vec::new(),
        };
        for (started, outcome) in connections {
            if *started >= 10 && record.swaps.len() == 1 {
                record.swaps.push(swap(NEW, 10, None));
            }
            record.note(Connection {
                started: at(*started),
                opened: at(*started),
                ended: at(*started + 1),
                outcome: *outcome,
            });
        }
        record.wrong()
    }

    #[test]
    fn old_and_new_are_right_until_three_in_a_row_were_new() {
        let (old, new) = (Outcome::Reached(OLD), Outcome::Reached(NEW));
        let during = [(1, old), (11, old), (12, new), (13, old), (14, new)];
        assert_eq!(wrong(&during), []);
        let settled = [(15, new), (16, new), (17, new)];
        assert_eq!(wrong(&[&during[..], &settled].concat()), []);
        // The three in a row began at 14 ms.
        let stale = [(15, new), (16, new), (17, old)];
        assert_eq!(wrong(&[&during[..], &stale].concat()), [old]);
        assert_eq!(wrong(&[(1, new), (11, old)]), [new]);
    }

    #[test]
    fn a_connection_that_failed_is_wrong_at_any_time() {
        let new = Outcome::Reached(NEW);
        let stranger = Outcome::Reached(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        for failed in [
            Outcome::Silent,
            Outcome::Broken,
            Outcome::Refused(io::ErrorKind::ConnectionRefused),
            stranger,
        ] {
            let all = [(1, failed), (11, failed), (12, new), (13, new), (14, new)];
            assert_eq!(wrong(&all), [failed, failed]);
        }
    }

    #[test]
    fn all_swaps_are_shared_out() {
        let shares: Vec<_> = (0..16).map(|index| share(1000, 16, index)).collect();
        assert_eq!(shares.iter().sum::<usize>(), 1000);
        assert!(shares.iter().all(|share| (62..=63).contains(share)));
    }
}
