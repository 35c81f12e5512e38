//! Two runs held against each other: what has changed from BASE to HEAD, and what of it is worse.
//!
//! A verdict either is another or is not. What is measured differs from run to run by chance, so that it is compared by tests whose
//! error rates are stated, and by how much it differs.

mod bench;
mod besides;
mod statistics;
mod tables;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use onehop_harness::bench::Report;
use onehop_harness::run::{CaseResult, ProxyResults, Results, Verdict};
use onehop_harness::verdict::{AddressKind, FlowResult};
use serde::Serialize;

use crate::of_family;

pub use bench::{BenchPair, MeasurePair, SELDOM};
pub use statistics::{Difference, Ratio};

/// The chance that a pair of proxies that are alike has any distribution that seems to have moved.
pub const FALSE_ALARM: f64 = 1e-3;

/// Two runs, compared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What is worse.
    pub regressions: Vec<String>,
    /// What could not be compared, because one of the two has not judged it.
    pub unjudged: Vec<String>,
    /// Each proxy of BASE with the one of HEAD that it is compared with.
    pub proxies: Vec<Pair>,
    /// The same of two benches, where there are two.
    pub benches: Vec<BenchPair>,
}

/// A proxy of BASE and one of HEAD.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The proxy of BASE, with its version.
    pub base: String,
    /// The proxy of HEAD.
    pub head: String,
    /// When both runs began, and what else is another than the proxy and may be the reason of a difference.
    pub besides: Vec<String>,
    /// In how many turns the cases were judged; none where the two runs are apart.
    pub turns: Option<usize>,
    /// The number of cases that both have a verdict of.
    pub compared: usize,
    /// The cases with another verdict, and those that fail in HEAD and are not in BASE.
    pub verdicts: Vec<Change>,
    /// The cases that only BASE has.
    pub only_base: Vec<String>,
    /// Those of them that BASE has judged.
    pub lost: Vec<String>,
    /// The cases that only HEAD has.
    pub only_head: Vec<String>,
    /// The number of distributions that were compared.
    pub distributions: usize,
    /// Those of them that moved.
    pub moved: Vec<Moved>,
    /// How many times as long HEAD takes to behave as expected after a change, by cases that pass in both.
    pub convergence: Option<Ratio>,
    /// How many times as long its connections take, by the kind of address.
    pub latencies: BTreeMap<AddressKind, Ratio>,
    /// Connections that were lost while something changed.
    pub loss: Option<Loss>,
}

/// A case with another verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The case.
    pub case: String,
    /// Its verdict in BASE; none where BASE does not have it.
    pub base: Option<Verdict>,
    /// Its verdict in HEAD.
    pub head: Option<Verdict>,
    /// Why it is what it is in HEAD, or was in BASE where HEAD passes.
    pub reason: Option<String>,
    /// Whether a defect was known in BASE that it may show.
    pub was_known: bool,
}

/// A distribution that moved.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// The case.
    pub case: String,
    /// The row: check, caller, address, protocol and family.
    pub row: String,
    /// The shares in BASE.
    pub base: BTreeMap<String, f64>,
    /// The shares in HEAD.
    pub head: BTreeMap<String, f64>,
    /// The chance of such a difference, if nothing had moved.
    pub p_value: f64,
    /// Whether they were as expected in BASE.
    pub was_right: bool,
}

/// Connections that were lost while something changed, of all that were made then, where they may be lost for a while as well as where
/// none may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Lost, and made, in BASE.
    pub base: (u64, u64),
    /// Lost, and made, in HEAD.
    pub head: (u64, u64),
    /// How many flows have lost a larger part of theirs in HEAD, and in BASE.
    pub flows: (u64, u64),
    /// By how much the part that a flow loses has grown: by cases, or by turns, because the flows of one are lost together.
    pub grown: Difference,
}

impl Change {
    /// Whether something is worse: it fails, or could not be judged, and was or could be before.
    pub fn is_regression(&self) -> bool {
        let bad =
            |verdict: Option<Verdict>| matches!(verdict, Some(Verdict::Fail | Verdict::Error));
        // What a profile excuses is worse all the same than what works; but a known defect does not show each time.
        let excused = (self.base, self.head) == (Some(Verdict::Pass), Some(Verdict::Known))
            && !self.was_known;
        (bad(self.head) && !bad(self.base)) || excused
    }

    /// What is said of it where it is a regression.
    fn line(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason");
        format!("{}: {reason}", self.case)
    }

    /// Whether what failed does so no longer.
    pub fn is_mended(&self) -> bool {
        self.head == Some(Verdict::Pass)
            && matches!(
                self.base,
                Some(Verdict::Fail | Verdict::Error | Verdict::Known)
            )
    }
}

