//! Which rules the calls met that went wrong.

use serde::{Deserialize, Serialize};

use super::ask::Subject;
use super::row::Answer;
use crate::case::{Check, FlowCheck, Question};
use crate::lab::RulesMet;
use crate::verdict::FlowResult;
use crate::world::{Family, Protocol};

/// How many rows of a check are asked about: what fails mostly fails in many of them, by the same rules.
const ROWS: usize = 4;

/// The file of the evidence that has them.
pub const RULES_MET: &str = "rules-met.json";

/// Which rules a call met like those of a row that is not as expected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ruled {
    /// The row, by the same names as in the results.
    pub check: String,
    /// Who calls.
    pub from: String,
    /// What is called.
    pub to: String,
    /// By which protocol.
    pub protocol: Protocol,
    /// In which family.
    pub family: Family,
    /// Each node that it came to by the address that was called.
    pub nodes: Vec<RulesMet>,
    /// Why that could not be seen.
    pub error: Option<String>,
}

impl Ruled {
    /// Whether it is about this row.
    pub fn is_of(&self, row: &FlowResult) -> bool {
        (&self.check, &self.from, &self.to) == (&row.check, &row.from, &row.to)
            && (Some(self.family), self.protocol) == (row.family, row.protocol)
    }
}

impl Subject<'_> {
    /// Makes the calls once more of the first rows that are wrong, and says which rules they meet.
    pub(super) async fn ruled(&self, check: &Check, answers: &[Answer]) -> Vec<Ruled> {
        let wrong = answers.iter().map(|answer| &answer.result);
        let wrong = wrong.filter(|row| !row.passed());
        let mut ruled = Vec::new();
        for row in wrong {
            if let (Some(flow), Some(family)) = (flow_of(check, row), row.family) {
                ruled.extend(self.ruled_flow(row, flow, family).await);
            }
            if ruled.len() == ROWS {
                break;
            }
        }
        ruled
    }

    async fn ruled_flow(
        &self,
        row: &FlowResult,
        flow: &FlowCheck,
        family: Family,
    ) -> Option<Ruled> {
        let remote = self
            .lab
            .resolve_port(&flow.to, flow.port, self.service, family)?;
        let (remotes, backends) = ([remote], self.backends_of(family));
        let met = self.lab.rules_met(self.calls(flow, &remotes, &backends));
        let (nodes, error) = match met.await {
            Ok(nodes) => (nodes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Some(Ruled {
            check: row.check.clone(),
            from: row.from.clone(),
            to: row.to.clone(),
            protocol: row.protocol,
            family,
            nodes,
            error,
        })
    }
}

/// The flow of a check that a row is about.
fn flow_of<'a>(check: &'a Check, row: &FlowResult) -> Option<&'a FlowCheck> {
    let flows = check.questions.iter().flat_map(Question::flows);
    flows
        .into_iter()
        .find(|flow| flow.from.to_string() == row.from && flow.target() == row.to)
}
