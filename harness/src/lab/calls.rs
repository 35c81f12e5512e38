//! Calls in a lab, and their ways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::baseline::BASELINE_PORT;
use super::{Lab, LabError, trip};
use crate::agent::{AgentError, Flows};
use crate::balancer;
use crate::case::Place;
use crate::probe::{Batch, Connection};
use crate::tap::{self, Journey, Sample};
use crate::verdict::{Observed, Trip};
use crate::world::{Family, Length, Node, Protocol};

/// Batches of calls that may be under way at the same time. Some of them only wait, for what is
/// dropped, and with fewer processors would be idle. More would make each wait for a processor, and
/// every answer that comes late costs a fence.
pub(super) const PROBERS: usize = 8;

/// Calls to be made together. Many take hardly more time than one: a wave of them waits for its
/// fence once.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a> {
    /// Who calls.
    pub from: &'a Place,
    /// The node by which the load balancer's host sends them, where it is the one that calls.
    pub by: Option<&'a str>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How long the datagrams are.
    pub length: Length,
    /// The addresses called, one call to each, all of one family.
    pub remotes: &'a [SocketAddr],
    /// Every backend that may answer, in the same family. They all listen, whatever the Service
    /// says of them: by UDP, a drop is proven by what they answer.
    pub backends: &'a [SocketAddr],
}

/// One call, with its way hop by hop.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was seen of it.
    pub observed: Observed,
    /// Its journey; none when a node refused or dropped a call of its own before any interface.
    pub journey: Option<Journey>,
}

impl Call {
    /// Whether a backend answered.
    pub fn is_reached(&self) -> bool {
        self.observed.connection.outcome.is_reached()
    }

    /// Its way, to be kept.
    pub fn sample(&self, lab: &Lab) -> Sample {
        let name = |address| lab.world.describe(address);
        Sample::new(self.observed.kind(), self.journey.clone(), name)
    }
}

/// Flows that are kept open, to be asked again.
#[derive(Debug)]
pub struct HeldFlows {
    from: Place,
    /// `None` while they are being asked, and after a probe that failed.
    open: Option<Flows>,
    /// As they were opened, in the order of the flows.
    opened: Vec<Call>,
}

impl HeldFlows {
    /// The calls that opened them.
    pub fn opened(&self) -> &[Call] {
        &self.opened
    }
}

impl Lab {
    /// Opens `count` TCP connections from a place, and says what became of each and by which way.
    ///
    /// # Errors
    /// When the probe cannot be carried out or the taps lost packets. Neither says anything about
    /// the proxy.
    ///
    /// # Panics
    /// When the place is not in the world.
    pub async fn call(
        &self,
        from: &Place,
        remote: SocketAddr,
        count: usize,
    ) -> Result<Vec<Call>, LabError> {
        let calls = Calls {
            from,
            by: None,
            protocol: Protocol::Tcp,
            length: Length::Brief,
            remotes: &vec![remote; count],
            backends: &[],
        };
        self.call_each(calls).await
    }

    /// Makes these calls, and says what became of each and by which way.
    ///
    /// # Errors
    /// As [`Self::call`].
    ///
    /// # Panics
    /// When the place or the node is not in the world.
    pub async fn call_each(&self, calls: Calls<'_>) -> Result<Vec<Call>, LabError> {
        if calls.remotes.is_empty() {
            return Ok(Vec::new());
        }
        let mut tries = Tries::default();
        loop {
            match self.call_once(calls).await {
                Err(error) if tries.again(&error) => {}
                called => return called,
            }
        }
    }

    async fn call_once(&self, calls: Calls<'_>) -> Result<Vec<Call>, LabError> {
        let (host, batch) = (calls.from.host(), self.batch(calls));
        let (since, made) = self.probing(self.sites.of(host).call(host, batch)).await?;
        self.with_ways(calls.from, since, made).await
    }

