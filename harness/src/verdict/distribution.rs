//! Distributions: are the shares of the pods what they should be?
//!
//! Pearson's χ² test against the expected shares. The chance that a correct proxy fails it is the
//! false-alarm rate, and it is tiny; the number of connections is then chosen so that a proxy that
//! gives one pod twice its weight is caught almost surely. A fixed band such as ±15 % would do
//! neither: it convicts correct proxies and lets wrong ones pass, depending on the sample.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// The largest number of connections that [`sample_size`] asks for.
const MOST: usize = 20_000;

/// The p-value of these counts under these expected shares (which sum to 1, none zero): the chance
/// that a proxy with exactly these shares gives counts at least as far from them.
///
/// One pod alone has a p-value of 1: there is nothing to distribute.
///
/// # Panics
/// If the two differ in length.
pub fn chi_square_p_value(counts: &[u64], shares: &[f64]) -> f64 {
    assert_eq!(counts.len(), shares.len(), "a count for each share");
    let total: u64 = counts.iter().sum();
    if counts.len() < 2 || total == 0 {
        return 1.0;
    }
    let statistic: f64 = counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| {
            let expected = share * total as f64;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    chi_squared(counts.len() - 1).sf(statistic)
}

/// How many connections it takes to see one pod of double weight.
///
/// The smallest number of which a χ² test at `false_alarm` detects, with probability `power`, that
/// any single pod has twice its weight; see [`detection`].
pub fn sample_size(shares: &[f64], false_alarm: f64, power: f64) -> usize {
    if shares.len() < 2 {
        return 1;
    }
    let critical = critical(shares.len(), false_alarm);
    // The noncentrality of one connection, for the pod whose doubling shows least.
    let per_connection = (0..shares.len())
        .map(|doubled| skew(shares, &with_double(shares, doubled)))
        .fold(f64::INFINITY, f64::min);
    let detection = |n: usize| exceeds(critical, shares.len(), per_connection * n as f64);
    let (mut low, mut high) = (1, MOST);
    while low < high {
        let middle = low.midpoint(high);
        if detection(middle) >= power {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The chance that a χ² test at `false_alarm` tells so many connections that are distributed by the `actual` shares from
/// those that are by the expected ones.
///
/// The statistic is then noncentral χ², approximated by a scaled central one (Patnaik 1949), which is within a few
/// percent here.
///
/// # Panics
/// If the two differ in length, or have fewer than two shares.
pub fn detection(shares: &[f64], actual: &[f64], connections: usize, false_alarm: f64) -> f64 {
    assert_eq!(shares.len(), actual.len(), "an actual share for each");
    let critical = critical(shares.len(), false_alarm);
    exceeds(
        critical,
        shares.len(),
        skew(shares, actual) * connections as f64,
    )
}

/// How many connections it takes until each pod has answered at least once, but for the chance
/// `miss`.
pub fn coverage_size(pods: usize, smallest_share: f64, miss: f64) -> usize {
    if pods < 2 {
        return 1;
    }
    let each = miss / pods as f64;
    (each.ln() / (1.0 - smallest_share).ln()).ceil() as usize
}

/// Σ (q − p)² / p: the noncentrality of one connection.
fn skew(expected: &[f64], actual: &[f64]) -> f64 {
    let pairs = expected.iter().zip(actual);
    pairs.map(|(p, q)| (q - p).powi(2) / p).sum()
}

/// These shares with one pod's weight doubled.
fn with_double(shares: &[f64], doubled: usize) -> Vec<f64> {
    let total = 1.0 + shares[doubled];
    let weights = shares.iter().enumerate();
    let weights = weights.map(|(index, share)| {
        if index == doubled {
            2.0 * share
        } else {
            *share
        }
    });
    weights.map(|weight| weight / total).collect()
}

/// The statistic above which a test of so many shares alarms.
fn critical(shares: usize, false_alarm: f64) -> f64 {
    chi_squared(shares - 1).inverse_cdf(1.0 - false_alarm)
}

/// The chance that a noncentral χ² of so many shares exceeds a value.
fn exceeds(value: f64, shares: usize, noncentral: f64) -> f64 {
    let freedom = (shares - 1) as f64;
    let scale = 2.0f64.mul_add(noncentral, freedom) / (freedom + noncentral);
    let fit = (freedom + noncentral).powi(2) / 2.0f64.mul_add(noncentral, freedom);
    ChiSquared::new(fit).map_or(0.0, |law| law.sf(value / scale))
}

fn chi_squared(freedom: usize) -> ChiSquared {
    ChiSquared::new(freedom as f64).expect("at least one degree of freedom")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_match_published_tables() {
        // χ² = 5.991 with two degrees of freedom has p = 0.05.
        let counts = [100 + 20, 100 - 10, 100 - 10];
        let statistic: f64 = 6.0;
        let p = chi_square_p_value(&counts, &[1.0 / 3.0; 3]);
        assert!((p - (-statistic / 2.0).exp()).abs() < 1e-9, "{p}");
    }

    #[test]
    fn equal_counts_are_no_evidence_and_one_pod_is_nothing_to_judge() {
        assert!((chi_square_p_value(&[7, 7, 7], &[1.0 / 3.0; 3]) - 1.0).abs() < 1e-12);
        assert!((chi_square_p_value(&[7], &[1.0]) - 1.0).abs() < 1e-12);
    }

    /// Draws from given weights by a small deterministic generator, and counts how often the
    /// test alarms.
    fn alarms(
        weights: &[f64],
        shares: &[f64],
        size: usize,
        false_alarm: f64,
        runs: usize,
    ) -> usize {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let total: f64 = weights.iter().sum();
        let alarm = (0..runs).filter(|_| {
            let mut counts = vec![0_u64; weights.len()];
            for _ in 0..size {
                let mut at = uniform() * total;
                let pod = weights.iter().position(|w| {
                    at -= w;
                    at < 0.0
                });
                counts[pod.unwrap_or(weights.len() - 1)] += 1;
            }
            chi_square_p_value(&counts, shares) < false_alarm
        });
        alarm.count()
    }

    #[test]
    fn the_sample_size_catches_a_double_weight_and_spares_the_correct() {
        let shares = [1.0 / 3.0; 3];
        let size = sample_size(&shares, 1e-6, 0.999);
        assert!((400..900).contains(&size), "{size}");
        assert_eq!(alarms(&[1.0, 1.0, 1.0], &shares, size, 1e-6, 2000), 0);
        assert!(alarms(&[2.0, 1.0, 1.0], &shares, size, 1e-6, 2000) >= 1990);
    }

    #[test]
    fn detection_is_how_often_a_skew_alarms() {
        let (shares, actual) = ([1.0 / 3.0; 3], [0.45, 0.275, 0.275]);
        let runs = 2000;
        let often = alarms(&actual, &shares, 600, 1e-6, runs) as f64 / runs as f64;
        let computed = detection(&shares, &actual, 600, 1e-6);
        assert!((often - computed).abs() < 0.05, "{often} {computed}");
    }

    #[test]
    fn uneven_expectations_are_judged_as_they_are() {
        let shares = [0.5, 0.25, 0.25];
        let size = sample_size(&shares, 1e-6, 0.999);
        assert_eq!(alarms(&[0.5, 0.25, 0.25], &shares, size, 1e-6, 2000), 0);
        assert!(alarms(&[1.0, 1.0, 1.0], &shares, size, 1e-6, 2000) >= 1990);
    }

    #[test]
    fn coverage_needs_thirty_eight_connections_for_three_pods() {
        assert_eq!(coverage_size(3, 1.0 / 3.0, 1e-6), 37);
        assert_eq!(coverage_size(1, 1.0, 1e-6), 1);
    }
}
