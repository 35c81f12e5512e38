//! `onehop run`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Report, Result, WrapErr, miette};
use onehop_harness::case::Case;
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, Lab, ProxyUnderTest, directory};
use onehop_harness::run::{
    BatchOptions, CaseResult, INTERRUPTED, Outcome, ProxyInfo, ProxyResults, Results, RunInfo,
    SCHEMA, Summary, not_judged, run_batch, skipped,
};
use onehop_harness::timing::Timing;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::arguments::{Api, RunArguments};
use crate::preparation::Prepared;
use crate::progress::CaseProgress;
use crate::{NOT_JUDGED, catalogue, lab, preparation, signals, table};

/// The results, in the directory for them.
const RESULTS: &str = "results.json";
/// The evidence, in the directory of a proxy.
const EVIDENCE: &str = "evidence";

pub(crate) fn run(arguments: RunArguments) -> Result<ExitCode> {
    create(&arguments.out)?;
    let mut run = Run::new(arguments);
    match run.prepare() {
        Ok((prepared, runtime)) => runtime.block_on(run.execute(prepared)),
        Err(report) => {
            // The results of an earlier run must not be taken for those of this one.
            if let Err(unwritten) = run.write_unprepared(&report) {
                eprintln!("onehop: {unwritten:?}");
            }
            Err(report)
        }
    }
}

/// Creates the directory of the results.
fn create(out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        let help = "name a directory with --out; it is created if it is not there";
        return Err(miette!(help = help, "{} is not a directory", out.display()));
    }
    fs::create_dir_all(out)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to create {}", out.display()))
}

/// A run about to be executed.
struct Run {
    arguments: RunArguments,
    cases: Vec<Case>,
    timing: Timing,
    seed: u64,
    started: SystemTime,
    clock: Instant,
}

impl Run {
    fn new(arguments: RunArguments) -> Self {
        Self {
            seed: arguments.seed.unwrap_or_else(any_seed),
            timing: arguments.lab.timing(),
            started: SystemTime::now(),
            clock: Instant::now(),
            arguments,
            cases: Vec::new(),
        }
    }

    /// Selects the cases, and enters the sandbox with all that the run needs.
    fn prepare(&mut self) -> Result<(Prepared, Runtime)> {
        let arguments = &self.arguments;
        self.cases = catalogue::select(&arguments.patterns, arguments.feature.as_deref())?;
        let prepared =
            preparation::prepare(&arguments.proxies, &arguments.lab, self.arguments.keep)?;
        // Only now: a runtime has threads.
        Ok((prepared, Runtime::new().into_diagnostic()?))
    }

    /// Writes the results of a run that ended before any lab: for each proxy, why.
    fn write_unprepared(&self, report: &Report) -> Result<Results> {
        let unjudged = |spec: &String| {
            let results = no_results(ProxyInfo {
                name: spec.clone(),
                ..ProxyInfo::default()
            });
            self.unjudged(results, chain(report.as_ref()))
        };
        let results: Vec<_> = self.arguments.proxies.iter().map(unjudged).collect();
        self.write(&results)
    }

    /// Results in which no case could be judged, and why.
    fn unjudged(&self, results: ProxyResults, error: String) -> ProxyResults {
        let cases: Vec<_> = self
            .cases
            .iter()
            .map(|case| not_judged(case, &error))
            .collect();
        ProxyResults {
            summary: Summary::of(&cases),
            error: Some(error),
            cases,
            ..results
        }
    }

    async fn execute(self, prepared: Prepared) -> Result<ExitCode> {
        let Prepared {
            proxies,
            api,
            mut sandbox,
        } = prepared;
        let interrupted = interruption()?;
        println!(
            "seed {}: --seed has the cases begin in this order again",
            self.seed
        );
        let mut results = Vec::new();
        let dirs = directories(&proxies);
        for (proxy, dir) in proxies.into_iter().zip(dirs) {
            let dir = self.arguments.out.join(dir);
            let (result, lab) = self.judge(proxy, &api, &dir, &interrupted).await;
            let failed = result.outcome() != Outcome::Passed;
            results.push(result);
            if let (true, true, Some(lab)) = (self.arguments.keep, failed, lab) {
                self.write(&results)?;
                lab::stay(lab, &mut sandbox).await?;
            }
        }
        let results = self.write(&results)?;
        table::print(&results);
        println!("{}", self.arguments.out.join(RESULTS).display());
        Ok(exit_code(results.outcome(), *interrupted.borrow()))
    }