/// Compares two runs. `slower` is how many times as long something must take at the least, beyond chance, to be worse.
pub fn compare(base: &Results, head: &Results, slower: f64) -> Comparison {
    compare_in(base, head, slower, None)
}

/// Compares two runs that were made in so many turns: a part of the cases on one proxy, then the same on the other. The first case is of
/// the first turn, the second of the second, and so on, and again. How much times differ from one turn to the next is in
/// the intervals, which of two runs that are apart nobody knows.
///
/// # Panics
/// When there is no turn.
pub fn compare_turns(base: &Results, head: &Results, slower: f64, turns: usize) -> Comparison {
    assert!(turns > 0, "there is a turn");
    compare_in(base, head, slower, Some(turns))
}

fn compare_in(base: &Results, head: &Results, slower: f64, turns: Option<usize>) -> Comparison {
    let besides = besides::of_runs(&base.run, &head.run);
    let proxies: Vec<Pair> = paired(&base.results, &head.results, |one| &one.proxy.name)
        .into_iter()
        .map(|(one, other)| pair(one, other, &besides, turns))
        .collect();
    let regressions = proxies.iter().flat_map(|pair| regressions(pair, slower));
    let regressions = regressions.collect();
    Comparison {
        regressions,
        unjudged: unjudged(base, head, &proxies),
        proxies,
        benches: Vec::new(),
    }
}

impl Comparison {
    /// Compares what two benches have measured, too; `slower` is as [`compare`] has it.
    pub fn add_benches(&mut self, base: &Report, head: &Report, slower: f64) {
        let (pairs, unjudged) = bench::pairs(base, head);
        let worse = pairs.iter().flat_map(|pair| {
            let worse = pair.measures.iter();
            let worse = worse.filter(|measure| measure.is_regression(slower));
            worse.map(|measure| format!("{}: {}", measure.name, tables::change(measure)))
        });
        self.regressions.extend(worse);
        self.unjudged.extend(unjudged);
        self.benches = pairs;
    }
}

/// What of two runs says nothing about the other one.
fn unjudged(base: &Results, head: &Results, pairs: &[Pair]) -> Vec<String> {
    let errors = [("BASE", base), ("HEAD", head)]
        .into_iter()
        .flat_map(|(which, run)| {
            let wrong = run
                .results
                .iter()
                .filter_map(|one| Some((one, one.error.as_ref()?)));
            wrong.map(move |(one, error)| format!("{} of {which}: {error}", name(one)))
        });
    let mut unjudged: Vec<String> = errors.collect();
    let empty = pairs.iter().filter(|pair| pair.compared == 0);
    unjudged.extend(empty.map(|pair| {
        format!(
            "{} and {}: no case was judged in both",
            pair.base, pair.head
        )
    }));
    unjudged.extend(pairs.iter().filter_map(lost));
    for (which, run, paired) in [
        (
            "BASE",
            base,
            pairs.iter().map(|pair| &pair.base).collect::<Vec<_>>(),
        ),
        ("HEAD", head, pairs.iter().map(|pair| &pair.head).collect()),
    ] {
        let alone = run
            .results
            .iter()
            .map(name)
            .filter(|one| !paired.contains(&one));
        unjudged.extend(alone.map(|one| format!("{one} is only in {which}")));
    }
    unjudged
}

fn was_judged(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Skip | Verdict::Error)
}

/// How many cases are named in a line.
const NAMED: usize = 3;

/// That cases were judged in BASE and not in HEAD, which has not become better by that.
fn lost(pair: &Pair) -> Option<String> {
    let skipped = pair
        .verdicts
        .iter()
        .filter(|change| change.head == Some(Verdict::Skip) && change.base.is_some_and(was_judged));
    let skipped = skipped.map(|change| change.case.as_str());
    let lost: Vec<_> = skipped
        .chain(pair.lost.iter().map(String::as_str))
        .collect();
    let named = lost[..lost.len().min(NAMED)].join(", ");
    let more = match lost.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let all = match lost.len() {
        0 => return None,
        1 => "a case".to_owned(),
        all => format!("{all} cases"),
    };
    let head = &pair.head;
    Some(format!(
        "{head} of HEAD has not judged {all} that BASE has: {named}{more}"
    ))
}

/// Which proxies are compared: those of the same name, and the others in their order.
fn paired<'a, T>(base: &'a [T], head: &'a [T], name: impl Fn(&T) -> &str) -> Vec<(&'a T, &'a T)> {
    let mut left: Vec<&T> = head.iter().collect();
    let same: Vec<Option<&T>> = base
        .iter()
        .map(|one| {
            let place = left.iter().position(|other| name(other) == name(one))?;
            Some(left.remove(place))
        })
        .collect();
    let mut others = left.into_iter();
    let both = base.iter().zip(same);
    both.filter_map(|(one, other)| Some((one, other.or_else(|| others.next())?)))
        .collect()
}

