//! `onehop faults`: whether the suite notices when a proxy is wrong.

#[cfg(feature = "faults")]
mod fault;
#[cfg(feature = "faults")]
mod judge;
#[cfg(feature = "faults")]
mod report;
#[cfg(feature = "faults")]
mod select;

use std::process::ExitCode;

use miette::Result;

use crate::arguments::FaultsArguments;

#[cfg(not(feature = "faults"))]
pub(crate) fn faults(_: &FaultsArguments) -> Result<ExitCode> {
    Err(miette::miette!(
        help = "build one that has: cargo run --features faults -- faults",
        "this build of onehop has no faults"
    ))
}

#[cfg(feature = "faults")]
pub(crate) use with_faults::faults;

#[cfg(feature = "faults")]
mod with_faults {
    use std::time::{Duration, Instant, SystemTime};

    use futures::{StreamExt, stream};
    use miette::{IntoDiagnostic, miette};
    use onehop::files;
    use onehop_harness::case::Case;
    use onehop_harness::cluster::RunId;
    use onehop_harness::error::chain;
    use onehop_harness::kind;
    use onehop_harness::profile::Profile;
    use onehop_harness::provided::Provided;
    use onehop_harness::run::{CaseResult, ProxyResults, Results, RunInfo, Verdict};
    use onehop_harness::timing::Timing;
    use tokio::runtime::Runtime;

    use super::fault::Fault;
    use super::judge::{Judge, Outcome, named};
    use super::report::{self, Judged, Report};
    use super::select::select;
    use super::{ExitCode, FaultsArguments, Result};
    use crate::arguments::{KindArguments, Provider};
    use crate::output::say;
    use crate::progress::Progress;
    use crate::{NOT_JUDGED, preparation, run};

