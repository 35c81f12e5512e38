//! `onehop run`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Report, Result, WrapErr, miette};
use onehop::files::{self, EVIDENCE, RESULTS};
use onehop_harness::case::Case;
use onehop_harness::cluster::{self, PodImage, RunId};
use onehop_harness::error::chain;
use onehop_harness::image::Image;
use onehop_harness::kind;
use onehop_harness::lab::{Lab, directory};
use onehop_harness::netns::Sandbox;
use onehop_harness::profile::Profile;
use onehop_harness::provided::Provided;
use onehop_harness::run::{
    BatchOptions, CaseResult, INTERRUPTED, Outcome, ProxyInfo, ProxyResults, Results, RunInfo,
    Summary, run_batch, skipped,
};
use onehop_harness::timing::Timing;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::arguments::{Provider, RunArguments, Shard};
use crate::output::say;
use crate::progress::Progress;
use crate::{NOT_JUDGED, catalogue, context, lab, preparation, signals, table};

/// The proxy that is judged where none is named.
const DEFAULT_PROXY: &str = "bundled";

pub(crate) fn run(arguments: RunArguments) -> Result<ExitCode> {
    create(&arguments.out)?;
    let mut run = Run::new(arguments);
    match run.prepare() {
        Ok((ready, runtime)) => runtime.block_on(run.execute(ready)),
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

/// What a run has before it is executed.
struct Ready {
    subjects: Vec<Provided>,
    /// Of the embedded lab.
    sandbox: Option<Sandbox>,
}

/// A run about to be executed.
struct Run {
    arguments: RunArguments,
    /// Those that are judged, as they were given.
    proxies: Vec<String>,
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
            timing: Timing {
                idle: Duration::from_secs(arguments.idle_seconds),
                ..arguments.lab.timing()
            },
            started: SystemTime::now(),
            clock: Instant::now(),
            proxies: match &arguments.proxies[..] {
                [] => vec![DEFAULT_PROXY.to_owned()],
                named => named.to_vec(),
            },
            arguments,
            cases: Vec::new(),
        }
    }

    /// Selects the cases, and finds all that the run needs; for the embedded lab, also enters the
    /// sandbox.
    fn prepare(&mut self) -> Result<(Ready, Runtime)> {
        let arguments = &self.arguments;
        arguments.check_provider().map_err(|(option, provider)| {
            let help = format!("it belongs to --provider {provider}");
            miette!(
                help = help,
                "{option} has no meaning with --provider {}",
                arguments.provider
            )
        })?;
        let selected = catalogue::select(&arguments.patterns, arguments.feature.as_deref())?;
        self.cases = share(selected, arguments.shard)?;
        for spec in &self.proxies {
            let profile = Profile::load(spec).into_diagnostic()?;
            onehop_suites::check_known(&profile, &[]).into_diagnostic()?;
        }
        match arguments.provider {
            Provider::Netns => {
                let prepared = preparation::prepare(&self.proxies, &arguments.lab, arguments.keep)?;
                let api = prepared.api;
                let subjects = prepared.proxies.into_iter();
                let subjects = subjects.map(|proxy| Provided::Netns {
                    proxy: Box::new(proxy),
                    api: api.clone(),
                });
                let ready = Ready {
                    subjects: subjects.collect(),
                    sandbox: Some(prepared.sandbox),
                };
                // Only now: a runtime has threads.
                Ok((ready, Runtime::new().into_diagnostic()?))
            }
            Provider::Existing => {
                let (profile, image) = self.existing()?;
                let runtime = Runtime::new().into_diagnostic()?;
                let client = runtime.block_on(context::client_of(&arguments.existing.cluster))?;
                let run = RunId::new().into_diagnostic()?;
                let profile = Box::new(profile);
                let subjects = vec![Provided::Existing {
                    client,
                    profile,
                    image,
                    run,
                }];
                Ok((
                    Ready {
                        subjects,
                        sandbox: None,
                    },
                    runtime,
                ))
            }
            Provider::Kind => {
                let loaded = self.proxies.iter().map(|spec| Profile::load(spec));
                let profiles: Vec<_> = loaded.collect::<Result<_, _>>().into_diagnostic()?;
                let runtime = Runtime::new().into_diagnostic()?;
                let checked = runtime.block_on(kind::check(&profiles)).into_diagnostic()?;
                let subjects = profiles.into_iter().map(|profile| {
                    let run = RunId::new().into_diagnostic()?;
                    let options =
                        arguments
                            .kind
                            .options(profile, run, arguments.keep, self.timing.clone());
                    Ok(Provided::Kind {
                        checked: checked.clone(),
                        options: Box::new(options),
                    })
                });
                let subjects = subjects.collect::<Result<_>>()?;
                Ok((
                    Ready {
                        subjects,
                        sandbox: None,
                    },
                    runtime,
                ))
            }
        }
    }

    /// The proxy that an existing cluster runs, and onehop's image there.
    fn existing(&self) -> Result<(Profile, PodImage)> {
        let arguments = &self.arguments;
        let [proxy] = &arguments.proxies[..] else {
            let help = "a profile says what the proxy declares not to do: kube-proxy-nftables, \
                        kube-proxy-iptables, bundled, or a file";
            return Err(miette!(
                help = help,
                "name the one proxy that the cluster runs with --proxy"
            ));
        };
        let image = match &arguments.existing.image {
            Some(name) => PodImage {
                name: name.clone(),
                pulled: true,
            },
            None => PodImage {
                name: Image::of_this_program().into_diagnostic()?.name(),
                pulled: false,
            },
        };
        Ok((Profile::load(proxy).into_diagnostic()?, image))
    }

    /// Writes the results of a run that ended before any lab: for each proxy, why.
    fn write_unprepared(&self, report: &Report) -> Result<Results> {
        let unjudged = |spec: &String| {
            let results = ProxyResults::none(ProxyInfo {
                name: spec.clone(),
                ..ProxyInfo::default()
            });
            results.unjudged(&self.cases, chain(report.as_ref()))
        };
        let results: Vec<_> = self.proxies.iter().map(unjudged).collect();
        self.write(&results)
    }

    async fn execute(self, ready: Ready) -> Result<ExitCode> {
        let Ready {
            subjects,
            mut sandbox,
        } = ready;
        let interrupted = interruption()?;
        say!(
            "seed {}: --seed has the cases begin in this order again",
            self.seed
        );
        let mut results = Vec::new();
        let dirs = directories(&subjects);
        for (subject, dir) in subjects.into_iter().zip(dirs) {
            let dir = self.arguments.out.join(dir);
            let (result, lab) = self.judge(subject, &dir, &interrupted).await;
            let failed = result.outcome() != Outcome::Passed;
            results.push(result);
            let Some(lab) = lab else { continue };
            if let (true, true, Some(sandbox)) = (self.arguments.keep, failed, &mut sandbox) {
                self.write(&results)?;
                lab::stay(lab, sandbox).await?;
            } else if let Err(error) = lab.end().await
                && let Some(result) = results.last_mut()
            {
                result.error.get_or_insert_with(|| chain(&error));
            }
        }
        let results = self.write(&results)?;
        table::print(&results);
        let published = self.publish(&results).await;
        say!("{}", self.arguments.out.join(RESULTS).display());
        match (results.outcome(), published) {
            // That a case failed is the greater news.
            (Outcome::Failed, Err(error)) => eprintln!("onehop: {error:?}"),
            (_, published) => published?,
        }
        Ok(exit_code(results.outcome(), *interrupted.borrow()))
    }

    /// Judges one proxy in a lab of its own. A lab that cannot be built is part of the results.
    async fn judge(
        &self,
        subject: Provided,
        dir: &Path,
        interrupted: &watch::Receiver<bool>,
    ) -> (ProxyResults, Option<Arc<Lab>>) {
        let mut results = ProxyResults::none(subject.info());
        let elsewhere = match &subject {
            Provided::Existing { client, run, .. } => Some((client.clone(), run.clone())),
            _ => None,
        };
        let profile = subject.profile().clone();
        let lab = tokio::select! {
            biased;
            () = becomes_true(interrupted.clone()) => {
                let skip = |case: &Case| skipped(case, INTERRUPTED);
                results.cases = self.cases.iter().map(skip).collect();
                results.summary = Summary::of(&results.cases);
                if let Some((client, run)) = elsewhere {
                    cluster::abandon(&client, &run, &self.timing).await;
                }
                return (results, None);
            }
            lab = self.start_lab(subject, dir) => lab,
        };
        let lab = match lab {
            Ok(lab) if profile.tool.is_some() => {
                // A cluster has the kube-proxy that came with it.
                results.proxy.version = lab.cluster_version().or(results.proxy.version);
                Arc::new(lab)
            }
            Ok(lab) => Arc::new(lab),
            Err(report) => return (results.unjudged(&self.cases, chain(report.as_ref())), None),
        };
        results.world = Some(lab.world().into());
        let clock = Instant::now();
        let progress = Progress::start(&profile.name, self.cases.len(), "cases");
        let options = BatchOptions {
            jobs: self.arguments.jobs.into(),
            first: 0,
            seed: self.seed,
            evidence: Some(dir.join(EVIDENCE)),
            interrupted: interrupted.clone(),
            sabotage: None,
        };
        let finished = |result: &CaseResult| progress.finished(result);
        results.cases = run_batch(&lab, &profile, &self.cases, &options, finished).await;
        progress.end();
        results.conclude(&lab, &profile, clock.elapsed()).await;
        (results, Some(lab))
    }

    /// Writes the results to a ConfigMap, where one is named.
    async fn publish(&self, results: &Results) -> Result<()> {
        let existing = &self.arguments.existing;
        let Some(name) = &existing.config_map else {
            return Ok(());
        };
        let client = context::client_of(&existing.cluster).await?;
        let published = cluster::publish(&client, name, &results.without_flows()).await;
        published.map_err(|error| miette!("{}", chain(&error)))
    }

    async fn start_lab(&self, subject: Provided, dir: &Path) -> Result<Lab> {
        let timing = self.timing.clone();
        let out = std::path::absolute(dir).into_diagnostic()?;
        // Evidence of an earlier run says nothing about this one.
        directory::make_empty(&out.join(EVIDENCE)).into_diagnostic()?;
        let lab = subject.start(out.join("lab"), timing);
        lab.await.into_diagnostic()
    }

    fn write(&self, results: &[ProxyResults]) -> Result<Results> {
        let arguments = &self.arguments;
        let run = RunInfo::of(
            (&arguments.provider.to_string(), arguments.api_name()),
            self.seed,
            (self.started, self.clock.elapsed()),
            &self.timing,
        );
        let results = Results::of(run, results.to_vec());
        files::write(&arguments.out, &results).into_diagnostic()?;
        Ok(results)
    }
}

/// A share of these cases: every N-th, so that each has some of every subject.
fn share(cases: Vec<Case>, shard: Option<Shard>) -> Result<Vec<Case>> {
    let Some(Shard { number, of }) = shard else {
        return Ok(cases);
    };
    let all = cases.len();
    let shared: Vec<_> = cases.into_iter().skip(number - 1).step_by(of).collect();
    if shared.is_empty() {
        return Err(miette!("the share {number}/{of} of {all} cases is empty"));
    }
    Ok(shared)
}

/// A directory name for each proxy, and none twice: of its name, and its version if that was asked
/// for. Another of the same name and version gets a number.
fn directories(subjects: &[Provided]) -> Vec<String> {
    let profiles = subjects.iter().map(Provided::profile);
    let names = profiles.map(|profile| match &profile.tool {
        Some(tool) => format!("{}@{}", profile.name, tool.version),
        None => profile.name.clone(),
    });
    files::distinct(names)
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

pub(crate) fn any_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(now.subsec_nanos())
}
