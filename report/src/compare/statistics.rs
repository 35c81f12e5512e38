//! Whether two measurements differ, and by how much.

use std::collections::BTreeMap;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF, DiscreteCDF, Hypergeometric, StudentsT};

/// How sure intervals are.
pub(super) const CONFIDENCE: f64 = 0.99;

/// How many times as long something takes, by pairs of the same thing measured twice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The number of pairs.
    pub pairs: usize,
    /// The number of turns in which they were measured, or of cases where the two runs are apart: what is common to one, such as a busy
    /// machine, says something once.
    pub turns: usize,
    /// The geometric mean of the second ÷ the first.
    pub ratio: f64,
    /// The interval in which it lies, of confidence 99 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Ratio {
    /// That of these pairs of positive numbers, each with the turn in which it was measured; none of fewer than three turns. What differs
    /// from pair to pair by nature, such as one case that takes long and another that does not, is no spread of the ratio.
    pub(super) fn of(pairs: impl IntoIterator<Item = (usize, (f64, f64))>) -> Option<Self> {
        let pairs = pairs.into_iter();
        let logarithms: Vec<(usize, f64)> = pairs
            .map(|(turn, (base, head))| (turn, (head.max(1e-9) / base.max(1e-9)).ln()))
            .collect();
        let means = means_of_turns(&logarithms);
        let (mean, reach) = mean_and_reach(&means)?;
        Some(Self {
            pairs: logarithms.len(),
            turns: means.len(),
            ratio: mean.exp(),
            low: (mean - reach).exp(),
            high: (mean + reach).exp(),
        })
    }

    /// Whether it is no chance that the second takes longer or shorter.
    pub(super) fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// Fewer connections than these to be expected of a pod are too few for χ².
const ENOUGH: f64 = 5.0;

/// The chance that two sets of connections are spread at least as differently over the same pods, if all were spread alike: χ² of
/// homogeneity, or where a pod has too few for that, a bound by an exact test of each pod.
pub(super) fn homogeneity(base: &BTreeMap<String, u64>, head: &BTreeMap<String, u64>) -> f64 {
    let pods: Vec<&String> = base
        .keys()
        .chain(head.keys().filter(|pod| !base.contains_key(*pod)))
        .collect();
    let of =
        |counts: &BTreeMap<String, u64>, pod: &String| counts.get(pod).copied().unwrap_or(0) as f64;
    let (first, second): (f64, f64) = pods.iter().fold((0.0, 0.0), |(a, b), pod| {
        (a + of(base, pod), b + of(head, pod))
    });
    if pods.len() < 2 || first == 0.0 || second == 0.0 {
        return 1.0;
    }
    let share = |pod: &&String| (of(base, pod) + of(head, pod)) / (first + second);
    let fewest = pods.iter().map(share).fold(1.0, f64::min) * first.min(second);
    if fewest < ENOUGH {
        let all = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let got = |counts: &BTreeMap<String, u64>, pod: &String| counts.get(pod).copied();
        let of_all = |counts, pod| (got(counts, pod).unwrap_or(0), all(counts));
        let each = pods.iter().map(|pod| {
            let (one, other) = (of_all(base, pod), of_all(head, pod));
            2.0 * at_least_so_many(one, other).min(at_least_so_many(other, one))
        });
        // Whichever pod differs most: any of them might have.
        return (each.fold(1.0, f64::min) * pods.len() as f64).min(1.0);
    }
    let statistic: f64 = pods
        .iter()
        .map(|pod| {
            let (a, b) = (of(base, pod), of(head, pod));
            let share = (a + b) / (first + second);
            let term = |got: f64, all: f64| (got - share * all).powi(2) / (share * all);
            term(a, first) + term(b, second)
        })
        .sum();
    ChiSquared::new((pods.len() - 1) as f64).map_or(1.0, |law| law.sf(statistic))
}

