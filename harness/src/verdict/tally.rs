//! What became of all connections of a flow, counted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::{FlowKind, Latency};
use crate::profile::Variation;
use crate::world::{Family, Protocol};

/// Counts of what was seen. Ordered, so that reports are the same each time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Connections answered, by pod.
    pub reached: BTreeMap<String, u64>,
    /// Connections refused, by how.
    pub refused: BTreeMap<String, u64>,
    /// Connections dropped.
    pub dropped: u64,
    /// Connections broken, by how.
    pub broken: BTreeMap<String, u64>,
    /// The peers that backends saw, by whose address it was.
    pub sources: BTreeMap<String, u64>,
    /// Extra hops compared with the direct way, by number.
    pub hops: BTreeMap<i16, u64>,
    /// The nodes by which connections entered, as the taps saw them.
    pub entries: BTreeMap<String, u64>,
    /// By which value of a variation connections were right, where implementations differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, u64>,
}

impl Tally {
    /// The share of each pod in the answered connections.
    pub fn shares(&self) -> BTreeMap<String, f64> {
        let total: u64 = self.reached.values().sum();
        let share = |count: &u64| *count as f64 / total as f64;
        self.reached
            .iter()
            .map(|(pod, count)| (pod.clone(), share(count)))
            .collect()
    }

    /// The largest share over the mean share among `pods` pods; `None` when nothing was reached.
    pub fn imbalance(&self, pods: usize) -> Option<f64> {
        let total: u64 = self.reached.values().sum();
        let largest = self.reached.values().max()?;
        Some(*largest as f64 * pods as f64 / total as f64)
    }

    /// What was seen, in a few words.
    pub fn text(&self) -> String {
        let count = |what: &str, n: u64| format!("{what} ×{n}");
        let mut parts = Vec::new();
        let reached: Vec<_> = self.reached.iter().map(|(pod, n)| count(pod, *n)).collect();
        if !reached.is_empty() {
            let keys =
                |map: &BTreeMap<String, u64>| map.keys().cloned().collect::<Vec<_>>().join("+");
            let hops: Vec<_> = self.hops.keys().map(|hops| format!("{hops:+}")).collect();
            parts.push(format!(
                "{}; source {}; hops {}; by {}",
                reached.join(" "),
                keys(&self.sources),
                hops.join("/"),
                keys(&self.entries)
            ));
        }
        parts.extend(
            self.refused
                .iter()
                .map(|(how, n)| count(&format!("refused ({how})"), *n)),
        );
        if self.dropped > 0 {
            parts.push(count("dropped", self.dropped));
        }
        parts.extend(
            self.broken
                .iter()
                .map(|(how, n)| count(&format!("broken ({how})"), *n)),
        );
        if parts.is_empty() {
            "nothing".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

/// One question, judged. A row of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowResult {
    /// The check that asked.
    pub check: String,
    /// Who called.
    pub from: String,
    /// What was called.
    pub to: String,
    /// The address family.
    pub family: Option<Family>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The number of connections.
    pub count: u64,
    /// How many of them were not as expected, each by itself.
    pub failed: u64,
    /// Of traffic that goes on while the world changes, how many of them nobody answered who may, where that is allowed for a
    /// while as well as where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// What was expected, in words.
    pub expected: String,
    /// What was seen, in words.
    pub got: String,
    /// What was measured, where implementations differ: [`Tally::values`] are of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub varies: Option<Variation>,
    /// What was seen, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// Extra hops compared with the direct way, by number.
    pub hops: BTreeMap<i16, u64>,
    /// The share of each pod.
    pub shares: BTreeMap<String, f64>,
    /// The share that each pod should have, where one is to answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expected_shares: BTreeMap<String, f64>,
    /// The p-value of the shares, where they are judged.
    pub p_value: Option<f64>,
    /// The chance that a correct proxy fails the judgement of the shares.
    pub false_alarm: Option<f64>,
    /// The largest share over the mean share, where the case derives one.
    pub imbalance: Option<f64>,
    /// What kind of flow it was, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FlowKind>,
    /// How long those took that were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Which of the case's journeys are examples of it, by their positions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journeys: Vec<usize>,
    /// What is wrong, one sentence each; empty when all is as expected.
    pub wrong: Vec<String>,
}

impl FlowResult {
    /// Whether everything was as expected.
    pub fn passed(&self) -> bool {
        self.wrong.is_empty()
    }
}