    /// Makes these calls, and says no more than when they were made, by the clock of the taps, and what became of each.
    /// They wait for no others: what goes on all the while is there to see outages that are over soon.
    ///
    /// # Errors
    /// When the probe cannot be carried out.
    ///
    /// # Panics
    /// As [`Self::call_each`].
    pub(crate) async fn outcomes(
        &self,
        calls: Calls<'_>,
    ) -> Result<(Duration, Vec<Connection>), LabError> {
        let (host, batch) = (calls.from.host(), self.batch(calls));
        self.at_once(self.sites.of(host).call(host, batch)).await
    }

    /// The way of a call that was made since this time, to be kept. Where it cannot be had, the outcome says why.
    pub(crate) async fn way_of(
        &self,
        from: &Place,
        since: Duration,
        connection: &Connection,
    ) -> Sample {
        match self.with_ways(from, since, vec![connection.clone()]).await {
            Ok(calls) => calls[0].sample(self),
            Err(error) => Sample {
                outcome: format!("{}; {error}", connection.outcome.kind()),
                journey: None,
                names: BTreeMap::new(),
            },
        }
    }

    /// Makes these calls, and keeps them open.
    ///
    /// # Errors
    /// As [`Self::call`].
    ///
    /// # Panics
    /// As [`Self::call_each`].
    pub async fn open(&self, calls: Calls<'_>) -> Result<HeldFlows, LabError> {
        let mut tries = Tries::default();
        loop {
            match self.open_once(calls).await {
                Err(error) if tries.again(&error) => {}
                opened => return opened,
            }
        }
    }

    async fn open_once(&self, calls: Calls<'_>) -> Result<HeldFlows, LabError> {
        let (host, batch) = (calls.from.host(), self.batch(calls));
        let opening = self.sites.of(host).open(host, batch);
        let (since, (opened, open)) = self.probing(opening).await?;
        Ok(HeldFlows {
            from: calls.from.clone(),
            open: Some(open),
            opened: self.with_ways(calls.from, since, opened).await?,
        })
    }

    /// Asks once more over each of these flows. A datagram has a journey of its own; over a
    /// connection, it is the one by which it was opened.
    ///
    /// # Errors
    /// As [`Self::call`]. After one of the probe, the flows cannot be asked any more.
    ///
    /// # Panics
    /// When they are asked all the same.
    pub async fn ask_again(&self, held: &mut HeldFlows) -> Result<Vec<Call>, LabError> {
        let mut tries = Tries::default();
        loop {
            match self.ask_once(held).await {
                Err(error) if tries.again(&error) => {}
                answered => return answered,
            }
        }
    }

    async fn ask_once(&self, held: &mut HeldFlows) -> Result<Vec<Call>, LabError> {
        let host = held.from.host();
        let open = held.open.take().expect("no probe has failed before");
        let asking = self.sites.of(host).ask(host, open);
        let (since, (answers, open)) = self.probing(asking).await?;
        held.open = Some(open);
        let by_datagrams = answers.first().is_some_and(|c| c.protocol == Protocol::Udp);
        if by_datagrams {
            return self.with_ways(&held.from, since, answers).await;
        }
        let answers = answers.into_iter().zip(&held.opened);
        let with_its_way = |(connection, opened): (Connection, &Call)| {
            let trip = opened.observed.trip.clone();
            Call {
                observed: Observed { connection, trip },
                journey: opened.journey.clone(),
            }
        };
        Ok(answers.map(with_its_way).collect())
    }

    fn batch(&self, calls: Calls<'_>) -> Batch {
        let mark = calls.by.map(|by| {
            let position = self.world.nodes.iter().position(|node| node.name == by);
            balancer::mark(position.expect("a node of the world"))
        });
        let family = calls.remotes.first().map(|first| Family::of(first.ip()));
        let mut fences = family.map_or_else(Vec::new, |family| self.fences(calls.from, family));
        if calls.protocol == Protocol::Udp {
            fences.extend(calls.backends);
        }
        Batch {
            protocol: calls.protocol,
            remotes: calls.remotes.to_vec(),
            length: calls.length,
            mark,
            fences,
        }
    }

