//! What a proxy says of its own health.

use std::net::SocketAddr;

use serde_json::Value;

use super::row::{row, text};
use crate::case::HealthPath;
use crate::lab::{Lab, LabError};
use crate::probe::HttpOutcome;
use crate::verdict::FlowResult;
use crate::world::{CLIENT_PRIVATE, Family};

/// Where proxies say so, by kube-proxy's default.
const PORT: u16 = 10256;

/// Asks the proxy of a node (k8s pkg/proxy/healthcheck/proxy_health.go).
pub(super) async fn ask(
    lab: &Lab,
    node: &str,
    path: HealthPath,
    good: bool,
) -> Result<FlowResult, LabError> {
    let address = lab.world().node(node).expect("a node of the world").address;
    let server = SocketAddr::new(address.of(Family::V4), PORT);
    let outcome = lab.get(CLIENT_PRIVATE, server, path.path()).await?;
    let to = format!("{}@{node}", path.path());
    let row = row(
        &format!("external({CLIENT_PRIVATE})"),
        &to,
        Some(Family::V4),
    );
    let status = if good { 200 } else { 503 };
    Ok(row.expect_all(
        &status.to_string(),
        &text(&outcome),
        wrong(&outcome, path, good),
    ))
}

/// What is wrong with an answer. Of the body, only what every release has had since the two paths differ.
fn wrong(outcome: &HttpOutcome, path: HealthPath, good: bool) -> Vec<String> {
    let HttpOutcome::Answered(answer) = outcome else {
        return vec![text(outcome)];
    };
    let mut wrong = Vec::new();
    let status = if good { 200 } else { 503 };
    if answer.status != status {
        wrong.push(format!("status {} instead of {status}", answer.status));
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    for time in ["lastUpdated", "currentTime"] {
        if !body[time].is_string() {
            wrong.push(format!("no {time} in the body {}", answer.body.trim()));
        }
    }
    let eligible = match path {
        HealthPath::Healthz => Value::Bool(good),
        HealthPath::Livez => Value::Null,
    };
    if body["nodeEligible"] != eligible {
        wrong.push(format!(
            "nodeEligible is {} instead of {eligible}",
            body["nodeEligible"]
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::probe::HttpAnswer;

    fn answered(status: u16, body: &str) -> HttpOutcome {
        HttpOutcome::Answered(HttpAnswer {
            status,
            headers: BTreeMap::new(),
            body: body.to_owned(),
        })
    }

    #[test]
    fn an_answer_is_right_only_as_a_whole() {
        use HealthPath::{Healthz, Livez};
        let times = r#""lastUpdated":"2026-01-01T00:00:00Z","currentTime":"2026-01-01T00:00:00Z""#;
        let healthz = |status, eligible| {
            answered(status, &format!(r#"{{{times},"nodeEligible":{eligible}}}"#))
        };
        let livez = |status| answered(status, &format!("{{{times}}}"));
        for (outcome, path, good) in [
            (healthz(200, true), Healthz, true),
            (healthz(503, false), Healthz, false),
            (livez(200), Livez, true),
            (livez(503), Livez, false),
        ] {
            assert_eq!(wrong(&outcome, path, good), [""; 0], "{outcome:?}");
            assert!(!wrong(&outcome, path, !good).is_empty(), "{outcome:?}");
        }
        for (outcome, path) in [
            (healthz(200, false), Healthz),
            (healthz(200, true), Livez),
            (livez(200), Healthz),
            (answered(200, r#"{"nodeEligible":true}"#), Healthz),
            (answered(200, "ok"), Livez),
            (HttpOutcome::Refused, Livez),
            (HttpOutcome::Silent, Healthz),
        ] {
            assert!(!wrong(&outcome, path, true).is_empty(), "{outcome:?}");
        }
    }
}
