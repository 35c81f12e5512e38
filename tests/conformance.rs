//! Every conformance case against each built-in proxy, as one test a case.
//!
//! Each proxy has one lab, started by the first test that needs it; cases run side by side in it.
//! Where something is missing that a lab needs, the tests are reported as ignored, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::case::{Case, Harm};
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, Lab, LabOptions, Netns, ProxyUnderTest};
use onehop_harness::profile::Profile;
use onehop_harness::run::{CaseResult, CaseRun, Verdict, lacking, unsupported};
use onehop_harness::timing::Timing;
use onehop_harness::tools::Progress;
use onehop_harness::world::World;
use onehop_harness::{netns, prepare};
use tokio::runtime::Runtime;

/// Cases that run side by side unless `--test-threads` says otherwise. They mostly wait for the
/// proxy, so that many more than there are processors pay.
const SIDE_BY_SIDE: usize = 8;

fn main() -> ExitCode {
    prepare::complete_path();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let missing = if arguments.list { None } else { enter().err() };
    let trials = Profile::built_in().flat_map(|name| match &missing {
        None => trials(name),
        Some(missing) => ignored(name, missing),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Builds what is to be judged, and enters the sandbox.
fn enter() -> Result<(), String> {
    let show = &mut |progress: Progress| {
        if progress.is_milestone() {
            eprintln!("{progress}");
        }
    };
    let names: Vec<_> = Profile::built_in().map(str::to_owned).collect();
    prepare::proxies(&names, None, show).map_err(|error| chain(&error))?;
    netns::enter(false)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// One test for each case against one proxy.
fn trials(name: &'static str) -> Vec<Trial> {
    let judged = Arc::new(Judged {
        name,
        lab: OnceLock::new(),
        beside: RwLock::default(),
    });
    let profile = Profile::load(name).expect("built-in profiles are valid");
    let trial = |(number, case): (usize, Case)| {
        let id = format!("{name}::{}", case.id);
        let lacking = || lacking(&case, &Netns::lacks());
        if let Some(reason) = unsupported(&case, &profile).or_else(lacking) {
            return ignored_trial(id, &reason);
        }
        let judged = Arc::clone(&judged);
        Trial::test(id, move || judged.judge(case, number))
    };
    onehop_suites::catalogue()
        .into_iter()
        .enumerate()
        .map(trial)
        .collect()
}

fn ignored(name: &str, reason: &str) -> Vec<Trial> {
    let cases = onehop_suites::catalogue();
    cases
        .iter()
        .map(|case| ignored_trial(format!("{name}::{}", case.id), reason))
        .collect()
}

/// A test that cannot run here, with the reason where a test runner shows it.
fn ignored_trial(id: String, reason: &str) -> Trial {
    Trial::test(id, || Ok(()))
        .with_kind(format!("ignored: {reason}"))
        .with_ignored_flag(true)
}

/// One proxy and its lab.
struct Judged {
    name: &'static str,
    lab: OnceLock<Result<Arc<Lab>, String>>,
    /// Held by every case that runs, and by one that harms everybody alone.
    beside: RwLock<()>,
}

impl Judged {
    fn judge(&self, case: Case, number: usize) -> Result<(), Failed> {
        let lab = self
            .lab
            .get_or_init(|| self.start().map_err(|error| chain(&*error)));
        let run = CaseRun {
            lab: lab.clone()?,
            case,
            number: u16::try_from(number).expect("fewer than 10 000 cases"),
            evidence: Some(self.dir().join("evidence")),
            sabotage: None,
        };
        // A case that panicked leaves no more behind than one that failed.
        let alone = run.case.harms() == Harm::Everybody;
        let _alone = alone.then(|| self.beside.write().unwrap_or_else(PoisonError::into_inner));
        let _beside = (!alone).then(|| self.beside.read().unwrap_or_else(PoisonError::into_inner));
        report(&runtime().block_on(run.run()))
    }

    fn start(&self) -> Result<Arc<Lab>, Box<dyn std::error::Error>> {
        let proxy: ProxyUnderTest = prepare::proxy(self.name, None, &mut |_| {})?;
        let options = LabOptions {
            world: World::story(),
            api: ApiKind::Embedded,
            proxy: Some(proxy),
            dir: self.dir().join("lab"),
            timing: Timing::default(),
        };
        Ok(Arc::new(runtime().block_on(Lab::start(options))?))
    }

    fn dir(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("conformance")
            .join(self.name)
    }
}

fn report(result: &CaseResult) -> Result<(), Failed> {
    match (result.verdict, &result.finding) {
        (Verdict::Pass, _) => return Ok(()),
        (Verdict::Known, Some(finding)) => {
            eprintln!("{} fails, as is known: {finding}", result.id);
            return Ok(());
        }
        _ => {}
    }
    let wrong: Vec<_> = result
        .flows
        .iter()
        .filter(|row| !row.passed())
        .map(|row| {
            let (from, to, got, expected) = (&row.from, &row.to, &row.got, &row.expected);
            format!(
                "{from} -> {to} {:?}\n  WRONG    {got}\n  EXPECTED {expected}",
                row.family
            )
        })
        .collect();
    Err(format!(
        "{}\n{:?}: {}\n{}\nevidence: {:?}",
        result.claim,
        result.verdict,
        result.reason.as_deref().unwrap_or("no reason"),
        wrong.join("\n"),
        result.evidence
    )
    .into())
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime can be made"))
}
