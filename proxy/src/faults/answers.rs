//! What faults do to the answers of health check ports.

use http::{Response, StatusCode};

pub(super) fn always_fine(response: &mut Response<String>) {
    *response.status_mut() = StatusCode::OK;
}

pub(super) fn no_weight(response: &mut Response<String>) {
    response
        .headers_mut()
        .remove("x-load-balancing-endpoint-weight");
}

pub(super) fn no_nosniff(response: &mut Response<String>) {
    response.headers_mut().remove("x-content-type-options");
}

pub(super) fn no_body(response: &mut Response<String>) {
    response.body_mut().clear();
}
