//! How far a case has come.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Mutex;

use super::held::HeldByName;
use super::row::Answer;
use super::ruled::Ruled;
use super::situation::Situation;
use super::traffic::TrafficByName;
use super::workload::Running;
use crate::case::{Backend, Service};
use crate::lab::Allocated;
use crate::tap::Sample;
use crate::verdict::FlowResult;

/// What a case has come to so far.
pub(super) struct Progress {
    /// The Service as it was last asked for.
    pub(super) spec: Service,
    /// The Service as the API last allocated it.
    pub(super) service: Allocated,
    /// The backends that it has now.
    pub(super) backends: Vec<Backend>,
    /// The last health check node port that it had.
    pub(super) health_port: Option<u16>,
    /// Every question that was judged.
    pub(super) flows: Vec<FlowResult>,
    /// Examples of their connections, of each kind one.
    pub(super) samples: Vec<Sample>,
    /// The Service as each check found it.
    pub(super) situations: Vec<Situation>,
    /// Which rules calls met that went wrong.
    pub(super) ruled: Vec<Ruled>,
    /// The flows that it keeps open.
    pub(super) held: HeldByName,
    /// The traffic that goes on.
    pub(super) traffic: TrafficByName,
    /// How many other Services there are beside it.
    pub(super) crowd: u16,
    /// What the cluster runs for it.
    pub(super) workload: Option<Running>,
    /// What undoes the sabotage, if there is one. Behind a lock that nobody takes, because it need not be shareable.
    pub(super) _sabotage: Option<Mutex<Box<dyn Any + Send>>>,
    /// Why it fails; none so far where there is none.
    pub(super) failure: Option<String>,
}

impl Progress {
    /// What the cluster runs for it.
    ///
    /// # Panics
    /// When that is nothing: cases are checked.
    pub(super) fn workload(&self) -> &Running {
        self.workload.as_ref().expect("cases are checked")
    }

    /// Takes answers in. The first that is wrong is why the case fails.
    pub(super) fn take(&mut self, answers: Vec<Answer>) {
        let wrong: Vec<_> = answers.iter().filter(|a| !a.result.passed()).collect();
        if let Some(first) = wrong.first() {
            let FlowResult {
                check,
                from,
                to,
                family,
                protocol,
                wrong: texts,
                ..
            } = &first.result;
            let family = family
                .map(|family| format!(" ({protocol}, {family})"))
                .unwrap_or_default();
            let more = match wrong.len() - 1 {
                0 => String::new(),
                more => format!("; and {more} more rows"),
            };
            let texts = texts.join(", ");
            let failure = format!("{check}: {from} to {to}{family}: {texts}{more}");
            self.failure = Some(failure);
        }
        for Answer {
            mut result,
            samples,
        } in answers
        {
            let right = result.passed();
            // Two examples may be alike: of two pods on one node, for one.
            let places: BTreeSet<_> = samples
                .into_iter()
                .map(|sample| self.keep(sample, right))
                .collect();
            result.journeys = places.into_iter().collect();
            self.flows.push(result);
        }
    }

    /// Keeps an example, unless one like it is there already; its position. What is wrong has examples of its own: it may be the hops
    /// or the source that are wrong on a way that looks like another.
    fn keep(&mut self, sample: Sample, right: bool) -> usize {
        let mut alike = (0..self.samples.len()).filter(|place| {
            let of = |row: &FlowResult| row.passed() == right && row.journeys.contains(place);
            self.samples[*place].is_like(&sample) && self.flows.iter().any(of)
        });
        let there = alike.next();
        there.unwrap_or_else(|| {
            self.samples.push(sample);
            self.samples.len() - 1
        })
    }

    /// Examples of what failed, as text.
    pub(super) fn journeys(&self) -> Vec<String> {
        let failed = self.flows.iter().filter(|row| !row.passed());
        let examples = failed.flat_map(|row| {
            let samples = row.journeys.iter().map(|place| &self.samples[*place]);
            samples.map(move |sample| {
                let family = row
                    .family
                    .map_or_else(String::new, |family| format!(" {family}"));
                let FlowResult { from, to, .. } = row;
                format!("{from} -> {to}{family}: {}\n{sample}", sample.outcome)
            })
        });
        examples.collect()
    }
}
