//! The measures by name: what each is, in which unit, and which way is better.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that is measured of every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Measure {
    /// From the start of the proxy's process to the first connection through the last Service.
    ColdStart,
    /// [`Self::ColdStart`] with all Services ÷ the same with half of them.
    ColdStartGrowth,
    /// [`Self::ColdStart`] with three times the Services.
    ColdStartLarge,
    /// From the request that swaps an endpoint to the right connection: the median.
    EndpointChangeP50,
    /// The same: the 99th percentile.
    EndpointChangeP99,
    /// CPU time for 1000 endpoint changes.
    CpuPer1000Changes,
    /// The most memory that the proxy and its children had.
    PeakMemory,
    /// Connections opened through a Service, in a second.
    ConnectionsPerSecond,
    /// How long one connection takes to open: the median.
    ConnectP50,
    /// Connections that failed or reached a wrong endpoint while endpoints were swapped.
    WrongConnections,
    /// From the creation of a Service with many endpoints to a connection through it.
    LargeServiceProgram,
    /// From replacing all its endpoints until none of the old is reached.
    LargeServiceSwap,
    /// From the first of many changes at once until every Service is right.
    Burst,
}

/// Which way a measure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is better: times, memory.
    Lower,
    /// More is better: rates.
    Higher,
}

impl Measure {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 13] = [
        Self::ColdStart,
        Self::ColdStartGrowth,
        Self::ColdStartLarge,
        Self::EndpointChangeP50,
        Self::EndpointChangeP99,
        Self::CpuPer1000Changes,
        Self::PeakMemory,
        Self::ConnectionsPerSecond,
        Self::ConnectP50,
        Self::WrongConnections,
        Self::LargeServiceProgram,
        Self::LargeServiceSwap,
        Self::Burst,
    ];

    /// Its name in `--measure` and in `bench.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ColdStart => "cold-start",
            Self::ColdStartGrowth => "cold-start-growth",
            Self::ColdStartLarge => "cold-start-large",
            Self::EndpointChangeP50 => "endpoint-change-p50",
            Self::EndpointChangeP99 => "endpoint-change-p99",
            Self::CpuPer1000Changes => "cpu-per-1000-changes",
            Self::PeakMemory => "peak-memory",
            Self::ConnectionsPerSecond => "connections-per-second",
            Self::ConnectP50 => "connect-p50",
            Self::WrongConnections => "wrong-connections",
            Self::LargeServiceProgram => "large-service-program",
            Self::LargeServiceSwap => "large-service-swap",
            Self::Burst => "burst",
        }
    }

    /// The measure of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ColdStart
            | Self::ColdStartLarge
            | Self::EndpointChangeP50
            | Self::EndpointChangeP99
            | Self::LargeServiceProgram
            | Self::LargeServiceSwap
            | Self::Burst => "ms",
            Self::ColdStartGrowth => "×",
            Self::CpuPer1000Changes => "CPU s",
            Self::PeakMemory => "MiB",
            Self::ConnectionsPerSecond => "1/s",
            Self::ConnectP50 => "µs",
            Self::WrongConnections => "connections",
        }
    }

    /// Which way it gets better.
    pub fn better(self) -> Better {
        match self {
            Self::ConnectionsPerSecond => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// How many times better the first of two values is than the last. `None` where that divides by 0.
    pub fn times_better(self, first: f64, last: f64) -> Option<f64> {
        let (above, below) = match self.better() {
            Better::Lower => (last, first),
            Better::Higher => (first, last),
        };
        (below != 0.0).then(|| above / below)
    }

    /// What exactly is measured, in one sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ColdStart => {
                "from the start of the process until a connection through the last Service is \
                 answered, and those through 20 others across all of them"
            }
            Self::ColdStartGrowth => "cold-start with all Services ÷ with half of them",
            Self::ColdStartLarge => {
                "cold-start with three times the Services; the first proxy alone, unless named"
            }
            Self::EndpointChangeP50 | Self::EndpointChangeP99 => {
                "from sending the request that swaps the endpoint of a Service until a new \
                 connection has reached the new one, and no later one the old"
            }
            Self::CpuPer1000Changes => {
                "user and system time of the process and its children while an endpoint is \
                 swapped every 20 ms"
            }
            Self::PeakMemory => {
                "the larger of two peaks: the PSS of the process and its children together, read \
                 every 10 ms during a cold start of its own, and the VmHWM of the process after \
                 all changes"
            }
            Self::ConnectionsPerSecond => {
                "TCP connections opened and closed through a ClusterIP by two threads of a pod"
            }
            Self::ConnectP50 => {
                "connect() through a ClusterIP, one at a time: the median of the medians of each turn"
            }
            Self::WrongConnections => {
                "connections under load that failed, or reached an endpoint that was not the \
                 Service's at any time between their start and end"
            }
            Self::LargeServiceProgram => {
                "from creating a Service, whose 1000 endpoints are there, until it answers"
            }
            Self::LargeServiceSwap => {
                "from replacing its 1000 endpoints until none of the old is reached"
            }
            Self::Burst => {
                "from the first of many endpoint swaps (--changes), each of another Service, without a pause, until all are right"
            }
        }
    }
}

impl From<Measure> for &'static str {
    fn from(measure: Measure) -> Self {
        measure.name()
    }
}

impl TryFrom<String> for Measure {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|measure| measure.name()).collect();
            format!(
                "there is no measure {name:?}; the measures are {}",
                all.join(", ")
            )
        })
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value in three digits that count, or all before the point.
pub fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_keep_what_counts() {
        let values = [0.0, 0.25, 9.876, 12.34, 35_012.7];
        assert_eq!(values.map(digits), ["0", "0.25", "9.88", "12.3", "35013"]);
    }

    #[test]
    fn every_measure_is_found_by_its_name() {
        for measure in Measure::ALL {
            assert_eq!(Measure::named(measure.name()), Some(measure));
        }
        assert_eq!(Measure::named("speed"), None);
    }
}
