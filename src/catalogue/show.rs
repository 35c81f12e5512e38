//! `onehop show`: one case in full.

use std::process::ExitCode;

use miette::{Result, miette};
use onehop_harness::case::{Case, Families, Service, ServiceType, Step, Traffic};
use onehop_harness::timing::Timing;
use onehop_harness::world::World;
use onehop_report::source_link;
use onehop_suites as suites;

use super::{as_json, features, text, world};
use crate::arguments::Format;
use crate::output;

/// Prints one case in full.
pub(crate) fn show(id: &str, format: Format) -> Result<ExitCode> {
    let Some(case) = suites::catalogue().into_iter().find(|case| case.id == id) else {
        return Err(miette!(
            help = "onehop list names every case",
            "no case {id}"
        ));
    };
    let text = match format {
        Format::Text => as_text(&case),
        Format::Json => as_json(&[case]),
    };
    output::print(&text)
}

fn as_text(case: &Case) -> String {
    let mut lines = vec![
        case.id.clone(),
        String::new(),
        format!("  {}", case.claim),
        String::new(),
    ];
    for (number, name) in case.sources.iter().enumerate() {
        let title = if number == 0 { "sources" } else { "" };
        let link = source_link(name).map_or_else(String::new, |link| format!("  {link}"));
        lines.push(format!("  {title:8}  {name}{link}"));
    }
    lines.push(format!("  needs     {}", features(case)));
    lines.push(format!("  service   {}", service(&case.service)));
    lines.push(match &case.workload {
        Some(workload) => format!("  workload  {workload}"),
        None => format!("  backends  {}", text::backends(&case.backends)),
    });
    lines.push(format!("\n{}", world::drawing(&World::story(), case)));
    lines.extend(case.steps.iter().map(step_text));
    lines.push(String::new());
    lines.join("\n")
}

/// What is not as it is of itself about a Service.
fn service(service: &Service) -> String {
    let mut parts = vec![
        format!("type {}", service.kind.api_name()),
        format!("externalTrafficPolicy {}", service.external),
        format!("internalTrafficPolicy {}", service.internal),
    ];
    if let ServiceType::LoadBalancer(mode) = service.kind {
        parts.push(format!("balancer {}", mode.name()));
    }
    if service.kind == ServiceType::Headless {
        parts.push("headless".to_owned());
    }
    let ports = service.ports.iter();
    let ports = ports.map(|port| format!("{:?} {}", port.protocol, port.number).to_lowercase());
    parts.push(format!("ports {}", ports.collect::<Vec<_>>().join(" ")));
    if service.families != Families::Dual {
        parts.push(service.families.to_string());
    }
    if let Some(seconds) = service.affinity {
        parts.push(format!("affinity for {seconds} s"));
    }
    if service.external_ips {
        parts.push("external addresses".to_owned());
    }
    if !service.allocate_node_ports {
        parts.push("no node ports".to_owned());
    }
    if !service.source_ranges.is_empty() {
        let ranges = service.source_ranges.iter().map(ToString::to_string);
        parts.push(format!(
            "source ranges {}",
            ranges.collect::<Vec<_>>().join(" ")
        ));
    }
    parts.join(", ")
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Change(change) => format!("\n  then {}", text::change(change)),
        Step::Open(held) => format!("\n  opened and kept as {:?}:\n    {}", held.name, held.flow),
        Step::Wait(time) => format!("\n  then {time:?} pass"),
        Step::Idle(parts) => format!(
            "\n  then {:?} pass, or as --idle-seconds says",
            Timing::default().idle / *parts
        ),
        Step::Settle => "\n  then the workload settles".to_owned(),
        Step::Traffic(Traffic { name, from, to }) => {
            format!("\n  from now on, as {name:?}, again and again:\n    {from} -> {to}")
        }
        Step::Check(check) => {
            let questions = check.questions.iter();
            let questions = questions.map(|asked| format!("\n    {}", text::question(asked)));
            format!("\n  {}:{}", check.label, questions.collect::<String>())
        }
    }
}
