//! Results that have one of everything, for tests.

use onehop_harness::run::Results;
use serde_json::{Value, json};

/// The way of a call from a pod to a ClusterIP, which its node translates; the answer comes back, or nobody answers.
pub(crate) fn journey(answered: bool) -> Value {
    let seen = |host: &str,
                direction: &str,
                [source, destination]: [&str; 2],
                ttl: u8,
                at: f64,
                kind: &str| {
        json!({"host": host, "interface": "eth0", "direction": direction, "source": source, "destination": destination,
            "ttl": ttl, "kind": kind, "sequence": 7, "at": at})
    };
    let (client, service, pod) = ("10.0.0.9:4000", "10.96.0.1:80", "10.0.0.7:8080");
    let mut request = vec![
        seen("client-vm1", "out", [client, service], 64, 1.0, "syn"),
        seen("vm1", "in", [client, service], 64, 1.000_01, "syn"),
        seen("vm1", "out", [client, pod], 63, 1.000_02, "syn"),
    ];
    let mut reply = Vec::new();
    if answered {
        request.push(seen("web-0", "in", [client, pod], 63, 1.000_03, "syn"));
        reply = vec![
            seen("web-0", "out", [pod, client], 64, 1.000_04, "syn_ack"),
            seen("vm1", "in", [pod, client], 64, 1.000_05, "syn_ack"),
            seen("vm1", "out", [service, client], 63, 1.000_06, "syn_ack"),
            seen(
                "client-vm1",
                "in",
                [service, client],
                63,
                1.000_07,
                "syn_ack",
            ),
        ];
    }
    json!({
        "outcome": if answered { "reached web-0" } else { "dropped" },
        "journey": {
            "call": {"from": "client-vm1", "local": client, "remote": service},
            "attempts": 1, "request": request, "reply": reply,
        },
        "names": {"10.0.0.9": "client-vm1", "10.96.0.1": "cluster-ip", "10.0.0.7": "web-0"},
    })
}

/// A run of one proxy: a case of each verdict, and a proxy that exited.
pub(crate) fn sample() -> Results {
    let flow = |family: &str, got: &str, wrong: &[&str]| {
        json!({
            "check": "pods 1-0-2", "from": "pod(client-vm1)", "to": "cluster-ip", "family": family, "protocol": "TCP",
            "count": 20, "failed": wrong.len(), "expected": "web-0 <& nobody else>", "got": got,
            "hops": {}, "shares": {}, "p_value": null, "false_alarm": null, "imbalance": null, "wrong": wrong,
        })
    };
    let case = |id: &str, verdict: &str, reason: Option<&str>| {
        json!({
            "id": id, "claim": "A claim | of a case.", "features": ["cluster-ip"], "sources": ["KEP-2086"],
            "verdict": verdict, "reason": reason, "finding": null, "seconds": 0.5, "waited_for": {"convergence": 0.25},
            "flows": [], "evidence": null,
        })
    };
    let addresses = |number: u8| json!([format!("10.0.0.{number}"), format!("fd00::{number}")]);
    let endpoint =
        |pod: &str, node: &str, state: &str| json!({"pod": pod, "node": node, "state": state});
    let mut known = case(
        "external/is-known",
        "known",
        Some("pods 1-0-2: dropped (20 of 20)"),
    );
    known["finding"] = json!("docs/findings/one.md");
    known["features"] = json!(["node-port"]);
    let mut failed = case(
        "internal/fails",
        "fail",
        Some("pods 1-0-2: dropped (3 of 20)"),
    );
    failed["evidence"] = json!("out/mine/evidence/internal-fails");
    failed["flows"] = json!([
        flow("IPv4", "web-0 ×17, dropped ×3", &["dropped (3 of 20)"]),
        flow("IPv6", "web-0 ×20", &[]),
    ]);
    failed["flows"][0]["kind"] = json!({"host": "client-vm1", "caller": "pod", "address": "cluster-ip", "decided_on": "vm1"});
    failed["flows"][1]["kind"] = failed["flows"][0]["kind"].clone();
    failed["flows"][0]["journeys"] = json!([1]);
    failed["flows"][1]["journeys"] = json!([0]);
    failed["journeys"] = json!([journey(true), journey(false)]);
    failed["situations"] = json!([{
        "check": "pods 1-0-2", "service_type": "ClusterIP", "external": "Cluster", "internal": "Local",
        "endpoints": [endpoint("web-0", "vm1", "ready"), endpoint("web-1", "vm2", "terminating")],
    }]);
    let results = json!({
        "schema": "onehop.results/v1",
        "run": {
            "tool_version": "0.1.0", "provider": "netns", "api": "embedded", "kernel": "6.18.0", "seed": 7,
            "started": "2026-11-27T19:00:00Z", "seconds": 23.5,
            "timing": onehop_harness::timing::Timing::default(),
        },
        "results": [{
            "proxy": {
                "name": "mine", "version": "mine 1.2.3", "mode": "ebpf",
                "implementation": {"organization": "Example", "url": "https://example.org", "contact": ["@me"]},
                "unsupported": ["sctp"],
                "variations": {
                    "localhost-node-port": {"declared": "open", "measured": {"closed": 12}},
                    "unallocated-address": {"declared": null, "measured": {}},
                },
                "restarts": 1, "exits": 1,
            },
            "world": {
                "nodes": [
                    {"name": "vm1", "object": "vm1", "zone": "zone-1", "addresses": addresses(1)},
                    {"name": "vm2", "object": "worker-2", "zone": "zone-1", "addresses": addresses(2)},
                ],
                "pods": [{"name": "client-vm1", "node": "vm1", "addresses": addresses(9)}],
                "clients": [{"name": "client-public", "addresses": addresses(8)}],
            },
            "phases": {"cases": 22.5, "network": 0.1},
            "error": "the proxy of vm1 has exited",
            "cases": [
                case("external/passes", "pass", None),
                known,
                case("external/is-skipped", "skip", Some("needs sctp, which mine does not do")),
                failed,
                case("internal/errs", "error", Some("no lab")),
            ],
            "summary": {"passed": 1, "failed": 1, "known": 1, "skipped": 1, "errors": 1},
        }],
        "summary": {"passed": 1, "failed": 1, "known": 1, "skipped": 1, "errors": 1},
    });
    serde_json::from_value(results).expect("results")
}
