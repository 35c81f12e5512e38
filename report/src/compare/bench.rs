//! The measures of two benches held against each other.
//!
//! A measure is worse where it is so by more than `slower`, and chance seldom makes it so. What a bench keeps of its samples is a
//! value, the smallest and the largest, and where there are enough of them an interval: when those of two are apart, that says how
//! seldom.

use onehop_harness::bench::{BenchInfo, Measure, Measured, Report, Row};
use serde::Serialize;

use super::{besides, named, paired, statistics};

/// How seldom two measures that are alike may seem to differ, each by itself.
pub const SELDOM: f64 = 0.01;

/// A proxy of BASE and one of HEAD, as benches have measured them.
#[derive(Clone, Debug, Serialize)]
pub struct BenchPair {
    /// The proxy of BASE, with its version.
    pub base: String,
    /// The proxy of HEAD.
    pub head: String,
    /// What else is another than the proxy and may be the reason, and measures that only one has.
    pub besides: Vec<String>,
    /// The measures that both have.
    pub measures: Vec<MeasurePair>,
}

/// A measure in both.
#[derive(Clone, Debug, Serialize)]
pub struct MeasurePair {
    /// Which.
    pub name: Measure,
    /// The unit of the values.
    pub unit: String,
    /// How many Services were present.
    pub services: u32,
    /// Its value in BASE.
    pub base: f64,
    /// Its value in HEAD.
    pub head: f64,
    /// How many times worse HEAD is: below 1, it is better. From nothing to something, or the other way round, that is infinite or 0;
    /// JSON has null for what is infinite.
    pub worse: f64,
    /// The chance, or a bound of it, that HEAD is so far beyond BASE in this direction if both are alike. None where the samples of the
    /// two are not apart.
    pub chance: Option<f64>,
    /// Of wrong connections: how many were made in BASE and in HEAD, where both say so.
    pub made: Option<[u64; 2]>,
    /// Whether the samples are too few to tell two apart, however far they are.
    pub too_few: bool,
}

impl MeasurePair {
    fn of(base: &Sampled<'_>, head: &Sampled<'_>) -> Self {
        let row = head.row;
        let alike = if base.value == head.value {
            1.0
        } else {
            f64::INFINITY
        };
        // The longer changes take, the more connections are made meanwhile: it is the part that goes wrong.
        let (of_base, of_head) = match (base.made, head.made) {
            (Some(one), Some(other)) if one > 0 && other > 0 => {
                (base.part_of(one), head.part_of(other))
            }
            _ => (*base, *head),
        };
        Self {
            name: row.name,
            unit: row.unit.clone(),
            services: row.services,
            base: base.value,
            head: head.value,
            worse: row
                .name
                .times_better(of_base.value, of_head.value)
                .unwrap_or(alike),
            chance: chance(&of_base, &of_head),
            made: base.made.zip(head.made).map(|(base, head)| [base, head]),
            too_few: statistics::all_on_one_side(base.count, head.count) > SELDOM,
        }
    }

    /// Whether it is no chance that they differ.
    pub fn differs(&self) -> bool {
        self.chance.is_some_and(|chance| chance <= SELDOM)
    }

    /// Whether HEAD is worse: by more than `slower` and by no chance; or connections go wrong where none did.
    pub fn is_regression(&self, slower: f64) -> bool {
        let goes_wrong = self.name == Measure::WrongConnections && self.base == 0.0;
        if goes_wrong {
            self.head > 0.0
        } else {
            self.differs() && self.worse > slower
        }
    }
}

/// What a bench found of a measure and a proxy.
#[derive(Clone, Copy)]
struct Sampled<'a> {
    row: &'a Row,
    value: f64,
    interval: Option<[f64; 2]>,
    /// The smallest sample and the largest.
    spread: [f64; 2],
    count: u64,
    made: Option<u64>,
}

impl<'a> Sampled<'a> {
    fn of(row: &'a Row, proxy: &str) -> Option<Self> {
        Some(Self {
            row,
            value: *row.values.get(proxy)?,
            interval: row.interval.get(proxy).copied(),
            spread: *row.spread.get(proxy)?,
            count: u64::try_from(*row.samples.get(proxy)?).ok()?,
            made: row.made.get(proxy).copied(),
        })
    }

