//! How fast proxies follow, measured side by side: by real connections, in labs of one node.
//!
//! Rules of the bench:
//! - All proxies are measured in one run, in the same way, and take turns, each turn in the other
//!   order: what else the machine does meets all of them. A claim is a ratio of one run.
//! - What is timed ends with a connection that a pod opened and an endpoint answered, never with
//!   what a proxy says of itself.
//! - A cold start has a fresh lab. For what follows each proxy has one lab, and all but the one
//!   whose changes are measured are stopped (SIGSTOP).
//! - Neither taps nor a load balancer run, and Services are written to the API without HTTP where
//!   that would otherwise be what is measured. Single changes go over HTTP, as a controller's do.

mod changes;
mod client;
mod connections;
mod error;
mod measure;
mod population;
mod process;
mod report;
mod responder;
mod stage;
mod statistics;
mod swaps;
mod wait;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub use error::BenchError;
pub use measure::{Better, Measure, digits};
pub use report::{BenchInfo, Measured, Report, Row};

use jiff::Timestamp;

use crate::lab::ProxyUnderTest;
use crate::world::Family;
use population::Member;
use process::MemorySampler;
use report::Samples;
use stage::{Setting, Stage};

/// Services that single changes go through in turn.
const SWAPPED: u32 = 16;
/// Turns that each proxy has at each measure of changes; even, so that each is
/// first as often as the others.
const TURNS: u32 = 6;
/// The same for connections, which differ least between proxies and most by what else runs.
const CONNECTING_TURNS: u32 = 20;
/// [`Measure::ColdStartLarge`] has three times the Services, but no more than there are addresses.
const LARGEST: u32 = 60_000;

/// Pause after a lab with a proxy, and so much more for each Service that it had.
const TAKE_DOWN: Duration = Duration::from_millis(200);
const TAKE_DOWN_EACH: Duration = Duration::from_micros(200);

/// What is measured, and how often.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The proxies; ratios compare the first with the last.
    pub proxies: Vec<ProxyUnderTest>,
    /// Services present, with two endpoints each: 2 to 60 000.
    pub services: u32,
    /// Cold starts of each proxy.
    pub rounds: u32,
    /// Endpoint changes: so many for CPU time, under load and in a burst, a fifth of them for the
    /// latency of single changes.
    pub changes: u32,
    /// How long connections are opened, in each of twenty turns.
    pub connecting: Duration,
    /// The measures.
    pub measures: BTreeSet<Measure>,
    /// Whether [`Measure::ColdStartLarge`] is of all proxies instead of the first alone.
    pub large_of_all: bool,
    /// The family of Services and endpoints.
    pub family: Family,
    /// A directory for the labs: configuration files and logs.
    pub dir: PathBuf,
    /// How long anything that is waited for may take.
    pub patience: Duration,
    /// The version of onehop, for the report.
    pub tool_version: String,
}

/// A bench, and what it has found so far. Must be used inside the sandbox, on a Tokio runtime.
#[derive(Debug)]
pub struct Bench {
    options: BenchOptions,
    names: Vec<String>,
    setting: Setting,
    samples: Samples,
    errors: Vec<String>,
    /// When it was made, RFC 3339.
    started: String,
}

impl Bench {
    /// A bench that has not begun.
    pub fn new(options: BenchOptions) -> Self {
        let names = options.proxies.iter().map(|proxy| {
            let version = proxy.profile.tool.as_ref().map(|tool| &tool.version);
            (proxy.profile.name.clone(), version)
        });
        // A version tells two of one name apart; otherwise it is in the way.
        let all: Vec<_> = names.collect();
        let alone = |name: &String| all.iter().filter(|(other, _)| other == name).count() == 1;
        let names = all.iter().map(|(name, version)| match version {
            Some(version) if !alone(name) => format!("{name}@{version}"),
            _ => name.clone(),
        });
        let setting = Setting {
            dir: options.dir.clone(),
            family: options.family,
            patience: options.patience,
        };
        Self {
            names: report::distinct(names),
            setting,
            options,
            samples: Samples::default(),
            errors: Vec::new(),
            started: Timestamp::now().to_string(),
        }
    }

    /// Notes why measures are missing.
    pub fn failed(&mut self, error: String) {
        self.errors.push(error);
    }

