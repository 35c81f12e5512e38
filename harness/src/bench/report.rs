//! What a bench found, as `bench.json` has it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::measure::Measure;
use super::statistics::{self, median, percentile, spread};
use crate::world::Family;

/// `bench.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// On what, and how often.
    pub run: BenchInfo,
    /// The measures, in the order of [`Measure::ALL`].
    pub measures: Vec<Row>,
    /// Why measures are missing; empty when none is.
    pub errors: Vec<String>,
}

/// On what a bench ran, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BenchInfo {
    /// The version of onehop.
    pub tool_version: String,
    /// The kernel.
    pub kernel: String,
    /// Processors that the bench could use.
    pub processors: usize,
    /// The address family of Services and endpoints.
    pub family: String,
    /// Services present.
    pub services: u32,
    /// Cold starts of each proxy.
    pub rounds: u32,
    /// Changes that [`Measure::CpuPer1000Changes`] and its like make.
    pub changes: u32,
    /// For how long connections were opened in each turn, in milliseconds; 0 in a bench that did not say so.
    #[serde(default)]
    pub connect_millis: u64,
    /// When it started, RFC 3339; empty in a bench that did not say so.
    #[serde(default)]
    pub started: String,
    /// Whether onehop was built without optimisation, and the bundled proxy with it.
    #[serde(default)]
    pub debug: bool,
    /// The proxies in their order, by the name that `values` uses, with their versions.
    pub proxies: Vec<Measured>,
}

/// A proxy that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Its version, if its profile tells how to ask.
    pub version: Option<String>,
}

/// One measure of all proxies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub name: Measure,
    /// The unit of `values`, `spread` and `interval`.
    pub unit: String,
    /// How many Services were present.
    pub services: u32,
    /// By proxy.
    pub values: BTreeMap<String, f64>,
    /// How many times better the first proxy is than the last: above 1, the first is the better
    /// one. For times, sizes and counts that is the last's value ÷ the first's; for rates, of which
    /// more is better, the first's ÷ the last's. `None` with one proxy, or where the divisor is 0.
    pub ratio: Option<f64>,
    /// The smallest and the largest of the samples that the value is made of, by proxy.
    pub spread: BTreeMap<String, [f64; 2]>,
    /// The interval in which the value lies with a confidence of 99 %, by proxy, where the samples are enough for that: eight for a
    /// median, and 528 for a 99th percentile.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interval: BTreeMap<String, [f64; 2]>,
    /// How many samples, by proxy.
    pub samples: BTreeMap<String, usize>,
    /// Of wrong connections: how many were made in all, by proxy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<String, u64>,
    /// What exactly was measured.
    pub explanation: String,
}

/// The samples of each measure and proxy, as they come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// By measure, the number of Services and by the proxy's position.
    found: BTreeMap<Measure, (u32, BTreeMap<usize, Vec<f64>>)>,
    /// How many connections were made, of which a measure counts those that are wrong.
    made: BTreeMap<(Measure, usize), u64>,
}

impl Samples {
    /// Adds samples, in the unit of the measure.
    pub(super) fn add(
        &mut self,
        measure: Measure,
        services: u32,
        proxy: usize,
        samples: impl IntoIterator<Item = f64>,
    ) {
        let (present, by_proxy) = self.found.entry(measure).or_default();
        *present = services;
        by_proxy.entry(proxy).or_default().extend(samples);
    }

    /// Adds how many connections were made for samples of them.
    pub(super) fn add_made(&mut self, measure: Measure, proxy: usize, connections: u64) {
        *self.made.entry((measure, proxy)).or_default() += connections;
    }

    /// The row of a measure; `None` as long as there is no sample.
    pub(super) fn row(&self, measure: Measure, names: &[String]) -> Option<Row> {
        let (services, by_proxy) = self.found.get(&measure)?;
        let named = |position: usize| names[position].clone();
        let values: BTreeMap<usize, f64> = by_proxy
            .iter()
            .filter_map(|(proxy, samples)| Some((*proxy, value(measure, samples)?)))
            .collect();
        let of = |position: usize| values.get(&position).copied();
        let last = names.len().checked_sub(1).filter(|last| *last > 0);
        let ratio = last.and_then(|last| measure.times_better(of(0)?, of(last)?));
        Some(Row {
            name: measure,
            unit: measure.unit().to_owned(),
            services: *services,
            ratio,
            spread: by_proxy
                .iter()
                .filter_map(|(proxy, samples)| Some((named(*proxy), spread(samples)?)))
                .collect(),
            interval: by_proxy
                .iter()
                .filter_map(|(proxy, samples)| Some((named(*proxy), interval(measure, samples)?)))
                .collect(),
            samples: by_proxy
                .iter()
                .map(|(proxy, samples)| (named(*proxy), samples.len()))
                .collect(),
            made: self
                .made
                .iter()
                .filter(|((of, _), _)| *of == measure)
                .map(|((_, proxy), made)| (named(*proxy), *made))
                .collect(),
            values: values
                .into_iter()
                .map(|(proxy, value)| (named(proxy), value))
                .collect(),
            explanation: measure.explanation().to_owned(),
        })
    }
}

