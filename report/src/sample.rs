//! Results that have one of everything, for tests.

use onehop_harness::run::Results;
use serde_json::json;

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
