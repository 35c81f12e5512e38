//! What has become of traffic, and until when a load balancer may have had it lost. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::lab::LabError;
use crate::probe::Outcome;
use crate::tap::Sample;
use crate::world::Family;

/// Fewer connections say nothing about a change that they were to go on through.
pub(super) const FEW: u64 = 20;

/// What has become of the connections of some traffic so far. Times are by the clock of the taps.
#[derive(Default)]
pub(super) struct Tally {
    /// When the first were made.
    began: Option<Duration>,
    /// When the last were made.
    last: Duration,
    /// The longest time from some to the next. What was not served for less may have been missed.
    longest_pause: Duration,
    answered: u64,
    others: BTreeMap<String, u64>,
    /// When each of the others was made.
    lost: Vec<Duration>,
    /// When it was known of the first of the others.
    known: Duration,
    /// The way of the first of each kind of the others.
    pub(super) samples: BTreeMap<String, Sample>,
    /// Why it could not go on. That says nothing about the proxy.
    pub(super) error: Option<Box<LabError>>,
}

/// A node that a load balancer has left.
#[derive(Debug)]
pub(in crate::run) struct Left {
    /// Its name.
    pub(in crate::run) node: String,
    /// Since when no connection is sent to it that begins.
    pub(in crate::run) at: Duration,
    /// When the last health check that it passed was begun.
    pub(in crate::run) passed: Option<Duration>,
}

/// Until when connections may be lost that a load balancer sends to a node which has nobody left: until it has left the node,
/// which is told of it by the node in good time.
///
/// How long a load balancer takes for that is its own affair, and that of the machine that both run on. The proxy's part is
/// that a node which drops passes no health check: one that it passes for longer than the slack after its first
/// connection was known to be lost, it should have failed.
#[derive(Debug)]
pub(in crate::run) struct Notice {
    /// The nodes that get no connections now, in each family.
    pub(in crate::run) left: BTreeMap<Family, Vec<Left>>,
    /// What a proxy may take from its rules to its health check port.
    pub(in crate::run) slack: Duration,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slack = seconds(self.slack);
        write!(
            f,
            "dropped until the load balancer has left a node, which passes its health checks for {slack} at most"
        )
    }
}

impl Tally {
    /// Takes in that some connections are made at this time.
    pub(super) fn begin(&mut self, at: Duration) {
        if self.began.is_some() {
            let pause = at.saturating_sub(self.last);
            self.longest_pause = self.longest_pause.max(pause);
        }
        self.began.get_or_insert(at);
        self.last = at;
    }

    /// Takes in a connection that was answered by who may.
    pub(super) fn answer(&mut self) {
        self.answered += 1;
    }

    /// Takes in what else became of a connection that was made and judged within this time.
    pub(super) fn lose(&mut self, within: &Range<Duration>, kind: String) {
        if self.lost.is_empty() {
            self.known = within.end;
        }
        self.lost.push(within.start);
        *self.others.entry(kind).or_default() += 1;
    }

    /// What has become of it, in words.
    pub(super) fn text(&self, family: Family, notice: Option<&Notice>) -> String {
        let others = self.others.iter().map(|(kind, n)| format!(", {kind} ×{n}"));
        let since = |at: Duration| seconds(at.saturating_sub(self.began.unwrap_or(at)));
        let window = self.lost.first().zip(self.lost.last());
        let window = window.map(|(first, last)| {
            let time = seconds(*last - *first);
            let (from, to) = (since(*first), since(*last));
            format!(", for {time}, from {from} to {to} after it began")
        });
        let left = self.left_since(family, notice).map(|left| {
            let passed = left.passed.map(since).unwrap_or_default();
            let (node, at) = (&left.node, since(left.at));
            format!("; {node} last passed at {passed} and was left at {at}")
        });
        format!(
            "answered ×{}{}{}{}; {} apart at the most",
            self.answered,
            others.collect::<String>(),
            window.unwrap_or_default(),
            left.collect::<String>(),
            seconds(self.longest_pause)
        )
    }

    /// How many connections have ended, in whatever way.
    pub(super) fn total(&self) -> u64 {
        self.answered + self.lost()
    }

    /// How many of them nobody has answered who may.
    pub(super) fn lost(&self) -> u64 {
        self.others.values().sum()
    }

    /// How many of them came to what they may not.
    pub(super) fn failed(&self, notice: Option<&Notice>) -> u64 {
        self.failed_by_kind(notice).map(|(_, n)| n).sum()
    }

    /// What its connections came to that they may not: anything else than an answer, or than a drop where there is a notice.
    fn failed_by_kind(&self, notice: Option<&Notice>) -> impl Iterator<Item = (&String, u64)> {
        let may = notice.map(|_| Outcome::Dropped.kind());
        let others = self.others.iter();
        let failed = others.filter(move |(kind, _)| Some(*kind) != may.as_ref());
        failed.map(|(kind, n)| (kind, *n))
    }

    /// What is wrong, in words that tell what went wrong all the while from what a check sees.
    pub(super) fn wrong(&self, family: Family, notice: Option<&Notice>) -> Vec<String> {
        let total = self.total();
        let failed = self.failed_by_kind(notice);
        let failed = failed.map(|(kind, n)| format!("meanwhile {kind} ({n} of {total})"));
        let few = (total < FEW).then(|| format!("only {total} connections were made"));
        let unnoticed = notice.map(|notice| self.unnoticed(family, notice));
        let unnoticed = unnoticed.into_iter().flatten();
        failed.chain(few).chain(unnoticed).collect()
    }

