//! `onehop compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use onehop::files::{self, EVIDENCE, RESULTS};
use onehop_harness::bench::Report;
use onehop_harness::case::Case;
use onehop_harness::error::chain;
use onehop_harness::lab::{Lab, directory};
use onehop_harness::profile::Profile;
use onehop_harness::provided::Provided;
use onehop_harness::run::{BatchOptions, Outcome, ProxyResults, Results, RunInfo, run_batch};
use onehop_report::Comparison;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::arguments::{CompareArguments, CompareFormat};
use crate::progress::Progress;
use crate::run;
use crate::{NOT_JUDGED, bench, catalogue, output, preparation};

/// The schema of a comparison as JSON.
const SCHEMA: &str = "onehop.comparison/v1";

/// In how many turns so many cases are run. Enough to tell how much times differ from one to the next, and not more than leave each the
/// cases that keep all busy that run side by side.
fn turns_of(cases: usize) -> usize {
    cases.div_ceil(24).max(6).min(cases.div_ceil(2)).max(1)
}

pub(crate) fn compare(arguments: &CompareArguments) -> Result<ExitCode> {
    let slower = arguments.slower;
    let (comparison, interrupted) = match (&arguments.base, &arguments.head) {
        (Some(base), Some(head)) => (of_directories(base, head, slower)?, false),
        _ => {
            let cases = catalogue::select(&arguments.patterns, None)?;
            let turns = turns_of(cases.len());
            let (base, head, interrupted) = side_by_side(arguments, &cases, turns)?;
            let comparison = onehop_report::compare_turns(&base, &head, slower, turns);
            (comparison, interrupted)
        }
    };
    print(&comparison, arguments.format)?;
    Ok(match comparison.outcome() {
        _ if interrupted => ExitCode::from(NOT_JUDGED),
        Outcome::NotJudged => ExitCode::from(NOT_JUDGED),
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
    })
}

/// Compares what two earlier runs both have: verdicts, benches, or both.
fn of_directories(base: &Path, head: &Path, slower: f64) -> Result<Comparison> {
    let benches = [bench_in(base)?, bench_in(head)?];
    let have_benches = benches.each_ref().map(Option::is_some);
    let [of_base, of_head] = benches;
    let benches = of_base.zip(of_head);
    let runs = [base, head].map(|path| has(path, RESULTS));
    let mut comparison = if benches.is_some() && runs != [true; 2] {
        Comparison::default()
    } else {
        onehop_report::compare(&read(base)?, &read(head)?, slower)
    };
    if let Some((base, head)) = &benches {
        comparison.add_benches(base, head, slower);
    }
    // What only one of them has was not compared, beside what both have.
    for (file, has) in [(RESULTS, runs), (bench::RESULTS, have_benches)] {
        let alone = match has {
            [true, false] => base,
            [false, true] => head,
            _ => continue,
        };
        let alone = alone.display();
        comparison
            .unjudged
            .push(format!("only {alone} has a {file}"));
    }
    Ok(comparison)
}

/// Whether this is a directory with such a file, or the file itself.
fn has(path: &Path, file: &str) -> bool {
    path.join(file).is_file() || path.file_name().is_some_and(|name| name == file)
}

/// This file of a directory, or the file that is named.
fn file_of(path: &Path, file: &str) -> PathBuf {
    if path.is_dir() {
        path.join(file)
    } else {
        path.to_owned()
    }
}

/// The bench in a directory, or in the file that is named; none where there is none.
fn bench_in(path: &Path) -> Result<Option<Report>> {
    if !has(path, bench::RESULTS) {
        return Ok(None);
    }
    let file = file_of(path, bench::RESULTS);
    let report = Report::read(&file)
        .into_diagnostic()
        .wrap_err_with(|| format!("no bench to compare in {}", file.display()))?;
    Ok(Some(report))
}

fn print(comparison: &Comparison, format: CompareFormat) -> Result<()> {
    let text = match format {
        CompareFormat::Text => comparison.to_string(),
        CompareFormat::Markdown => comparison.markdown(),
        CompareFormat::Html => format!("{}\n", comparison.html()),
        CompareFormat::Json => {
            let mut document = serde_json::to_value(comparison).into_diagnostic()?;
            document["schema"] = SCHEMA.into();
            format!("{document:#}\n")
        }
    };
    output::print(&text).map(drop)
}

/// Reads the results in a directory, or in a file. A run that judged nothing compares with nothing.
fn read(path: &Path) -> Result<Results> {
    let file = file_of(path, RESULTS);
    let results = Results::read(&file)
        .into_diagnostic()
        .wrap_err_with(|| format!("no run to compare in {}", path.display()))?;
    let summary = results.summary;
    if summary.passed + summary.failed + summary.known == 0 {
        let help = "onehop run writes results.json into its --out";
        return Err(miette!(
            help = help,
            "{} has judged nothing",
            file.display()
        ));
    }
    Ok(results)
}

/// The directories of two proxies that are run now.
const SIDES: [&str; 2] = ["base", "head"];

/// One of two proxies that are run now.
struct Side {
    profile: Profile,
    lab: Arc<Lab>,
    results: ProxyResults,
    dir: PathBuf,
    took: Duration,
}