    /// Has a probe carried out, a few of them at a time. Returns when it began, too, by the clock of
    /// the taps.
    async fn probing<T>(
        &self,
        probe: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<(Duration, T), LabError> {
        let _permit = self.probers.acquire().await.expect("never closed");
        self.at_once(probe).await
    }

    /// As [`Self::probing`], but however many there are.
    async fn at_once<T>(
        &self,
        probe: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<(Duration, T), LabError> {
        let since = self.now();
        Ok((since, probe.await?))
    }

    /// Adds the ways that the taps saw, to calls that were made since this time.
    async fn with_ways(
        &self,
        from: &Place,
        since: Duration,
        connections: Vec<Connection>,
    ) -> Result<Vec<Call>, LabError> {
        let sequences: Vec<_> = connections.iter().map(|c| c.sequence).collect();
        let asked = connections
            .iter()
            .map(|connection| tap::Call::new(from.host(), connection.local, connection.remote));
        let seen = self.sites.seen(&sequences, &self.stopped_nodes()).await?;
        let journeys = seen
            .journeys(since, asked, self.clocks)
            .map_err(AgentError::from)?;
        let calls = connections
            .into_iter()
            .zip(journeys)
            .map(|(connection, journey)| {
                // A node may refuse or drop its own call before any interface; nobody else can.
                let own = matches!(from, Place::Node(_)) && !connection.outcome.is_reached();
                if journey.is_none() && !own {
                    return Err(LabError::Unseen {
                        from: from.clone(),
                        connection: Box::new(connection),
                    });
                }
                let way = |journey: &Journey| trip::of(journey, &self.world);
                let trip = journey.as_ref().map_or_else(Trip::default, way);
                Ok(Call {
                    observed: Observed { connection, trip },
                    journey,
                })
            });
        calls.collect()
    }

    /// Listeners that always answer, one in a pod of each node: every host by which a Service can be
    /// reached is on the way to one of them.
    fn fences(&self, from: &Place, family: Family) -> Vec<SocketAddr> {
        let first_on = |node: &Node| {
            let mut pods = self.world.pods.iter().filter(|pod| pod.node == node.name);
            pods.find(|pod| pod.name != from.host())
        };
        let stopped = self.stopped_nodes();
        let nodes = self
            .world
            .nodes
            .iter()
            .filter(|node| !stopped.contains(&node.name));
        let pods = nodes.filter_map(first_on);
        pods.map(|pod| SocketAddr::new(pod.address.of(family), BASELINE_PORT))
            .collect()
    }
}

/// How often calls have been made whose ways the taps lost. That happens when the thread that empties them was kept
/// from running, and says nothing about the calls.
#[derive(Debug, Default)]
struct Tries(usize);

impl Tries {
    const MOST: usize = 3;

    /// Whether to make the calls once more after this error.
    fn again(&mut self, error: &LabError) -> bool {
        self.0 += 1;
        let again = error.is_loss() && self.0 < Self::MOST;
        if again {
            tracing::warn!("{error}; the calls are made once more");
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{Loss, TapError};

    #[test]
    fn calls_whose_ways_were_lost_are_made_three_times_and_others_once() {
        let tap = |error: TapError| LabError::from(AgentError::from(error));
        let loss = Loss {
            host: "vm1".to_owned(),
            interface: "eth0".to_owned(),
            from: Duration::ZERO,
            to: Duration::from_millis(5),
            packets: 3,
        };
        let lost = tap(TapError::Lost(loss));
        let mut tries = Tries::default();
        assert!(tries.again(&lost) && tries.again(&lost));
        assert!(!tries.again(&lost));
        assert!(!Tries::default().again(&tap(TapError::Forgotten)));
    }
}
