use std::time::Duration;

use super::*;
use crate::clock::tests::Hands;
use crate::server::tests::{get, served};

const PERIOD: Duration = Duration::from_secs(30);

struct Fixture {
    hands: Hands,
    state: Arc<HealthState>,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        let hands = Hands::at("2026-01-02T03:04:05.6Z");
        let state = Arc::new(HealthState::new(hands.clock(), PERIOD));
        Self {
            hands,
            state,
            metrics: Arc::new(Metrics::new()),
        }
    }

    fn ask(&self, path: &str) -> (u16, String) {
        let response = answer(path, &self.state, &self.metrics);
        (response.status().as_u16(), response.into_body())
    }
}

#[test]
fn bodies_are_kube_proxys_to_the_byte() {
    let fixture = Fixture::new();
    fixture.state.node_changed(Some(&Default::default()));
    // Before the sync loop starts there is no status, and kube-proxy leaves it out.
    let (status, body) = fixture.ask("/healthz");
    assert_eq!(
        (status, body.as_str()),
        (
            200,
            r#"{"lastUpdated":"2026-01-02T03:04:05.6Z","currentTime":"2026-01-02T03:04:05.6Z","nodeEligible":true,"healthy":true}"#
        )
    );
    fixture.state.started();
    fixture.hands.advance(Duration::from_secs(1));
    let status_of_families = r#""status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:05.6Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-02T03:04:05.6Z","healthy":true}}"#;
    assert_eq!(
        fixture.ask("/healthz").1,
        format!(
            r#"{{"lastUpdated":"2026-01-02T03:04:06.6Z","currentTime":"2026-01-02T03:04:06.6Z","nodeEligible":true,"healthy":true,{status_of_families}}}"#
        )
    );
    assert_eq!(
        fixture.ask("/livez").1,
        format!(
            r#"{{"lastUpdated":"2026-01-02T03:04:06.6Z","currentTime":"2026-01-02T03:04:06.6Z","healthy":true,{status_of_families}}}"#
        )
    );
}

#[test]
fn a_node_that_goes_away_is_no_matter_of_livez() {
    let fixture = Fixture::new();
    fixture.state.started();
    fixture.hands.advance(PERIOD);
    let (status, body) = fixture.ask("/healthz");
    assert_eq!(status, 503);
    // `healthy` is about the rules alone, and `lastUpdated` is the last sync because the answer is 503.
    assert!(
        body.starts_with(r#"{"lastUpdated":"2026-01-02T03:04:05.6Z","currentTime":"2026-01-02T03:04:35.6Z","nodeEligible":false,"healthy":true,"#),
        "{body}"
    );
    assert_eq!(fixture.ask("/livez").0, 200);
}

#[test]
fn a_late_sync_shows_in_both() {
    let fixture = Fixture::new();
    fixture.state.node_changed(Some(&Default::default()));
    fixture.state.started();
    fixture.state.queued(Family::V6);
    fixture.hands.advance(PERIOD * 2);
    for path in ["/healthz", "/livez"] {
        let (status, body) = fixture.ask(path);
        assert_eq!(status, 503);
        assert!(body.contains(r#""healthy":false,"status""#), "{body}");
        assert!(
            body.contains(r#""IPv6":{"lastUpdated":"2026-01-02T03:04:05.6Z","healthy":false}"#),
            "{body}"
        );
    }
}

#[tokio::test]
async fn it_is_served_and_counted() {
    let fixture = Fixture::new();
    let (state, metrics) = (Arc::clone(&fixture.state), Arc::clone(&fixture.metrics));
    let address = served(Arc::new(move |request| {
        answer(request.uri().path(), &state, &metrics)
    }));
    let (head, body) = get(address, "/healthz?verbose").await;
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert!(
        head.contains("Content-Type: application/json\r\n"),
        "{head}"
    );
    assert!(
        head.contains("X-Content-Type-Options: nosniff\r\n"),
        "{head}"
    );
    assert!(body.contains(r#""nodeEligible":false"#), "{body}");
    assert!(
        get(address, "/livez")
            .await
            .0
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    let (head, body) = get(address, "/").await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(body, "404 page not found\n");

    let text = fixture.metrics.open_metrics();
    assert!(
        text.contains("kubeproxy_proxy_healthz_total{code=\"503\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("kubeproxy_proxy_livez_total{code=\"200\"} 1\n"),
        "{text}"
    );
}