/// One value of many samples.
fn value(measure: Measure, samples: &[f64]) -> Option<f64> {
    match measure {
        Measure::EndpointChangeP99 => percentile(samples, 0.99),
        Measure::PeakMemory => spread(samples).map(|[_, largest]| largest),
        Measure::WrongConnections => Some(samples.iter().sum()),
        _ => median(samples),
    }
}

/// Where that value lies. Of a largest and of a sum, samples do not say it.
fn interval(measure: Measure, samples: &[f64]) -> Option<[f64; 2]> {
    match measure {
        Measure::EndpointChangeP99 => statistics::interval(samples, 0.99),
        Measure::PeakMemory | Measure::WrongConnections => None,
        _ => statistics::interval(samples, 0.5),
    }
}

/// A name for each proxy, and none twice: what `values` is keyed by.
pub(super) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut candidates = std::iter::once(name.clone()).chain(numbered);
        let free = candidates.find(|candidate| !taken.contains(candidate));
        taken.push(free.expect("numbers do not end"));
    }
    taken
}

impl Report {
    /// Reads what a bench has written.
    ///
    /// # Errors
    /// When the file cannot be read, or is no `bench.json`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read(path)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl BenchInfo {
    /// What this machine is, for a bench in this family.
    pub(super) fn of_this_machine(family: Family) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            family: family.to_string(),
            debug: cfg!(debug_assertions),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(measure: Measure, samples: [&[f64]; 2], names: &[&str]) -> Row {
        let mut all = Samples::default();
        for (proxy, samples) in samples.into_iter().enumerate().take(names.len()) {
            all.add(measure, 10, proxy, samples.iter().copied());
        }
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        all.row(measure, &names).expect("there are samples")
    }

    #[test]
    fn a_ratio_above_one_says_that_the_first_is_better() {
        let both = ["a", "b"];
        let times = row(Measure::ColdStart, [&[1.0, 2.0, 9.0], &[100.0]], &both);
        assert_eq!((times.values["a"], times.ratio), (2.0, Some(50.0)));
        assert_eq!((times.spread["a"], times.samples["a"]), ([1.0, 9.0], 3));
        let rates = row(Measure::ConnectionsPerSecond, [&[300.0], &[100.0]], &both);
        assert_eq!(rates.ratio, Some(3.0));
    }

    #[test]
    fn there_is_no_ratio_of_one_proxy_or_by_zero() {
        assert_eq!(row(Measure::ColdStart, [&[1.0], &[]], &["a"]).ratio, None);
        let wrong = row(
            Measure::WrongConnections,
            [&[0.0, 0.0], &[3.0]],
            &["a", "b"],
        );
        assert_eq!((wrong.values["a"], wrong.ratio), (0.0, None));
    }

    #[test]
    fn a_row_has_the_fields_of_the_format_and_is_read_again() {
        let eight: Vec<f64> = (1..=8).map(f64::from).collect();
        let many = row(Measure::Burst, [&eight, &[2.0]], &["a", "b"]);
        let json = serde_json::to_value(&many).expect("plain data");
        assert_eq!(json["interval"], serde_json::json!({"a": [1.0, 8.0]}));
        let read: Row = serde_json::from_value(json.clone()).expect("what was written");
        assert_eq!(serde_json::to_value(read).expect("plain data"), json);
        let unknown = json.to_string().replace("burst", "speed");
        let error = serde_json::from_str::<Row>(&unknown).expect_err("there is no such measure");
        assert!(
            error.to_string().contains("the measures are cold-start,"),
            "{error}"
        );

        let row = row(Measure::Burst, [&[1.0], &[2.0]], &["a", "b"]);
        let json = serde_json::to_value(row).expect("plain data");
        assert_eq!(json["name"], "burst");
        assert_eq!(json["unit"], "ms");
        assert_eq!(json["services"], 10);
        assert_eq!(json["values"]["b"], 2.0);
        assert_eq!(json["ratio"], 2.0);
    }

    #[test]
    fn two_proxies_of_one_name_are_told_apart() {
        let names = ["a", "b", "a"].map(str::to_owned);
        assert_eq!(distinct(names.into_iter()), ["a", "b", "a-2"]);
    }
}
