//! Traffic that goes on while a case changes the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::row::{Answer, row};
use crate::case::{Place, Traffic};
use crate::lab::{Allocated, Calls, Lab, LabError, join_results};
use crate::probe::{Connection, Outcome};
use crate::tap::Sample;
use crate::world::{Family, Length, Protocol};

/// The traffic of a case, by its name.
pub(super) type TrafficByName = BTreeMap<&'static str, Ongoing>;

/// Connections that are made together: one wave, which waits for its fence once.
const TOGETHER: usize = 4;
/// The pause between two waves.
const PAUSE: Duration = Duration::from_millis(20);
/// Fewer connections say nothing about a change that they were to go on through.
const FEW: u64 = 20;

/// Traffic that ends when this is dropped.
pub(super) struct Ongoing {
    traffic: Traffic,
    protocol: Protocol,
    /// Whoever makes calls holds the tally until they are counted: who asks waits for those that are under way.
    by_family: Vec<(Family, Arc<Mutex<Tally>>)>,
    _tasks: JoinSet<()>,
}

/// Who may answer.
#[derive(Clone, Debug)]
pub(super) enum Answering {
    /// The pods of the workload, whose names begin so.
    Workload(String),
    /// These pods, and the addresses and ports that they listen on.
    Backends {
        /// Their names.
        pods: BTreeSet<String>,
        /// Where they listen.
        at: Vec<SocketAddr>,
    },
}

impl Answering {
    fn includes(&self, pod: &str) -> bool {
        match self {
            Self::Workload(prefix) => pod.starts_with(prefix),
            Self::Backends { pods, .. } => pods.contains(pod),
        }
    }

    /// Whether one of them has answered this connection, on this port.
    fn has_answered(&self, connection: &Connection, port: u16) -> bool {
        let Outcome::Reached { identity, .. } = &connection.outcome else {
            return false;
        };
        self.includes(&identity.pod) && identity.port == port
    }

    fn addresses(&self, family: Family) -> Vec<SocketAddr> {
        match self {
            Self::Workload(_) => Vec::new(),
            Self::Backends { at, .. } => {
                let own = at.iter().filter(|at| Family::of(at.ip()) == family);
                own.copied().collect()
            }
        }
    }
}

/// What has become of its connections so far.
#[derive(Default)]
struct Tally {
    /// When the first were made, by the clock of the taps.
    began: Option<Duration>,
    /// When the last were made.
    last: Duration,
    /// The longest time from some to the next. What was not served for less may have been missed.
    longest_pause: Duration,
    answered: u64,
    others: BTreeMap<String, u64>,
    /// The way of the first of each of those.
    samples: BTreeMap<String, Sample>,
    /// When the first and the last of the others was made, since it began.
    lost: Option<(Duration, Duration)>,
    /// Why it could not go on. That says nothing about the proxy.
    error: Option<Box<LabError>>,
}

impl Ongoing {
    /// Begins it, in each family that the Service has now. Who may answer listens on `port`, by this protocol.
    ///
    /// # Panics
    /// When the Service does not have the address: a check before has seen that it does.
    pub(super) fn begin(
        lab: &Arc<Lab>,
        traffic: &Traffic,
        service: &Allocated,
        answering: &Answering,
        (protocol, port): (Protocol, u16),
    ) -> Self {
        let mut tasks = JoinSet::new();
        let has = |family: &&Family| service.families.contains(*family);
        let by_family = lab.families().iter().filter(has).map(|family| {
            let remote = lab.resolve(&traffic.to, service, *family);
            let tally = Arc::new(Mutex::new(Tally::default()));
            let going = Going {
                lab: Arc::clone(lab),
                from: traffic.from.clone(),
                remote: remote.expect("a Service with this address"),
                backends: answering.addresses(*family),
                answering: answering.clone(),
                protocol,
                port,
                tally: Arc::clone(&tally),
            };
            tasks.spawn(going.go_on());
            (*family, tally)
        });
        Self {
            traffic: traffic.clone(),
            protocol,
            by_family: by_family.collect(),
            _tasks: tasks,
        }
    }

    /// Whether every connection was answered, in each family.
    ///
    /// # Errors
    /// When the probes could not go on.
    pub(super) async fn answered(&self) -> Result<Vec<Answer>, Box<LabError>> {
        self.judged("every connection answered", None).await
    }

    /// Whether connections were lost for no longer than this, and none came to anything else than a drop, in each family.
    ///
    /// # Errors
    /// When the probes could not go on.
    pub(super) async fn lost_for(&self, bound: Duration) -> Result<Vec<Answer>, Box<LabError>> {
        let expected = format!("dropped for {} at most", seconds(bound));
        self.judged(&expected, Some(bound)).await
    }

