//! A survey as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table};
use onehop_harness::survey::{
    Answer, Fate, Health, OutOfBalancer, Side, Spread, Survey, SurveyOptions, SurveyedService,
};

use crate::table::new_table;

/// How many nodes that are alike a row names before it counts the rest.
const NAMED: usize = 6;

/// The whole survey: an overview with the worst first, and then each Service.
pub(super) fn render(survey: &Survey, context: &str, options: &SurveyOptions) -> String {
    let mut text = String::new();
    let place = match &options.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    line(
        &mut text,
        &format!(
            "context {context}, {place}: {}, {}, {} with a Local policy",
            counted(survey.nodes.len(), "node"),
            counted(survey.read, "Service"),
            survey.services.len()
        ),
    );
    let not_ready: Vec<&str> = survey
        .nodes
        .values()
        .filter(|node| !node.ready)
        .map(|node| node.name.as_str())
        .collect();
    if !not_ready.is_empty() {
        line(&mut text, &format!("not Ready: {}", names(&not_ready)));
    }
    let out = |why: &OutOfBalancer| {
        let nodes = survey.nodes.values();
        let nodes = nodes.filter(|node| node.out_of_balancer.as_ref() == Some(why));
        nodes.map(|node| node.name.as_str()).collect::<Vec<_>>()
    };
    for why in [
        OutOfBalancer::Excluded,
        OutOfBalancer::ToBeDeleted,
        OutOfBalancer::Deleting,
    ] {
        let out = out(&why);
        if !out.is_empty() {
            line(
                &mut text,
                &format!("out of load balancers, {why}: {}", names(&out)),
            );
        }
    }
    if !survey.services.is_empty() {
        line(&mut text, &overview(survey).to_string());
    }
    for service in &survey.services {
        line(&mut text, "");
        one(&mut text, service);
    }
    if !survey.skipped.is_empty() {
        line(&mut text, "\nnot served by the cluster's proxy:");
    }
    for skipped in &survey.skipped {
        let id = format!("{}/{}", skipped.namespace, skipped.name);
        line(&mut text, &format!("  {id}  {}", skipped.reason));
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// A row for each Service, the worst first.
fn overview(survey: &Survey) -> Table {
    let mut table = new_table(&[
        "service",
        "Local",
        "ready",
        "nodes that serve",
        "other nodes",
        "biggest share",
        "imbalance",
        "notes",
    ]);
    for service in &survey.services {
        // Ports and families that differ are told in full below; here the worst of them.
        let spread = worst(service);
        let served = spread.map_or(0, |spread| count(spread, Fate::Served));
        table.add_row([
            service.id(),
            sides(service),
            spread.map_or(0, |spread| spread.ready).to_string(),
            served.to_string(),
            spread.map(others).unwrap_or_default(),
            spread.and_then(biggest).map(percent).unwrap_or_default(),
            number(service.imbalance),
            service.notes.len().to_string(),
        ]);
    }
    for column in [2, 3, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn count(spread: &Spread, fate: Fate) -> usize {
    let rows = spread.nodes.iter();
    rows.filter(|row| row.fate == fate).count()
}

/// What becomes of traffic on the nodes without a ready endpoint.
fn others(spread: &Spread) -> String {
    let without = (spread.without.nodes.len(), fate(spread.without.fate));
    let terminating = (count(spread, Fate::ServedByTerminating), "terminating");
    let some = [without, terminating].into_iter().filter(|(n, _)| *n > 0);
    let some: Vec<_> = some.map(|(n, what)| format!("{n} {what}")).collect();
    some.join(", ")
}

/// The spread that a Service is ranked by.
fn worst(service: &SurveyedService) -> Option<&Spread> {
    let rank = |spread: &&Spread| (spread.ready > 0, -spread.imbalance.unwrap_or_default());
    let spreads = service.spreads.iter();
    spreads.min_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    })
}

fn biggest(spread: &Spread) -> Option<f64> {
    let shares = spread.nodes.iter().filter_map(|row| row.share);
    shares.reduce(f64::max)
}

/// One Service in full.
fn one(text: &mut String, service: &SurveyedService) {
    let port = service.health_check_node_port;
    let port = port.map(|port| format!(", health check node port {port}"));
    line(
        text,
        &format!(
            "{}  {}, Local: {}{}",
            service.id(),
            service.kind,
            sides(service),
            port.unwrap_or_default()
        ),
    );
    for (position, spread) in service.spreads.iter().enumerate() {
        let mut summary = Vec::new();
        if service.spreads.len() > 1 {
            summary.push(format!("{}:", spread.label()));
        }
        if let (Some(biggest), Some(imbalance)) = (biggest(spread), spread.imbalance) {
            summary.push(format!(
                "one pod gets {}, an even share is {}, imbalance {imbalance:.2}",
                percent(biggest),
                percent(biggest / imbalance)
            ));
        }
        if !summary.is_empty() {
            line(text, &format!("  {}", summary.join(" ")));
        }
        // A health check node port answers for all ports: once is enough.
        let health = if position == 0 {
            &service.health[..]
        } else {
            &[]
        };
        line(text, &nodes_of(service, spread, health).to_string());
    }
    for note in &service.notes {
        line(text, &format!("  ! {}", note.text));
    }
}

/// A row for each node with endpoints, and one for all others that are alike.
fn nodes_of(service: &SurveyedService, spread: &Spread, health: &[Health]) -> Table {
    let shared = service.local.contains(&Side::External);
    let mut header = vec!["node", "ready", "pods"];
    if shared {
        header.push("share of each");
    }
    let local = format!("{} traffic", sides(service));
    header.push(&local);
    if !health.is_empty() {
        header.push("health check");
    }
    let answers: BTreeMap<&str, &Health> = health.iter().map(|h| (h.node.as_str(), h)).collect();
    let answer = |node: &str| answers.get(node).map(|h| answer(h)).unwrap_or_default();
    let mut table = new_table(&header);
    let mut add = |node: String, ready: usize, pods: String, share: String, fate, answer| {
        let mut row = vec![node, ready.to_string(), pods];
        if shared {
            row.push(share);
        }
        row.push(fate);
        if !health.is_empty() {
            row.push(answer);
        }
        table.add_row(row);
    };
    for row in &spread.nodes {
        let pods: Vec<&str> = row.pods.iter().map(String::as_str).collect();
        let share = row.share.map(percent).unwrap_or_default();
        add(
            row.node.clone(),
            row.ready,
            names(&pods),
            share,
            fate(row.fate).to_owned(),
            answer(&row.node),
        );
    }
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in &spread.without.nodes {
        alike.entry(answer(node)).or_default().push(node);
    }
    for (answer, nodes) in alike {
        let fate = fate(spread.without.fate).to_owned();
        let (none, named) = (String::new(), names(&nodes));
        add(named, 0, none.clone(), none, fate, answer);
    }
    table
}

fn sides(service: &SurveyedService) -> String {
    let sides: Vec<_> = service.local.iter().map(ToString::to_string).collect();
    sides.join(", ")
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Served => "served",
        Fate::ServedByTerminating => "served by terminating pods",
        Fate::Dropped => "DROPPED",
        Fate::Refused => "REFUSED",
    }
}

fn answer(health: &Health) -> String {
    let said = match &health.answer {
        Answer::Answered(answered) => match answered.local_endpoints {
            Some(count) => format!("{}, localEndpoints {count}", answered.status),
            None if answered.is_health() => answered.status.to_string(),
            None => format!("{} of something else", answered.status),
        },
        Answer::Refused => "refused".to_owned(),
        Answer::Silent => "no answer".to_owned(),
        Answer::Broken(how) => how.clone(),
        Answer::NotAsked(why) => format!("not asked: {why}"),
    };
    match &health.disagrees {
        // How is in the notes.
        Some(_) => format!("{said} DISAGREES"),
        None => said,
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn number(number: Option<f64>) -> String {
    number.map(|n| format!("{n:.2}")).unwrap_or_default()
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn names(all: &[&str]) -> String {
    let named = &all[..all.len().min(NAMED)];
    match all.len() - named.len() {
        0 => named.join(" "),
        more => format!("{} and {more} more", named.join(" ")),
    }
}
