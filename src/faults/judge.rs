//! The suite against proxies that are wrong on purpose.

use std::path::PathBuf;
use std::sync::Arc;

use onehop_harness::case::Case;
use onehop_harness::error::chain;
use onehop_harness::kind::KindLabError;
use onehop_harness::lab::{Lab, LabError};
use onehop_harness::profile::Profile;
use onehop_harness::provided::Provided;
use onehop_harness::run::{BatchOptions, CaseResult, ProxyResults, Summary, Verdict, run_batch};
use onehop_harness::timing::Timing;
use tokio::sync::watch;

use super::fault::Fault;

/// How runs are made.
#[derive(Clone)]
pub(crate) struct Judge {
    /// The proxy without a fault, and where it is judged. The faults that are asked for work on it there.
    pub(crate) provided: Provided,
    pub(crate) timing: Timing,
    /// Cases that run side by side in a lab.
    pub(crate) jobs: usize,
    /// Whether evidence is kept of what a fault makes fail.
    pub(crate) evidence: bool,
    /// Each lab has a directory of its own below.
    pub(crate) dir: PathBuf,
    /// Becomes true when no further case is to be started.
    pub(crate) interrupted: watch::Receiver<bool>,
}

/// A run that says nothing about its cases.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgeError {
    /// There was no lab.
    #[error(transparent)]
    NoLab(#[from] KindLabError),
    /// The lab could not say whether its proxy is still there.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The proxy could not be made wrong.
    #[error("failed to make the proxy wrong: {0}")]
    Commit(String),
    /// The proxy was to be wrong, and not to crash.
    #[error("{0}")]
    Exited(String),
}

impl Judge {
    /// Runs cases against the proxy with a fault, or without any, in a lab of their own.
    pub(crate) async fn run(
        &self,
        fault: Option<Fault>,
        cases: &[Case],
    ) -> Result<ProxyResults, JudgeError> {
        let name = fault.map_or("none", Fault::name);
        let info = self.provided.info();
        let profile = self.provided.profile().clone();
        let profile = match fault {
            Some(fault) => fault.profile(profile),
            None => profile,
        };
        let lab = self.provided.clone().with_profile(profile.clone());
        let lab = lab.start(self.dir.join(name).join("lab"), self.timing.clone());
        let lab = Arc::new(lab.await?);
        let judged = self.judge(fault, &profile, cases, &lab).await;
        let judged = judged.map(|cases| ProxyResults {
            world: Some(lab.world().into()),
            summary: Summary::of(&cases),
            cases,
            ..ProxyResults::none(info)
        });
        // What it leaves behind says nothing about the cases.
        if let Err(error) = lab.end().await {
            eprintln!(
                "the lab of {name} has left something behind: {}",
                chain(&error)
            );
        }
        judged
    }

    async fn judge(
        &self,
        fault: Option<Fault>,
        profile: &Profile,
        cases: &[Case],
        lab: &Arc<Lab>,
    ) -> Result<Vec<CaseResult>, JudgeError> {
        let name = fault.map_or("none", Fault::name);
        let committed = match fault {
            Some(fault) => Some(fault.commit(lab).await.map_err(JudgeError::Commit)?),
            None => None,
        };
        // A right proxy that fails is news; one with a fault has to.
        let kept = self.evidence || fault.is_none();
        let options = BatchOptions {
            jobs: self.jobs,
            first: 0,
            seed: 0,
            evidence: kept.then(|| self.dir.join(name).join(&profile.name).join("evidence")),
            interrupted: self.interrupted.clone(),
            sabotage: fault.and_then(Fault::sabotage),
        };
        let results = run_batch(lab, profile, cases, &options, |_| {}).await;
        drop(committed);
        let exits = lab.proxy_fates().await?.texts;
        if exits.is_empty() {
            Ok(results)
        } else {
            Err(JudgeError::Exited(exits.join("\n")))
        }
    }
}

/// The cases that any of these faults names, each once.
pub(crate) fn named(faults: &[Fault]) -> Vec<Case> {
    let cases = onehop_suites::catalogue().into_iter();
    cases
        .filter(|case| faults.iter().any(|fault| fault.names(&case.id)))
        .collect()
}

/// What the suite made of a fault. A case that fails without any fault catches none, nor does one that the fault does
/// not name, or for a reason that it does not: among all cases side by side, one that fails by chance would catch every fault.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The cases that the fault names, and that failed as it says.
    pub(crate) caught: Vec<CaseResult>,
    /// Other cases that failed.
    pub(crate) others: Vec<CaseResult>,
    /// The cases that passed.
    pub(crate) passed: Vec<String>,
    /// The cases that were not run, and those that say nothing.
    pub(crate) unjudged: Vec<CaseResult>,
}

impl Outcome {
    /// Sorts the results of a fault, given those without any.
    pub(crate) fn of(fault: Fault, results: Vec<CaseResult>, control: &[CaseResult]) -> Self {
        let trusted = |result: &CaseResult| {
            let mut same = control.iter().filter(|known| known.id == result.id);
            same.any(|known| known.verdict == Verdict::Pass)
        };
        let mut outcome = Self::default();
        for result in results {
            match result.verdict {
                Verdict::Fail if trusted(&result) && fault.is_caught_by(&result) => {
                    outcome.caught.push(result);
                }
                Verdict::Fail if trusted(&result) => outcome.others.push(result),
                Verdict::Pass => outcome.passed.push(result.id),
                _ => outcome.unjudged.push(result),
            }
        }
        outcome
    }

    /// The cases that the fault names, and that did not catch it: all but those that cannot be run here, and those that
    /// fail because of a known defect.
    pub(crate) fn missed(&self, fault: Fault) -> Vec<&str> {
        let lacking =
            |result: &&CaseResult| !matches!(result.verdict, Verdict::Skip | Verdict::Known);
        let results = self
            .others
            .iter()
            .chain(self.unjudged.iter().filter(lacking));
        let results = results.map(|result| result.id.as_str());
        let all = self.passed.iter().map(String::as_str).chain(results);
        all.filter(|id| fault.names(id)).collect()
    }
}
