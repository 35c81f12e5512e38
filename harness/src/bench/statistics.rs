//! Medians, percentiles and spreads of a few hundred samples.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The sample at this share (0 to 1) of all, sorted: the nearest rank, so that it is one that was
/// measured. `None` without samples.
pub(super) fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // The number of samples is far below 2^52, and the rank is cut to it.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    Some(sorted[rank.saturating_sub(1).min(last)])
}

/// The middle sample; between the two middle ones, the mean.
pub(super) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some(f64::midpoint(sorted[middle - 1], upper))
    } else {
        Some(upper)
    }
}

/// The smallest and the largest sample.
pub(super) fn spread(samples: &[f64]) -> Option<[f64; 2]> {
    let smallest = samples.iter().copied().reduce(f64::min)?;
    let largest = samples.iter().copied().reduce(f64::max)?;
    Some([smallest, largest])
}

/// How sure an [`interval`] is.
const CONFIDENCE: f64 = 0.99;

/// The samples between which the value lies that this share (0 to 1) of all that could be drawn is below, with a confidence of
/// 99 %, whatever their distribution: how many of the samples are below it is binomial. `None` where they are too few for that.
pub(super) fn interval(samples: &[f64], share: f64) -> Option<[f64; 2]> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = Binomial::new(share, u64::try_from(sorted.len()).ok()?).ok()?;
    let missed = (1.0 - CONFIDENCE) / 2.0;
    // The lower end is the last sample that is seldom above it, the upper end the first that is seldom below it.
    let seldom_above = (0..sorted.len()).take_while(|rank| below.cdf(*rank as u64) <= missed);
    let lower = seldom_above.last()?;
    let upper = (0..sorted.len()).find(|rank| below.sf(*rank as u64) <= missed)?;
    Some([sorted[lower], sorted[upper]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_by_ranks_and_needs_samples_enough() {
        let up_to = |last: u32| (1..=last).map(f64::from).collect::<Vec<_>>();
        // Of a median, all samples are on one side with a chance of 2 · 0.5ⁿ: 1.6 % of seven, 0.8 % of eight.
        assert_eq!(interval(&up_to(7), 0.5), None);
        assert_eq!(interval(&up_to(8), 0.5), Some([1.0, 8.0]));
        // As tables have it: the 37th and the 64th of 100.
        assert_eq!(interval(&up_to(100), 0.5), Some([37.0, 64.0]));
        // All of 500 are below the 99th percentile with a chance of 0.66 %, of 528 with 0.49 %.
        assert_eq!(interval(&up_to(500), 0.99), None);
        let [low, high] = interval(&up_to(1000), 0.99).expect("enough");
        assert!(low < 990.0 && 990.0 < high && high < 1000.0, "{low} {high}");
        assert_eq!(interval(&[], 0.5), None);
    }

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&hundred, 1.0), Some(100.0));
        assert_eq!(percentile(&[7.0], 0.0), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[2.0, 1.0, 3.0]), Some([1.0, 3.0]));
        assert_eq!(spread(&[]), None);
    }
}