    /// The same as parts of so many connections in all, as many in each sample.
    fn part_of(&self, made: u64) -> Self {
        let (all, each) = (made as f64, made as f64 / self.count.max(1) as f64);
        Self {
            value: self.value / all,
            interval: None,
            spread: self.spread.map(|sample| sample / each),
            ..*self
        }
    }
}

fn chance(base: &Sampled<'_>, head: &Sampled<'_>) -> Option<f64> {
    // The two peaks of memory are of different things.
    if base.row.name == Measure::PeakMemory {
        return None;
    }
    let apart = |one: [f64; 2], other: [f64; 2]| one[0] > other[1] || other[0] > one[1];
    if let (Some(one), Some(other)) = (base.interval, head.interval)
        && apart(one, other)
    {
        // If both have one value, it is below the one interval or above the other, each with a chance of half a percent.
        return Some(SELDOM);
    }
    apart(base.spread, head.spread).then(|| statistics::all_on_one_side(base.count, head.count))
}

/// Compares two benches: what they have measured of the proxies that both have, and why something cannot be compared.
pub(super) fn pairs(base: &Report, head: &Report) -> (Vec<BenchPair>, Vec<String>) {
    let mut unjudged = Vec::new();
    for (which, bench) in [("BASE", base), ("HEAD", head)] {
        let errors = bench.errors.iter();
        unjudged.extend(errors.map(|error| format!("the bench of {which}: {error}")));
    }
    if let Some(why) = incomparable(&base.run, &head.run) {
        unjudged.push(format!("the benches cannot be compared: {why}"));
        return (Vec::new(), unjudged);
    }
    let both = paired(&base.run.proxies, &head.run.proxies, |proxy| &proxy.name);
    let (of_base, of_head): (Vec<_>, Vec<_>) = both.iter().copied().unzip();
    for (which, bench, compared) in [("BASE", base, of_base), ("HEAD", head, of_head)] {
        let is_compared = |proxy: &Measured| compared.iter().any(|one| one.name == proxy.name);
        let alone = bench.run.proxies.iter().filter(|proxy| !is_compared(proxy));
        unjudged.extend(alone.map(|one| format!("{} is only in the bench of {which}", text(one))));
    }
    let pairs = both.into_iter().map(|(one, other)| {
        let mut besides = besides::of_benches(&base.run, &head.run);
        let (before, after) = (sampled(base, one), sampled(head, other));
        let same = |one: &Sampled<'_>, other: &Sampled<'_>| {
            (one.row.name, one.row.services) == (other.row.name, other.row.services)
        };
        for (which, these, others) in [("BASE", &before, &after), ("HEAD", &after, &before)] {
            let alone = these
                .iter()
                .filter(|one| !others.iter().any(|other| same(one, other)));
            besides.extend(alone.map(|one| {
                let (measure, services) = (one.row.name, one.row.services);
                format!("{measure} with {services} Services is only in the bench of {which}")
            }));
        }
        let measures = before.iter().filter_map(|one| {
            let other = after.iter().find(|other| same(one, other))?;
            Some(MeasurePair::of(one, other))
        });
        BenchPair {
            base: text(one),
            head: text(other),
            besides,
            measures: measures.collect(),
        }
    });
    let pairs = pairs.collect();
    (pairs, unjudged)
}

fn text(proxy: &Measured) -> String {
    named(&proxy.name, proxy.version.as_deref())
}

/// Every measure of a proxy.
fn sampled<'a>(bench: &'a Report, proxy: &Measured) -> Vec<Sampled<'a>> {
    let rows = bench.measures.iter();
    rows.filter_map(|row| Sampled::of(row, &proxy.name))
        .collect()
}

