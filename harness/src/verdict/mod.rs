//! Verdicts: what was seen, held against what was expected. Pure.

mod asked;
mod distribution;
mod flow;
mod kind;
mod tally;

pub use asked::Asked;
pub use distribution::{chi_square_p_value, coverage_size, detection, sample_size};
pub use flow::{Baseline, Ground, Observed, Trip, judge};
pub use kind::{AddressKind, Caller, FlowKind, Latency};
pub use tally::{FlowResult, Tally};
