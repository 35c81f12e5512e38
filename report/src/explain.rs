//! Why a case failed, from its results and its evidence: what was expected, what came instead, where the packet was last seen, and what
//! connection tracking and the rules knew of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use onehop_harness::lab::{DROP, REJECT, RuleMet, RulesMet};
use onehop_harness::run::{CaseResult, EndpointState, RULES_MET, Ruled, Situation, Verdict};
use onehop_harness::tap::{Direction, Half, Journey, Sample, What};
use onehop_harness::verdict::FlowResult;
use serde::Serialize;

use crate::{Evidence, of_family};

/// How many entries of connection tracking are shown of a node.
const ENTRIES: usize = 4;

/// Why a case is what it is. Its text is for people.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation<'a> {
    /// The case's id.
    pub case: &'a str,
    /// What it claims.
    pub claim: &'a str,
    /// Its verdict.
    pub verdict: Verdict,
    /// What it came to in a few words, where it did not pass.
    pub reason: Option<&'a str>,
    /// Where a known defect that it may show is written up.
    pub finding: Option<&'a str>,
    /// Every row that is not as expected.
    pub rows: Vec<WrongRow<'a>>,
    /// The directory with its evidence.
    pub evidence: Option<&'a Path>,
}

/// A row that is not as expected.
#[derive(Clone, Debug, Serialize)]
pub struct WrongRow<'a> {
    /// What was asked, expected, and got.
    pub row: &'a FlowResult,
    /// The world at the time of its check.
    pub situation: Option<&'a Situation>,
    /// Examples of its calls, one for each outcome.
    pub ways: Vec<Way<'a>>,
    /// The rules that one more such call met on each node, where the kernel has told.
    pub rules: Vec<Ruled>,
}

/// A call as an example.
#[derive(Clone, Debug, Serialize)]
pub struct Way<'a> {
    /// Its place among those of the case: rows of both families may have one together.
    pub number: usize,
    /// Its outcome and its journey.
    pub sample: &'a Sample,
    /// Who did what with it, and what should have come in its place.
    pub conclusion: String,
    /// What connection tracking had of it on the nodes that it came by, in the order of travel.
    pub tracked: Vec<Tracked>,
}

/// What a node's connection tracking had of a call.
#[derive(Clone, Debug, Serialize)]
pub struct Tracked {
    /// The node.
    pub node: String,
    /// Its entries, as `conntrack -L` prints them.
    pub entries: Vec<String>,
}

/// Explains every row of a case that is not as expected. `evidence` reads its evidence.
pub fn explain<'a>(case: &'a CaseResult, evidence: Evidence<'_>) -> Explanation<'a> {
    let ruled = evidence(case, RULES_MET).and_then(|text| serde_json::from_str(&text).ok());
    let ruled: Vec<Ruled> = ruled.unwrap_or_default();
    let wrong = || case.flows.iter().filter(|row| !row.passed());
    let tables = tables(case, wrong().flat_map(|row| &row.journeys), evidence);
    let rows = wrong().map(|row| {
        let ways = row.journeys.iter().filter_map(|number| {
            let sample = case.journeys.get(*number)?;
            Some(Way {
                number: *number,
                sample,
                conclusion: conclusion(row, sample),
                tracked: tracked(sample, &tables),
            })
        });
        WrongRow {
            row,
            situation: case.situations.iter().find(|one| one.check == row.check),
            ways: ways.collect(),
            rules: ruled.iter().filter(|one| one.is_of(row)).cloned().collect(),
        }
    });
    Explanation {
        case: &case.id,
        claim: &case.claim,
        verdict: case.verdict,
        reason: case.reason.as_deref(),
        finding: case.finding.as_deref(),
        rows: rows.collect(),
        evidence: case.evidence.as_deref(),
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}\n  {}", self.verdict, self.case, self.claim)?;
        if let Some(finding) = self.finding
            && self.verdict != Verdict::Pass
        {
            writeln!(f, "  known: {finding}")?;
        }
        if self.rows.is_empty() {
            let reason = self.reason.unwrap_or("every row is as expected");
            writeln!(f, "  {reason}")?;
        }
        // Rows of both families have an example together.
        let mut shown = BTreeSet::new();
        for wrong in &self.rows {
            f.write_str(&of_row(wrong.row, wrong.situation))?;
            for way in &wrong.ways {
                if shown.insert(way.number) {
                    f.write_str(&of_way(way))?;
                } else {
                    let outcome = &way.sample.outcome;
                    writeln!(f, "\n    {outcome}: the way is one that is shown above")?;
                }
            }
            for ruled in &wrong.rules {
                f.write_str(&of_rules(ruled))?;
            }
        }
        if let Some(path) = self.evidence {
            writeln!(f, "\n  evidence: {}", path.display())?;
        }
        Ok(())
    }
}

