//! What faults do to the answers of health check ports.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::health::Health;

pub(super) fn always_fine(_: &str, response: &mut Response<String>) {
    *response.status_mut() = StatusCode::OK;
}

pub(super) fn no_weight(_: &str, response: &mut Response<String>) {
    response
        .headers_mut()
        .remove("x-load-balancing-endpoint-weight");
}

pub(super) fn no_nosniff(_: &str, response: &mut Response<String>) {
    response.headers_mut().remove("x-content-type-options");
}

pub(super) fn plain_text(_: &str, response: &mut Response<String>) {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
}

pub(super) fn no_body(_: &str, response: &mut Response<String>) {
    response.body_mut().clear();
}

/// Of all paths, knows `/healthz`.
pub(super) fn one_path(path: &str, response: &mut Response<String>) {
    if path != "/healthz" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
}

/// `/healthz` of a node that is about to be removed says what `/livez` says.
pub(super) fn ignores_taints(path: &str, health: &Health) -> Option<bool> {
    (path == "/healthz").then_some(health.healthy)
}

/// `/livez` says what `/healthz` says.
pub(super) fn not_live_unless_eligible(path: &str, health: &Health) -> Option<bool> {
    (path == "/livez").then_some(health.healthy && health.node_eligible)
}