/// The chance of at least so many of a kind in the second of two, given those of both together, if both have them alike: Fisher's
/// exact test. Each is how many are of the kind, and how many there are.
fn at_least_so_many((of_base, base): (u64, u64), (of_head, head): (u64, u64)) -> f64 {
    if of_head == 0 || base == 0 || head == 0 {
        return 1.0;
    }
    let of_both = of_base + of_head;
    Hypergeometric::new(base + head, of_both, head).map_or(1.0, |law| law.sf(of_head - 1))
}

/// By how much something differs, by what was measured of the same thing twice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The mean of the second less the first.
    pub mean: f64,
    /// The interval in which it lies, of confidence 99 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Difference {
    /// That of these differences, each with the turn in which it was measured; none of fewer than three turns.
    pub(super) fn of(differences: &[(usize, f64)]) -> Option<Self> {
        let (mean, reach) = mean_and_reach(&means_of_turns(differences))?;
        Some(Self {
            mean,
            low: mean - reach,
            high: mean + reach,
        })
    }
}

/// The mean of each turn: what was measured in one says something once.
fn means_of_turns(samples: &[(usize, f64)]) -> Vec<f64> {
    let mut turns = BTreeMap::<usize, Vec<f64>>::new();
    for (turn, sample) in samples {
        turns.entry(*turn).or_default().push(*sample);
    }
    let turns = turns.into_values();
    turns
        .map(|all| all.iter().sum::<f64>() / all.len() as f64)
        .collect()
}

/// The mean of samples, and how far from it that of all that could be drawn may be, with the confidence of intervals: Student's.
fn mean_and_reach(samples: &[f64]) -> Option<(f64, f64)> {
    // Of two, the interval is sixty times as wide as they are apart, and says nothing.
    if samples.len() < 3 {
        return None;
    }
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares = samples.iter().map(|one| (one - mean).powi(2));
    let error = (squares.sum::<f64>() / (count - 1.0) / count).sqrt();
    let student = StudentsT::new(0.0, 1.0, count - 1.0).ok()?;
    let reach = student.inverse_cdf(f64::midpoint(1.0, CONFIDENCE)) * error;
    Some((mean, reach))
}

