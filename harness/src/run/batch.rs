//! Many cases side by side in one lab.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinSet};

use super::results::{CaseResult, Verdict};
use super::runner::{CaseRun, skipped};
use crate::case::{Case, Feature, Need};
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
/// that have not begun when the run is interrupted; each with the reason. A case that panics is
/// one that could not be judged, and the others go on. Cases that change what others depend on run
/// at the end, each alone.
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
    let mut indices = HashMap::new();
    let mut order = shuffled(cases.len(), options.seed);
    order.sort_by_key(|index| cases[*index].runs_alone());
    let jobs = u32::try_from(options.jobs).expect("few jobs");
    for index in order {
        let case = &cases[index];
        let lacking = || lacking(case, lab.lacks());
        if let Some(reason) = unsupported(case, profile).or_else(lacking) {
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
        let task = running.spawn(async move {
            let wanted = if run.case.runs_alone() { jobs } else { 1 };
            let _places = places.acquire_many(wanted).await.expect("never closed");
            if *interrupted.borrow() {
                return skipped(&run.case, INTERRUPTED);
            }
            run.run().await
        });
        indices.insert(task.id(), index);
    }
    while let Some((task, done)) = next(&mut running).await {
        let index = indices[&task];
        let result = done.unwrap_or_else(|panic| {
            let reason = format!("onehop panicked, which is a bug of its own: {panic}");
            not_judged(&cases[index], &reason)
        });
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

/// The first thing that a case needs of the world and a lab's [lacks](Lab::lacks), as a reason.
pub fn lacking(case: &Case, lacks: &BTreeMap<Need, String>) -> Option<String> {
    let needs = case.world_needs();
    let mut missing = lacks.iter().filter(|(need, _)| needs.contains(need));
    let (need, why) = missing.next()?;
    Some(format!("needs {need}: {why}"))
}

/// The next task to end, with its result or the text of its panic.
async fn next<T: 'static>(running: &mut JoinSet<T>) -> Option<(Id, Result<T, String>)> {
    Some(match running.join_next_with_id().await? {
        Ok((id, result)) => (id, Ok(result)),
        Err(error) => {
            let id = error.id();
            let text = match error.try_into_panic() {
                Ok(panic) => panic_text(&*panic),
                Err(cancelled) => cancelled.to_string(),
            };
            (id, Err(text))
        }
    })
}

/// What a panic says: `panic!` makes a `String`, or a `&str` where there is nothing to format.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a text").to_owned()
}

/// The result of a case that could not be judged, and why.
pub fn not_judged(case: &Case, reason: &str) -> CaseResult {
    CaseResult {
        verdict: Verdict::Error,
        ..skipped(case, reason)
    }
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

    #[tokio::test]
    async fn a_task_that_panics_is_told_from_the_others() {
        let mut running = JoinSet::new();
        let fine = running.spawn(async { 7 }).id();
        let plain = running.spawn(async { panic!("plain") }).id();
        let number = 3;
        let formatted = running.spawn(async move { panic!("no {number}") }).id();
        let mut ended = HashMap::new();
        while let Some((id, result)) = next(&mut running).await {
            ended.insert(id, result);
        }
        assert_eq!(ended[&fine], Ok(7));
        assert_eq!(ended[&plain], Err("plain".to_owned()));
        assert_eq!(ended[&formatted], Err("no 3".to_owned()));
    }
}
