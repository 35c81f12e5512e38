//! `onehop run`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_harness::case::Case;
use onehop_harness::lab::{ApiKind, Lab, LabOptions, NodeProxy, ProxyUnderTest};
use onehop_harness::netns::Sandbox;
use onehop_harness::run::{
    BatchOptions, CaseResult, ProxyInfo, ProxyResults, Results, RunInfo, SCHEMA, Summary,
    is_success, run_batch,
};
use onehop_harness::timing::Timing;
use onehop_harness::world::World;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::arguments::RunArguments;
use crate::progress::CaseProgress;
use crate::{NOT_JUDGED, catalogue, lab, preparation, table};

pub(crate) fn run(arguments: RunArguments) -> Result<ExitCode> {
    let cases = catalogue::select(&arguments.patterns, arguments.feature.as_deref())?;
    let binary = arguments.lab.proxy_binary.as_deref();
    let proxies = preparation::proxies(&arguments.proxies, binary)?;
    let api = preparation::api(&arguments.lab)?;
    fs::create_dir_all(&arguments.out)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to create {}", arguments.out.display()))?;
    let sandbox = preparation::enter(arguments.keep)?;
    let runtime = Runtime::new().into_diagnostic()?;
    runtime.block_on(Run::new(arguments, cases, api).execute(proxies, sandbox))
}

/// A run about to be executed.
struct Run {
    arguments: RunArguments,
    cases: Vec<Case>,
    api: ApiKind,
    timing: Timing,
    seed: u64,
}

impl Run {
    fn new(arguments: RunArguments, cases: Vec<Case>, api: ApiKind) -> Self {
        let seed = arguments.seed.unwrap_or_else(any_seed);
        Self {
            arguments,
            cases,
            api,
            timing: Timing::default(),
            seed,
        }
    }

    async fn execute(self, proxies: Vec<ProxyUnderTest>, mut sandbox: Sandbox) -> Result<ExitCode> {
        let interrupted = interruption()?;
        let (started, clock) = (SystemTime::now(), Instant::now());
        let mut results = Vec::new();
        for proxy in proxies {
            let (result, lab) = self.judge(proxy, &interrupted).await;
            let failed = !is_success(result.summary);
            results.push(result);
            if let (true, true, Some(lab)) = (self.arguments.keep, failed, lab) {
                self.write(&results, started, clock.elapsed())?;
                lab::stay(lab, &mut sandbox).await?;
            }
        }
        let results = self.write(&results, started, clock.elapsed())?;
        table::print(&results);
        println!("{}", self.arguments.out.join("results.json").display());
        Ok(exit_code(&results, *interrupted.borrow()))
    }

    /// Judges one proxy in a lab of its own. A lab that cannot be built is part of the results.
    async fn judge(
        &self,
        proxy: ProxyUnderTest,
        interrupted: &watch::Receiver<bool>,
    ) -> (ProxyResults, Option<Arc<Lab>>) {
        let name = proxy.profile.name.clone();
        let dir = self.arguments.out.join(directory(&proxy));
        let mut results = ProxyResults {
            proxy: ProxyInfo {
                name: name.clone(),
                version: proxy.program.version.clone(),
                variations: proxy
                    .profile
                    .variations
                    .iter()
                    .map(|(variation, value)| (variation.to_string(), value.clone()))
                    .collect(),
                restarts: 0,
            },
            phases: BTreeMap::new(),
            error: None,
            cases: Vec::new(),
            summary: Summary::default(),
        };
        let lab = match self.start_lab(proxy.clone(), &dir).await {
            Ok(lab) => Arc::new(lab),
            Err(error) => {
                results.error = Some(format!("{error:?}"));
                results.summary.errors = self.cases.len();
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

    async fn start_lab(&self, proxy: ProxyUnderTest, dir: &Path) -> Result<Lab> {
        let options = LabOptions {
            world: World::story(),
            api: self.api.clone(),
            proxy: Some(proxy),
            dir: std::path::absolute(dir.join("lab")).into_diagnostic()?,
            timing: self.timing.clone(),
        };
        Lab::start(options).await.into_diagnostic()
    }

    fn write(
        &self,
        results: &[ProxyResults],
        started: SystemTime,
        took: Duration,
    ) -> Result<Results> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let api = match self.api {
            ApiKind::Embedded => "embedded",
            ApiKind::Real(_) => "kube-apiserver",
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
                started: rfc3339(started),
                seconds: took.as_secs_f64(),
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

/// Becomes true when the run is asked to stop.
fn interruption() -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind).into_diagnostic()?;
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
