//! The matrix: which policy, with which endpoints, by which client and address, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use onehop_harness::case::Policy;
use onehop_harness::run::{CaseResult, Endpoint, EndpointState, ProxyResults, Situation, Verdict};
use onehop_harness::verdict::{AddressKind, Caller, FlowKind, FlowResult};

use super::{anchor, mark};

/// What decides: a policy of a kind, and where the endpoints are, seen from the node that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) external: bool,
    pub(super) policy: Policy,
    pub(super) endpoints: Endpoints,
}

/// Where the endpoints are, and whether they are ready, seen from the node that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Endpoints {
    /// One on the node itself is ready.
    ReadyHere,
    /// One on the node is terminating, and one elsewhere is ready.
    TerminatingHere,
    /// All that are ready are elsewhere, and none is terminating on the node.
    ReadyElsewhere,
    /// Some are ready; the load balancer chooses the node.
    ReadySomewhere,
    /// None is ready, and one on the node is terminating.
    OnlyTerminatingHere,
    /// None is ready, and some elsewhere, or somewhere, are terminating.
    OnlyTerminatingElsewhere,
    /// None serves.
    None,
}

/// Who called what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Column {
    pub(super) caller: Caller,
    pub(super) address: AddressKind,
}

/// The cases that have a flow of a row and a column, and what became of it in each.
pub(super) type Cell<'a> = BTreeMap<&'a str, Verdict>;

impl Endpoints {
    /// Where they are for the node that decides, if it is certain which that is.
    pub(super) fn of(endpoints: &[Endpoint], node: Option<&str>, flow: &FlowResult) -> Self {
        let own = endpoints.iter().filter(|endpoint| {
            let families = endpoint.family.zip(flow.family);
            families.is_none_or(|(only, asked)| only == asked)
        });
        let own: Vec<_> = own.collect();
        let any = |state: EndpointState, here: Option<bool>| {
            own.iter().any(|endpoint| {
                let is_here = Some(endpoint.node.as_str()) == node;
                endpoint.state == state && here.is_none_or(|here| here == is_here)
            })
        };
        let ready = any(EndpointState::Ready, None);
        let terminating = any(EndpointState::Terminating, None);
        match (node, ready, terminating) {
            (_, false, false) => Self::None,
            (None, true, _) => Self::ReadySomewhere,
            (None, false, true) => Self::OnlyTerminatingElsewhere,
            (Some(_), true, _) if any(EndpointState::Ready, Some(true)) => Self::ReadyHere,
            (Some(_), true, _) if any(EndpointState::Terminating, Some(true)) => {
                Self::TerminatingHere
            }
            (Some(_), true, _) => Self::ReadyElsewhere,
            (Some(_), false, true) if any(EndpointState::Terminating, Some(true)) => {
                Self::OnlyTerminatingHere
            }
            (Some(_), false, true) => Self::OnlyTerminatingElsewhere,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::ReadyHere => "ready on the node",
            Self::TerminatingHere => "terminating on the node, ready elsewhere",
            Self::ReadyElsewhere => "ready elsewhere only",
            Self::ReadySomewhere => "ready; the balancer picks the node",
            Self::OnlyTerminatingHere => "only terminating, one on the node",
            Self::OnlyTerminatingElsewhere => "only terminating, elsewhere",
            Self::None => "none serves",
        }
    }
}

impl Row {
    fn of(flow: &FlowResult, kind: &FlowKind, situation: &Situation) -> Self {
        let external = kind.address != AddressKind::ClusterIp;
        Self {
            external,
            policy: if external {
                situation.external
            } else {
                situation.internal
            },
            endpoints: Endpoints::of(&situation.endpoints, kind.decided_on.as_deref(), flow),
        }
    }

    fn policy_text(self) -> String {
        let which = if self.external {
            "externalTrafficPolicy"
        } else {
            "internalTrafficPolicy"
        };
        format!("{which}: {}", self.policy)
    }
}

/// Every cell that a case has a flow for.
pub(super) fn cells(cases: &[CaseResult]) -> BTreeMap<Row, BTreeMap<Column, Cell<'_>>> {
    let mut cells = BTreeMap::<Row, BTreeMap<Column, Cell<'_>>>::new();
    for case in cases {
        for flow in &case.flows {
            let Some(kind) = &flow.kind else { continue };
            if kind.address == AddressKind::Nobodys {
                continue;
            }
            let situations = &case.situations;
            let Some(situation) = situations.iter().find(|one| one.check == flow.check) else {
                continue;
            };
            let column = Column {
                caller: kind.caller,
                address: kind.address,
            };
            // What is wrong with a case may be no flow of it: that it was late, or a health check port.
            let by_a_flow = case
                .flows
                .iter()
                .any(|row| row.kind.is_some() && !row.passed());
            let verdict = match (flow.passed(), case.verdict) {
                (true, Verdict::Fail | Verdict::Error) if !by_a_flow => case.verdict,
                (true, _) => Verdict::Pass,
                (false, Verdict::Known) => Verdict::Known,
                (false, _) => Verdict::Fail,
            };
            let row = cells.entry(Row::of(flow, kind, situation)).or_default();
            let cell = row.entry(column).or_default().entry(&case.id);
            cell.and_modify(|one| *one = worse(*one, verdict))
                .or_insert(verdict);
        }
    }
    cells
}