    /// What was found so far.
    pub fn report(&self) -> Report {
        let options = &self.options;
        let measured = self.names.iter().zip(&options.proxies);
        let proxies = measured.map(|(name, proxy)| Measured {
            name: name.clone(),
            version: proxy.program.version.clone(),
        });
        let rows = options.measures.iter();
        Report {
            run: BenchInfo {
                tool_version: options.tool_version.clone(),
                services: options.services,
                rounds: options.rounds,
                changes: options.changes,
                connect_millis: u64::try_from(options.connecting.as_millis()).unwrap_or(u64::MAX),
                started: self.started.clone(),
                proxies: proxies.collect(),
                ..BenchInfo::of_this_machine(options.family)
            },
            measures: rows
                .filter_map(|measure| self.samples.row(*measure, &self.names))
                .collect(),
            errors: self.errors.clone(),
        }
    }

    /// Measures everything. Says what it found as it goes. What was found before an error, or before
    /// this future is dropped, is in [`Self::report`].
    ///
    /// # Errors
    /// When a lab or a proxy fails, or a proxy does not come to serve what it should.
    pub async fn run(&mut self, say: &dyn Fn(&str)) -> Result<(), BenchError> {
        self.cold_starts(say).await?;
        let steady = Measure::ALL.into_iter().filter(|measure| {
            use Measure::{ColdStart, ColdStartGrowth, ColdStartLarge};
            !matches!(measure, ColdStart | ColdStartGrowth | ColdStartLarge)
        });
        if !self.wants(&steady.collect::<Vec<_>>()) {
            return Ok(());
        }
        let mut stages = self.stages(say).await?;
        if self.wants(&[Measure::EndpointChangeP50, Measure::EndpointChangeP99]) {
            self.endpoint_changes(&mut stages, say).await?;
        }
        if self.wants(&[Measure::ConnectionsPerSecond, Measure::ConnectP50]) {
            self.connections(&stages, say).await?;
        }
        if self.wants(&[Measure::CpuPer1000Changes]) {
            self.cpu_time(&mut stages, say).await?;
        }
        if self.wants(&[Measure::PeakMemory]) {
            self.high_water_marks(&stages);
        }
        if self.wants(&[Measure::WrongConnections]) {
            self.swaps_under_load(&mut stages, say).await?;
        }
        if self.wants(&[Measure::LargeServiceProgram, Measure::LargeServiceSwap]) {
            self.large_services(&mut stages, say).await?;
        }
        if self.wants(&[Measure::Burst]) {
            self.bursts(&mut stages, say).await?;
        }
        Ok(())
    }

    fn wants(&self, any: &[Measure]) -> bool {
        any.iter().any(|one| self.options.measures.contains(one))
    }

    /// The proxies in the order of a turn: each other turn backwards.
    fn order(&self, turn: u32) -> Vec<usize> {
        let order = 0..self.names.len();
        if turn.is_multiple_of(2) {
            order.collect()
        } else {
            order.rev().collect()
        }
    }

    fn add(&mut self, measure: Measure, proxy: usize, samples: impl IntoIterator<Item = f64>) {
        let services = self.options.services;
        self.samples.add(measure, services, proxy, samples);
    }

    async fn cold_starts(&mut self, say: &dyn Fn(&str)) -> Result<(), BenchError> {
        let all = self.options.services;
        let growth = self.wants(&[Measure::ColdStartGrowth]);
        for round in 0..self.options.rounds {
            if !growth && !self.wants(&[Measure::ColdStart]) {
                break;
            }
            for proxy in self.order(round) {
                let time = self.cold_start(proxy, all).await?;
                self.add(Measure::ColdStart, proxy, [millis(time)]);
                self.started(proxy, all, time, say).await;
                if growth {
                    let half = self.cold_start(proxy, all / 2).await?;
                    let growth = time.as_secs_f64() / half.as_secs_f64();
                    self.add(Measure::ColdStartGrowth, proxy, [growth]);
                    self.started(proxy, all / 2, half, say).await;
                }
            }
        }
        if self.wants(&[Measure::ColdStartLarge]) {
            let large = (all * 3).min(LARGEST);
            for proxy in self.order(0) {
                if proxy == 0 || self.options.large_of_all {
                    let time = self.cold_start(proxy, large).await?;
                    let sample = [millis(time)];
                    self.samples
                        .add(Measure::ColdStartLarge, large, proxy, sample);
                    self.started(proxy, large, time, say).await;
                }
            }
        }
        Ok(())
    }

