//! Many cases side by side in one lab.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::results::{CaseResult, Verdict};
use super::runner::{CaseRun, skipped};
use super::sabotage::Sabotage;
use crate::case::{Case, Feature, Harm, Need};
use crate::lab::Lab;
use crate::profile::Profile;

/// Why cases that had not begun when a run was interrupted were skipped.
pub const INTERRUPTED: &str = "the run was interrupted";

/// How a batch is run.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// How many cases run side by side.
    pub jobs: usize,
    /// The number of the first case. Numbers give backends their ports: where a lab runs one batch after the other, each begins
    /// where the one before ended.
    pub first: usize,
    /// Decides the order in which cases start.
    pub seed: u64,
    /// Where evidence of failures goes; `None` where nobody will look at it. It takes longer than all else of a case.
    pub evidence: Option<PathBuf>,
    /// Becomes true when no further case is to be started.
    pub interrupted: watch::Receiver<bool>,
    /// What makes the proxy wrong for each case, where the suite itself is judged.
    pub sabotage: Option<Sabotage>,
}

/// Runs these cases and returns their results in the same order. `finished` is told each result
/// as it comes.
///
/// Cases that need something that the profile declares unsupported are skipped, and so are those
/// that have not begun when the run is interrupted; each with the reason. A case that panics is
/// one that could not be judged, and the others go on. No case runs beside one that
/// [harms](Case::harms) it.
pub async fn run_batch(
    lab: &Arc<Lab>,
    profile: &Profile,
    cases: &[Case],
    options: &BatchOptions,
    mut finished: impl FnMut(&CaseResult),
) -> Vec<CaseResult> {
    let mut results: Vec<Option<CaseResult>> = vec![None; cases.len()];
    let mut ended = |index: usize, result: CaseResult| {
        finished(&result);
        results[index] = Some(result);
    };
    let lacking = |case| lacking(case, lab.lacks());
    let mut waiting = VecDeque::new();
    for index in in_order(cases, options.seed) {
        let case = &cases[index];
        match unsupported(case, profile).or_else(|| lacking(case)) {
            None => waiting.push_back(index),
            Some(reason) => ended(index, skipped(case, &reason)),
        }
    }
    let (mut running, mut by_task) = (JoinSet::new(), HashMap::new());
    loop {
        if *options.interrupted.borrow() {
            for index in waiting.drain(..) {
                ended(index, skipped(&cases[index], INTERRUPTED));
            }
        }
        while running.len() < options.jobs.max(1)
            && let Some(index) = take_next(&mut waiting, cases, &by_task)
        {
            let run = CaseRun {
                lab: lab.clone(),
                case: cases[index].clone(),
                number: u16::try_from(options.first + index).expect("fewer than 10 000 cases"),
                evidence: options.evidence.clone(),
                sabotage: options.sabotage.clone(),
            };
            by_task.insert(running.spawn(run.run()).id(), index);
        }
        let Some((task, done)) = next(&mut running).await else {
            break;
        };
        let index = by_task.remove(&task).expect("a task of this batch");
        let result = done.unwrap_or_else(|panic| panicked(&cases[index], &panic));
        ended(index, result);
    }
    let results = results.into_iter();
    results
        .map(|result| result.expect("each has ended"))
        .collect()
}

/// The positions of cases in the order in which they begin: at random, but those with a workload first,
/// because they are the longest and wait most of their time; then those that let the most time pass; and those
/// last beside which nothing may run.
fn in_order(cases: &[Case], seed: u64) -> Vec<usize> {
    let mut order = shuffled(cases.len(), seed);
    order.sort_by_key(|index| {
        let case = &cases[*index];
        let alone = case.harms() == Harm::Everybody;
        let waits = Reverse(case.waits());
        (alone, case.workload.is_none(), case.harms(), waits)
    });
    order
}

/// Takes the first of those that wait that may run beside all that do.
fn take_next<T>(
    waiting: &mut VecDeque<usize>,
    cases: &[Case],
    running: &HashMap<T, usize>,
) -> Option<usize> {
    let may_begin = |index: &usize| {
        let mut running = running.values();
        running.all(|other| cases[*index].may_run_beside(&cases[*other]))
    };
    let position = waiting.iter().position(may_begin)?;
    waiting.remove(position)
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

/// The result of a case in the middle of which onehop panicked with this text.
pub fn panicked(case: &Case, panic: &str) -> CaseResult {
    let reason = format!("onehop panicked, which is a bug of its own: {panic}");
    not_judged(case, &reason)
}

impl CaseResult {
    /// Whether the case neither failed, but as is known, nor was left unjudged.
    pub fn is_fine(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Known | Verdict::Skip)
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
    use crate::case::{Change, Deployment, Service};

    #[test]
    fn a_seed_decides_an_order_of_all_cases() {
        let order = shuffled(50, 7);
        assert_eq!(order, shuffled(50, 7));
        assert_ne!(order, shuffled(50, 8));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    fn case(changes: impl IntoIterator<Item = Change>) -> Case {
        let case = Case::new("subject/case", "claim", Service::node_port(), &[]);
        changes.into_iter().fold(case, Case::change)
    }

    fn with_workload(changes: impl IntoIterator<Item = Change>) -> Case {
        case(changes).workload(1, &[Deployment::new("one", &["vm1"], 1)])
    }

    fn stops() -> Change {
        Change::Stop {
            node: "vm1",
            stopped: true,
        }
    }

    #[test]
    fn the_longest_begin_first_and_those_that_run_alone_last() {
        let cases = [
            case([]),
            with_workload([stops()]),
            with_workload([Change::Drain("vm1")]),
            with_workload([]),
        ];
        assert_eq!(in_order(&cases, 7), [3, 2, 0, 1]);
    }

    #[test]
    fn a_case_waits_for_those_that_it_must_not_run_beside_and_the_next_overtakes_it() {
        let cases = [
            with_workload([]),
            with_workload([Change::Drain("vm1")]),
            case([]),
            with_workload([stops()]),
        ];
        let mut waiting = VecDeque::from([0, 1, 2, 3]);
        let mut take = |running: &[usize]| {
            let running = running.iter().map(|index| (*index, *index)).collect();
            take_next(&mut waiting, &cases, &running)
        };
        assert_eq!(take(&[]), Some(0));
        assert_eq!(take(&[0]), Some(2));
        assert_eq!(take(&[0, 2]), None);
        assert_eq!(take(&[2]), Some(1));
        assert_eq!(take(&[2]), None);
        assert_eq!(take(&[]), Some(3));
        assert_eq!(take(&[]), None);
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