/// The chance that all samples of one are above all of another, if both are alike: of all orders that they could have, one part.
pub(super) fn all_on_one_side(one: u64, other: u64) -> f64 {
    // C(n + m, m), which is far beyond what matters long before it is no number any more.
    let ways = (1..=other).map(|rank| (one + rank) as f64 / rank as f64);
    1.0 / ways.product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_apart_say_how_seldom_they_are_by_chance() {
        assert!((all_on_one_side(3, 3) - 1.0 / 20.0).abs() < 1e-12);
        assert!((all_on_one_side(5, 5) - 1.0 / 252.0).abs() < 1e-12);
        assert!((all_on_one_side(1, 1) - 0.5).abs() < 1e-12);
    }

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(pod, n)| ((*pod).to_owned(), *n)).collect()
    }

    #[test]
    fn a_ratio_is_by_pairs_and_says_how_sure_it_is() {
        let of = |pairs: &[(f64, f64)]| Ratio::of(pairs.iter().copied().enumerate());
        assert_eq!(of(&[(1.0, 2.0)]), None);
        let same = of(&[(0.1, 0.1), (5.0, 5.0), (0.01, 0.01)]).expect("a ratio");
        assert!((same.ratio - 1.0).abs() < 1e-12 && !same.differs());
        let twice: Vec<_> = (1..20)
            .map(|n| (f64::from(n), f64::from(n) * (2.0 + 0.01 * f64::from(n % 3))))
            .collect();
        let twice = of(&twice).expect("a ratio");
        assert!(
            twice.low > 1.99 && twice.high < 2.03 && twice.differs(),
            "{twice:?}"
        );
        let noise = of(&[(1.0, 3.0), (3.0, 1.0), (1.0, 2.0), (2.0, 1.1)]).expect("a ratio");
        assert!(!noise.differs(), "{noise:?}");
    }

    #[test]
    fn what_is_common_to_a_turn_says_something_once() {
        // Twenty pairs in each of three turns, in one of which everything took thrice as long.
        let pairs = |thrice: usize| {
            let turns = (0..3).flat_map(|turn| std::iter::repeat_n(turn, 20));
            turns.map(move |turn| (turn, (1.0, if turn == thrice { 3.0 } else { 1.0 })))
        };
        let by_turns = Ratio::of(pairs(1)).expect("a ratio");
        assert_eq!((by_turns.pairs, by_turns.turns), (60, 3));
        assert!(!by_turns.differs(), "{by_turns:?}");
        let each_by_itself = Ratio::of(pairs(1).enumerate().map(|(at, (_, pair))| (at, pair)));
        let each_by_itself = each_by_itself.expect("a ratio");
        assert!(each_by_itself.differs(), "{each_by_itself:?}");
        assert!((by_turns.ratio - each_by_itself.ratio).abs() < 1e-12);
        assert_eq!(Ratio::of(std::iter::repeat_n((0, (1.0, 2.0)), 60)), None);
    }

    #[test]
    fn shares_that_moved_are_told_from_chance() {
        let even = counts(&[("a", 100), ("b", 100), ("c", 100)]);
        assert!((homogeneity(&even, &even) - 1.0).abs() < 1e-12);
        assert!(homogeneity(&even, &counts(&[("a", 110), ("b", 95), ("c", 95)])) > 0.1);
        assert!(homogeneity(&even, &counts(&[("a", 200), ("b", 50), ("c", 50)])) < 1e-9);
        // A pod that only one of them has.
        assert!(homogeneity(&even, &counts(&[("a", 150), ("b", 150)])) < 1e-9);
        // By hand: χ² = 50/150·… of a 2×2 table of 40:60 and 60:40 is 8, of which p = 0.00468.
        let (one, other) = (
            counts(&[("a", 40), ("b", 60)]),
            counts(&[("a", 60), ("b", 40)]),
        );
        assert!((homogeneity(&one, &other) - 0.00468).abs() < 1e-5);
    }

    #[test]
    fn few_connections_are_compared_exactly() {
        // By χ², 4:0 and 0:4 would be p = 0.0047; of the 70 ways to draw four of eight, two are as extreme as this.
        let (one, other) = (counts(&[("a", 4)]), counts(&[("b", 4)]));
        assert!((homogeneity(&one, &other) - 2.0 * 2.0 / 70.0).abs() < 1e-12);
        let alike = counts(&[("a", 2), ("b", 2)]);
        assert!((homogeneity(&alike, &alike) - 1.0).abs() < 1e-12);
        // A single connection to a pod that the other never drew is no news.
        let rare = counts(&[("a", 500), ("b", 1)]);
        assert!(homogeneity(&counts(&[("a", 500)]), &rare) > 0.5);
    }

    #[test]
    fn a_difference_is_beyond_chance_where_its_interval_says_so() {
        let of = |each: &[f64]| {
            let each: Vec<_> = each.iter().copied().enumerate().collect();
            Difference::of(&each)
        };
        assert_eq!(of(&[1.0]), None);
        let same = of(&[0.001; 10]).expect("enough");
        assert!(same.low > 0.0 && (same.high - same.low).abs() < 1e-12);
        // By a table: t of nine degrees of freedom and 99 % is 3.25, the error of one in ten 0.1.
        let one = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let one = of(&one).expect("enough");
        assert!(
            (one.mean - 0.1).abs() < 1e-12 && (one.low + 0.225).abs() < 1e-3,
            "{one:?}"
        );
    }

    #[test]
    fn counts_are_compared_exactly() {
        assert!((at_least_so_many((0, 100), (0, 100)) - 1.0).abs() < 1e-12);
        assert!((at_least_so_many((0, 100), (1, 100)) - 0.5).abs() < 1e-9);
        assert!(at_least_so_many((0, 1000), (20, 1000)) < 1e-5);
        assert!(at_least_so_many((20, 1000), (1, 1000)) > 0.99);
    }
}