    /// Judges one proxy in a lab of its own. A lab that cannot be built is part of the results.
    async fn judge(
        &self,
        proxy: ProxyUnderTest,
        api: &ApiKind,
        dir: &Path,
        interrupted: &watch::Receiver<bool>,
    ) -> (ProxyResults, Option<Arc<Lab>>) {
        let mut results = no_results(proxy_info(&proxy));
        let lab = tokio::select! {
            biased;
            () = becomes_true(interrupted.clone()) => {
                let skip = |case: &Case| skipped(case, INTERRUPTED);
                results.cases = self.cases.iter().map(skip).collect();
                results.summary = Summary::of(&results.cases);
                return (results, None);
            }
            lab = self.start_lab(proxy.clone(), api, dir) => lab,
        };
        let lab = match lab {
            Ok(lab) => Arc::new(lab),
            Err(report) => return (self.unjudged(results, chain(report.as_ref())), None),
        };
        let clock = Instant::now();
        let progress = CaseProgress::start(&proxy.profile.name, self.cases.len());
        let options = BatchOptions {
            jobs: self.arguments.jobs.into(),
            seed: self.seed,
            evidence: dir.join(EVIDENCE),
            interrupted: interrupted.clone(),
        };
        let finished = |result: &CaseResult| progress.finished(result);
        results.cases = run_batch(&lab, &proxy.profile, &self.cases, &options, finished).await;
        progress.end();
        results.summary = Summary::of(&results.cases);
        match lab.proxy_fates().await {
            Ok(fates) => {
                results.proxy.restarts = fates.restarts;
                results.proxy.exits = fates.exits;
                if !proxy.profile.netns.may_restart && !fates.texts.is_empty() {
                    results.error = Some(fates.texts.join("\n"));
                }
            }
            Err(error) => results.error = Some(chain(&error)),
        }
        let phases = lab
            .phases()
            .iter()
            .map(|(name, time)| ((*name).to_owned(), *time));
        let phases = phases.chain([("cases".to_owned(), clock.elapsed())]);
        results.phases = phases
            .map(|(name, time)| (name, time.as_secs_f64()))
            .collect();
        (results, Some(lab))
    }

    async fn start_lab(&self, proxy: ProxyUnderTest, api: &ApiKind, dir: &Path) -> Result<Lab> {
        let timing = self.timing.clone();
        let out = std::path::absolute(dir).into_diagnostic()?;
        // Evidence of an earlier run says nothing about this one.
        directory::make_empty(&out.join(EVIDENCE)).into_diagnostic()?;
        lab::start(api.clone(), Some(proxy), &out.join("lab"), timing).await
    }

    fn write(&self, results: &[ProxyResults]) -> Result<Results> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let api = match self.arguments.lab.api {
            Api::Embedded => "embedded",
            Api::Real => "kube-apiserver",
        };
        let all = results.iter().map(|proxy| proxy.summary);
        let results = Results {
            schema: SCHEMA.to_owned(),
            run: RunInfo {
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
                provider: "netns".to_owned(),
                api: api.to_owned(),
                kernel: kernel.trim().to_owned(),
                seed: self.seed,
                started: rfc3339(self.started),
                seconds: self.clock.elapsed().as_secs_f64(),
                timing: self.timing.clone(),
            },
            summary: all.fold(Summary::default(), Summary::plus),
            results: results.to_vec(),
        };
        let path = self.arguments.out.join(RESULTS);
        let text = serde_json::to_string_pretty(&results).into_diagnostic()?;
        fs::write(&path, text)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", path.display()))?;
        Ok(results)
    }
}

/// A directory name for each proxy, and none twice: of its name, and its version if that was asked
/// for. Another of the same name and version gets a number.
fn directories(proxies: &[ProxyUnderTest]) -> Vec<String> {
    let names = proxies.iter().map(|proxy| match &proxy.profile.tool {
        Some(tool) => format!("{}@{}", proxy.profile.name, tool.version),
        None => proxy.profile.name.clone(),
    });
    distinct(names)
}

/// These names, with a number at the end of those that are taken.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = BTreeSet::from([RESULTS.to_owned()]);
    names
        .map(|name| {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut candidates = std::iter::once(name.clone()).chain(numbered);
            let free = candidates.find(|candidate| !taken.contains(candidate));
            let free = free.expect("numbers do not end");
            taken.insert(free.clone());
            free
        })
        .collect()
}

fn proxy_info(proxy: &ProxyUnderTest) -> ProxyInfo {
    let variations = proxy.profile.variations.iter();
    ProxyInfo {
        name: proxy.profile.name.clone(),
        version: proxy.program.version.clone(),
        mode: proxy.profile.mode.clone(),
        variations: variations
            .map(|(variation, value)| (variation.to_string(), value.clone()))
            .collect(),
        ..ProxyInfo::default()
    }
}

/// Results without any.
fn no_results(proxy: ProxyInfo) -> ProxyResults {
    ProxyResults {
        proxy,
        phases: BTreeMap::new(),
        error: None,
        cases: Vec::new(),
        summary: Summary::default(),
    }
}

async fn becomes_true(mut receiver: watch::Receiver<bool>) {
    if receiver.wait_for(|value| *value).await.is_err() {
        // Nobody is left who could interrupt.
        std::future::pending::<()>().await;
    }
}

/// Becomes true when the run is asked to stop.
pub(crate) fn interruption() -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    for mut signals in signals::ends().into_diagnostic()? {
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if !sender.send_replace(true) {
                    eprintln!("onehop: interrupted; waiting for the cases under way");
                }
            }
        });
    }
    Ok(receiver)
}

fn exit_code(outcome: Outcome, interrupted: bool) -> ExitCode {
    match outcome {
        Outcome::Failed => ExitCode::from(1),
        Outcome::Passed if !interrupted => ExitCode::SUCCESS,
        Outcome::Passed | Outcome::NotJudged => ExitCode::from(NOT_JUDGED),
    }
}

fn any_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(now.subsec_nanos())
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_proxies_share_a_directory_and_none_is_that_of_the_results() {
        let names = ["mine", "other", "mine", "mine-2", "mine", RESULTS];
        let dirs = distinct(names.into_iter().map(str::to_owned));
        let expected = [
            "mine",
            "other",
            "mine-2",
            "mine-2-2",
            "mine-3",
            "results.json-2",
        ];
        assert_eq!(dirs, expected);
    }
}
