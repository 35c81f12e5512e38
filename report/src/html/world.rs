//! The world of a case, drawn: clients and the load balancer above, nodes side by side below, with the pods that the case has.

use std::collections::BTreeSet;

use maud::{Markup, html};
use onehop_harness::run::{CaseResult, Endpoint, EndpointState, Situation, WorldInfo};
use onehop_harness::verdict::{AddressKind, Caller, FlowKind};

/// The Service and the world as a check found them.
pub(super) fn drawing(world: &WorldInfo, case: &CaseResult, situation: &Situation) -> Markup {
    let asked = case
        .flows
        .iter()
        .filter(|flow| flow.check == situation.check);
    let kinds: Vec<&FlowKind> = asked.filter_map(|flow| flow.kind.as_ref()).collect();
    let callers: BTreeSet<&str> = kinds.iter().map(|kind| kind.host.as_str()).collect();
    let clients = world.clients.iter();
    let clients: Vec<_> = clients
        .filter(|client| callers.contains(&*client.name))
        .collect();
    let balanced = kinds.iter().any(|kind| {
        kind.address == AddressKind::LoadBalancer || kind.caller == Caller::LoadBalancer
    });
    html! {
        figure.world {
            figcaption {
                strong { (situation.check) }
                " · " (situation.service_type)
                " · external " strong { (situation.external) }
                " · internal " strong { (situation.internal) }
            }
            @if !clients.is_empty() || balanced {
                div.outside {
                    @for client in clients {
                        span.host title=(addresses(&client.addresses)) { (client.name) }
                    }
                    @if balanced { span.host { "load balancer" } }
                }
            }
            div.nodes {
                @for node in &world.nodes {
                    div.node title=(addresses(&node.addresses)) {
                        div.name {
                            (node.name) " " span.dim { (node.zone) }
                            @if node.object != node.name { " " span.dim { (node.object) } }
                            @if callers.contains(&*node.name) { " " span.calls { "calls" } }
                        }
                        @for endpoint in situation.endpoints.iter().filter(|endpoint| endpoint.node == node.name) {
                            (pod(endpoint, callers.contains(&*endpoint.pod)))
                        }
                        @for pod in world.pods.iter().filter(|pod| pod.node == node.name) {
                            @let is_endpoint = situation.endpoints.iter().any(|endpoint| endpoint.pod == pod.name);
                            @if callers.contains(&*pod.name) && !is_endpoint {
                                span.pod.client title=(addresses(&pod.addresses)) { (pod.name) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pod(endpoint: &Endpoint, calls: bool) -> Markup {
    let (class, state) = match endpoint.state {
        EndpointState::Ready => ("ready", "ready"),
        EndpointState::Terminating => ("terminating", "terminating, serving"),
        EndpointState::NotServing => ("not-serving", "not serving"),
    };
    html! {
        span.pod.(class) {
            (endpoint.pod) " " span.state { (state) }
            @if let Some(family) = endpoint.family { " " span.state { (family) " only" } }
            @if !endpoint.hints.is_empty() { " " span.state { "for " (endpoint.hints.join(", ")) } }
            @if calls { " " span.calls { "calls" } }
        }
    }
}

fn addresses(addresses: &[std::net::IpAddr; 2]) -> String {
    let there = addresses.iter().filter(|address| !address.is_unspecified());
    there
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