/// Why measures of one say nothing about those of the other.
fn incomparable(base: &BenchInfo, head: &BenchInfo) -> Option<String> {
    let families = (base.family != head.family)
        .then(|| format!("they are of {} and of {}", base.family, head.family));
    families.or_else(|| {
        (base.changes != head.changes)
            .then(|| format!("--changes was {} and {}", base.changes, head.changes))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::Comparison;

    /// A bench of one proxy: its cold starts, its rate with an interval, and its wrong connections.
    fn bench(starts: [f64; 3], rate: [f64; 3], wrong: u64) -> Report {
        let row = |name: &str, unit: &str, [low, value, high]: [f64; 3], count: usize| {
            json!({
                "name": name, "unit": unit, "services": 1000, "ratio": null, "explanation": "",
                "values": {"mine": value}, "spread": {"mine": [low, high]}, "samples": {"mine": count},
            })
        };
        let mut rates = row("connections-per-second", "1/s", rate, 400);
        rates["spread"]["mine"] = json!([1.0, 99_999.0]);
        rates["interval"]["mine"] = json!([rate[0], rate[2]]);
        let wrong = [0.0, wrong as f64, wrong as f64];
        let report = json!({
            "run": {
                "tool_version": "0.1.0", "kernel": "6.1", "processors": 2, "family": "IPv4", "services": 1000, "rounds": 5,
                "changes": 200, "proxies": [{"name": "mine", "version": "1.2"}],
            },
            "measures": [
                row("cold-start", "ms", starts, 5), rates, row("wrong-connections", "connections", wrong, 2),
                row("peak-memory", "MiB", [30.0, 30.0, 30.0], 1),
            ],
            "errors": [],
        });
        serde_json::from_value(report).expect("a bench")
    }

    /// The same with so many wrong connections.
    fn bench_with(mut bench: Report, wrong: f64) -> Report {
        bench.measures[2].values.insert("mine".to_owned(), wrong);
        bench
    }

    fn compared(base: &Report, head: &Report) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.add_benches(base, head, 1.5);
        comparison
    }

    #[test]
    fn a_bench_compared_with_itself_is_clean() {
        let one = bench([50.0, 52.0, 60.0], [900.0, 1000.0, 1100.0], 0);
        let comparison = compared(&one, &one);
        assert!(comparison.is_clean() && comparison.unjudged.is_empty());
        let [pair] = &comparison.benches[..] else {
            panic!("one proxy");
        };
        assert_eq!((pair.base.as_str(), pair.measures.len()), ("mine (1.2)", 4));
        assert!(pair.measures.iter().all(|measure| !measure.differs()));
        let text = comparison.to_string();
        let line = "  cold-start              1000      52.0    52.0   ms           as before  not beyond chance\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_is_apart_and_worse_by_more_than_asked_is_a_regression() {
        let base = bench([50.0, 52.0, 60.0], [900.0, 1000.0, 1100.0], 0);
        // Samples that are apart, and hardly worse; a rate that is worse, of which more is better; connections that go wrong.
        let head = bench([61.0, 62.0, 63.0], [400.0, 500.0, 600.0], 7);
        let comparison = compared(&base, &head);
        assert_eq!(
            comparison.regressions,
            [
                "connections-per-second: 1000 -> 500 1/s with 1000 Services, 2.00 times worse (chance at most 1.0e-2)",
                "wrong-connections: 0 -> 7.00 connections with 1000 Services, worse beyond any number",
            ]
        );
        let start = &comparison.benches[0].measures[0];
        assert!(start.differs() && !start.is_regression(1.5) && start.is_regression(1.1));
        assert!(compared(&head, &base).is_clean());
        let text = compared(&head, &base).to_string();
        assert!(text.contains("2.00 times better"), "{text}");
        for page in [comparison.markdown(), comparison.html()] {
            assert!(page.contains("2.00 times worse"), "{page}");
        }
    }

    #[test]
    fn samples_that_overlap_or_are_too_few_are_no_regression() {
        let base = bench([50.0, 52.0, 200.0], [900.0, 1000.0, 1100.0], 0);
        let head = bench([199.0, 900.0, 999.0], [400.0, 500.0, 901.0], 0);
        assert_eq!(compared(&base, &head).regressions, [""; 0]);
        // As many or more of what went wrong before is no news.
        let (some, more) = (bench([1.0; 3], [1.0; 3], 3), bench([1.0; 3], [1.0; 3], 9));
        assert!(compared(&some, &more).is_clean());
        // But where all turns have some that had none, it is.
        let wrong = |turns: [f64; 2], made| {
            let mut report = bench([1.0; 3], [1.0; 3], 40);
            report.measures[2].spread.insert("mine".to_owned(), turns);
            report.measures[2].samples.insert("mine".to_owned(), 6);
            report.measures[2].made.insert("mine".to_owned(), made);
            report
        };
        let (few, many) = (
            bench_with(wrong([0.0, 2.0], 5000), 3.0),
            wrong([4.0, 9.0], 5001),
        );
        let worse = "wrong-connections: 3.00 of 5000 -> 40.0 of 5001 connections with 1000 Services, 13.33 times worse (chance at most 1.1e-3)";
        assert_eq!(compared(&few, &many).regressions, [worse]);
        // Ten times as many of ten times as many are as many.
        let (some, tenfold) = (
            bench_with(wrong([4.0, 9.0], 5000), 40.0),
            bench_with(wrong([40.0, 90.0], 50_000), 400.0),
        );
        let alike = compared(&some, &tenfold);
        assert!(alike.is_clean(), "{alike}");
        assert!(
            alike.to_string().contains("40.0 of 5000  400 of 50000"),
            "{alike}"
        );
        // All of three are above all of three once in twenty times.
        let of_three = |values| {
            let mut report = bench(values, [900.0, 1000.0, 1100.0], 0);
            report.measures[0].samples.insert("mine".to_owned(), 3);
            report
        };
        let comparison = compared(&of_three([1.0, 2.0, 3.0]), &of_three([7.0, 8.0, 9.0]));
        assert!(comparison.is_clean());
        let text = comparison.to_string();
        assert!(
            text.contains("4.00 times worse  too few samples to tell"),
            "{text}"
        );
        // From some to none has no number of times.
        let stands_still = bench([50.0, 52.0, 60.0], [0.0, 0.0, 0.0], 0);
        let comparison = compared(&base, &stands_still);
        let rate = "connections-per-second: 1000 -> 0 1/s with 1000 Services, worse beyond any number (chance at most 1.0e-2)";
        assert_eq!(comparison.regressions, [rate]);
        assert!(compared(&stands_still, &base).is_clean());
    }

    #[test]
    fn what_is_not_of_both_is_named() {
        let base = bench([1.0; 3], [1.0; 3], 0);
        let mut head = base.clone();
        head.run.family = "IPv6".to_owned();
        let why = "the benches cannot be compared: they are of IPv4 and of IPv6";
        assert_eq!(compared(&base, &head).unjudged, [why]);

        let mut head = base.clone();
        head.measures[0].services = 10;
        head.run.kernel = "6.18".to_owned();
        head.run.proxies.push(Measured {
            name: "other".to_owned(),
            version: None,
        });
        head.errors.push("the bench was interrupted".to_owned());
        let comparison = compared(&base, &head);
        assert_eq!(
            comparison.unjudged,
            [
                "the bench of HEAD: the bench was interrupted",
                "other is only in the bench of HEAD",
            ]
        );
        assert_eq!(
            comparison.benches[0].besides,
            [
                "the kernel is another: 6.1 and 6.18",
                "cold-start with 1000 Services is only in the bench of BASE",
                "cold-start with 10 Services is only in the bench of HEAD",
            ]
        );
        // Two proxies of other names are compared all the same, as two runs are.
        let mut head = base.clone();
        head.run.proxies[0].name = "other".to_owned();
        for row in &mut head.measures {
            row.values = [("other".to_owned(), row.values["mine"])].into();
            row.spread = [("other".to_owned(), row.spread["mine"])].into();
            row.samples = [("other".to_owned(), row.samples["mine"])].into();
        }
        let comparison = compared(&base, &head);
        assert_eq!(comparison.benches[0].head, "other (1.2)");
        assert_eq!(comparison.benches[0].measures.len(), 4);
    }
}