/// Runs two proxies in labs of their own, in so many turns.
fn side_by_side(
    arguments: &CompareArguments,
    cases: &[Case],
    turns: usize,
) -> Result<(Results, Results, bool)> {
    if arguments.proxies.len() != 2 {
        let help = "name two runs, BASE and HEAD, or two proxies: --proxy A --proxy B";
        return Err(miette!(
            help = help,
            "a comparison takes two, and {} is given",
            arguments.proxies.len()
        ));
    }
    let prepared = preparation::prepare(&arguments.proxies, &arguments.lab, false)?;
    let (api, _sandbox) = (prepared.api, prepared.sandbox);
    let provided = prepared.proxies.into_iter().map(|proxy| Provided::Netns {
        proxy: Box::new(proxy),
        api: api.clone(),
    });
    let provided: Vec<_> = provided.collect();
    // Only now: a runtime has threads.
    let runtime = Runtime::new().into_diagnostic()?;
    runtime.block_on(async {
        let interrupted = run::interruption()?;
        let (started, clock) = (SystemTime::now(), Instant::now());
        let seed = run::any_seed();
        let info = || {
            let places = ("netns", arguments.lab.api_name());
            RunInfo::of(
                places,
                seed,
                (started, clock.elapsed()),
                &arguments.lab.timing(),
            )
        };
        let both: Vec<_> = provided.iter().map(Provided::info).collect();
        let mut sides = Vec::new();
        for (provided, name) in provided.into_iter().zip(SIDES) {
            match Side::start(provided, &arguments.out.join(name), arguments).await {
                Ok(side) => sides.push(side),
                Err(report) => {
                    // What is there of an earlier comparison must not be taken for this one.
                    let why = format!("{name} did not start: {}", chain(report.as_ref()));
                    for (proxy, name) in both.into_iter().zip(SIDES) {
                        let dir = arguments.out.join(name);
                        create(&dir)?;
                        let none = ProxyResults::none(proxy).unjudged(cases, why.clone());
                        let results = Results::of(info(), vec![none]);
                        files::write(&dir, &results).into_diagnostic()?;
                    }
                    return Err(report);
                }
            }
        }
        let progress = Progress::start_aside("both", 2 * cases.len(), "cases");
        let mut first = 0;
        for number in 0..turns {
            // Of every subject a part, so that each turn has something to say of most measures.
            let part = cases.iter().skip(number).step_by(turns);
            let part: Vec<_> = part.cloned().collect();
            // Neither has the advantage of being the first each time.
            for side in [number % 2, (number + 1) % 2] {
                sides[side]
                    .take_turn(
                        &part,
                        (first, seed),
                        &progress,
                        &interrupted,
                        arguments.jobs,
                    )
                    .await;
            }
            first += part.len();
        }
        progress.end();
        let mut runs = Vec::new();
        for mut side in sides {
            let place = |id: &str| cases.iter().position(|case| case.id == id);
            side.results.cases.sort_by_key(|result| place(&result.id));
            runs.push(side.end(info()).await?);
        }
        let head = runs.pop().expect("two were started");
        let base = runs.pop().expect("two were started");
        Ok((base, head, *interrupted.borrow()))
    })
}

fn create(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to create {}", dir.display()))
}

impl Side {
    async fn start(provided: Provided, dir: &Path, arguments: &CompareArguments) -> Result<Self> {
        let dir = std::path::absolute(dir).into_diagnostic()?;
        create(&dir)?;
        let (profile, info) = (provided.profile().clone(), provided.info());
        // As a run has it.
        let own = dir.join(&profile.name);
        directory::make_empty(&own.join(EVIDENCE)).into_diagnostic()?;
        let lab = provided.start(own.join("lab"), arguments.lab.timing());
        let lab = Arc::new(lab.await.into_diagnostic()?);
        Ok(Self {
            profile,
            results: ProxyResults {
                world: Some(lab.world().into()),
                ..ProxyResults::none(info)
            },
            lab,
            dir,
            took: Duration::ZERO,
        })
    }

    async fn take_turn(
        &mut self,
        cases: &[Case],
        (first, seed): (usize, u64),
        progress: &Progress,
        interrupted: &watch::Receiver<bool>,
        jobs: u16,
    ) {
        let clock = Instant::now();
        let options = BatchOptions {
            jobs: jobs.into(),
            first,
            seed,
            evidence: Some(self.dir.join(&self.profile.name).join(EVIDENCE)),
            interrupted: interrupted.clone(),
            sabotage: None,
        };
        let finished = |result: &_| progress.finished(result);
        let done = run_batch(&self.lab, &self.profile, cases, &options, finished).await;
        self.results.cases.extend(done);
        self.took += clock.elapsed();
    }

    /// Writes its results, as those of a run of its own.
    async fn end(mut self, info: RunInfo) -> Result<Results> {
        self.results
            .conclude(&self.lab, &self.profile, self.took)
            .await;
        if let Err(error) = self.lab.end().await {
            let error = chain(&error);
            self.results.error.get_or_insert(error);
        }
        let results = Results::of(info, vec![self.results]);
        files::write(&self.dir, &results).into_diagnostic()?;
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_enough_to_tell_and_leave_each_enough_to_do() {
        for (cases, turns) in [(0, 1), (1, 1), (2, 1), (4, 2), (12, 6), (54, 6), (242, 11)] {
            assert_eq!(turns_of(cases), turns, "{cases} cases");
        }
    }
}