fn pair(
    base: &ProxyResults,
    head: &ProxyResults,
    besides: &[String],
    turns: Option<usize>,
) -> Pair {
    let (of_base, of_head) = (by_id(&base.cases), by_id(&head.cases));
    let numbered = base.cases.iter().enumerate();
    let both: Vec<Both<'_>> = numbered
        .filter_map(|(number, case)| {
            Some(Both {
                // A case by itself says something once, whatever it asks.
                turn: turns.map_or(number, |turns| number % turns),
                base: case,
                head: of_head.get(&*case.id)?,
            })
        })
        .collect();
    let rows: Vec<Rows<'_>> = both.iter().flat_map(rows).collect();
    let (distributions, moved) = moved(&rows);
    let only_base = only(&of_base, &of_head);
    let lost = only_base.iter();
    let lost = lost.filter(|id| was_judged(of_base[&***id].verdict));
    Pair {
        base: name(base),
        head: name(head),
        besides: besides.to_vec(),
        turns,
        compared: both
            .iter()
            .filter(|both| both.all(|case| case.verdict != Verdict::Skip))
            .count(),
        verdicts: changes(&of_base, &of_head),
        lost: lost.cloned().collect(),
        only_base,
        only_head: only(&of_head, &of_base),
        distributions,
        moved,
        convergence: convergence(&both),
        latencies: latencies(&rows),
        loss: loss(&rows),
    }
}

fn by_id(cases: &[CaseResult]) -> BTreeMap<&str, &CaseResult> {
    cases.iter().map(|case| (&*case.id, case)).collect()
}

fn name(results: &ProxyResults) -> String {
    named(&results.proxy.name, results.proxy.version.as_deref())
}

/// A proxy by its name and version.
fn named(name: &str, version: Option<&str>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name} ({version})"))
}

/// The cases that one has and the other has not.
fn only(one: &BTreeMap<&str, &CaseResult>, other: &BTreeMap<&str, &CaseResult>) -> Vec<String> {
    let own = one.keys().filter(|id| !other.contains_key(*id));
    own.map(|id| (*id).to_owned()).collect()
}

fn changes(base: &BTreeMap<&str, &CaseResult>, head: &BTreeMap<&str, &CaseResult>) -> Vec<Change> {
    let ids: BTreeSet<&&str> = base.keys().chain(head.keys()).collect();
    let mut changes: Vec<Change> = ids
        .into_iter()
        .filter_map(|id| {
            let (before, after) = (base.get(id), head.get(id));
            let verdict = |case: Option<&&CaseResult>| case.map(|case| case.verdict);
            let reason = |case: Option<&&CaseResult>| case.and_then(|case| case.reason.clone());
            let change = Change {
                case: (*id).to_owned(),
                base: verdict(before),
                head: verdict(after),
                reason: reason(after).or_else(|| reason(before)),
                was_known: before.is_some_and(|case| case.finding.is_some()),
            };
            let both = before.is_some() && after.is_some();
            let is_another = both && change.base != change.head;
            (is_another || change.is_regression()).then_some(change)
        })
        .collect();
    changes.sort_by_key(|change| (!change.is_regression(), !change.is_mended()));
    changes
}

/// The same case in both.
struct Both<'a> {
    /// The turn in which both were judged.
    turn: usize,
    base: &'a CaseResult,
    head: &'a CaseResult,
}

impl Both<'_> {
    fn all(&self, is: impl Fn(&CaseResult) -> bool) -> bool {
        is(self.base) && is(self.head)
    }
}

/// The same row in both.
struct Rows<'a> {
    case: &'a str,
    turn: usize,
    base: &'a FlowResult,
    head: &'a FlowResult,
}

/// The rows that a case has in both, by what they are about. A case may ask the same twice, with the same words.
fn rows<'a>(both: &Both<'a>) -> Vec<Rows<'a>> {
    let mut left: Vec<&FlowResult> = both.head.flows.iter().collect();
    let same = |one: &FlowResult, other: &FlowResult| {
        let about = |row: &FlowResult| {
            let (check, from, to) = (row.check.clone(), row.from.clone(), row.to.clone());
            (check, from, to, row.family, row.protocol)
        };
        about(one) == about(other)
    };
    let found = both.base.flows.iter().filter_map(|row| {
        let place = left.iter().position(|other| same(row, other))?;
        Some(Rows {
            case: &both.base.id,
            turn: both.turn,
            base: row,
            head: left.remove(place),
        })
    });
    found.collect()
}

