//! Faults of health check ports: somebody else says what the proxy should.

use super::forgery::Forgery;
use super::{Deed, Fault, SERVICE_HEALTH};

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
];