    /// One cold start, in a lab of its own.
    async fn cold_start(&self, proxy: usize, services: u32) -> Result<Duration, BenchError> {
        let name = &self.names[proxy];
        let mut stage = Stage::build(name, &self.setting, services).await?;
        changes::cold_start(&mut stage, &self.options.proxies[proxy]).await
    }

    /// Tells of a cold start, and waits while the kernel takes the lab's namespaces and their rules
    /// down, which it does behind our back.
    async fn started(&self, proxy: usize, services: u32, time: Duration, say: &dyn Fn(&str)) {
        say(&format!(
            "{}: cold start with {services} Services {:.1} ms",
            self.names[proxy],
            millis(time)
        ));
        tokio::time::sleep(TAKE_DOWN + TAKE_DOWN_EACH * services).await;
    }

    /// A lab for each proxy, which runs and is stopped. Its memory is sampled in this start, which
    /// is why no other measure uses it.
    async fn stages(&mut self, say: &dyn Fn(&str)) -> Result<Vec<Stage>, BenchError> {
        let mut stages = Vec::new();
        for proxy in self.order(0) {
            let name = &self.names[proxy];
            let mut stage = Stage::build(name, &self.setting, self.options.services).await?;
            let swapped = stage.add((0..SWAPPED).map(Member::changing)).await?;
            stage.changing = swapped;
            let peak = self.sampled_start(&mut stage, proxy).await?;
            say(&format!("{name}: runs, {peak:.1} MiB at most"));
            if self.wants(&[Measure::PeakMemory]) {
                self.add(Measure::PeakMemory, proxy, [peak]);
            }
            stage.freeze();
            stages.push(stage);
        }
        Ok(stages)
    }

    /// Starts a proxy and waits until it is at rest; the most memory that it had meanwhile, in MiB.
    async fn sampled_start(&self, stage: &mut Stage, proxy: usize) -> Result<f64, BenchError> {
        let proxy = &self.options.proxies[proxy];
        stage.start_proxy(proxy)?;
        let sampler = MemorySampler::start(stage.process());
        changes::right(stage, SWAPPED as usize).await?;
        changes::present(stage).await?;
        stage.at_rest().await;
        Ok(mebibytes(sampler.peak()))
    }

    /// The peaks of the processes themselves, changes included.
    fn high_water_marks(&mut self, stages: &[Stage]) {
        for (proxy, stage) in stages.iter().enumerate() {
            if let Some(peak) = process::high_water_mark(stage.process()) {
                self.add(Measure::PeakMemory, proxy, [mebibytes(peak)]);
            }
        }
    }

    async fn endpoint_changes(
        &mut self,
        stages: &mut [Stage],
        say: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        let changes = (self.options.changes / 5).div_ceil(TURNS);
        for turn in 0..TURNS {
            for proxy in self.order(turn) {
                let stage = &mut stages[proxy];
                stage.thaw().await;
                let times = changes::latencies(stage, SWAPPED as usize, changes).await?;
                stage.freeze();
                let times: Vec<_> = times.into_iter().map(millis).collect();
                self.say_median(say, proxy, "endpoint change", &times, "ms");
                for measure in [Measure::EndpointChangeP50, Measure::EndpointChangeP99] {
                    self.add(measure, proxy, times.iter().copied());
                }
            }
        }
        Ok(())
    }

    /// Rules in the kernel serve connections, so that all proxies stay stopped, and turns are short.
    async fn connections(
        &mut self,
        stages: &[Stage],
        say: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        let time = self.options.connecting;
        for turn in 0..CONNECTING_TURNS {
            for proxy in self.order(turn) {
                let rate = connections::per_second(&stages[proxy], time).await?;
                self.add(Measure::ConnectionsPerSecond, proxy, [rate]);
            }
            for proxy in self.order(turn) {
                let open = connections::median_open(&stages[proxy], time).await?;
                self.add(Measure::ConnectP50, proxy, [open]);
            }
        }
        for measure in [Measure::ConnectionsPerSecond, Measure::ConnectP50] {
            for (name, value) in self.values(measure) {
                say(&format!("{name}: {measure} {value:.1} {}", measure.unit()));
            }
        }
        Ok(())
    }