    /// What each family's has come to, where connections may be dropped for `bound`, or not at all.
    async fn judged(
        &self,
        expected: &str,
        bound: Option<Duration>,
    ) -> Result<Vec<Answer>, Box<LabError>> {
        let each = self.by_family.iter().map(async |(family, tally)| {
            let mut tally = tally.lock().await;
            if let Some(error) = tally.error.take() {
                return Err(error);
            }
            let Traffic { name, from, to } = &self.traffic;
            let to = format!("{to}, all the while as {name:?}");
            let mut row = row(&from.to_string(), &to, Some(*family));
            row.protocol = self.protocol;
            row.count = tally.total();
            row.failed = tally.failed(bound).map(|(_, n)| n).sum();
            row.lost = Some(tally.lost());
            let result = row.expect_all(expected, &tally.text(), tally.wrong(bound));
            let samples = if result.passed() {
                Vec::new()
            } else {
                tally.samples.values().cloned().collect()
            };
            Ok(Answer { result, samples })
        });
        join_results(each).await
    }
}

impl Tally {
    /// Takes in that some connections are made at this time, by the clock of the taps.
    fn begin(&mut self, at: Duration) {
        if self.began.is_some() {
            let pause = at.saturating_sub(self.last);
            self.longest_pause = self.longest_pause.max(pause);
        }
        self.began.get_or_insert(at);
        self.last = at;
    }

    /// Takes in what became of a connection that was made at this time, by the clock of the taps.
    fn count(&mut self, at: Duration, connection: &Connection, answering: &Answering, port: u16) {
        if answering.has_answered(connection, port) {
            self.answered += 1;
            return;
        }
        let at = at.saturating_sub(self.began.unwrap_or(at));
        let (first, _) = self.lost.unwrap_or((at, at));
        self.lost = Some((first, at));
        *self.others.entry(connection.outcome.kind()).or_default() += 1;
    }

    fn text(&self) -> String {
        let others = self.others.iter().map(|(kind, n)| format!(", {kind} ×{n}"));
        let window = self.lost.map(|(first, last)| {
            let time = seconds(last - first);
            let (from, to) = (seconds(first), seconds(last));
            format!(", for {time}, from {from} to {to} after it began")
        });
        format!(
            "answered ×{}{}{}; {} apart at the most",
            self.answered,
            others.collect::<String>(),
            window.unwrap_or_default(),
            seconds(self.longest_pause)
        )
    }

    /// How many connections have ended, in whatever way.
    fn total(&self) -> u64 {
        self.answered + self.lost()
    }

    /// How many of them nobody has answered who may.
    fn lost(&self) -> u64 {
        self.others.values().sum()
    }

    /// What its connections came to that they may not: anything else than an answer, or than a drop where there is a bound.
    fn failed(&self, bound: Option<Duration>) -> impl Iterator<Item = (&String, u64)> {
        let may = bound.map(|_| Outcome::Dropped.kind());
        let others = self.others.iter();
        let failed = others.filter(move |(kind, _)| Some(*kind) != may.as_ref());
        failed.map(|(kind, n)| (kind, *n))
    }