    /// The nodes that were left after the first connection was lost.
    fn left_since<'a>(
        &self,
        family: Family,
        notice: Option<&'a Notice>,
    ) -> impl Iterator<Item = &'a Left> {
        let first = self.lost.first().copied();
        let left = notice.and_then(|notice| notice.left.get(&family));
        let left = left.into_iter().flatten();
        left.filter(move |left| first.is_some_and(|first| left.at > first))
    }

    /// What was lost that the load balancer should have been spared, in words.
    fn unnoticed(&self, family: Family, notice: &Notice) -> Vec<String> {
        if self.lost.is_empty() {
            return Vec::new();
        }
        let left: Vec<_> = self.left_since(family, Some(notice)).collect();
        let Some(last) = left.iter().map(|left| left.at).max() else {
            return vec!["lost, and the load balancer has left no node since".to_owned()];
        };
        let after = self.lost.iter().filter(|at| **at >= last).count();
        let total = self.total();
        let after =
            (after > 0).then(|| format!("lost after a node had been left ({after} of {total})"));
        let passed = left.iter().filter_map(|left| {
            let passed = left.passed?.saturating_sub(self.known);
            let (node, slack) = (&left.node, seconds(notice.slack));
            let text = || {
                let passed = seconds(passed);
                format!("lost for {passed} while {node} passed its health checks, not {slack}")
            };
            (passed > notice.slack).then(text)
        });
        after.into_iter().chain(passed).collect()
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::V4;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Enough answers, and these others, each made at one time and known of at another.
    fn tally(others: &[(&str, u64, u64)]) -> Tally {
        let mut tally = Tally::default();
        (0..FEW).for_each(|_| tally.answer());
        for (kind, made, known) in others {
            tally.lose(&(at(*made)..at(*known)), (*kind).to_owned());
        }
        tally
    }

    #[test]
    fn one_connection_that_nobody_of_the_case_answers_is_wrong() {
        assert!(tally(&[]).wrong(V4, None).is_empty());
        let wrong = tally(&[("dropped", 1, 2)]).wrong(V4, None);
        assert_eq!(wrong, ["meanwhile dropped (1 of 21)"]);
    }

    #[test]
    fn connections_may_be_lost_until_their_node_is_left_and_only_be_dropped() {
        let notice = |left: &[(u64, u64)]| {
            let node = |(left, passed): &(u64, u64)| Left {
                node: "vm2".to_owned(),
                at: at(*left),
                passed: Some(at(*passed)),
            };
            Notice {
                left: [(V4, left.iter().map(node).collect())].into(),
                slack: at(1000),
            }
        };
        let wrong = |left: &[(u64, u64)], others: &[(&str, u64, u64)]| {
            let (tally, notice) = (tally(others), notice(left));
            let failed = tally.failed(Some(&notice));
            (failed, tally.wrong(V4, Some(&notice)))
        };
        let two = [("dropped", 5000, 5100), ("dropped", 9900, 9950)];
        // However long it takes: the load balancer, or the machine.
        assert_eq!(wrong(&[(9901, 6100)], &two), (0, vec![]));
        // It was spared nothing by a node that says no before it drops.
        assert_eq!(wrong(&[(4000, 3000)], &[]), (0, vec![]));
        // What it has sent before its rules were others was known to be lost in the end.
        let passed = "lost for 1.001 s while vm2 passed its health checks, not 1.000 s".to_owned();
        assert_eq!(wrong(&[(9901, 6101)], &two), (0, vec![passed]));
        let after = "lost after a node had been left (1 of 22)".to_owned();
        assert_eq!(wrong(&[(9900, 6100)], &two), (0, vec![after]));
        let never = vec!["lost, and the load balancer has left no node since".to_owned()];
        assert_eq!(wrong(&[], &two), (0, never.clone()));
        assert_eq!(wrong(&[(4000, 3000)], &two), (0, never));
        let refused = "meanwhile refused (RST) (1 of 21)".to_owned();
        let other = [("refused (RST)", 5000, 5001)];
        assert_eq!(wrong(&[(5400, 5100)], &other), (1, vec![refused]));
        let nothing = Tally::default().wrong(V4, Some(&notice(&[])));
        assert_eq!(nothing, ["only 0 connections were made"]);
    }

    #[test]
    fn how_far_apart_connections_were_is_said_and_for_how_long_they_were_lost() {
        let mut tally = Tally::default();
        for millis in [1000, 1020, 1060, 1090] {
            tally.begin(at(millis));
        }
        assert_eq!(
            tally.text(V4, None),
            "answered ×0; 0.040 s apart at the most"
        );
        for millis in [1060, 1090] {
            tally.lose(&(at(millis)..at(2000)), "dropped".to_owned());
        }
        let left = Left {
            node: "vm2".to_owned(),
            at: at(1100),
            passed: Some(at(1070)),
        };
        let notice = Notice {
            left: [(V4, vec![left])].into(),
            slack: at(1000),
        };
        assert_eq!(
            tally.text(V4, Some(&notice)),
            "answered ×0, dropped ×2, for 0.030 s, from 0.060 s to 0.090 s after it began; vm2 last passed at 0.070 s and \
             was left at 0.100 s; 0.040 s apart at the most"
        );
    }

    #[test]
    fn hardly_any_connection_proves_nothing() {
        assert_eq!(
            Tally::default().wrong(V4, None),
            ["only 0 connections were made"]
        );
    }
}
