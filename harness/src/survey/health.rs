//! What health check node ports answer, held against the EndpointSlices. Pure.
//!
//! The answer's form is that of kubernetes `pkg/proxy/healthcheck/service_health.go`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::probe::HttpOutcome;
use crate::world::Family;

/// What a health check node port answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The status: a load balancer sends to the node on 200.
    pub status: u16,
    /// The ready endpoints that the node's proxy counts, if the body says so.
    pub local_endpoints: Option<usize>,
    /// Whether the proxy calls itself healthy, if the body says so.
    pub proxy_healthy: Option<bool>,
    /// The Service (`namespace/name`) that it answers for, if the body says so.
    pub service: Option<String>,
}

impl Answered {
    /// Whether a health check node port answered. Anything else may stand in the way of who asks: another server, or a
    /// firewall with a page of its own.
    pub fn is_health(&self) -> bool {
        self.local_endpoints.is_some() || matches!(self.status, 200 | 503)
    }
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "detail")]
pub enum Answer {
    /// An answer by HTTP.
    Answered(Answered),
    /// The connection was refused: nothing listens, or a firewall says so.
    Refused,
    /// No answer in time.
    Silent,
    /// Something else, as text.
    Broken(String),
    /// It was not asked, and why.
    NotAsked(String),
}

/// The health check node port of a Service on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The node.
    pub node: String,
    /// Where it was asked.
    pub address: Option<SocketAddr>,
    /// The ready endpoints that the EndpointSlices have there, for each family of the Service.
    pub expected: BTreeMap<Family, usize>,
    /// What came of it.
    #[serde(flatten)]
    pub answer: Answer,
    /// How it disagrees with the EndpointSlices, or with itself.
    pub disagrees: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    service: Option<Named>,
    local_endpoints: Option<usize>,
    service_proxy_healthy: Option<bool>,
}

#[derive(Deserialize)]
struct Named {
    namespace: String,
    name: String,
}

impl From<HttpOutcome> for Answer {
    fn from(outcome: HttpOutcome) -> Self {
        match outcome {
            HttpOutcome::Answered(answer) => {
                // Not every implementation has a body; without one, its status is all that it says.
                let body: Option<Body> = serde_json::from_str(&answer.body).ok();
                let body = body.unwrap_or(Body {
                    service: None,
                    local_endpoints: None,
                    service_proxy_healthy: None,
                });
                Self::Answered(Answered {
                    status: answer.status,
                    local_endpoints: body.local_endpoints,
                    proxy_healthy: body.service_proxy_healthy,
                    service: body.service.map(|s| format!("{}/{}", s.namespace, s.name)),
                })
            }
            HttpOutcome::Refused => Self::Refused,
            HttpOutcome::Silent => Self::Silent,
            HttpOutcome::Broken(how) => Self::Broken(how),
        }
    }
}

/// How an answer disagrees with what the EndpointSlices have on the node, for each family of the Service; nothing when it
/// agrees, or says nothing.
///
/// kube-proxy 1.36 has a port and a count for each family (`newServiceHealthServer`). Another release or another proxy may
/// have one port for both, and nobody can tell whose count it is. So the count of any family will do.
pub(super) fn disagreement(
    service: &str,
    expected: &BTreeMap<Family, usize>,
    answer: &Answer,
) -> Option<String> {
    let mut counts: Vec<usize> = expected.values().copied().collect();
    counts.dedup();
    if counts.is_empty() {
        return None;
    }
    let here = || {
        let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
        format!("the slices have {} ready here", counts.join(" or "))
    };
    match answer {
        Answer::Answered(answered) if answered.is_health() => {
            disagrees(service, &counts, here, answered)
        }
        // Where no endpoint is ready, a closed port and a 503 are the same to a load balancer.
        Answer::Refused if !counts.contains(&0) => Some(format!("nothing listens, and {}", here())),
        _ => None,
    }
}

fn disagrees(
    service: &str,
    counts: &[usize],
    here: impl Fn() -> String,
    answered: &Answered,
) -> Option<String> {
    if let Some(other) = answered.service.as_deref().filter(|s| *s != service) {
        // Whatever listens there may say anything, and a terminal would obey it.
        return Some(format!("it answers for {}", other.escape_debug()));
    }
    if let Some(local) = answered.local_endpoints
        && !counts.contains(&local)
    {
        return Some(format!("it counts {local}, and {}", here()));
    }
    let passes = answered.status == 200;
    match (passes, answered.local_endpoints) {
        (true, Some(0)) => Some("200, and it counts no endpoint".to_owned()),
        // A proxy that calls itself unhealthy says 503 whatever it counts.
        (false, Some(1..)) if answered.proxy_healthy == Some(false) => Some(format!(
            "{}, because its proxy calls itself unhealthy",
            answered.status
        )),
        (false, Some(local @ 1..)) => Some(format!("{}, and it counts {local}", answered.status)),
        (true, None) if counts.iter().all(|count| *count == 0) => {
            Some(format!("200, and {}", here()))
        }
        (false, None) if !counts.contains(&0) => {
            Some(format!("{}, and {}", answered.status, here()))
        }
        _ => None,
    }
}
