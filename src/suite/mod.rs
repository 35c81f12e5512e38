//! The suite as the tests of somebody's own project.

mod judged;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::case::Case;
use onehop_harness::error::chain;
use onehop_harness::lab::{ProxyUnderTest, directory};
use onehop_harness::prepare::PrepareError;
use onehop_harness::profile::{Origin, Profile};
use onehop_harness::run::{ProxyResults, Results, RunInfo};
use onehop_harness::timing::Timing;
use onehop_harness::tools::Progress;
use onehop_harness::{netns, prepare};
use tokio::runtime::Runtime;

use crate::files;
use judged::Judged;

/// Cases that run side by side unless `--test-threads` says otherwise. They mostly wait for the
/// proxy, so that many more than there are processors pay.
const SIDE_BY_SIDE: usize = 8;

/// The exit code where nothing could be judged, as of the program.
const NOT_JUDGED: u8 = 2;

/// The exit code of tests that failed.
const FAILED: u8 = 101;

/// Cases judged as tests, one for each proxy and case, of a test target without a harness of its own (`harness = false`).
///
/// Each proxy has one lab in network namespaces, started by the first test that needs it; cases run side by side in it. The
/// arguments are those that all tests of Rust have: `cargo test --test conformance -- external/local`.
#[derive(Clone, Debug)]
pub struct Suite {
    proxies: Vec<String>,
    program: Option<PathBuf>,
    patterns: Vec<String>,
    own: Vec<Case>,
    required: bool,
    out: PathBuf,
}

impl Suite {
    /// Judges this proxy by the whole catalogue: a profile that is built in (`kube-proxy-nftables@v1.37.2`), or the file of one.
    pub fn of(proxy: impl Into<String>) -> Self {
        Self {
            proxies: vec![proxy.into()],
            program: None,
            patterns: Vec::new(),
            own: Vec::new(),
            required: false,
            out: PathBuf::from("onehop-out"),
        }
    }

    /// Judges this proxy as well, in a lab of its own.
    #[must_use]
    pub fn and(mut self, proxy: impl Into<String>) -> Self {
        self.proxies.push(proxy.into());
        self
    }

    /// Runs this program in place of the one that a profile names.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Judges by these cases of the catalogue alone: parts of their ids, or patterns with `*`.
    #[must_use]
    pub fn cases<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Judges by these cases as well, which are not of the catalogue. [`crate::suites::story`] has the words for them.
    #[must_use]
    pub fn with(mut self, cases: impl IntoIterator<Item = Case>) -> Self {
        self.own.extend(cases);
        self
    }

    /// Whether a machine that lacks something fails the tests. Unless it is said, they are reported as ignored there, with the
    /// reason: right for a machine that people work at, and wrong in CI.
    #[must_use]
    pub fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    /// Where `results.json`, the reports made from it and the evidence of failures go: `onehop-out` unless it is said. Like the
    /// program, it empties only directories that onehop made.
    #[must_use]
    pub fn out(mut self, dir: impl Into<PathBuf>) -> Self {
        self.out = dir.into();
        self
    }

    /// Does what the arguments of this process ask for, and returns its exit code: 0 if everything passed, 101 if a test failed
    /// or a proxy exited, 2 if nothing could be judged.
    ///
    /// To be called first thing in `main`: no process with several threads can enter the sandbox.
    ///
    /// # Panics
    /// When other threads already run.
    pub fn run(self) -> ExitCode {
        prepare::complete_path();
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
        self.judge(&arguments).unwrap_or_else(|error| {
            eprintln!("onehop: {error}");
            ExitCode::from(NOT_JUDGED)
        })
    }

