//! The proxy's own health: `:10256/healthz` and `/livez`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::{Health, HealthState};
use crate::metrics::Metrics;
use crate::model::Family;
use crate::server::{self, ListenError};

/// Serves `/healthz` (is the proxy healthy, and may traffic come to its node) and `/livez` (is the proxy healthy).
///
/// # Errors
/// Returns only under `hard_fail`, when the address cannot be listened on; otherwise that is tried again every 5 s.
pub async fn serve(
    address: SocketAddr,
    hard_fail: bool,
    state: Arc<HealthState>,
    metrics: Arc<Metrics>,
) -> ListenError {
    let handler =
        Arc::new(move |request: &http::Request<_>| answer(request.uri().path(), &state, &metrics));
    server::serve("healthz", address, hard_fail, handler).await
}

/// The answer for a path, counted.
fn answer(path: &str, state: &HealthState, metrics: &Metrics) -> Response<String> {
    let health = state.health();
    let (good, node_eligible) = match path {
        "/healthz" => (
            health.healthy && health.node_eligible,
            Some(health.node_eligible),
        ),
        "/livez" => (health.healthy, None),
        _ => return server::not_found(),
    };
    #[cfg(feature = "faults")]
    let good = crate::faults::own_answer(path, &health).unwrap_or(good);
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match node_eligible {
        Some(_) => metrics.healthz_answered(status),
        None => metrics.livez_answered(status),
    }
    let body = serde_json::to_string(&Body::new(&health, good, node_eligible));
    let body = body.expect("a body of text, times and booleans is always JSON");
    server::respond(status, "application/json", body)
}

/// The body, field by field as kube-proxy writes it (`ProxyHealth` in
/// kubernetes/pkg/proxy/healthcheck/proxy_health.go).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, Status>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    last_updated: Timestamp,
    healthy: bool,
}

impl Body {
    fn new(health: &Health, good: bool, node_eligible: Option<bool>) -> Self {
        let status = health.families.iter().map(|(family, health)| {
            let status = Status {
                last_updated: health.last_updated,
                healthy: health.healthy,
            };
            (family_name(*family), status)
        });
        // While all is well `lastUpdated` is the present, because older releases synced all the time and said so.
        let last_updated = health.last_updated.filter(|_| !good);
        Self {
            last_updated: last_updated.unwrap_or(health.now),
            current_time: health.now,
            node_eligible,
            healthy: health.healthy,
            status: status.collect(),
        }
    }
}

/// A family, as Kubernetes writes it.
fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests;