    async fn cpu_time(
        &mut self,
        stages: &mut [Stage],
        say: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        let changes = self.options.changes.div_ceil(TURNS);
        for turn in 0..TURNS {
            for proxy in self.order(turn) {
                let stage = &mut stages[proxy];
                stage.thaw().await;
                let time = changes::cpu_time(stage, SWAPPED as usize, changes).await?;
                stage.freeze();
                let per_1000 = time.as_secs_f64() * 1000.0 / f64::from(changes);
                self.say_median(say, proxy, "CPU per 1000 changes", &[per_1000], "s");
                self.add(Measure::CpuPer1000Changes, proxy, [per_1000]);
            }
        }
        Ok(())
    }

    async fn swaps_under_load(
        &mut self,
        stages: &mut [Stage],
        say: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        let swaps = self.options.changes.div_ceil(TURNS);
        for turn in 0..TURNS {
            for proxy in self.order(turn) {
                let (stage, patience) = (&mut stages[proxy], self.options.patience);
                stage.thaw().await;
                let found = swaps::under_load(stage, SWAPPED as usize, swaps, patience).await?;
                stage.freeze();
                let (name, wrong) = (&self.names[proxy], found.wrong.len());
                say(&format!(
                    "{name}: {swaps} swaps under load, of {} connections {wrong} wrong{}",
                    found.connections,
                    example(&found)
                ));
                // As many as there are connections fit.
                self.add(Measure::WrongConnections, proxy, [wrong as f64]);
                self.samples
                    .add_made(Measure::WrongConnections, proxy, found.connections as u64);
            }
        }
        Ok(())
    }

    async fn large_services(
        &mut self,
        stages: &mut [Stage],
        say: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        for proxy in self.order(0) {
            let stage = &mut stages[proxy];
            stage.thaw().await;
            let (programmed, swapped) = changes::large_service(stage, TURNS).await?;
            stage.freeze();
            let swapped: Vec<_> = swapped.into_iter().map(millis).collect();
            self.say_median(say, proxy, "1000 endpoints", &[millis(programmed)], "ms");
            self.say_median(say, proxy, "1000 endpoints swapped", &swapped, "ms");
            self.add(Measure::LargeServiceProgram, proxy, [millis(programmed)]);
            self.add(Measure::LargeServiceSwap, proxy, swapped);
        }
        Ok(())
    }

    async fn bursts(&mut self, stages: &mut [Stage], say: &dyn Fn(&str)) -> Result<(), BenchError> {
        let changes = self.options.changes.max(SWAPPED);
        for turn in 0..TURNS {
            for proxy in self.order(turn) {
                let stage = &mut stages[proxy];
                stage.thaw().await;
                if turn == 0 {
                    let more = stage.add((SWAPPED..changes).map(Member::changing)).await?;
                    stage.changing.extend(more);
                    changes::right(stage, stage.changing.len()).await?;
                    stage.at_rest().await;
                }
                let time = changes::burst(stage).await?;
                stage.freeze();
                let what = format!("{changes} changes at once");
                self.say_median(say, proxy, &what, &[millis(time)], "ms");
                self.add(Measure::Burst, proxy, [millis(time)]);
            }
        }
        Ok(())
    }

    /// The values of a measure so far.
    fn values(&self, measure: Measure) -> Vec<(String, f64)> {
        let row = self.samples.row(measure, &self.names);
        row.into_iter().flat_map(|row| row.values).collect()
    }

    fn say_median(
        &self,
        say: &dyn Fn(&str),
        proxy: usize,
        what: &str,
        samples: &[f64],
        unit: &str,
    ) {
        if let Some(median) = statistics::median(samples) {
            say(&format!("{}: {what} {median:.2} {unit}", self.names[proxy]));
        }
    }
}

/// The first of the wrong connections, for a person to begin with.
fn example(found: &swaps::Found) -> String {
    let first = found.wrong.first();
    first
        .map(|wrong| format!("; of the first, {wrong}"))
        .unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mebibytes(kibibytes: u64) -> f64 {
    // Memory in KiB is far below 2^52.
    kibibytes as f64 / 1024.0
}