    fn judge(mut self, arguments: &Arguments) -> Result<ExitCode, String> {
        let cases = self.selected()?;
        let names = self.names()?;
        if arguments.list {
            let ids = names.iter().flat_map(|name| ids(name, &cases));
            let trials = ids.map(|id| Trial::test(id, || Ok(())));
            return Ok(libtest_mimic::run(arguments, trials.collect()).exit_code());
        }
        // What is told to a proxy must be true in any directory.
        self.out = std::path::absolute(&self.out).map_err(|error| error.to_string())?;
        let (started, clock) = (SystemTime::now(), Instant::now());
        self.make_room(&names)?;
        let proxies = match self.enter() {
            Ok(proxies) => proxies,
            Err(missing) if self.required || is_usage(&missing) => return Err(chain(&missing)),
            Err(missing) => {
                let why = chain(&missing);
                let trials = names.iter().flat_map(|name| ignored(name, &cases, &why));
                return Ok(libtest_mimic::run(arguments, trials.collect()).exit_code());
            }
        };
        // Only now: a runtime has threads.
        let runtime = Runtime::new().map_err(|error| format!("failed to start: {error}"))?;
        let runtime = Arc::new(runtime);
        let judged = names.into_iter().zip(proxies).map(|(name, proxy)| {
            let dir = self.out.join(&name);
            Arc::new(Judged::new(name, proxy, dir, Arc::clone(&runtime)))
        });
        let judged: Vec<_> = judged.collect();
        let trials = judged.iter().flat_map(|judged| judged.trials(&cases));
        let conclusion = libtest_mimic::run(arguments, trials.collect());

        let selected = arguments.filter.is_some() || !arguments.skip.is_empty();
        let results = judged.iter().map(|judged| judged.results(&cases, selected));
        let results: Vec<ProxyResults> = results.collect();
        let exited = results.iter().filter_map(|proxy| proxy.error.clone());
        let exited: Vec<_> = exited.collect();
        let time = (started, clock.elapsed());
        let info = RunInfo::of(("netns", "embedded"), 0, time, &Timing::default());
        files::write(&self.out, &Results::of(info, results)).map_err(|error| chain(&error))?;
        for error in &exited {
            eprintln!("onehop: {error}");
        }
        let failed = conclusion.has_failed() || !exited.is_empty();
        if failed {
            eprintln!("onehop: {}", self.out.join("report.html").display());
        }
        Ok(if failed {
            ExitCode::from(FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// The cases, of the catalogue and others, none of which would prove nothing.
    fn selected(&self) -> Result<Vec<Case>, String> {
        let unmatched = |patterns: Vec<String>| {
            let patterns = patterns.join(", ");
            format!("no case matches {patterns}; onehop list names every case")
        };
        let mut cases = onehop_suites::matching(&self.patterns).map_err(unmatched)?;
        cases.extend(self.own.iter().cloned());
        let defects: Vec<_> = cases.iter().flat_map(Case::defects).collect();
        if !defects.is_empty() {
            return Err(defects.join("\n"));
        }
        let mut ids = BTreeSet::new();
        match cases.iter().find(|case| !ids.insert(&case.id)) {
            Some(twice) => Err(format!("there are two cases {}", twice.id)),
            None => Ok(cases),
        }
    }

    /// What tests and directories of each proxy are called: its name, with its version where that was asked for.
    fn names(&self) -> Result<Vec<String>, String> {
        let named = self.proxies.iter().map(|spec| {
            let profile = Profile::load(spec).map_err(|error| chain(&error))?;
            onehop_suites::check_known(&profile, &self.own).map_err(|error| chain(&error))?;
            Ok(match profile.origin {
                Origin::BuiltIn => spec.clone(),
                Origin::File(_) => profile.name,
            })
        });
        let named = named.collect::<Result<Vec<_>, String>>()?;
        Ok(files::distinct(named.into_iter()))
    }

    /// Makes the directories; what an earlier run has left in them says nothing about this one.
    fn make_room(&self, names: &[String]) -> Result<(), String> {
        fs::create_dir_all(&self.out)
            .map_err(|error| format!("failed to create {}: {error}", self.out.display()))?;
        files::remove(&self.out).map_err(|error| chain(&error))?;
        for name in names {
            let evidence = self.out.join(name).join(files::EVIDENCE);
            directory::make_empty(&evidence).map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    /// Builds what is to be judged, and enters the sandbox.
    fn enter(&self) -> Result<Vec<ProxyUnderTest>, PrepareError> {
        let show = &mut |progress: Progress| {
            if progress.is_milestone() {
                eprintln!("{progress}");
            }
        };
        let proxies = prepare::proxies(&self.proxies, self.program.as_deref(), show)?;
        netns::enter(false)?;
        Ok(proxies)
    }
}

/// Whether somebody made a mistake, rather than that their machine lacks something.
fn is_usage(error: &PrepareError) -> bool {
    matches!(error, PrepareError::Profile(_))
}

/// What the tests of a proxy are called.
fn ids(name: &str, cases: &[Case]) -> Vec<String> {
    let ids = cases.iter().map(|case| format!("{name}::{}", case.id));
    ids.collect()
}

/// The tests of a proxy that cannot be judged here.
fn ignored(name: &str, cases: &[Case], reason: &str) -> Vec<Trial> {
    let ids = ids(name, cases).into_iter();
    ids.map(|id| ignored_trial(id, reason)).collect()
}

/// A test that cannot run here, with the reason where a test runner shows it. Whoever runs ignored tests all the same gets the
/// reason as a failure.
fn ignored_trial(id: String, reason: &str) -> Trial {
    let failure = Failed::from(reason);
    Trial::test(id, move || Err(failure))
        .with_kind(format!("ignored: {reason}"))
        .with_ignored_flag(true)
}

#[cfg(test)]
mod tests {
    use onehop_harness::case::Service;
    use onehop_suites::story::{STORY, node_port, private, reaches, spread_by};

    use super::*;

    const PROMISED: [&str; 1] = ["https://example.org/promise"];

    /// A case of somebody's own.
    fn own(sources: &[&'static str]) -> Case {
        let question = reaches(&private(), node_port("vm1"), spread_by("vm1", &STORY));
        let claim = "All pods answer.";
        Case::new("mine/answers", claim, Service::node_port(), &STORY)
            .sources(sources)
            .check("pods 1-0-2", [question])
    }

    fn ids(suite: &Suite) -> Vec<String> {
        let cases = suite.selected().expect("there are such cases");
        cases.into_iter().map(|case| case.id).collect()
    }

    #[test]
    fn cases_are_selected_and_others_added() {
        let suite = Suite::of("bundled");
        assert_eq!(ids(&suite).len(), onehop_suites::catalogue().len());
        let some = suite.cases(["hairpin/cluster-ip"]).with([own(&PROMISED)]);
        let selected = ids(&some);
        assert_eq!(selected.last().expect("two or more"), "mine/answers");
        let (catalogue, _) = selected.split_at(selected.len() - 1);
        assert!(
            catalogue
                .iter()
                .all(|id| id.starts_with("hairpin/cluster-ip"))
        );
        assert!(!catalogue.is_empty());
    }

    #[test]
    fn what_would_judge_nothing_is_an_error() {
        let suite = || Suite::of("bundled").cases(["external/"]);
        let selected = |suite: Suite| match suite.selected() {
            Err(error) => error,
            Ok(cases) => panic!("{} cases were selected", cases.len()),
        };
        let mistyped = selected(suite().cases(["externl/"]));
        assert_eq!(
            mistyped,
            "no case matches externl/; onehop list names every case"
        );
        let twice = selected(suite().with([own(&PROMISED), own(&PROMISED)]));
        assert_eq!(twice, "there are two cases mine/answers");
        let unfounded = selected(suite().with([own(&[])]));
        assert_eq!(unfounded, "mine/answers: names no source");
    }

    #[test]
    fn tests_are_called_by_the_proxy_and_its_version() {
        let suite = Suite::of("kube-proxy-nftables@v1.34.4")
            .and("kube-proxy-nftables")
            .and("profiles/bundled.yaml")
            .and("bundled");
        let names = suite.names().expect("all of them are there");
        assert_eq!(
            names,
            [
                "kube-proxy-nftables@v1.34.4",
                "kube-proxy-nftables",
                "bundled",
                "bundled-2"
            ]
        );
        let missing = Suite::of("no-such-proxy").names().expect_err("no such");
        assert!(missing.contains("no-such-proxy"), "{missing}");
    }
}
