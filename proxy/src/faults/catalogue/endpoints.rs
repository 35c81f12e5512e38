//! Faults of which endpoints serve.

use super::{NFTABLES, SLICES, TOPOLOGY};
use crate::faults::{Deed, Fault, plans, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "serves-unready-endpoints",
        breaks: "An endpoint that is not ready gets nothing.",
        sources: &[TOPOLOGY],
        caught_by: &[
            "endpoints/cluster/not-serving-is-never-used",
            "endpoints/internal-local/not-serving-is-never-used",
            "lifecycle/readiness-decides-under-local",
            "lifecycle/node-stops",
        ],
        deed: Deed::World(worlds::unready_are_ready),
    },
    Fault {
        name: "serves-terminating-endpoints-beside-ready-ones",
        breaks: "While any endpoint is ready, terminating ones get nothing.",
        sources: &[TOPOLOGY, "KEP-1669"],
        caught_by: &[
            "endpoints/local/ready-beside-terminating",
            "transitions/terminating-pods-serve-when-alone",
        ],
        deed: Deed::World(worlds::terminating_are_ready),
    },
    Fault {
        name: "never-falls-back-to-terminating-endpoints",
        breaks: "When no endpoint is ready, those that serve while they terminate do.",
        sources: &[TOPOLOGY, "KEP-1669", "c#37613", "c#19810"],
        caught_by: &[
            "endpoints/cluster/terminating",
            "endpoints/local/terminating-here-ready-elsewhere",
            "live/terminating-behind-a-load-balancer",
            "lifecycle/only-local-pod-terminates",
            "lifecycle/rolling-update-of-the-only-local-pod",
            "lifecycle/rolling-update-behind-a-load-balancer",
        ],
        deed: Deed::World(worlds::terminating_are_gone),
    },
    Fault {
        name: "serves-endpoints-that-have-finished",
        breaks: "Terminating and not serving is never used.",
        sources: &[TOPOLOGY, "KEP-1669"],
        caught_by: &["endpoints/cluster/not-serving-is-never-used"],
        deed: Deed::World(worlds::finished_are_serving),
    },
    Fault {
        name: "takes-published-endpoints-for-terminating",
        breaks: "An endpoint that is ready is used as such, also while it terminates.",
        sources: &[TOPOLOGY],
        caught_by: &["endpoints/cluster/ready-unless-said-otherwise"],
        deed: Deed::World(worlds::published_are_terminating),
    },
    Fault {
        name: "drops-where-there-is-no-endpoint",
        breaks: "No usable endpoint anywhere: REJECT.",
        sources: &[NFTABLES],
        caught_by: &[
            "internal/cluster/no-endpoint-refused",
            "external/cluster/no-endpoint-refused",
        ],
        deed: Deed::Plan(plans::drops_for_refusals),
    },
    Fault {
        name: "refuses-where-there-is-no-local-endpoint",
        breaks: "Usable endpoints elsewhere, none local, under Local: DROP.",
        sources: &[NFTABLES],
        caught_by: &[
            "external/local/node-without-pods-drops",
            "internal/local/pod-reaches-its-own-node",
        ],
        deed: Deed::Plan(plans::refusals_for_drops),
    },
    Fault {
        name: "ignores-hints",
        breaks: "Where all ready endpoints have hints and one is for this place, no other is used.",
        sources: &[TOPOLOGY, "KEP-2433"],
        caught_by: &["topology/zone/cluster-ip", "topology/zone/node-port"],
        deed: Deed::World(worlds::without_hints),
    },
    Fault {
        name: "ignores-node-hints",
        breaks: "Hints for nodes come before hints for zones.",
        sources: &[TOPOLOGY, "KEP-3015"],
        caught_by: &["topology/node/hints-win-over-zones"],
        deed: Deed::World(worlds::without_node_hints),
    },
    Fault {
        name: "follows-partial-hints",
        breaks: "One ready endpoint without a hint, and no hint counts.",
        sources: &[TOPOLOGY],
        caught_by: &["topology/partial-hints-are-ignored"],
        deed: Deed::World(worlds::partial_hints_count),
    },
    Fault {
        name: "has-no-endpoint-for-a-zone-without-hints",
        breaks: "Where no endpoint is meant for this zone, all are used.",
        sources: &[TOPOLOGY],
        caught_by: &["topology/no-pod-for-the-zone"],
        deed: Deed::World(worlds::only_own_zone),
    },
    Fault {
        name: "follows-hints-under-local",
        breaks: "Local overrides hints.",
        sources: &[TOPOLOGY],
        caught_by: &[
            "topology/local-ignores-hints",
            "topology/internal-local-ignores-hints",
        ],
        deed: Deed::Plan(plans::local_follows_hints),
    },
    Fault {
        name: "follows-hints-of-terminating-endpoints",
        breaks: "When only terminating endpoints are left, hints do not count.",
        sources: &[TOPOLOGY],
        caught_by: &["topology/terminating-pods-have-no-hints"],
        deed: Deed::Plan(plans::terminating_follow_hints),
    },
    Fault {
        name: "knows-one-slice-of-a-service",
        breaks: "The endpoints of all EndpointSlices of a Service serve.",
        sources: &[SLICES],
        caught_by: &["endpoints/slices/merged"],
        deed: Deed::World(worlds::only_first_slice),
    },
    Fault {
        name: "takes-all-ports-from-one-slice",
        breaks: "Each EndpointSlice gives its own numbers to the ports' names.",
        sources: &[SLICES],
        caught_by: &["endpoints/slices/merged"],
        deed: Deed::World(worlds::ports_of_first_slice),
    },
    Fault {
        name: "takes-the-first-port-for-all",
        breaks: "Each port of a Service leads to its own target port.",
        sources: &[SLICES],
        caught_by: &["endpoints/ports/each-its-own"],
        deed: Deed::World(worlds::first_port_for_all),
    },
];
