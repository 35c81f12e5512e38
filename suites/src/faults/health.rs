//! Faults of health check ports: somebody else says what the proxy should.

use std::net::SocketAddr;

use onehop_harness::case::{Change, Step};

use super::forgery::Forgery;
use super::rules::{Rules, rewrite_arriving, rewrite_leaving};
use super::scene::Scene;
use super::{Deed, Fault, SERVICE_HEALTH};

/// Where proxies say how they are, by kube-proxy's default.
const PROXY_HEALTH_PORT: u16 = 10256;

const OK: &str = "200 OK";
const UNAVAILABLE: &str = "503 Service Unavailable";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "health-port-stuck-on-200",
        breaks: "A node without a ready local endpoint says 503.",
        sources: &[SERVICE_HEALTH, "k#44311"],
        caught_by: &[
            (
                "health-check/counts-local-endpoints",
                "status 200 instead of 503",
            ),
            (
                "load-balancer/vip/local/shares-follow-the-nodes",
                // The load balancer may come to believe it only while the last round is asked.
                "vm1+vm2+vm3|dropped (",
            ),
            (
                "live/gone-at-once-behind-a-load-balancer",
                "dropped, and the load balancer has left no node since",
            ),
            (
                "live/terminating-behind-a-load-balancer",
                "status 200 instead of 503",
            ),
        ],
        spares: &["load-balancer/node-port/local/in-cluster-short-circuits"],
        deed: Deed::Health(Forgery {
            node: "vm2",
            status: OK,
            counted: 1,
            weight: 1,
        }),
    },
    Fault {
        name: "health-port-stuck-on-503",
        breaks: "A node with a ready local endpoint says 200.",
        sources: &[SERVICE_HEALTH],
        caught_by: &[
            (
                "health-check/counts-local-endpoints",
                "status 503 instead of 200",
            ),
            (
                "health-check/moved-pod-moves-the-traffic",
                "status 503 instead of 200|vm3 by ",
            ),
        ],
        spares: &["load-balancer/vip/local/node-without-pods-drops"],
        deed: Deed::Health(Forgery {
            node: "vm1",
            status: UNAVAILABLE,
            counted: 0,
            weight: 0,
        }),
    },
    Fault {
        name: "health-port-gives-a-wrong-weight",
        breaks: "The weight in the header is the number of local endpoints.",
        sources: &[SERVICE_HEALTH],
        caught_by: &[(
            "health-check/counts-local-endpoints",
            "header x-load-balancing-endpoint-weight is Some(\"1\") instead of \"2\"",
        )],
        spares: &["load-balancer/vip/local/client-ip-kept"],
        deed: Deed::Health(Forgery {
            node: "vm3",
            status: OK,
            counted: 2,
            weight: 1,
        }),
    },
    Fault {
        name: "health-port-counts-all-nodes",
        breaks: "The number in the body is that of the local endpoints.",
        sources: &[SERVICE_HEALTH],
        caught_by: &[(
            "health-check/counts-local-endpoints",
            "\"localEndpoints\":3",
        )],
        spares: &["load-balancer/vip/local/client-ip-kept"],
        deed: Deed::Health(Forgery {
            node: "vm3",
            status: OK,
            counted: 3,
            weight: 2,
        }),
    },
    Fault {
        name: "healthz-is-that-of-another-node",
        breaks: "/healthz says whether this node is eligible.",
        sources: &[
            "KEP-3836",
            "kubernetes/pkg/proxy/healthcheck/proxy_health.go",
        ],
        caught_by: &[("proxy-health/node-about-to-be-removed", "/healthz@vm1")],
        spares: &["health-check/counts-local-endpoints"],
        deed: Deed::Rules(answer_by_vm2),
    },
];

/// Who asks vm1 how it is hears it of vm2.
fn answer_by_vm2(scene: &Scene<'_>, rules: &mut Rules) {
    let mut steps = scene.victim.case.steps.iter();
    if steps.any(|step| matches!(step, Step::Change(Change::Taint { .. }))) {
        let world = scene.victim.lab.world();
        let other = world.node("vm2").expect("in the story").address;
        let other = SocketAddr::new(scene.of(other), PROXY_HEALTH_PORT);
        let called = format!("tcp dport {PROXY_HEALTH_PORT}");
        let arriving = rewrite_arriving(&format!("{called} fib daddr type local dnat to {other}"));
        let leaving = rewrite_leaving(&format!("{called} ct status dnat masquerade"));
        rules.on("vm1", &(arriving + &leaving));
    }
}
