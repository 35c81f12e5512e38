//! What has become of traffic, and until when a load balancer may have had it lost. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::lab::LabError;
use crate::probe::Outcome;
use crate::tap::Sample;
use crate::world::Family;

/// Fewer connections say nothing about a change that they were to go on through.
pub(super) const FEW: u64 = 20;

/// What has become of the connections of some traffic so far. Times are by the clock of the taps.
#[derive(Default)]
pub(super) struct Toll {
    /// When the first were made.
    began: Option<Duration>,
    /// When the last were made.
    last: Duration,
    /// The longest time from some to the next. What was not served for less may have been missed.
    longest_pause: Duration,
    answered: u64,
    /// Those that nobody has answered who may, in the order in which they were made.
    lost: Vec<Loss>,
    /// The way of the first of each kind of those.
    pub(super) samples: BTreeMap<String, Sample>,
    /// Why it could not go on. That says nothing about the proxy.
    pub(super) error: Option<Box<LabError>>,
}

struct Loss {
    made: Duration,
    /// When it was known what had become of it.
    known: Duration,
    kind: String,
}

/// A node that a load balancer has left.
#[derive(Debug)]
pub(in crate::run) struct Left {
    /// Its name.
    pub(in crate::run) node: String,
    /// Since when no connection is sent to it that begins.
    pub(in crate::run) at: Duration,
    /// When the last health check that it passed was begun.
    pub(in crate::run) passed: Duration,
}

/// Until when connections may be dropped that a load balancer sends to a node which has nobody left: until it has left the node,
/// which is told of it by the node in good time.
///
/// How long a load balancer takes for that is its own affair, and that of the machine that both run on. The proxy's part is
/// that a node which drops passes no health check: one that it passes for longer than the slack after its first
/// connection was known to be dropped, it should have failed.
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

impl Toll {
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

    /// Takes in what else became of a connection: when it was made, and when that was known.
    pub(super) fn lose(&mut self, made: Duration, known: Duration, kind: String) {
        self.lost.push(Loss { made, known, kind });
    }

    /// What has become of it, in words.
    pub(super) fn text(&self, family: Family, notice: Option<&Notice>) -> String {
        let others = counted(&self.lost).into_iter();
        let others = others.map(|(kind, n)| format!(", {kind} ×{n}"));
        let since = |at: Duration| seconds(at.saturating_sub(self.began.unwrap_or(at)));
        let window = self.lost.first().zip(self.lost.last());
        let window = window.map(|(first, last)| {
            let time = seconds(last.made - first.made);
            let (from, to) = (since(first.made), since(last.made));
            format!(", for {time}, from {from} to {to} after it began")
        });
        let left = self.left_since(family, notice).map(|left| {
            let (node, passed, at) = (&left.node, since(left.passed), since(left.at));
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
        self.lost.len() as u64
    }

    /// How many of them came to what they may not.
    pub(super) fn failed(&self, notice: Option<&Notice>) -> u64 {
        self.forbidden(notice).count() as u64
    }

    /// Those that came to what they may not: anything else than an answer, or than a drop where there is a notice.
    fn forbidden(&self, notice: Option<&Notice>) -> impl Iterator<Item = &Loss> {
        let may = move |loss: &&Loss| notice.is_some() && loss.is_drop();
        self.lost.iter().filter(move |loss| !may(loss))
    }

    fn drops(&self) -> impl Iterator<Item = &Loss> {
        self.lost.iter().filter(|loss| loss.is_drop())
    }

    /// What is wrong, in words that tell what went wrong all the while from what a check sees.
    pub(super) fn wrong(&self, family: Family, notice: Option<&Notice>) -> Vec<String> {
        let total = self.total();
        let failed = counted(self.forbidden(notice)).into_iter();
        let failed = failed.map(|(kind, n)| format!("meanwhile {kind} ({n} of {total})"));
        let few = (total < FEW).then(|| format!("only {total} connections were made"));
        let unnoticed = notice.map(|notice| self.unnoticed(family, notice));
        let unnoticed = unnoticed.into_iter().flatten();
        failed.chain(few).chain(unnoticed).collect()
    }

    /// The nodes that were left after the first connection was dropped.
    fn left_since<'a>(
        &self,
        family: Family,
        notice: Option<&'a Notice>,
    ) -> impl Iterator<Item = &'a Left> {
        let first = self.drops().next().map(|drop| drop.made);
        let left = notice.and_then(|notice| notice.left.get(&family));
        let left = left.into_iter().flatten();
        left.filter(move |left| first.is_some_and(|first| left.at > first))
    }

