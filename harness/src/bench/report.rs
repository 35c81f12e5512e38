//! What a bench found, as `bench.json` has it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::measure::{Better, Measure};
use super::statistics::{median, percentile, spread};
use crate::world::Family;

/// `bench.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what, and how often.
    pub run: BenchInfo,
    /// The measures, in the order of [`Measure::ALL`].
    pub measures: Vec<Row>,
    /// Why measures are missing; empty when none is.
    pub errors: Vec<String>,
}

/// On what a bench ran, and how.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// The proxies in their order, by the name that `values` uses, with their versions.
    pub proxies: Vec<Measured>,
}

/// A proxy that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Its version, if its profile tells how to ask.
    pub version: Option<String>,
}

/// One measure of all proxies.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    #[serde(serialize_with = "name")]
    pub name: Measure,
    /// The unit of `values` and `spread`.
    pub unit: &'static str,
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
    /// How many samples, by proxy.
    pub samples: BTreeMap<String, usize>,
    /// What exactly was measured.
    pub explanation: &'static str,
}

fn name<S: Serializer>(measure: &Measure, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(measure.name())
}

/// The samples of each measure and proxy, as they come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// By measure, the number of Services and by the proxy's position.
    found: BTreeMap<Measure, (u32, BTreeMap<usize, Vec<f64>>)>,
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
        let ratio = last.and_then(|last| ratio(measure, of(0)?, of(last)?));
        Some(Row {
            name: measure,
            unit: measure.unit(),
            services: *services,
            ratio,
            spread: by_proxy
                .iter()
                .filter_map(|(proxy, samples)| Some((named(*proxy), spread(samples)?)))
                .collect(),
            samples: by_proxy
                .iter()
                .map(|(proxy, samples)| (named(*proxy), samples.len()))
                .collect(),
            values: values
                .into_iter()
                .map(|(proxy, value)| (named(proxy), value))
                .collect(),
            explanation: measure.explanation(),
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

fn ratio(measure: Measure, first: f64, last: f64) -> Option<f64> {
    let (above, below) = match measure.better() {
        Better::Lower => (last, first),
        Better::Higher => (first, last),
    };
    (below != 0.0).then(|| above / below)
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

impl BenchInfo {
    /// What this machine is, for a bench in this family.
    pub(super) fn of_this_machine(family: Family) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            family: family.to_string(),
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
    fn a_row_has_the_fields_of_the_format() {
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
