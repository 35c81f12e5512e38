//! Traffic that goes on while a case changes the world.

mod toll;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::toll::Toll;
pub(super) use self::toll::{Left, Notice};
use super::row::{Answer, row};
use crate::case::{Place, Traffic};
use crate::lab::{Allocated, Calls, Lab, LabError, join_results};
use crate::probe::{Connection, Outcome};
use crate::world::{Family, Length, Protocol};

/// The traffic of a case, by its name.
pub(super) type TrafficByName = BTreeMap<&'static str, Ongoing>;

/// Connections that are made together: one wave, which waits for its fence once.
pub(super) const TOGETHER: usize = 4;
/// The pause between two waves.
const PAUSE: Duration = Duration::from_millis(20);

/// Traffic that ends when this is dropped.
pub(super) struct Ongoing {
    traffic: Traffic,
    protocol: Protocol,
    /// Whoever makes calls holds the toll until they are counted: who asks waits for those that are under way.
    by_family: Vec<(Family, Arc<Mutex<Toll>>)>,
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
            let toll = Arc::new(Mutex::new(Toll::default()));
            let going = Going {
                lab: Arc::clone(lab),
                from: traffic.from.clone(),
                remote: remote.expect("a Service with this address"),
                backends: answering.addresses(*family),
                answering: answering.clone(),
                protocol,
                port,
                toll: Arc::clone(&toll),
            };
            tasks.spawn(going.go_on());
            (*family, toll)
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

    /// Whether connections were lost until the load balancer had left their node and no longer, and none came to anything
    /// else than a drop, in each family.
    ///
    /// # Errors
    /// When the probes could not go on.
    pub(super) async fn lost_until(&self, notice: &Notice) -> Result<Vec<Answer>, Box<LabError>> {
        self.judged(&notice.to_string(), Some(notice)).await
    }

    /// What each family's has come to, where connections may be dropped until that is noticed, or not at all.
    async fn judged(
        &self,
        expected: &str,
        notice: Option<&Notice>,
    ) -> Result<Vec<Answer>, Box<LabError>> {
        let each = self.by_family.iter().map(async |(family, toll)| {
            let mut toll = toll.lock().await;
            if let Some(error) = toll.error.take() {
                return Err(error);
            }
            let Traffic { name, from, to } = &self.traffic;
            let to = format!("{to}, all the while as {name:?}");
            let mut row = row(&from.to_string(), &to, Some(*family));
            row.protocol = self.protocol;
            row.count = toll.total();
            row.failed = toll.failed(notice);
            row.lost = Some(toll.lost());
            let got = toll.text(*family, notice);
            let result = row.expect_all(expected, &got, toll.wrong(*family, notice));
            let samples = if result.passed() {
                Vec::new()
            } else {
                toll.samples.values().cloned().collect()
            };
            Ok(Answer { result, samples })
        });
        join_results(each).await
    }
}

struct Going {
    lab: Arc<Lab>,
    from: Place,
    remote: SocketAddr,
    backends: Vec<SocketAddr>,
    answering: Answering,
    protocol: Protocol,
    port: u16,
    toll: Arc<Mutex<Toll>>,
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
            let mut toll = self.toll.lock().await;
            let (made_at, made) = match self.lab.outcomes(calls).await {
                Ok(made) => made,
                Err(error) => {
                    toll.error = Some(Box::new(error));
                    return;
                }
            };
            let known_at = self.lab.now();
            toll.begin(made_at);
            for one in &made {
                if self.answering.has_answered(one, self.port) {
                    toll.answer();
                    continue;
                }
                let kind = one.outcome.kind();
                toll.lose(made_at, known_at, kind.clone());
                // The way of the first of each kind is kept: the taps forget.
                if let Entry::Vacant(first) = toll.samples.entry(kind) {
                    first.insert(self.lab.way_of(&self.from, made_at, one).await);
                }
            }
            drop(toll);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::toll::FEW;
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
    fn only_who_is_of_the_case_answers_and_only_on_its_port() {
        let answering = Answering::Workload("a-b-".to_owned());
        assert!(answering.has_answered(&reached("a-b-1", 7), 7));
        for other in [
            connection(Outcome::Dropped),
            connection(Outcome::Broken("reset".to_owned())),
            reached("web-0", 7),
            reached("a-b-1", 8),
        ] {
            assert!(!answering.has_answered(&other, 7), "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_counted_before_the_question_is_answered() {
        let toll = Arc::new(Mutex::new(Toll::default()));
        let going = Ongoing {
            traffic: Traffic {
                name: "outside",
                from: Place::External("client-private".to_owned()),
                to: crate::case::Target::ClusterIp,
            },
            protocol: Protocol::Udp,
            by_family: vec![(Family::V4, Arc::clone(&toll))],
            _tasks: JoinSet::new(),
        };
        let mut under_way = Arc::clone(&toll).lock_owned().await;
        (0..FEW).for_each(|_| under_way.answer());
        let waved = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let at = Duration::ZERO;
            under_way.lose(at, at, Outcome::Dropped.kind());
            drop(under_way);
        };
        let (asked, ()) = tokio::join!(going.answered(), waved);
        let asked = asked.expect("the probes go on");
        assert_eq!(asked[0].result.protocol, Protocol::Udp);
        assert_eq!(asked[0].result.wrong, ["meanwhile dropped (1 of 21)"]);
    }
}