    /// What is wrong, in words that tell what went wrong all the while from what a check sees.
    fn wrong(&self, bound: Option<Duration>) -> Vec<String> {
        let total = self.total();
        let failed = self.failed(bound);
        let failed = failed.map(|(kind, n)| format!("meanwhile {kind} ({n} of {total})"));
        let few = (total < FEW).then(|| format!("only {total} connections were made"));
        let lost = self.lost.map(|(first, last)| last - first);
        let longer = bound.zip(lost).filter(|(bound, lost)| lost > bound);
        let text = |(bound, lost)| format!("lost for {}, not {}", seconds(lost), seconds(bound));
        failed.chain(few).chain(longer.map(text)).collect()
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

struct Going {
    lab: Arc<Lab>,
    from: Place,
    remote: SocketAddr,
    backends: Vec<SocketAddr>,
    answering: Answering,
    protocol: Protocol,
    port: u16,
    tally: Arc<Mutex<Tally>>,
}

impl Going {
    async fn go_on(self) {
        let remotes = [self.remote; TOGETHER];
        loop {
            let calls = Calls {
                from: &self.from,
                by: None,
                protocol: self.protocol,
                length: Length::Brief,
                remotes: &remotes,
                backends: &self.backends,
            };
            let mut tally = self.tally.lock().await;
            let (at, made) = match self.lab.outcomes(calls).await {
                Ok(made) => made,
                Err(error) => {
                    tally.error = Some(Box::new(error));
                    return;
                }
            };
            tally.begin(at);
            for one in &made {
                tally.count(at, one, &self.answering, self.port);
            }
            self.look_at_losses(at, &made, &mut tally).await;
            drop(tally);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Keeps the way of the first connection of each kind that nobody of the case has answered. The taps forget.
    async fn look_at_losses(&self, since: Duration, made: &[Connection], tally: &mut Tally) {
        let lost = |one: &&Connection| !self.answering.has_answered(one, self.port);
        for one in made.iter().filter(lost) {
            let kind = one.outcome.kind();
            if tally.samples.contains_key(&kind) {
                continue;
            }
            let way = self.lab.way_of(&self.from, since, one).await;
            tally.samples.insert(kind, way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Identity;

    fn connection(outcome: Outcome) -> Connection {
        Connection {
            protocol: Protocol::Tcp,
            local: ([10, 0, 0, 1], 40_000).into(),
            remote: ([10, 0, 0, 2], 80).into(),
            sequence: 7,
            octets: None,
            outcome,
        }
    }

    fn reached(pod: &str, port: u16) -> Connection {
        let identity = Identity {
            pod: pod.to_owned(),
            node: "vm1".to_owned(),
            port,
            peer: ([10, 0, 0, 1], 40_000).into(),
            ttl: 61,
        };
        let latency = Duration::ZERO;
        connection(Outcome::Reached { identity, latency })
    }

    #[test]
    fn one_connection_that_nobody_of_the_case_answers_is_wrong() {
        let tally = |other: Option<Connection>| {
            let mut tally = Tally::default();
            let answering = Answering::Workload("a-b-".to_owned());
            for _ in 0..FEW {
                tally.count(Duration::ZERO, &reached("a-b-1", 7), &answering, 7);
            }
            if let Some(other) = other {
                tally.count(Duration::ZERO, &other, &answering, 7);
            }
            tally.wrong(None)
        };
        assert!(tally(None).is_empty());
        for other in [
            connection(Outcome::Dropped),
            connection(Outcome::Broken("reset".to_owned())),
            reached("web-0", 7),
            reached("a-b-1", 8),
        ] {
            assert_eq!(tally(Some(other.clone())).len(), 1, "{other:?}");
        }
    }

    #[test]
    fn connections_may_be_lost_for_a_while_and_for_no_longer_and_only_be_dropped() {
        let wrong = |first: u64, last: u64, others: &[(&str, u64)]| {
            let others = others.iter().map(|(kind, n)| ((*kind).to_owned(), *n));
            let window = [first, last].map(Duration::from_millis);
            let tally = Tally {
                answered: FEW,
                others: others.collect(),
                lost: Some(window.into()),
                ..Tally::default()
            };
            let bound = Some(Duration::from_millis(1200));
            let failed: u64 = tally.failed(bound).map(|(_, n)| n).sum();
            (failed, tally.wrong(bound))
        };
        assert_eq!(wrong(5000, 6200, &[("dropped", 7)]), (0, vec![]));
        assert_eq!(
            wrong(5000, 6201, &[("dropped", 7)]),
            (0, vec!["lost for 1.201 s, not 1.200 s".to_owned()])
        );
        assert_eq!(
            wrong(5000, 5100, &[("dropped", 7), ("refused (RST)", 1)]),
            (1, vec!["meanwhile refused (RST) (1 of 28)".to_owned()])
        );
        let nothing = Tally::default().wrong(Some(Duration::MAX));
        assert_eq!(nothing, ["only 0 connections were made"]);
    }

    #[tokio::test]
    async fn what_is_under_way_is_counted_before_the_question_is_answered() {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let going = Ongoing {
            traffic: Traffic {
                name: "outside",
                from: Place::External("client-private".to_owned()),
                to: crate::case::Target::ClusterIp,
            },
            protocol: Protocol::Udp,
            by_family: vec![(Family::V4, Arc::clone(&tally))],
            _tasks: JoinSet::new(),
        };
        let mut under_way = Arc::clone(&tally).lock_owned().await;
        under_way.answered = FEW;
        let waved = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let answering = Answering::Workload("a-b-".to_owned());
            under_way.count(Duration::ZERO, &connection(Outcome::Dropped), &answering, 7);
            drop(under_way);
        };
        let (asked, ()) = tokio::join!(going.answered(), waved);
        let asked = asked.expect("the probes go on");
        assert_eq!(asked[0].result.protocol, Protocol::Udp);
        assert_eq!(asked[0].result.wrong, ["meanwhile dropped (1 of 21)"]);
    }

    #[test]
    fn how_far_apart_connections_were_is_said() {
        let mut tally = Tally::default();
        for at in [1.0, 1.02, 1.06, 1.09] {
            tally.begin(Duration::from_secs_f64(at));
        }
        assert!(
            tally.text().ends_with("; 0.040 s apart at the most"),
            "{}",
            tally.text()
        );
    }

    #[test]
    fn hardly_any_connection_proves_nothing() {
        assert_eq!(
            Tally::default().wrong(None),
            ["only 0 connections were made"]
        );
    }
}
