//! The rows of a report: what was asked, what was expected, and what was seen.

use std::collections::BTreeMap;

use crate::probe::HttpOutcome;
use crate::tap::Sample;
use crate::verdict::FlowResult;
use crate::world::{Family, Protocol};

/// A judged question, with the journeys that show what was wrong.
pub(super) struct Answer {
    /// The row of the report.
    pub(super) result: FlowResult,
    /// Examples of its connections: one of each outcome when it failed, else the one that came furthest.
    pub(super) samples: Vec<Sample>,
}

/// A row about whether the API has allocated something.
pub(super) fn allocated(what: &str, expected: bool, got: bool) -> Answer {
    let text = |allocated: bool| {
        if allocated {
            "allocated"
        } else {
            "not allocated"
        }
    };
    let row = row("api", what, None);
    row.expect(text(expected), text(got), got == expected)
        .into()
}

/// A row for a question that is no flow.
pub(super) fn row(from: &str, to: &str, family: Option<Family>) -> FlowResult {
    FlowResult {
        check: String::new(),
        from: from.to_owned(),
        to: to.to_owned(),
        family,
        protocol: Protocol::Tcp,
        count: 1,
        failed: 0,
        lost: None,
        expected: String::new(),
        got: String::new(),
        varies: None,
        tally: None,
        hops: BTreeMap::new(),
        shares: BTreeMap::new(),
        expected_shares: BTreeMap::new(),
        kind: None,
        latency: None,
        journeys: Vec::new(),
        p_value: None,
        false_alarm: None,
        imbalance: None,
        wrong: Vec::new(),
    }
}

impl FlowResult {
    pub(super) fn expect(self, expected: &str, got: &str, right: bool) -> Self {
        let wrong = if right {
            Vec::new()
        } else {
            vec![format!("{got} instead of {expected}")]
        };
        self.expect_all(expected, got, wrong)
    }

    pub(super) fn expect_all(self, expected: &str, got: &str, wrong: Vec<String>) -> Self {
        Self {
            expected: expected.to_owned(),
            got: got.to_owned(),
            wrong,
            ..self
        }
    }
}

impl From<FlowResult> for Answer {
    fn from(result: FlowResult) -> Self {
        Self {
            result,
            samples: Vec::new(),
        }
    }
}

/// What a health check port said, for people.
pub(super) fn text(outcome: &HttpOutcome) -> String {
    match outcome {
        HttpOutcome::Answered(answer) => format!("{} {}", answer.status, answer.body.trim()),
        HttpOutcome::Refused => "refused".to_owned(),
        HttpOutcome::Silent => "silent".to_owned(),
        HttpOutcome::Broken(how) => format!("broken: {how}"),
    }
}
