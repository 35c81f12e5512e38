use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::server::tests::{get_with, served};

/// Metrics on which every method was called once, so that every name appears.
fn touched() -> Metrics {
    let metrics = Metrics::new();
    let now = "2026-01-01T00:00:00.5Z".parse().unwrap();
    metrics.services_changed(3);
    metrics.slices_changed(4);
    metrics.pending(1, 2);
    for family in Family::ALL {
        metrics.queued(family, now);
        metrics.sync_ended(family, SyncKind::Full, Duration::from_millis(3));
        metrics.sync_ended(family, SyncKind::Partial, Duration::from_millis(1));
        let without = NoLocalEndpoints {
            internal: 5,
            external: 6,
        };
        metrics.sync_succeeded(family, now, &[Duration::from_millis(300)], without);
        metrics.sync_failed(family);
        metrics.cleanups_failed(family, 1);
        metrics.conntrack_reconciled(family, Duration::from_millis(2), 7);
    }
    metrics.transaction(100, true);
    metrics.transaction(50, false);
    metrics.elements(8);
    metrics.resync(ResyncReason::Start);
    metrics.health_ports(9, 1);
    metrics.event(EventFate::Sent);
    metrics.healthz_answered(StatusCode::OK);
    metrics.livez_answered(StatusCode::OK);
    metrics
}

/// Each metric's type, by name, as the comments of the text have it.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

async fn scraped(metrics: Metrics, path: &str, headers: &str) -> (String, String) {
    let address = served(Arc::new(move |request| {
        http::answer(request.uri().path(), request.headers(), &metrics)
    }));
    get_with(address, path, headers).await
}

#[tokio::test]
async fn names_and_types_are_kube_proxys() {
    let (head, text) = scraped(touched(), "/metrics", "").await;
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    let expected = [
        (
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "counter",
        ),
        (
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "histogram",
        ),
        (
            "kubeproxy_network_programming_duration_seconds",
            "histogram",
        ),
        ("kubeproxy_proxy_healthz_total", "counter"),
        ("kubeproxy_proxy_livez_total", "counter"),
        (
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "histogram",
        ),
        (
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "histogram",
        ),
        ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram"),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "counter",
        ),
        (
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "gauge",
        ),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge"),
        (
            "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
            "counter",
        ),
        (
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "counter",
        ),
        (
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "counter",
        ),
    ];
    let types = types(&text);
    let of_kube_proxy: Vec<_> = types
        .iter()
        .filter(|(name, _)| name.starts_with("kubeproxy_"))
        .map(|(name, kind)| (*name, *kind))
        .collect();
    assert_eq!(of_kube_proxy, expected);
    assert_eq!(types["onehop_nftables_transactions_total"], "counter");
    assert_eq!(types["process_cpu_seconds_total"], "counter");
}

#[tokio::test]
async fn values_and_labels_are_what_was_said() {
    let (_, text) = scraped(touched(), "/metrics", "").await;
    for line in [
        "kubeproxy_sync_proxy_rules_service_changes_total 3",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 4",
        "kubeproxy_sync_proxy_rules_service_changes_pending 1",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 1767225600.5",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\",ip_family=\"IPv4\"} 5",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv6\"} 6",
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 2",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.001\",ip_family=\"IPv4\"} 1",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"16.384\",ip_family=\"IPv4\"} 2",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\",ip_family=\"IPv4\"} 0",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.5\",ip_family=\"IPv4\"} 1",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 7",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"1\",ip_family=\"IPv4\"} 1",
        "onehop_nftables_transactions_total{result=\"refused\"} 1",
        "onehop_nftables_transaction_bytes_total 150",
        "onehop_nftables_elements 8",
        "onehop_resyncs_total{reason=\"start\"} 1",
        "onehop_health_check_ports 9",
        "onehop_events_total{fate=\"sent\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line} in\n{text}"
        );
    }
}

#[tokio::test]
async fn whoever_asks_for_open_metrics_gets_it() {
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.2\r\n";
    let (head, text) = scraped(touched(), "/metrics", accept).await;
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(types(&text)["kubeproxy_proxy_healthz"], "counter");
}

#[tokio::test]
async fn the_other_paths_of_the_metrics_server() {
    let (head, body) = scraped(Metrics::new(), "/proxyMode", "").await;
    assert!(head.contains("text/plain; charset=utf-8"), "{head}");
    assert_eq!(body, "nftables");
    assert_eq!(scraped(Metrics::new(), "/healthz", "").await.1, "ok");
    let (head, _) = scraped(Metrics::new(), "/debug/pprof", "").await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found"), "{head}");
}

#[test]
fn bounds_are_kube_proxys() {
    let doubling = registry::Buckets::Doubling.bounds();
    assert_eq!(
        (doubling.len(), doubling[0], doubling[14]),
        (15, 0.001, 16.384)
    );
    let programming = registry::Buckets::Programming.bounds();
    assert_eq!(programming.len(), 1 + 2 + 59 + 12 + 7);
    assert_eq!(programming[..4], [0.0, 0.25, 0.5, 1.0]);
    assert_eq!(programming[61..64], [59.0, 60.0, 65.0]);
    assert_eq!(
        programming[73..],
        [115.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0]
    );
    assert!(programming.is_sorted());
}
