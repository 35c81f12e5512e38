//! Flows that are kept open: opening them, and asking what has become of them.

use std::collections::BTreeMap;

use tokio::sync::Mutex;

use super::ask::Subject;
use super::row::{Answer, row};
use crate::case::{FlowCheck, HeldExpectation, HeldFlow};
use crate::lab::{Call, HeldFlows, LabError, join_results};
use crate::probe::{Connection, Outcome};
use crate::tap::Sample;
use crate::verdict::{Asked, FlowResult};
use crate::world::Family;

/// The flows that a case keeps open, by their name.
pub(super) type HeldByName = BTreeMap<&'static str, Vec<Mutex<Held>>>;

/// Flows of one family that are kept open.
pub(super) struct Held {
    flow: FlowCheck,
    family: Family,
    flows: HeldFlows,
    /// The first thing that became of a flow other than going on, by its position. It counts for
    /// ever: that a flow was cut is not undone by another one between the same ends.
    cut: BTreeMap<usize, String>,
}

impl Subject<'_> {
    /// Opens flows in each family, once and without a retry, and judges how they began.
    pub(super) async fn open(
        &self,
        held: &HeldFlow,
    ) -> Result<(Vec<Answer>, Vec<Mutex<Held>>), LabError> {
        let each = self.lab.families().iter();
        let each = each.filter(|family| held.flow.is_asked_in(**family));
        let each = each.map(|family| self.open_in(&held.flow, *family));
        let opened = join_results(each).await?;
        let (mut answers, kept): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        for answer in &mut answers {
            answer.result.check = format!("opened: {}", held.name);
        }
        Ok((
            answers,
            kept.into_iter().flatten().map(Mutex::new).collect(),
        ))
    }

    async fn open_in(
        &self,
        flow: &FlowCheck,
        family: Family,
    ) -> Result<(Answer, Option<Held>), LabError> {
        let asked = Asked::Covering;
        let Some(remotes) = self.remotes(flow, family, asked) else {
            return Ok((self.no_address(flow, family), None));
        };
        let backends = self.backends_of(family);
        let flows = self.lab.open(self.calls(flow, &remotes, &backends)).await?;
        let answer = self.judged(flow, family, flows.opened(), asked);
        let held = Held {
            flow: flow.clone(),
            family,
            flows,
            cut: BTreeMap::new(),
        };
        Ok((answer, Some(held)))
    }

    /// Asks once more over the flows of a name, in each family.
    pub(super) async fn held(
        &self,
        name: &str,
        expect: &HeldExpectation,
    ) -> Result<Vec<Answer>, LabError> {
        let held = self.held.get(name).map(Vec::as_slice).unwrap_or_default();
        let each = held.iter().map(async |held| {
            let mut held = held.lock().await;
            let calls = self.lab.ask_again(&mut held.flows).await?;
            Ok::<_, LabError>(match expect {
                HeldExpectation::GoesOn => held.goes_on(&calls, self),
                HeldExpectation::Becomes(expect) => {
                    let flow = FlowCheck {
                        expect: expect.clone(),
                        ..held.flow.clone()
                    };
                    // Where each flow goes is drawn once: a few may all go to one of several pods.
                    self.judged(&flow, held.family, &calls, Asked::Briefly)
                }
            })
        });
        let mut answers: Vec<Answer> = join_results(each).await?;
        for answer in &mut answers {
            answer.result.to = format!("{}, held as {name:?}", answer.result.to);
        }
        Ok(answers)
    }
}

impl Held {
    /// Judges whether each flow is still the one that was opened.
    fn goes_on(&mut self, calls: &[Call], subject: &Subject<'_>) -> Answer {
        let mut got = BTreeMap::<String, u64>::new();
        let mut samples = BTreeMap::new();
        for (at, (call, opened)) in calls.iter().zip(self.flows.opened()).enumerate() {
            *got.entry(call.observed.kind()).or_default() += 1;
            let before = &opened.observed.connection;
            if let Some(text) = cut(before, &call.observed.connection) {
                let sample = || Sample {
                    outcome: text.clone(),
                    ..call.sample(subject.lab)
                };
                samples.entry(text.clone()).or_insert_with(sample);
                self.cut.entry(at).or_insert(text);
            }
        }
        let mut wrong = BTreeMap::<&str, u64>::new();
        for text in self.cut.values() {
            *wrong.entry(text).or_default() += 1;
        }
        let total = calls.len();
        let protocol = calls.first().map(|call| call.observed.connection.protocol);
        let got: Vec<_> = got.iter().map(|(kind, n)| format!("{kind} ×{n}")).collect();
        let wrong = wrong
            .iter()
            .map(|(text, n)| format!("{text} ({n} of {total})"));
        let result = FlowResult {
            protocol: protocol.unwrap_or_default(),
            count: total as u64,
            failed: self.cut.len() as u64,
            expected: HeldExpectation::GoesOn.to_string(),
            got: got.join(", "),
            wrong: wrong.collect(),
            ..row(
                &self.flow.from.to_string(),
                &self.flow.target(),
                Some(self.family),
            )
        };
        Answer {
            result,
            samples: samples.into_values().collect(),
        }
    }
}

/// What has become of a flow instead of going on, if anything: the same backend must answer, and
/// see the same peer with the same hops to live.
fn cut(before: &Connection, now: &Connection) -> Option<String> {
    let Outcome::Reached {
        identity: before, ..
    } = &before.outcome
    else {
        return Some("never began".to_owned());
    };
    match &now.outcome {
        Outcome::Reached { identity, .. } if identity == before => None,
        Outcome::Reached { identity, .. } if identity.pod == before.pod => {
            Some(format!("cut: {} sees it as another flow", before.pod))
        }
        Outcome::Reached { identity, .. } => Some(format!(
            "cut: went to {} instead of {}",
            identity.pod, before.pod
        )),
        Outcome::Refused(refusal) => Some(format!("cut: refused ({refusal})")),
        Outcome::Dropped => Some("cut: dropped".to_owned()),
        Outcome::Broken(how) => Some(format!("cut: {how}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::Identity;
    use crate::world::Protocol;

    fn reached(pod: &str, port: u16) -> Connection {
        let identity = Identity {
            pod: pod.to_owned(),
            node: "vm1".to_owned(),
            port: 1,
            peer: ([10, 0, 0, 1], port).into(),
            ttl: 61,
        };
        let latency = Duration::ZERO;
        connection(Outcome::Reached { identity, latency })
    }

    fn connection(outcome: Outcome) -> Connection {
        Connection {
            protocol: Protocol::Udp,
            local: ([10, 0, 0, 1], 40_000).into(),
            remote: ([10, 0, 0, 2], 80).into(),
            sequence: 7,
            octets: None,
            outcome,
        }
    }

    #[test]
    fn a_flow_goes_on_only_with_the_same_backend_and_the_same_peer() {
        let before = reached("web-0", 40_000);
        assert_eq!(cut(&before, &before), None);
        for (now, text) in [
            (
                reached("web-0", 40_001),
                "cut: web-0 sees it as another flow",
            ),
            (
                reached("web-1", 40_000),
                "cut: went to web-1 instead of web-0",
            ),
            (connection(Outcome::Dropped), "cut: dropped"),
        ] {
            assert_eq!(cut(&before, &now).as_deref(), Some(text));
        }
        let never = connection(Outcome::Dropped);
        assert_eq!(cut(&never, &before).as_deref(), Some("never began"));
    }
}
