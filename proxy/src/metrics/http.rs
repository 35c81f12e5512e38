//! `:10249`: `/metrics`, `/proxyMode` and `/healthz`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};

use super::Metrics;
use crate::server::{self, ListenError};

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves `/metrics`, and the two other paths of kube-proxy's metrics server that users read: `/proxyMode`, which says
/// `nftables`, and `/healthz`, which says `ok` while the process runs
/// (kubernetes/cmd/kube-proxy/app/server.go).
///
/// # Errors
/// Returns only under `hard_fail`, when the address cannot be listened on; otherwise that is tried again every 5 s.
pub async fn serve(address: SocketAddr, hard_fail: bool, metrics: Arc<Metrics>) -> ListenError {
    let handler = Arc::new(move |request: &http::Request<_>| {
        answer(request.uri().path(), request.headers(), &metrics)
    });
    server::serve("metrics", address, hard_fail, handler).await
}

pub(super) fn answer(path: &str, headers: &HeaderMap, metrics: &Metrics) -> Response<String> {
    let (content_type, body) = match path {
        "/metrics" if accepts_open_metrics(headers) => (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics.open_metrics(),
        ),
        "/metrics" => (
            "text/plain; version=0.0.4; charset=utf-8",
            prometheus_text(&metrics.open_metrics()),
        ),
        "/proxyMode" => (PLAIN, "nftables".to_owned()),
        "/healthz" => (PLAIN, "ok".to_owned()),
        _ => return server::not_found(),
    };
    server::respond(StatusCode::OK, content_type, body)
}

fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|value| {
        value
            .as_bytes()
            .windows(28)
            .any(|part| part == b"application/openmetrics-text")
    })
}

/// Turns the OpenMetrics format into Prometheus' older one, which is what kube-proxy gives to whoever does not ask:
/// there the name of a counter has its `_total` in the comments as well, bounds are written `1` and not `1.0`, and there
/// is no `# EOF`.
fn prometheus_text(open_metrics: &str) -> String {
    let counters: BTreeSet<_> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        if let Some((name, bound, rest)) = bucket(line) {
            let bound = bound.strip_suffix(".0").unwrap_or(bound);
            text.extend([name, "{le=\"", bound, "\"", rest, "\n"]);
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                text.extend(["# ", kind, " ", name, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// The name, the bound and what follows, of a line that is a histogram's bucket.
fn bucket(line: &str) -> Option<(&str, &str, &str)> {
    let (name, labels) = line.split_once("{le=\"")?;
    let (bound, rest) = labels.split_once('"')?;
    name.ends_with("_bucket").then_some((name, bound, rest))
}
