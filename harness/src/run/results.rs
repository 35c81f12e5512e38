//! `results.json`, schema `onehop.results/v1`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::not_judged;
use super::differs::{Differs, differs};
use super::situation::{Situation, WorldInfo};
use super::spent::{Spent, WaitedFor};
use crate::case::{Case, Feature};
use crate::error::chain;
use crate::lab::Lab;
use crate::profile::{Implementation, Profile};
use crate::tap::Sample;
use crate::timing::Timing;
use crate::verdict::FlowResult;

/// The schema that [`Results`] follows.
pub const SCHEMA: &str = "onehop.results/v1";

/// What became of a case.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was as expected.
    Pass,
    /// Something was not.
    Fail,
    /// Something was not, and that is known: the result names the finding in which it is written up.
    Known,
    /// It was not run, for a reason that the result names.
    Skip,
    /// It could not be judged. Never counted as a pass.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Known => "KNOWN",
            Self::Skip => "SKIP",
            Self::Error => "ERROR",
        })
    }
}

/// The result of one case.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CaseResult {
    /// The case.
    pub id: String,
    /// What it claims.
    pub claim: String,
    /// What it needs.
    pub features: Vec<Feature>,
    /// Where the claim comes from.
    pub sources: Vec<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it was not a pass.
    pub reason: Option<String>,
    /// Where a known defect is written up that it failed because of; or that it may show, and has not where it passed.
    pub finding: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// What it waited for, and for how many seconds. They sum up to all of its time.
    pub waited_for: Spent,
    /// Every question, judged.
    pub flows: Vec<FlowResult>,
    /// Examples of its connections hop by hop, one of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journeys: Vec<Sample>,
    /// The Service as each check found it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub situations: Vec<Situation>,
    /// Where the evidence of a failure is.
    pub evidence: Option<PathBuf>,
}

impl CaseResult {
    /// The evidence, by its way from the directory of the results: `PROXY/evidence/CASE`. They may have been moved together.
    pub fn evidence_below(&self) -> Option<PathBuf> {
        let parts: Vec<_> = self.evidence.as_ref()?.iter().collect();
        Some(parts[parts.len().saturating_sub(3)..].iter().collect())
    }

    /// Seconds that the world took after each change to behave as expected, summed up.
    pub fn converged_in(&self) -> f64 {
        let converging = self.waited_for.get(&WaitedFor::Convergence);
        converging.copied().unwrap_or_default()
    }
}

/// The proxy that was judged.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProxyInfo {
    /// The profile's name.
    pub name: String,
    /// The version that the proxy itself names.
    pub version: Option<String>,
    /// The mode that it runs in, as its profile declares.
    pub mode: Option<String>,
    /// Who makes it, as its profile says.
    #[serde(default)]
    pub implementation: Implementation,
    /// What its profile says that it does not do.
    #[serde(default)]
    pub unsupported: BTreeSet<Feature>,
    /// What it does where implementations differ without being wrong, by the variation's name.
    pub variations: BTreeMap<String, Differs>,
    /// How often a node's proxy exited and was started again.
    pub restarts: u32,
    /// How often a node's proxy exited after it was ready. Unless its profile allows it, that is
    /// an error.
    pub exits: u32,
}

/// How many cases ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not as expected, as is known.
    pub known: usize,
    /// Not run.
    pub skipped: usize,
    /// Not judged.
    pub errors: usize,
}

impl Summary {
    /// Counts the verdicts of these cases.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a CaseResult>) -> Self {
        let mut summary = Self::default();
        for case in cases {
            *match case.verdict {
                Verdict::Pass => &mut summary.passed,
                Verdict::Fail => &mut summary.failed,
                Verdict::Known => &mut summary.known,
                Verdict::Skip => &mut summary.skipped,
                Verdict::Error => &mut summary.errors,
            } += 1;
        }
        summary
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            known: self.known + other.known,
            skipped: self.skipped + other.skipped,
            errors: self.errors + other.errors,
        }
    }
}

/// The results for one proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxyResults {
    /// The proxy.
    pub proxy: ProxyInfo,
    /// The world of its lab; none if there was no lab.
    #[serde(default)]
    pub world: Option<WorldInfo>,
    /// Seconds that each phase took: the parts of the lab, then the cases.
    pub phases: BTreeMap<String, f64>,
    /// Why nothing could be judged, or why what was judged is no success all the same.
    pub error: Option<String>,
    /// The cases, in the order of the catalogue.
    pub cases: Vec<CaseResult>,
    /// Their verdicts, counted.
    pub summary: Summary,
}

