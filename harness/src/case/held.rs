//! Flows that are kept open while the world changes.

use std::fmt;

use serde::Serialize;

use super::{Expectation, FlowCheck, Question};

/// Flows to be opened and kept: TCP connections, or pairs of ends between which datagrams go. As
/// many as it takes to have one to every pod, in each family.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldFlow {
    /// What later questions call it.
    pub name: &'static str,
    /// Where it goes, and what should become of it when it is opened. Asked without a retry.
    pub flow: FlowCheck,
}

/// What should become of flows that were opened before.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldExpectation {
    /// Each is answered by the backend that it began with, which sees the same peer: it was never
    /// cut, at no time since it was opened.
    GoesOn,
    /// From now on, this becomes of their datagrams. A connection cannot be moved.
    Becomes(Expectation),
}

/// What should become now of the flows of this name.
pub fn held(name: &'static str, expect: HeldExpectation) -> Question {
    Question::Held { name, expect }
}

impl fmt::Display for HeldExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoesOn => f.write_str("goes on as it began"),
            Self::Becomes(expect) => expect.fmt(f),
        }
    }
}
