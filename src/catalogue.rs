//! `onehop list` and `onehop show`.

use std::process::ExitCode;

use miette::{Result, miette};
use onehop_harness::case::{
    Backend, Case, Change, Feature, NodeAddress, Question, Step, Traffic, weighed,
};
use onehop_suites as suites;

use crate::arguments::ListArguments;

/// The cases that match these patterns and need this feature.
///
/// # Errors
/// When a pattern matches no case, when there is no such feature, or when no case needs it.
pub(crate) fn select(patterns: &[String], feature: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = suites::matching(patterns).map_err(|unmatched| {
        miette!(
            help = "onehop list names every case",
            "no case matches {}",
            unmatched.join(", ")
        )
    })?;
    if let Some(name) = feature {
        let Some(feature) = Feature::from_name(name) else {
            let known: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
            return Err(miette!(
                help = format!("one of {}", known.join(", ")),
                "no feature {name}"
            ));
        };
        cases.retain(|case| case.features.contains(&feature));
        if cases.is_empty() {
            return Err(miette!("no selected case needs {name}"));
        }
    }
    Ok(cases)
}

/// Prints a line for each case.
pub(crate) fn list(arguments: &ListArguments) -> Result<ExitCode> {
    let cases = select(&arguments.patterns, arguments.feature.as_deref())?;
    let width = cases
        .iter()
        .map(|case| case.id.len())
        .max()
        .unwrap_or_default();
    for case in &cases {
        println!("{:width$}  {}", case.id, case.claim);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one case in full.
pub(crate) fn show(id: &str) -> Result<ExitCode> {
    let Some(case) = suites::catalogue().into_iter().find(|case| case.id == id) else {
        return Err(miette!(
            help = "onehop list names every case",
            "no case {id}"
        ));
    };
    let names = |items: &[Feature]| {
        items
            .iter()
            .map(|f| f.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    println!("{}\n\n  {}\n", case.id, case.claim);
    println!("  sources   {}", case.sources.join("\n            "));
    println!("  needs     {}", names(&case.features));
    let service = &case.service;
    println!(
        "  service   type {}, externalTrafficPolicy {}, internalTrafficPolicy {}",
        service.kind.api_name(),
        service.external,
        service.internal
    );
    match &case.workload {
        Some(workload) => println!("  workload  {workload}"),
        None => println!("  backends  {}", backends_text(&case.backends)),
    }
    for step in &case.steps {
        match step {
            Step::Change(change) => println!("\n  then {}", change_text(change)),
            Step::Open(held) => {
                println!("\n  opened and kept as {:?}:\n    {}", held.name, held.flow);
            }
            Step::Wait(time) => println!("\n  then {time:?} pass"),
            Step::Settle => println!("\n  then the workload settles"),
            Step::Traffic(traffic) => {
                let Traffic { name, from, to } = traffic;
                println!("\n  from now on, as {name:?}, again and again:\n    {from} -> {to}");
            }
            Step::Check(check) => {
                println!("\n  {}:", check.label);
                for question in &check.questions {
                    println!("    {}", question_text(question));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn question_text(question: &Question) -> String {
    match question {
        Question::Flow(flow) => flow.to_string(),
        Question::Affinity { flows, together } => {
            let flows: Vec<_> = flows.iter().map(ToString::to_string).collect();
            format!("{together}: {}", flows.join("; "))
        }
        Question::StraySegment { pod, backend } => {
            format!("a stray segment of {backend} to pod({pod}): not seen")
        }
        Question::Held { name, expect } => format!("what was opened as {name:?}: {expect}"),
        Question::Answered(name) => format!("what goes on as {name:?}: every connection answered"),
        Question::NodePortAllocated(allocated) => format!("nodePort allocated: {allocated}"),
        Question::HealthCheck {
            node,
            at,
            local_endpoints,
        } => {
            let other = match at {
                NodeAddress::Primary => "",
                NodeAddress::Other => " on its other address",
            };
            let state = match local_endpoints {
                Some(count) => format!("localEndpoints {count}"),
                None => "closed".to_owned(),
            };
            format!("health check port of {node}{other}: {state}")
        }
        Question::ProxyHealth { node, path, good } => {
            let status = if *good { 200 } else { 503 };
            format!("{} of the proxy on {node}: {status}", path.path())
        }
        Question::HealthyNodes { by, nodes } => {
            format!("load balancer: healthy {} by {by:?}", weighed(nodes))
        }
        Question::HealthCheckAllocated(allocated) => {
            format!("healthCheckNodePort allocated: {allocated}")
        }
    }
}

fn change_text(change: &Change) -> String {
    match change {
        Change::ExternalPolicy(policy) => format!("externalTrafficPolicy becomes {policy}"),
        Change::InternalPolicy(policy) => format!("internalTrafficPolicy becomes {policy}"),
        Change::Type(kind) => format!("type becomes {}", kind.api_name()),
        Change::Affinity(Some(seconds)) => {
            format!("sessionAffinity becomes ClientIP, for {seconds} s")
        }
        Change::Affinity(None) => "sessionAffinity becomes None".to_owned(),
        Change::SourceRanges(ranges) => {
            let names: Vec<_> = ranges.iter().map(ToString::to_string).collect();
            let names = or_none(names.join(" "));
            format!("loadBalancerSourceRanges become {names}")
        }
        Change::IpMode(mode) => format!("ipMode becomes {}", mode.api_name()),
        Change::ProxyName(Some(name)) => format!("the Service is left to the proxy {name}"),
        Change::Taint { node, key, effect } => match key {
            Some(key) => format!("the taint of {node} becomes {key}:{}", effect.api_name()),
            None => format!("the taint of {node} becomes none"),
        },
        Change::Scale {
            deployment,
            replicas,
        } => format!("the Deployment {deployment} is to have {replicas} pods"),
        Change::Readiness { deployment, ready } => {
            let not = if *ready { "" } else { " not" };
            format!("the pods of the Deployment {deployment} say that they are{not} ready")
        }
        Change::Roll => "a rolling update of every Deployment begins".to_owned(),
        Change::Drain(node) => format!("{node} is drained"),
        Change::Uncordon(node) => format!("{node} takes pods again"),
        Change::Stop {
            node,
            stopped: true,
        } => format!("every process on {node} is stopped"),
        Change::Stop { node, .. } => format!("the processes on {node} go on"),
        Change::ProxyName(None) => "the Service is left to any proxy".to_owned(),
        Change::Backends(backends) => format!("the backends become {}", backends_text(backends)),
    }
}

/// Backends with what is not as usual about them.
fn backends_text(backends: &[Backend]) -> String {
    let one = |backend: &Backend| {
        let state = match (backend.ready, backend.serving, backend.terminating) {
            (true, _, true) => Some("ready, terminating".to_owned()),
            (true, _, false) if !backend.stated => Some("nothing said".to_owned()),
            (true, _, false) => None,
            (false, true, true) => Some("terminating".to_owned()),
            (false, false, true) => Some("terminating, not serving".to_owned()),
            (false, _, false) => Some("not ready".to_owned()),
        };
        let hints = backend.zones.iter().chain(&backend.nodes);
        let hints = hints.map(|hint| format!("for {hint}"));
        let slice = (backend.slice > 0).then(|| format!("slice {}", backend.slice));
        let notes: Vec<_> = state.into_iter().chain(hints).chain(slice).collect();
        match &notes[..] {
            [] => backend.pod.clone(),
            notes => format!("{} ({})", backend.pod, notes.join(", ")),
        }
    };
    let all: Vec<_> = backends.iter().map(one).collect();
    or_none(all.join(" "))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}