impl ProxyResults {
    /// Results without any.
    pub fn none(proxy: ProxyInfo) -> Self {
        Self {
            proxy,
            world: None,
            phases: BTreeMap::new(),
            error: None,
            cases: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// Results in which none of these cases could be judged, and why.
    #[must_use]
    pub fn unjudged(self, cases: &[Case], error: String) -> Self {
        let cases: Vec<_> = cases.iter().map(|case| not_judged(case, &error)).collect();
        Self {
            summary: Summary::of(&cases),
            error: Some(error),
            cases,
            ..self
        }
    }

    /// Sums up what the cases came to in this time, and adds what only their lab knows: whether its proxies are still there, and
    /// what took how long.
    pub async fn conclude(&mut self, lab: &Lab, profile: &Profile, cases: Duration) {
        self.summary = Summary::of(&self.cases);
        self.proxy.variations = differs(&profile.variations, &self.cases);
        match lab.proxy_fates().await {
            Ok(fates) => {
                self.proxy.restarts = fates.restarts;
                self.proxy.exits = fates.exits;
                if !profile.netns.may_restart && !fates.texts.is_empty() {
                    self.error = Some(fates.texts.join("\n"));
                }
            }
            Err(error) => self.error = Some(chain(&error)),
        }
        let phases = lab.phases().iter().map(|(name, time)| (*name, *time));
        let phases = phases.chain([("cases", cases)]);
        let phases = phases.map(|(name, time)| (name.to_owned(), time.as_secs_f64()));
        self.phases = phases.collect();
    }

    /// What the results come to.
    pub fn outcome(&self) -> Outcome {
        let Summary {
            passed,
            failed,
            errors,
            ..
        } = self.summary;
        if failed > 0 {
            Outcome::Failed
        } else if passed == 0 || errors > 0 || self.error.is_some() {
            Outcome::NotJudged
        } else {
            Outcome::Passed
        }
    }
}

/// What results come to, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything that was judged is as expected, and something was.
    Passed,
    /// Something could not be judged, or nothing was.
    NotJudged,
    /// A case failed.
    Failed,
}

/// The run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
    /// The version of onehop.
    pub tool_version: String,
    /// The provider.
    pub provider: String,
    /// The Kubernetes API: `embedded` or `kube-apiserver`.
    pub api: String,
    /// The kernel's release.
    pub kernel: String,
    /// The seed of the order in which cases were started.
    pub seed: u64,
    /// When it started, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The timings and tolerances behind its verdicts.
    pub timing: Timing,
}

impl RunInfo {
    /// What results say of a run: who provided its labs and by which API, its seed, when it began and how long it took.
    pub fn of(
        (provider, api): (&str, &str),
        seed: u64,
        (started, took): (SystemTime, Duration),
        timing: &Timing,
    ) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let started = Timestamp::try_from(started).map(|time| time.to_string());
        Self {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            provider: provider.to_owned(),
            api: api.to_owned(),
            kernel: kernel.trim().to_owned(),
            seed,
            started: started.unwrap_or_default(),
            seconds: took.as_secs_f64(),
            timing: timing.clone(),
        }
    }
}

/// A whole `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run.
    pub run: RunInfo,
    /// The results for each proxy, in the order asked for.
    pub results: Vec<ProxyResults>,
    /// The verdicts over all proxies, counted.
    pub summary: Summary,
}

impl Results {
    /// The results of a run.
    pub fn of(run: RunInfo, results: Vec<ProxyResults>) -> Self {
        let summaries = results.iter().map(|proxy| proxy.summary);
        Self {
            schema: SCHEMA.to_owned(),
            run,
            summary: summaries.fold(Summary::default(), Summary::plus),
            results,
        }
    }