/// How many distributions there are in both, and those that moved. Of a client that has drawn its pod once, another draw is no move.
fn moved(rows: &[Rows<'_>]) -> (usize, Vec<Moved>) {
    let tested = rows.iter().filter_map(|rows| {
        let (base, head) = (rows.base.tally.as_ref()?, rows.head.tally.as_ref()?);
        let spread = base.reached.len() > 1 || head.reached.len() > 1;
        let answered = !base.reached.is_empty() && !head.reached.is_empty();
        (spread && answered).then(|| (rows, statistics::homogeneity(&base.reached, &head.reached)))
    });
    let tested: Vec<_> = tested.collect();
    let bound = FALSE_ALARM / tested.len().max(1) as f64;
    let moved = tested.iter().filter(|(_, p_value)| *p_value < bound);
    let moved = moved.map(|(rows, p_value)| Moved {
        case: rows.case.to_owned(),
        row: row_text(rows.base),
        base: rows.base.shares.clone(),
        head: rows.head.shares.clone(),
        p_value: *p_value,
        was_right: rows.base.passed(),
    });
    (tested.len(), moved.collect())
}

fn row_text(row: &FlowResult) -> String {
    let family = of_family(row);
    format!(
        "{}: {} to {}, {}{family}",
        row.check, row.from, row.to, row.protocol
    )
}

fn convergence(both: &[Both<'_>]) -> Option<Ratio> {
    let passed = both
        .iter()
        .filter(|both| both.all(|case| case.verdict == Verdict::Pass));
    let times = passed.map(|both| {
        (
            both.turn,
            (both.base.converged_in(), both.head.converged_in()),
        )
    });
    Ratio::of(times.filter(|(_, (base, head))| *base > 0.0 && *head > 0.0))
}

fn latencies(rows: &[Rows<'_>]) -> BTreeMap<AddressKind, Ratio> {
    let mut pairs = BTreeMap::<AddressKind, Vec<_>>::new();
    for rows in rows {
        if let (Some(kind), Some(base), Some(head)) =
            (&rows.base.kind, rows.base.latency, rows.head.latency)
        {
            pairs
                .entry(kind.address)
                .or_default()
                .push((rows.turn, (base.mean, head.mean)));
        }
    }
    let ratios = pairs.into_iter();
    ratios
        .filter_map(|(address, pairs)| Some((address, Ratio::of(pairs)?)))
        .collect()
}

/// What traffic has lost that went on through a change.
fn loss(rows: &[Rows<'_>]) -> Option<Loss> {
    let (mut base, mut head, mut flows) = ((0, 0), (0, 0), (0, 0));
    // What is lost by one event is lost by several flows of a case, in both families: a case, or a turn, says something once.
    let mut grown = Vec::new();
    for rows in rows {
        let (Some(before), Some(after)) = (rows.base.lost, rows.head.lost) else {
            continue;
        };
        let (made_before, made_after) = (rows.base.count, rows.head.count);
        base = (base.0 + before, base.1 + made_before);
        head = (head.0 + after, head.1 + made_after);
        let part = |lost: u64, made: u64| lost as f64 / made.max(1) as f64;
        let more = part(after, made_after) - part(before, made_before);
        flows.0 += u64::from(more > 0.0);
        flows.1 += u64::from(more < 0.0);
        grown.push((rows.turn, more));
    }
    let grown = Difference::of(&grown)?;
    Some(Loss {
        base,
        head,
        flows,
        grown,
    })
}

/// What is worse of a proxy.
fn regressions(pair: &Pair, slower: f64) -> Vec<String> {
    let mut worse: Vec<String> = pair
        .verdicts
        .iter()
        .filter(|change| change.is_regression())
        .map(Change::line)
        .collect();
    // Of a case whose verdict is another, that is the news; what failed before may well move.
    let is_news = |moved: &&Moved| {
        let other = pair.verdicts.iter().any(|change| change.case == moved.case);
        !other && moved.was_right
    };
    worse.extend(
        pair.moved
            .iter()
            .filter(is_news)
            .map(|moved| format!("{}: the shares of {} moved", moved.case, moved.row)),
    );
    let mut slow = |what: String, ratio: &Ratio| {
        if ratio.low > slower {
            worse.push(format!("{what} takes {:.2} times as long", ratio.ratio));
        }
    };
    if let Some(ratio) = &pair.convergence {
        slow("convergence".to_owned(), ratio);
    }
    for (address, ratio) in &pair.latencies {
        slow(
            format!("a connection to a {}", tables::address(*address)),
            ratio,
        );
    }
    if let Some(loss) = pair.loss.filter(|loss| loss.grown.low > 0.0) {
        worse.push(format!(
            "losses while something changed: {}",
            tables::loss(&loss)
        ));
    }
    worse
}

#[cfg(test)]
mod tests;
