//! The parts of a case in words.

use onehop_harness::case::{Backend, Change, HEALTH_PATH, NodeAddress, Question, Stated, weighed};

/// What is asked, and what must be the answer.
pub(super) fn question(asked: &Question) -> String {
    match asked {
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
        Question::LostUntilNoticed(name) => format!(
            "what goes on as {name:?}: dropped until the load balancer has left the node, which fails its health checks in good time"
        ),
        Question::NodePortAllocated(allocated) => format!("nodePort allocated: {allocated}"),
        Question::HealthCheck {
            node,
            at,
            path,
            local_endpoints,
            family,
        } => {
            let other = match at {
                NodeAddress::Primary => "",
                NodeAddress::Other => " on its other address",
            };
            let state = match local_endpoints {
                Some(count) => format!("localEndpoints {count}"),
                None => "closed".to_owned(),
            };
            let only = family.map(|family| format!(", {family} only"));
            let only = only.unwrap_or_default();
            let by = if *path == HEALTH_PATH {
                String::new()
            } else {
                format!(" by path {path}")
            };
            format!("health check port of {node}{other}{by}{only}: {state}")
        }
        Question::ProxyHealth { node, path, good } => {
            let status = if *good { 200 } else { 503 };
            format!("{} of the proxy on {node}: {status}", path.path())
        }
        Question::HealthyNodes { by, nodes, family } => {
            let only = family.map_or_else(String::new, |family| format!(" in {family} alone"));
            format!("load balancer: healthy{only} {} by {by:?}", weighed(nodes))
        }
        Question::HealthCheckAllocated(allocated) => {
            format!("healthCheckNodePort allocated: {allocated}")
        }
    }
}

/// What becomes of the world.
pub(super) fn change(made: &Change) -> String {
    match made {
        Change::ExternalPolicy(policy) => format!("externalTrafficPolicy becomes {policy}"),
        Change::InternalPolicy(policy) => format!("internalTrafficPolicy becomes {policy}"),
        Change::Type(kind) => format!("type becomes {}", kind.api_name()),
        Change::Affinity(Some(seconds)) => {
            format!("sessionAffinity becomes ClientIP, for {seconds} s")
        }
        Change::Families(families) => format!("the families of the Service become {families}"),
        Change::Crowd(count) => format!("there are {count} other Services on its first pod"),
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
        Change::RestartProxies => "the proxy of every node is started again".to_owned(),
        Change::Uncordon(node) => format!("{node} takes pods again"),
        Change::Stop {
            node,
            stopped: true,
        } => format!("every process on {node} is stopped"),
        Change::Stop { node, .. } => format!("the processes on {node} go on"),
        Change::ProxyName(None) => "the Service is left to any proxy".to_owned(),
        Change::Backends(backends) => format!("the backends become {}", self::backends(backends)),
    }
}

/// Backends with what is not as usual about them.
pub(crate) fn backends(all: &[Backend]) -> String {
    let one = |backend: &Backend| {
        let state = match (backend.ready, backend.serving, backend.terminating) {
            (true, _, true) => Some("ready, terminating".to_owned()),
            (true, _, false) if backend.stated == Stated::Nothing => {
                Some("nothing said".to_owned())
            }
            (true, _, false) => None,
            (false, true, true) if backend.stated == Stated::AllButServing => {
                Some("terminating, nothing said of serving".to_owned())
            }
            (false, true, true) => Some("terminating".to_owned()),
            (false, false, true) => Some("terminating, not serving".to_owned()),
            (false, _, false) => Some("not ready".to_owned()),
        };
        let hints = backend.zones.iter().chain(&backend.nodes);
        let hints = hints.map(|hint| format!("for {hint}"));
        let slice = (backend.slice > 0).then(|| format!("slice {}", backend.slice));
        let family = backend.family.map(|family| format!("{family} only"));
        let notes = state.into_iter().chain(hints).chain(slice);
        let notes: Vec<_> = notes.chain(family).collect();
        match &notes[..] {
            [] => backend.pod.clone(),
            notes => format!("{} ({})", backend.pod, notes.join(", ")),
        }
    };
    let texts: Vec<_> = all.iter().map(one).collect();
    or_none(texts.join(" "))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}