    /// What the results come to: what the worst of the proxies' come to. A proxy of which nothing
    /// could be judged is not made good by another.
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.results.iter().map(ProxyResults::outcome);
        outcomes.max().unwrap_or(Outcome::NotJudged)
    }

    /// Reads a `results.json`.
    ///
    /// # Errors
    /// It cannot be read, or is none of [`SCHEMA`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let invalid = |source| ReadError::Invalid {
            path: path.to_owned(),
            source,
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(invalid)?;
        match value["schema"].as_str() {
            Some(SCHEMA) => serde_json::from_value(value).map_err(invalid),
            schema => Err(ReadError::Schema {
                path: path.to_owned(),
                schema: schema.unwrap_or("none").to_owned(),
            }),
        }
    }

    /// The JSON Schema of a `results.json`.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The same without the flows of each case and their journeys, of which there are many.
    #[must_use]
    pub fn without_flows(&self) -> Self {
        let mut brief = self.clone();
        let cases = brief.results.iter_mut().flat_map(|proxy| &mut proxy.cases);
        cases.for_each(|case| {
            case.flows.clear();
            case.journeys.clear();
        });
        brief
    }
}

/// Why results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("failed to read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} has no results of onehop")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version of onehop.
    #[error("{path} follows schema {schema}, and this version of onehop reads {SCHEMA}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says that it follows.
        schema: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(
        passed: usize,
        failed: usize,
        known: usize,
        skipped: usize,
        errors: usize,
    ) -> ProxyResults {
        ProxyResults {
            summary: Summary {
                passed,
                failed,
                known,
                skipped,
                errors,
            },
            ..ProxyResults::none(ProxyInfo {
                name: "mine".to_owned(),
                ..ProxyInfo::default()
            })
        }
    }

    fn of(proxies: &[&ProxyResults]) -> Results {
        let run = RunInfo {
            tool_version: String::new(),
            provider: String::new(),
            api: String::new(),
            kernel: String::new(),
            seed: 0,
            started: String::new(),
            seconds: 0.0,
            timing: Timing::default(),
        };
        Results::of(run, proxies.iter().map(|&proxy| proxy.clone()).collect())
    }

    #[test]
    fn only_what_was_judged_in_full_has_passed() {
        for ([passed, failed, known, skipped, errors], outcome) in [
            ([0, 0, 0, 0, 0], Outcome::NotJudged),
            ([0, 0, 0, 3, 0], Outcome::NotJudged),
            ([1, 0, 0, 3, 0], Outcome::Passed),
            ([1, 0, 3, 0, 0], Outcome::Passed),
            ([9, 1, 0, 0, 0], Outcome::Failed),
            ([9, 1, 3, 0, 0], Outcome::Failed),
            ([9, 0, 0, 0, 1], Outcome::NotJudged),
            ([9, 1, 0, 0, 1], Outcome::Failed),
        ] {
            let mut results = results(passed, failed, known, skipped, errors);
            assert_eq!(results.outcome(), outcome, "{:?}", results.summary);
            results.error = Some("it exited".to_owned());
            assert_ne!(results.outcome(), Outcome::Passed, "{:?}", results.summary);
        }
    }

    /// A report may be made from what an earlier run has written.
    #[test]
    fn results_that_were_written_are_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results.json");
        let read = |text: &str| {
            fs::write(&path, text).expect("written");
            Results::read(&path).map_err(|error| crate::error::chain(&error))
        };
        let whole = of(&[&results(1, 2, 3, 4, 5)]);
        let text = serde_json::to_string(&whole).expect("JSON");
        let again = serde_json::to_string(&read(&text).expect("results")).expect("JSON");
        assert_eq!(again, text);
        for (text, words) in [
            ("{", "has no results of onehop"),
            ("{}", "follows schema none"),
            (r#"{"schema": "onehop.results/v0"}"#, "onehop.results/v0"),
            (r#"{"schema": "onehop.results/v1"}"#, "missing field `run`"),
        ] {
            let error = read(text).expect_err("no results");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_worst_of_the_proxies_decides() {
        let (good, none, bad) = (
            &results(9, 0, 0, 0, 0),
            &results(0, 0, 0, 9, 0),
            &results(0, 1, 0, 0, 0),
        );
        assert_eq!(of(&[]).outcome(), Outcome::NotJudged);
        assert_eq!(of(&[good, good]).outcome(), Outcome::Passed);
        assert_eq!(of(&[good, none]).outcome(), Outcome::NotJudged);
        assert_eq!(of(&[none, bad, good]).outcome(), Outcome::Failed);
    }
}
