//! One proxy, its lab, and its tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use onehop_harness::case::{Case, Harm};
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, Lab, Netns, ProxyUnderTest};
use onehop_harness::profile::Profile;
use onehop_harness::provided::Provided;
use onehop_harness::run::{
    CaseResult, CaseRun, ProxyResults, Summary, Verdict, lacking, not_judged, panicked, skipped,
    unsupported,
};
use onehop_harness::timing::Timing;
use tokio::runtime::Runtime;

use super::ignored_trial;
use crate::files::EVIDENCE;

/// A proxy that is judged.
pub(super) struct Judged {
    name: String,
    profile: Profile,
    provided: Provided,
    dir: PathBuf,
    runtime: Arc<Runtime>,
    /// Made by the first case.
    lab: OnceLock<Started>,
    /// Held by every case that runs, and by one that harms everybody alone.
    beside: RwLock<()>,
    /// By the number of the case.
    results: Mutex<BTreeMap<usize, CaseResult>>,
}

/// A lab that was started, and when; or why it was not.
type Started = Result<(Arc<Lab>, Instant), String>;

impl Judged {
    pub(super) fn new(
        name: String,
        proxy: ProxyUnderTest,
        dir: PathBuf,
        runtime: Arc<Runtime>,
    ) -> Self {
        Self {
            name,
            profile: proxy.profile.clone(),
            provided: Provided::Netns {
                proxy: Box::new(proxy),
                api: ApiKind::Embedded,
            },
            dir,
            runtime,
            lab: OnceLock::new(),
            beside: RwLock::default(),
            results: Mutex::default(),
        }
    }

    /// One test for each case.
    pub(super) fn trials(self: &Arc<Self>, cases: &[Case]) -> Vec<Trial> {
        let trial = |(number, case): (usize, &Case)| {
            let id = format!("{}::{}", self.name, case.id);
            if let Some(reason) = self.cannot(case) {
                return ignored_trial(id, &reason);
            }
            let (judged, case) = (Arc::clone(self), case.clone());
            Trial::test(id, move || judged.judge(&case, number))
        };
        cases.iter().enumerate().map(trial).collect()
    }

    /// Why a case is not for this proxy, or not for this lab.
    fn cannot(&self, case: &Case) -> Option<String> {
        unsupported(case, &self.profile).or_else(|| lacking(case, &Netns::lacks()))
    }

    fn judge(&self, case: &Case, number: usize) -> Result<(), Failed> {
        let lab = match self.lab.get_or_init(|| self.start()) {
            Ok((lab, _)) => Arc::clone(lab),
            Err(error) => {
                self.note(number, not_judged(case, error));
                return Err(error.into());
            }
        };
        let run = CaseRun {
            lab,
            case: case.clone(),
            number: u16::try_from(number).expect("fewer than 10 000 cases"),
            evidence: Some(self.dir.join(EVIDENCE)),
            sabotage: None,
        };
        let result = {
            // A case that panicked leaves no more behind than one that failed.
            let alone = case.harms() == Harm::Everybody;
            let _alone = alone.then(|| self.beside.write().unwrap_or_else(PoisonError::into_inner));
            let _beside =
                (!alone).then(|| self.beside.read().unwrap_or_else(PoisonError::into_inner));
            let ran = self.runtime.spawn(run.run());
            self.runtime.block_on(ran)
        };
        let result = result.unwrap_or_else(|panic| panicked(case, &panic.to_string()));
        let told = told(&result);
        self.note(number, result);
        told
    }

    fn start(&self) -> Started {
        let started = self
            .provided
            .clone()
            .start(self.dir.join("lab"), Timing::default());
        match self.runtime.block_on(started) {
            Ok(lab) => Ok((Arc::new(lab), Instant::now())),
            Err(error) => Err(chain(&error)),
        }
    }

    fn note(&self, number: usize, result: CaseResult) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.insert(number, result);
    }

    /// What was judged, once every test has ended. Cases that are not for this proxy are part of it, unless a selection is asked
    /// for: whether they belong to that only the tests know.
    pub(super) fn results(&self, cases: &[Case], selection: bool) -> ProxyResults {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if !selection {
            for (number, case) in cases.iter().enumerate() {
                if let Some(reason) = self.cannot(case) {
                    results.insert(number, skipped(case, &reason));
                }
            }
        }
        let cases: Vec<_> = results.values().cloned().collect();
        let mut all = ProxyResults {
            summary: Summary::of(&cases),
            cases,
            ..ProxyResults::none(self.provided.info())
        };
        match self.lab.get() {
            None => {}
            Some(Err(error)) => all.error = Some(error.clone()),
            Some(Ok((lab, since))) => self.runtime.block_on(async {
                all.world = Some(lab.world().into());
                all.conclude(lab, &self.profile, since.elapsed()).await;
                if let Err(error) = lab.end().await {
                    all.error.get_or_insert_with(|| chain(&error));
                }
            }),
        }
        all
    }
}

/// The result of a case as that of a test.
fn told(result: &CaseResult) -> Result<(), Failed> {
    match (result.verdict, &result.finding) {
        (Verdict::Pass, _) => Ok(()),
        (Verdict::Known, Some(finding)) => {
            eprintln!("{} fails, as is known: {finding}", result.id);
            Ok(())
        }
        (verdict, _) => {
            let reason = result.reason.as_deref().unwrap_or("no reason");
            let wrong = onehop_report::wrong(result);
            Err(format!("{verdict}: {reason}\n\n{wrong}").into())
        }
    }
}