fn of_row(row: &FlowResult, situation: Option<&Situation>) -> String {
    let family = of_family(row);
    let mut text = format!(
        "\n  {}: {} to {} by {}{family}\n",
        row.check, row.from, row.to, row.protocol
    );
    if let Some(situation) = situation {
        let _ = writeln!(text, "    world     {}", world(situation));
    }
    let _ = writeln!(
        text,
        "    expected  {}\n    got       {}",
        row.expected, row.got
    );
    for wrong in &row.wrong {
        let _ = writeln!(text, "    wrong     {wrong}");
    }
    text
}

fn world(situation: &Situation) -> String {
    let endpoints = situation.endpoints.iter().map(|endpoint| {
        let state = match endpoint.state {
            EndpointState::Ready => "ready",
            EndpointState::Terminating => "terminating",
            EndpointState::NotServing => "not serving",
        };
        format!("{} on {} {state}", endpoint.pod, endpoint.node)
    });
    let endpoints: Vec<_> = endpoints.collect();
    let endpoints = match &endpoints[..] {
        [] => "no endpoints".to_owned(),
        some => some.join(", "),
    };
    format!(
        "{}, externalTrafficPolicy {}, internalTrafficPolicy {}; {endpoints}",
        situation.service_type, situation.external, situation.internal
    )
}

fn of_way(way: &Way<'_>) -> String {
    let mut text = format!("\n    {}, for example:\n", way.sample.outcome);
    for line in way.sample.to_string().lines() {
        let _ = writeln!(text, "      {line}");
    }
    let _ = writeln!(text, "    => {}", way.conclusion);
    for Tracked { node, entries } in &way.tracked {
        for entry in entries {
            let _ = writeln!(text, "    {node} tracked: {entry}");
        }
    }
    text
}

/// The connection tracking of every node that these ways of a case came by. Many rows have ways by one node.
fn tables<'a>(
    case: &'a CaseResult,
    numbers: impl Iterator<Item = &'a usize>,
    evidence: Evidence<'_>,
) -> BTreeMap<&'a str, String> {
    let samples = numbers.filter_map(|number| case.journeys.get(*number));
    let journeys = samples.filter_map(|sample| sample.journey.as_ref());
    let nodes: BTreeSet<&str> = journeys.flat_map(Journey::hosts).collect();
    let tables = nodes.into_iter();
    tables
        .filter_map(|node| Some((node, evidence(case, &format!("{node}.conntrack"))?)))
        .collect()
}

/// What the nodes that a call came by had of it in their tables of connection tracking.
fn tracked(sample: &Sample, tables: &BTreeMap<&str, String>) -> Vec<Tracked> {
    let Some(journey) = &sample.journey else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let nodes = journey
        .hosts()
        .into_iter()
        .filter(|node| seen.insert(*node));
    let tracked = nodes.filter_map(|node| {
        let entries = entries(tables.get(node)?, journey.call.local).into_iter();
        let entries: Vec<_> = entries.map(str::to_owned).collect();
        (!entries.is_empty()).then(|| Tracked {
            node: node.to_owned(),
            entries,
        })
    });
    tracked.collect()
}

