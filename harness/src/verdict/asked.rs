//! How many connections it takes to ask a flow.

use super::distribution::{coverage_size, sample_size};
use crate::case::Expectation;
use crate::timing::Timing;

/// How a flow is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A few connections, to see early that something is not yet as expected.
    Briefly,
    /// Enough connections to see every pod: convergence.
    Covering,
    /// Enough connections to judge the shares too: the verdict.
    Fully,
}

/// As many connections at least, where somebody is to answer.
const FEW: usize = 10;

impl Asked {
    /// How many connections it takes. `judged` is the number of distributions that share the
    /// case's false-alarm rate.
    pub fn connections(self, expect: &Expectation, judged: usize, timing: &Timing) -> usize {
        let negative = timing.negative_samples as usize;
        let Some(reach) = expect.reach() else {
            return match self {
                Self::Briefly => 1,
                Self::Covering | Self::Fully => negative,
            };
        };
        // Where implementations differ, there may be nobody who answers.
        let least = match expect {
            Expectation::Varies(..) => negative,
            _ => FEW,
        };
        let entries = reach.entries().len();
        if reach.sticky {
            // As many as it takes to see a client that is not held to one pod: by then it would
            // have seen them all.
            let pods = reach.pods.len();
            return match self {
                Self::Briefly => 3,
                _ => coverage_size(pods, 1.0 / pods as f64, timing.miss).max(least),
            };
        }
        let smallest = reach
            .shares
            .iter()
            .copied()
            .fold(1.0 / entries as f64, f64::min);
        let covering =
            coverage_size(reach.pods.len().max(entries), smallest, timing.miss).max(least);
        match self {
            Self::Briefly => 3,
            Self::Fully if reach.judged => {
                let false_alarm = timing.false_alarm / judged as f64;
                covering.max(sample_size(&reach.shares, false_alarm, timing.power))
            }
            Self::Covering | Self::Fully => covering,
        }
    }
}