/// The worse of two.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    let rank = |verdict| match verdict {
        Verdict::Fail => 4,
        Verdict::Error => 3,
        Verdict::Known => 2,
        Verdict::Pass => 1,
        Verdict::Skip => 0,
    };
    if rank(one) >= rank(other) { one } else { other }
}

/// The matrix of a proxy; nothing where no case has a flow.
pub(super) fn matrix(results: &ProxyResults, prefix: &str) -> Markup {
    let cells = cells(&results.cases);
    let columns: BTreeSet<Column> = cells.values().flat_map(BTreeMap::keys).copied().collect();
    let mut callers = BTreeMap::<Caller, usize>::new();
    for column in &columns {
        *callers.entry(column.caller).or_default() += 1;
    }
    let mut rows_of = BTreeMap::<(bool, Policy), usize>::new();
    for row in cells.keys() {
        *rows_of.entry((!row.external, row.policy)).or_default() += 1;
    }
    // External policies first.
    let mut rows: Vec<_> = cells.iter().collect();
    rows.sort_by_key(|(row, _)| (!row.external, **row));
    let mut last = None;
    html! {
        @if !cells.is_empty() {
            @let about = format!("{prefix}matrix");
            // Outside of what is scrolled, or a telephone cuts it off.
            p.about id=(about) {
                "Each cell has the cases with such a flow, and the worst that became of it. "
                "Endpoints are seen from the node whose proxy decides."
            }
            div.scroll tabindex="0" role="region" aria-label="matrix of policies and flows" {
                table.matrix aria-describedby=(about) {
                    thead {
                        tr {
                            th rowspan="2" scope="col" { "policy" }
                            th rowspan="2" scope="col" { "endpoints" }
                            @for (caller, count) in &callers {
                                th colspan=(count) scope="colgroup" { (caller_text(*caller)) }
                            }
                        }
                        tr {
                            @for column in &columns { th scope="col" { (address_text(column.address)) } }
                        }
                    }
                    tbody {
                        @for (number, (row, by_column)) in rows.into_iter().enumerate() {
                            @let group = (!row.external, row.policy);
                            tr.first[last != Some(group)] {
                                @if last.replace(group) != Some(group) {
                                    th scope="rowgroup" rowspan=(rows_of[&group]) { (row.policy_text()) }
                                }
                                th scope="row" { (row.endpoints.text()) }
                                @for (place, column) in columns.iter().enumerate() {
                                    td { (cell(by_column.get(column), &format!("{prefix}m{number}-{place}"), prefix)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(cell: Option<&Cell<'_>>, id: &str, prefix: &str) -> Markup {
    let Some(cell) = cell else {
        return html! { span.empty title="no case has such a flow" { "·" } };
    };
    let verdict = cell.values().copied().fold(Verdict::Skip, worse);
    let bad = cell.values().filter(|one| **one == verdict).count();
    let text = match (verdict, cell.len()) {
        (Verdict::Pass, all) => all.to_string(),
        (_, all) => format!("{bad} of {all}"),
    };
    let mut cases: Vec<_> = cell.iter().collect();
    cases.sort_by_key(|(id, verdict)| (**verdict == Verdict::Pass, **id));
    html! {
        button.cell.(class(verdict)) popovertarget=(id) aria-label=(format!("{}: {text} cases", mark(verdict).1)) {
            (mark(verdict).0) " " (text)
        }
        div.cases popover id=(id) {
            ul {
                @for (case, verdict) in cases {
                    li { span.(class(*verdict)) { (mark(*verdict).0) } " " a href=(format!("#{}", anchor(prefix, case))) { (case) } }
                }
            }
        }
    }
}

/// The class of elements that show a verdict.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Known => "known",
        Verdict::Skip => "skip",
        Verdict::Error => "error",
    }
}

fn caller_text(caller: Caller) -> &'static str {
    match caller {
        Caller::External => "external client",
        Caller::Pod => "pod",
        Caller::Node => "node",
        Caller::LoadBalancer => "load balancer's host",
    }
}

fn address_text(address: AddressKind) -> &'static str {
    match address {
        AddressKind::ClusterIp => "ClusterIP",
        AddressKind::NodePort => "NodePort",
        AddressKind::ExternalIp => "ExternalIP",
        AddressKind::LoadBalancer => "LB address",
        AddressKind::Nobodys => "nobody's",
    }
}