/// Which rules a call like those of the row met, made once more.
pub(crate) fn of_rules(ruled: &Ruled) -> String {
    let mut text = String::new();
    if let Some(error) = &ruled.error {
        let _ = writeln!(text, "\n    which rules it met could not be seen: {error}");
    }
    for RulesMet { node, rules } in &ruled.nodes {
        if rules.is_empty() {
            let _ = writeln!(
                text,
                "\n    one more such call came to {node}, and no rule there was for it"
            );
            continue;
        }
        let _ = writeln!(
            text,
            "\n    the rules of {node} that one more such call met:"
        );
        for RuleMet {
            table,
            chain,
            rule,
            verdict,
        } in rules
        {
            let what = match &**rule {
                "" => "its policy",
                rule => rule,
            };
            // The text of a rule mostly ends with its verdict.
            let verdict = match what.contains(&**verdict) {
                true => String::new(),
                false => format!(" => {verdict}"),
            };
            let _ = writeln!(text, "      {table} {chain}: {what}{verdict}");
        }
    }
    let ended = ruled
        .nodes
        .iter()
        .find_map(|met| Some((&met.node, met.ended()?)));
    if let Some((node, rule)) = ended {
        let (table, chain) = (&rule.table, &rule.chain);
        let did = match &*rule.verdict {
            DROP => "dropped",
            REJECT => "refused",
            _ => "dropped or refused",
        };
        let _ = writeln!(
            text,
            "    => {node} {did} it in table {table}, chain {chain}"
        );
    }
    text
}

/// Who did what, and what should have come in its place.
fn conclusion(row: &FlowResult, sample: &Sample) -> String {
    let Some(journey) = &sample.journey else {
        return format!("{} decided before any interface", row.from);
    };
    let rewritten = journey
        .rewrites()
        .into_iter()
        .find(|rewrite| (rewrite.half, rewrite.what) == (Half::Request, What::Destination));
    let decides = row
        .kind
        .as_ref()
        .and_then(|kind| kind.decided_on.as_deref());
    let expected = row.expected.split(';').next().unwrap_or_default();
    // A handshake that came back whole, and then not what a backend says.
    let broken = sample.outcome.strip_prefix("broken (");
    let broken = broken.map(|how| how.trim_end_matches(')'));
    let answered_by = journey.reply.last().map(|seen| seen.source);
    match (&rewritten, journey.last_seen()) {
        (_, None) if answered_by.is_some_and(|source| source != journey.call.remote) => format!(
            "an answer came back from {}, which is not what {} had called; expected was: {expected}",
            answered_by
                .map(|source| sample.name(source.ip()))
                .unwrap_or_default(),
            row.from
        ),
        (Some(rewrite), None) if broken.is_some() => format!(
            "{} sent it on to {}, where it was {}; expected was: {expected}",
            rewrite.host,
            sample.name(rewrite.to.ip()),
            broken.unwrap_or_default()
        ),
        // It may be the source, the hops or the node that is wrong: all of what was expected counts.
        (Some(rewrite), None) => format!(
            "{} sent it on to {}{}, and the answer came back; expected was: {}",
            rewrite.host,
            sample.name(rewrite.to.ip()),
            as_whom(sample, journey),
            row.expected
        ),
        (None, None) => format!(
            "{} answered, and no host had rewritten it; expected was: {expected}",
            journey.reply.first().map_or("nobody", |seen| &seen.host)
        ),
        (_, Some(last)) => {
            let (half, how) = match (journey.reply.is_empty(), last.direction) {
                (true, Direction::In) => ("it", "arriving at"),
                (true, Direction::Out) => ("it", "leaving"),
                (false, Direction::In) => ("its answer", "arriving at"),
                (false, Direction::Out) => ("its answer", "leaving"),
            };
            let next = match (&rewritten, decides) {
                (None, Some(node)) if journey.reply.is_empty() => {
                    format!("{node} should have decided next: {expected}")
                }
                _ => format!("expected was: {expected}"),
            };
            format!(
                "{half} was last seen {how} {}/{}; {next}",
                last.host, last.interface
            )
        }
    }
}

/// Whose address a call had for its source when it arrived, if it was another than its caller's.
fn as_whom(sample: &Sample, journey: &Journey) -> String {
    let mut rewrites = journey.rewrites().into_iter();
    let source = rewrites.find(|one| (one.half, one.what) == (Half::Request, What::Source));
    source.map_or_else(String::new, |rewrite| {
        let name = sample.name(rewrite.to.ip());
        format!(", with {name} as its source in place of the caller")
    })
}

