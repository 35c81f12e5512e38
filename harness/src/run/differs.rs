//! What a proxy does where implementations differ: what its profile declares, and what was measured. Pure.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::results::CaseResult;
use crate::profile::Variation;

/// What is known of one variation. No verdict depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Differs {
    /// The value that the profile declares, if it does.
    pub declared: Option<String>,
    /// The values that connections showed, each with how many did. Of several, nodes, families or addresses do
    /// different things. None at all where no case measured it.
    pub measured: BTreeMap<String, u64>,
}

impl Differs {
    /// Whether something else was measured than what is declared.
    pub fn is_another(&self) -> bool {
        let Some(declared) = &self.declared else {
            return false;
        };
        self.measured.keys().any(|value| value != declared)
    }
}

/// What was measured beside what is declared, in words.
impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.measured.iter();
        match (values.next(), values.len()) {
            (None, _) => f.write_str("not measured")?,
            (Some((value, _)), 0) => f.write_str(value)?,
            (Some(_), _) => {
                let each = self.measured.iter();
                let each = each.map(|(value, count)| format!("{value} ×{count}"));
                write!(f, "mixed, {}", each.collect::<Vec<_>>().join(" "))?;
            }
        }
        match &self.declared {
            None => f.write_str("; declared: nothing"),
            Some(declared) if self.is_another() => {
                write!(f, "; declared: {declared}, which is not what was measured")
            }
            Some(declared) => write!(f, "; declared: {declared}"),
        }
    }
}

/// Every variation by its name, as these cases measured it and as it is declared.
pub fn differs(
    declared: &BTreeMap<Variation, String>,
    cases: &[CaseResult],
) -> BTreeMap<String, Differs> {
    let known = |variation: &Variation| {
        let rows = cases.iter().flat_map(|case| &case.flows);
        let rows = rows.filter(|row| row.varies == Some(*variation));
        let mut measured = BTreeMap::new();
        for (value, count) in rows
            .filter_map(|row| row.tally.as_ref())
            .flat_map(|t| &t.values)
        {
            *measured.entry(value.clone()).or_default() += count;
        }
        let declared = declared.get(variation).cloned();
        (variation.to_string(), Differs { declared, measured })
    };
    Variation::ALL.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Service};
    use crate::run::row::row;
    use crate::run::skipped;
    use crate::verdict::{FlowResult, Tally};

    const ADDRESS: Variation = Variation::UnallocatedAddress;

    /// A case with a row of each of these counts.
    fn case(rows: &[(Variation, &[(&'static str, u64)])]) -> CaseResult {
        let case = Case::new("subject/case", "claim", Service::node_port(), &[]);
        let rows = rows.iter().map(|(variation, values)| FlowResult {
            varies: Some(*variation),
            tally: Some(Tally {
                values: values
                    .iter()
                    .map(|(value, count)| ((*value).to_owned(), *count))
                    .collect(),
                ..Tally::default()
            }),
            ..row("pod", "address", None)
        });
        CaseResult {
            flows: rows.collect(),
            ..skipped(&case, "no reason")
        }
    }

    /// What is said of one variation, declared like this, after these cases.
    fn said(declared: Option<&str>, cases: &[CaseResult]) -> String {
        let declared = declared.map(|value| (ADDRESS, value.to_owned()));
        differs(&declared.into_iter().collect(), cases)[ADDRESS.name()].to_string()
    }

    #[test]
    fn what_cases_measured_is_summed_up_by_variation() {
        let cases = [
            case(&[
                (ADDRESS, &[("drop", 3)]),
                (ADDRESS, &[("drop", 4), ("pass", 1)]),
            ]),
            case(&[(Variation::NodePortElsewhere, &[("reject", 2)])]),
        ];
        let all = differs(&BTreeMap::new(), &cases);
        assert_eq!(all.len(), Variation::ALL.len());
        let measured = |variation: Variation| {
            let measured = all[variation.name()].measured.iter();
            measured
                .map(|(value, n)| (value.as_str(), *n))
                .collect::<Vec<_>>()
        };
        assert_eq!(measured(ADDRESS), [("drop", 7), ("pass", 1)]);
        assert_eq!(measured(Variation::NodePortElsewhere), [("reject", 2)]);
        assert_eq!(measured(Variation::LocalhostNodePort), []);
    }

    #[test]
    fn what_was_measured_stands_beside_what_is_declared() {
        let drops = [case(&[(ADDRESS, &[("drop", 3)])])];
        let both = [case(&[(ADDRESS, &[("drop", 3), ("pass", 2)])])];
        assert_eq!(said(Some("drop"), &[]), "not measured; declared: drop");
        assert_eq!(said(Some("drop"), &drops), "drop; declared: drop");
        assert_eq!(said(None, &drops), "drop; declared: nothing");
        assert_eq!(
            said(Some("pass"), &drops),
            "drop; declared: pass, which is not what was measured"
        );
        assert_eq!(
            said(Some("drop"), &both),
            "mixed, drop ×3 pass ×2; declared: drop, which is not what was measured"
        );
    }
}