    /// What was dropped that the load balancer should have been spared, in words.
    fn unnoticed(&self, family: Family, notice: &Notice) -> Vec<String> {
        let Some(first) = self.drops().next() else {
            return Vec::new();
        };
        let left: Vec<_> = self.left_since(family, Some(notice)).collect();
        let Some(last) = left.iter().map(|left| left.at).max() else {
            return vec!["dropped, and the load balancer has left no node since".to_owned()];
        };
        let total = self.total();
        let after = self.drops().filter(|drop| drop.made >= last).count();
        let after =
            (after > 0).then(|| format!("dropped after a node had been left ({after} of {total})"));
        let passed = left.iter().filter_map(|left| {
            let late = left.passed.saturating_sub(first.known);
            let text = || {
                let (node, late, slack) = (&left.node, seconds(late), seconds(notice.slack));
                format!(
                    "{node} passed a health check {late} after a drop was known, more than {slack}"
                )
            };
            (late > notice.slack).then(text)
        });
        after.into_iter().chain(passed).collect()
    }
}

impl Loss {
    fn is_drop(&self) -> bool {
        self.kind == Outcome::Dropped.kind()
    }
}

/// How many there are of each kind.
fn counted<'a>(losses: impl IntoIterator<Item = &'a Loss>) -> BTreeMap<&'a str, u64> {
    let mut counted = BTreeMap::new();
    for loss in losses {
        *counted.entry(&*loss.kind).or_default() += 1;
    }
    counted
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
    fn toll(others: &[(&str, u64, u64)]) -> Toll {
        let mut toll = Toll::default();
        (0..FEW).for_each(|_| toll.answer());
        for (kind, made, known) in others {
            toll.lose(at(*made), at(*known), (*kind).to_owned());
        }
        toll
    }

    /// That vm2 was left at some time, and passed its last health check at another.
    fn notice(left: &[(u64, u64)]) -> Notice {
        let node = |(left, passed): &(u64, u64)| Left {
            node: "vm2".to_owned(),
            at: at(*left),
            passed: at(*passed),
        };
        Notice {
            left: [(V4, left.iter().map(node).collect())].into(),
            slack: at(1000),
        }
    }

    #[test]
    fn one_connection_that_nobody_of_the_case_answers_is_wrong() {
        assert!(toll(&[]).wrong(V4, None).is_empty());
        let wrong = toll(&[("dropped", 1, 2)]).wrong(V4, None);
        assert_eq!(wrong, ["meanwhile dropped (1 of 21)"]);
    }

    /// How many came to what they may not, and what is wrong.
    fn judged(left: &[(u64, u64)], others: &[(&str, u64, u64)]) -> (u64, Vec<String>) {
        let (toll, notice) = (toll(others), notice(left));
        (toll.failed(Some(&notice)), toll.wrong(V4, Some(&notice)))
    }

    #[test]
    fn connections_may_be_dropped_until_their_node_is_left() {
        let two = [("dropped", 5000, 5100), ("dropped", 9900, 9950)];
        // However long it takes: the load balancer, or the machine.
        assert_eq!(judged(&[(9901, 6100)], &two), (0, vec![]));
        // It was spared all by a node that says no before it drops.
        assert_eq!(judged(&[(4000, 3000)], &[]), (0, vec![]));
        for (left, wrong) in [
            (
                &[(9901, 6101)][..],
                "vm2 passed a health check 1.001 s after a drop was known, more than 1.000 s",
            ),
            (
                &[(9900, 6100)],
                "dropped after a node had been left (1 of 22)",
            ),
            (&[], "dropped, and the load balancer has left no node since"),
            (
                &[(4000, 3000)],
                "dropped, and the load balancer has left no node since",
            ),
        ] {
            assert_eq!(judged(left, &two), (0, vec![wrong.to_owned()]));
        }
        let nothing = Toll::default().wrong(V4, Some(&notice(&[])));
        assert_eq!(nothing, ["only 0 connections were made"]);
    }

    #[test]
    fn what_is_refused_is_wrong_whenever_it_was_and_says_nothing_of_what_is_dropped() {
        let (early, late) = (("refused (RST)", 10, 20), ("refused (RST)", 9950, 9960));
        let dropped = ("dropped", 5000, 5100);
        let refused = |total| vec![format!("meanwhile refused (RST) (1 of {total})")];
        assert_eq!(judged(&[(9000, 6100)], &[early, dropped]), (1, refused(22)));
        assert_eq!(judged(&[(9000, 6100)], &[dropped, late]), (1, refused(22)));
        assert_eq!(judged(&[(9000, 6100)], &[late]), (1, refused(21)));
    }

    #[test]
    fn how_far_apart_connections_were_is_said_and_for_how_long_they_were_lost() {
        let mut toll = Toll::default();
        for millis in [1000, 1020, 1060, 1090] {
            toll.begin(at(millis));
        }
        assert_eq!(
            toll.text(V4, None),
            "answered ×0; 0.040 s apart at the most"
        );
        for millis in [1060, 1090] {
            toll.lose(at(millis), at(2000), "dropped".to_owned());
        }
        assert_eq!(
            toll.text(V4, Some(&notice(&[(1100, 1070)]))),
            "answered ×0, dropped ×2, for 0.030 s, from 0.060 s to 0.090 s after it began; vm2 last passed at 0.070 s and \
             was left at 0.100 s; 0.040 s apart at the most"
        );
    }

    #[test]
    fn hardly_any_connection_proves_nothing() {
        assert_eq!(
            Toll::default().wrong(V4, None),
            ["only 0 connections were made"]
        );
    }
}