/// The entries of a connection-tracking table that have a call's port as a source, the first of them.
fn entries(table: &str, local: SocketAddr) -> Vec<&str> {
    let (address, port) = (
        format!("src={} ", local.ip()),
        format!("sport={} ", local.port()),
    );
    let own = table.lines().map(str::trim);
    let own = own.filter(|line| line.contains(&port) && line.contains(&address));
    own.take(ENTRIES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    fn nothing(_: &CaseResult, _: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_rule_that_dropped_a_call_is_named_where_the_kernel_told_it() {
        let case = &sample().results[0].cases[3];
        let row = case.flows.iter().find(|row| !row.passed()).expect("fails");
        let met = |chain: &str, rule: &str, verdict: &str| RuleMet {
            table: "ip kube-proxy".to_owned(),
            chain: chain.to_owned(),
            rule: rule.to_owned(),
            verdict: verdict.to_owned(),
        };
        let ruled = |from: &str| Ruled {
            check: row.check.clone(),
            from: from.to_owned(),
            to: row.to.clone(),
            protocol: row.protocol,
            family: row.family.expect("of a family"),
            nodes: vec![RulesMet {
                node: "vm1".to_owned(),
                rules: vec![
                    met("services", "ip daddr vmap @service-ips", "goto service-X"),
                    met("service-X", "counter drop", "drop"),
                ],
            }],
            error: None,
        };
        let kept = |ruled: Ruled| serde_json::to_string(&[ruled]).expect("JSON");
        let read = |text: String| {
            move |_: &CaseResult, name: &str| (name == RULES_MET).then(|| text.clone())
        };
        let text = explain(case, &read(kept(ruled(&row.from)))).to_string();
        for words in [
            "the rules of vm1 that one more such call met:",
            "      ip kube-proxy services: ip daddr vmap @service-ips => goto service-X\n",
            "      ip kube-proxy service-X: counter drop\n",
            "=> vm1 dropped it in table ip kube-proxy, chain service-X",
        ] {
            assert!(text.contains(words), "no `{words}` in:\n{text}");
        }
        let of_another = explain(case, &read(kept(ruled("pod(somebody-else)")))).to_string();
        assert!(!of_another.contains("rules of vm1"), "{of_another}");
    }

    #[test]
    fn what_failed_is_said_with_its_world_its_way_and_what_should_have_come() {
        let case = &sample().results[0].cases[3];
        let text = explain(case, &nothing).to_string();
        for words in [
            "FAIL  internal/fails\n  A claim | of a case.",
            "pods 1-0-2: pod(client-vm1) to cluster-ip by TCP, IPv4",
            "ClusterIP, externalTrafficPolicy Cluster, internalTrafficPolicy Local; web-0 on vm1 ready, web-1 on vm2 terminating",
            "wrong     dropped (3 of 20)",
            "DNAT cluster-ip:80 → web-0:8080",
            "=> it was last seen leaving vm1/eth0; expected was: web-0 <& nobody else>",
            "evidence: out/mine/evidence/internal-fails",
        ] {
            assert!(text.contains(words), "no `{words}` in:\n{text}");
        }
        assert!(
            !text.contains("IPv6"),
            "what is as expected is not said:\n{text}"
        );
    }

    #[test]
    fn connection_tracking_is_asked_for_the_call_alone() {
        let table = "tcp 6 100 SYN_SENT src=10.0.0.9 dst=10.96.0.1 sport=4000 dport=80 [UNREPLIED] src=10.0.0.7\n\
                     tcp 6 100 SYN_SENT src=10.0.0.9 dst=10.96.0.1 sport=40001 dport=80 x\n\
                     udp 17 3 src=10.0.0.8 dst=10.96.0.1 sport=4000 dport=80 x\n";
        let read = |_: &CaseResult, name: &str| (name == "vm1.conntrack").then(|| table.to_owned());
        let results = sample();
        let explanation = explain(&results.results[0].cases[3], &read);
        let text = explanation.to_string();
        assert_eq!(text.matches("vm1 tracked: ").count(), 1, "{text}");
        assert!(
            text.contains("tracked: tcp 6 100 SYN_SENT src=10.0.0.9 dst=10.96.0.1 sport=4000 ")
        );
    }

    #[test]
    fn what_could_not_be_judged_says_why() {
        let text = explain(&sample().results[0].cases[4], &nothing).to_string();
        assert!(text.starts_with("ERROR  internal/errs"), "{text}");
        assert!(text.contains("no lab"), "{text}");
    }
}
