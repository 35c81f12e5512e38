//! Many cases side by side in one lab.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::results::{CaseResult, Summary, Verdict};
use super::runner::{CaseRun, skipped};
use crate::case::{Case, Feature};
use crate::lab::Lab;
use crate::profile::Profile;

/// Why cases that had not begun when a run was interrupted were skipped.
pub const INTERRUPTED: &str = "the run was interrupted";

/// How a batch is run.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// How many cases run side by side.
    pub jobs: usize,
    /// Decides the order in which cases start.
    pub seed: u64,
    /// Where evidence goes.
    pub evidence: PathBuf,
    /// Becomes true when no further case is to be started.
    pub interrupted: watch::Receiver<bool>,
}

/// Runs these cases and returns their results in the same order. `finished` is told each result
/// as it comes.
///
/// Cases that need something that the profile declares unsupported are skipped, and so are those
/// that have not begun when the run is interrupted; each with the reason.
pub async fn run_batch(
    lab: &Arc<Lab>,
    profile: &Profile,
    cases: &[Case],
    options: &BatchOptions,
    mut finished: impl FnMut(&CaseResult),
) -> Vec<CaseResult> {
    let mut results: Vec<Option<CaseResult>> = vec![None; cases.len()];
    let places = Arc::new(Semaphore::new(options.jobs));
    let mut running = JoinSet::new();
    for index in shuffled(cases.len(), options.seed) {
        let case = &cases[index];
        if let Some(reason) = unsupported(case, profile) {
            let result = skipped(case, &reason);
            finished(&result);
            results[index] = Some(result);
            continue;
        }
        let run = CaseRun {
            lab: lab.clone(),
            case: case.clone(),
            number: u16::try_from(index).expect("fewer than 10 000 cases"),
            evidence: options.evidence.clone(),
            sabotage: None,
        };
        let (places, interrupted) = (places.clone(), options.interrupted.clone());
        running.spawn(async move {
            let _place = places.acquire().await.expect("never closed");
            if *interrupted.borrow() {
                return (index, skipped(&run.case, INTERRUPTED));
            }
            (index, run.run().await)
        });
    }
    while let Some(done) = running.join_next().await {
        // A panic in a case is a defect of the harness: it must not pass for a result.
        let (index, result) = done.expect("a case does not panic");
        finished(&result);
        results[index] = Some(result);
    }
    results.into_iter().flatten().collect()
}

/// The first thing that a case needs and the profile declares unsupported, as a reason.
pub fn unsupported(case: &Case, profile: &Profile) -> Option<String> {
    let missing: Option<&Feature> = case
        .features
        .iter()
        .find(|feature| profile.features.unsupported.contains(feature));
    missing.map(|feature| format!("{} declares {feature} unsupported", profile.name))
}

/// Whether a run with these verdicts has judged everything and found nothing wrong.
pub fn is_success(summary: Summary) -> bool {
    summary.failed == 0 && summary.errors == 0 && summary.passed > 0
}

impl CaseResult {
    /// Whether the case neither failed nor was left unjudged.
    pub fn is_fine(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Skip)
    }
}

/// The numbers below `count` in an order that the seed decides (Fisher–Yates over a
/// linear congruential generator; only the order of starts hangs on it).
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = seed;
    for last in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % (last + 1);
        order.swap(last, at);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_an_order_of_all_cases() {
        let order = shuffled(50, 7);
        assert_eq!(order, shuffled(50, 7));
        assert_ne!(order, shuffled(50, 8));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_that_judged_nothing_is_no_success() {
        assert!(!is_success(Summary::default()));
        assert!(!is_success(Summary {
            skipped: 3,
            ..Summary::default()
        }));
        assert!(is_success(Summary {
            passed: 1,
            skipped: 3,
            ..Summary::default()
        }));
        assert!(!is_success(Summary {
            passed: 9,
            failed: 1,
            ..Summary::default()
        }));
        assert!(!is_success(Summary {
            passed: 9,
            errors: 1,
            ..Summary::default()
        }));
    }
}
