//! `onehop run`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Report, Result, WrapErr, miette};
use onehop_harness::case::Case;
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, Lab, NodeProxy, ProxyUnderTest};
use onehop_harness::netns::Sandbox;
use onehop_harness::run::{
    BatchOptions, CaseResult, INTERRUPTED, ProxyInfo, ProxyResults, Results, RunInfo, SCHEMA,
    Summary, is_success, run_batch, skipped,
};
use onehop_harness::timing::Timing;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::arguments::{Api, RunArguments};
use crate::progress::CaseProgress;
use crate::{NOT_JUDGED, catalogue, lab, preparation, signals, table};

pub(crate) fn run(arguments: RunArguments) -> Result<ExitCode> {
    let cases = catalogue::select(&arguments.patterns, arguments.feature.as_deref())?;
    create(&arguments.out)?;
    let run = Run::new(arguments, cases);
    match run.prepare() {
        Ok(prepared) => {
            prepared
                .runtime
                .block_on(run.execute(prepared.proxies, prepared.api, prepared.sandbox))
        }
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

/// What a run needs of this machine.
struct Prepared {
    proxies: Vec<ProxyUnderTest>,
    api: ApiKind,
    sandbox: Sandbox,
    runtime: Runtime,
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
    fn new(arguments: RunArguments, cases: Vec<Case>) -> Self {
        Self {
            seed: arguments.seed.unwrap_or_else(any_seed),
            timing: arguments.lab.timing(),
            started: SystemTime::now(),
            clock: Instant::now(),
            arguments,
            cases,
        }
    }

    fn prepare(&self) -> Result<Prepared> {
        let binary = self.arguments.lab.proxy_binary.as_deref();
        let proxies = preparation::proxies(&self.arguments.proxies, binary)?;
        let api = preparation::api(&self.arguments.lab)?;
        let sandbox = preparation::enter(self.arguments.keep)?;
        // Only now: a runtime has threads.
        let runtime = Runtime::new().into_diagnostic()?;
        Ok(Prepared {
            proxies,
            api,
            sandbox,
            runtime,
        })
    }

    /// Writes the results of a run that ended before any lab: for each proxy, why.
    fn write_unprepared(&self, report: &Report) -> Result<Results> {
        let unjudged = |spec: &String| ProxyResults {
            error: Some(chain(report.as_ref())),
            summary: self.unjudged(),
            ..no_results(spec, None)
        };
        let results: Vec<_> = self.arguments.proxies.iter().map(unjudged).collect();
        self.write(&results)
    }

    /// The summary when no case could be judged.
    fn unjudged(&self) -> Summary {
        Summary {
            errors: self.cases.len(),
            ..Summary::default()
        }
    }

    async fn execute(
        self,
        proxies: Vec<ProxyUnderTest>,
        api: ApiKind,
        mut sandbox: Sandbox,
    ) -> Result<ExitCode> {
        let interrupted = interruption()?;
        let mut results = Vec::new();
        for proxy in proxies {
            let (result, lab) = self.judge(proxy, &api, &interrupted).await;
            let failed = !is_success(result.summary);
            results.push(result);
            if let (true, true, Some(lab)) = (self.arguments.keep, failed, lab) {
                self.write(&results)?;
                lab::stay(lab, &mut sandbox).await?;
            }
        }
        let results = self.write(&results)?;
        table::print(&results);
        println!("{}", self.arguments.out.join("results.json").display());
        Ok(exit_code(&results, *interrupted.borrow()))
    }

    /// Judges one proxy in a lab of its own. A lab that cannot be built is part of the results.
    async fn judge(
        &self,
        proxy: ProxyUnderTest,
        api: &ApiKind,
        interrupted: &watch::Receiver<bool>,
    ) -> (ProxyResults, Option<Arc<Lab>>) {
        let name = proxy.profile.name.clone();
        let dir = self.arguments.out.join(directory(&proxy));
        let mut results = no_results(&name, proxy.program.version.clone());
        let variations = proxy.profile.variations.iter();
        results.proxy.variations = variations
            .map(|(variation, value)| (variation.to_string(), value.clone()))
            .collect();
        let lab = tokio::select! {
            biased;
            () = becomes_true(interrupted.clone()) => {
                let skip = |case: &Case| skipped(case, INTERRUPTED);
                results.cases = self.cases.iter().map(skip).collect();
                results.summary = Summary::of(&results.cases);
                return (results, None);
            }
            lab = self.start_lab(proxy.clone(), api, &dir) => lab,
        };
        let lab = match lab {
            Ok(lab) => Arc::new(lab),
            Err(report) => {
                results.error = Some(chain(report.as_ref()));
                results.summary = self.unjudged();
                return (results, None);
            }
        };
        let clock = Instant::now();
        let progress = CaseProgress::start(&name, self.cases.len());
        let options = BatchOptions {
            jobs: self.arguments.jobs.into(),
            seed: self.seed,
            evidence: dir.join("evidence"),
            interrupted: interrupted.clone(),
        };
        let finished = |result: &CaseResult| progress.finished(result);
        results.cases = run_batch(&lab, &proxy.profile, &self.cases, &options, finished).await;
        progress.end();
        results.summary = Summary::of(&results.cases);
        results.proxy.restarts = lab.proxies().iter().map(NodeProxy::restarts).sum();
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
        let (dir, timing) = (dir.join("lab"), self.timing.clone());
        lab::start(api.clone(), Some(proxy), &dir, timing).await
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
        let path = self.arguments.out.join("results.json");
        let text = serde_json::to_string_pretty(&results).into_diagnostic()?;
        fs::write(&path, text)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", path.display()))?;
        Ok(results)
    }
}

/// A directory name for a proxy of a version.
fn directory(proxy: &ProxyUnderTest) -> String {
    match &proxy.profile.tool {
        Some(tool) => format!("{}@{}", proxy.profile.name, tool.version),
        None => proxy.profile.name.clone(),
    }
}

/// Results without any.
fn no_results(name: &str, version: Option<String>) -> ProxyResults {
    ProxyResults {
        proxy: ProxyInfo {
            name: name.to_owned(),
            version,
            variations: BTreeMap::new(),
            restarts: 0,
        },
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
fn interruption() -> Result<watch::Receiver<bool>> {
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

fn exit_code(results: &Results, interrupted: bool) -> ExitCode {
    let Summary {
        passed,
        failed,
        errors,
        ..
    } = results.summary;
    match (failed, errors + passed) {
        (1.., _) => ExitCode::from(1),
        (0, 0) => ExitCode::from(NOT_JUDGED),
        _ if errors > 0 || interrupted => ExitCode::from(NOT_JUDGED),
        _ => ExitCode::SUCCESS,
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