    /// Judges the proxy with each fault that is asked for.
    ///
    /// # Errors
    /// When nothing could be judged.
    pub(crate) fn faults(arguments: &FaultsArguments) -> Result<ExitCode> {
        let profile = Profile::load(&arguments.proxy).into_diagnostic()?;
        check_provider(arguments)?;
        let on_kind = arguments.provider == Provider::Kind;
        let faults = select(&profile, on_kind, &arguments.patterns)?;
        if arguments.list {
            report::list(&faults);
            return Ok(ExitCode::SUCCESS);
        }
        let out = report::create(&arguments.out)?;
        let timing = Timing {
            converge: arguments.converge(),
            ..arguments.lab.timing()
        };
        let (provided, runtime, _sandbox) = if on_kind {
            let runtime = Runtime::new().into_diagnostic()?;
            (
                runtime.block_on(on_clusters(profile, &timing))?,
                runtime,
                None,
            )
        } else {
            let specs = std::slice::from_ref(&arguments.proxy);
            let mut prepared = preparation::prepare(specs, &arguments.lab, false)?;
            let provided = Provided::Netns {
                proxy: Box::new(prepared.proxies.pop().expect("one was asked for")),
                api: prepared.api,
            };
            // Only now: a runtime has threads.
            let runtime = Runtime::new().into_diagnostic()?;
            (provided, runtime, Some(prepared.sandbox))
        };
        let report = runtime.block_on(async {
            let judge = Judge {
                provided,
                timing,
                jobs: arguments.jobs.into(),
                evidence: arguments.evidence,
                dir: out.join(report::LABS),
                interrupted: run::interruption()?,
            };
            judge_all(&judge, &faults, arguments).await
        })?;
        report.write(&out)?;
        say!("{}", report.table());
        if let Some(table) = report.table_of_cases() {
            say!("{table}");
        }
        say!("{}", report.summary());
        Ok(if report.interrupted {
            ExitCode::from(NOT_JUDGED)
        } else if report.uncaught().next().is_some() || !report.unfailed().is_empty() {
            ExitCode::from(1)
        } else if report.control_is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_JUDGED)
        })
    }

    /// What has no meaning where the faults are to be committed.
    fn check_provider(arguments: &FaultsArguments) -> Result<()> {
        let wrong = match arguments.provider {
            Provider::Existing => Some("faults need labs of their own"),
            Provider::Kind if arguments.lab.proxy_binary.is_some() => {
                Some("on kind, the proxy is what is in its image, and not --proxy-binary")
            }
            Provider::Kind if arguments.labs.is_some_and(|labs| labs > 1) => {
                Some("there is one kind cluster at a time, and not --labs")
            }
            Provider::Kind | Provider::Netns => None,
        };
        match wrong {
            Some(wrong) => Err(miette!(
                help = "--provider netns, which is the default, has labs in network namespaces",
                "{wrong}"
            )),
            None => Ok(()),
        }
    }

    async fn on_clusters(profile: Profile, timing: &Timing) -> Result<Provided> {
        let checked = kind::check(std::slice::from_ref(&profile)).await;
        let run = RunId::new().into_diagnostic()?;
        let options = KindArguments::default().options(profile, run, false, timing.clone());
        Ok(Provided::Kind {
            checked: checked.into_diagnostic()?,
            options: Box::new(options),
        })
    }

    async fn judge_all(
        judge: &Judge,
        faults: &[Fault],
        arguments: &FaultsArguments,
    ) -> Result<Report> {
        let clock = Instant::now();
        let cases = if arguments.quick {
            named(faults)
        } else {
            onehop_suites::catalogue()
        };
        say!("{} cases without a fault", cases.len());
        let control = judge.run(None, &cases).await.into_diagnostic()?.cases;
        for result in control.iter().filter(|result| !result.is_fine()) {
            let reason = result.reason.as_deref().unwrap_or("no reason");
            say!("{}  {}  {reason}", result.verdict, result.id);
        }
        let wanted = faults.iter().take_while(|_| !*judge.interrupted.borrow());
        let runs = stream::iter(wanted).map(|&fault| {
            let cases = if arguments.quick {
                named(&[fault])
            } else {
                cases.clone()
            };
            judge_one(judge, fault, cases, &control, arguments)
        });
        let mut runs = runs.buffered(arguments.labs());
        let mut judged = Vec::new();
        let title = &judge.provided.profile().name;
        let progress = Progress::start(title, faults.len(), "faults");
        while let Some(one) = runs.next().await {
            progress.done(one.fault.name(), &one.line(), true);
            judged.push(one);
        }
        progress.end();
        drop(runs);
        Ok(Report {
            proxy: judge.provided.profile().name.clone(),
            provider: arguments.provider.to_string(),
            quick: arguments.quick,
            whole: !arguments.quick && arguments.patterns.is_empty(),
            seconds: clock.elapsed().as_secs_f64(),
            timing: judge.timing.clone(),
            interrupted: *judge.interrupted.borrow(),
            control,
            judged,
        })
    }

    /// Writes the results of a fault, and the reports of them, beside its evidence.
    fn tell(
        judge: &Judge,
        fault: Fault,
        results: &ProxyResults,
        time: (SystemTime, Duration),
        arguments: &FaultsArguments,
    ) -> Result<()> {
        let places = (&*arguments.provider.to_string(), arguments.api_name());
        let run = RunInfo::of(places, 0, time, &judge.timing);
        let results = Results::of(run, vec![results.clone()]);
        files::write(&judge.dir.join(fault.name()), &results).into_diagnostic()
    }

    async fn judge_one(
        judge: &Judge,
        fault: Fault,
        cases: Vec<Case>,
        control: &[CaseResult],
        arguments: &FaultsArguments,
    ) -> Judged {
        let (started, clock) = (SystemTime::now(), Instant::now());
        // A control that passed nothing proves nothing.
        let any = cases.iter().any(|case| {
            let mut same = control.iter().filter(|known| known.id == case.id);
            same.any(|known| known.verdict == Verdict::Pass)
        });
        let (outcome, error) = if any {
            match judge.run(Some(fault), &cases).await {
                Ok(results) => {
                    let told = match arguments.evidence {
                        true => tell(
                            judge,
                            fault,
                            &results,
                            (started, clock.elapsed()),
                            arguments,
                        ),
                        false => Ok(()),
                    };
                    let error = told.err().map(|report| chain(report.as_ref()));
                    (Outcome::of(fault, results.cases, control), error)
                }
                Err(error) => (Outcome::default(), Some(chain(&error))),
            }
        } else {
            (Outcome::default(), None)
        };
        Judged {
            fault,
            outcome,
            error,
            seconds: clock.elapsed().as_secs_f64(),
        }
    }
}
