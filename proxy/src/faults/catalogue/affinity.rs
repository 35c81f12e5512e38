//! Faults of session affinity.

use super::NFTABLES;
use crate::faults::{Deed, Fault, plans, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "ignores-session-affinity",
        breaks: "Affinity ClientIP: a client stays with its pod.",
        sources: &[NFTABLES],
        caught_by: &[
            "affinity/cluster-ip/client-stays-with-its-pod",
            "affinity/node-port/client-stays-with-its-pod",
            "udp/affinity",
        ],
        deed: Deed::World(worlds::no_affinity),
    },
    Fault {
        name: "never-ends-an-affinity",
        breaks: "Affinity ends with its timeout.",
        sources: &[NFTABLES],
        caught_by: &["affinity/ends-with-its-timeout"],
        deed: Deed::World(worlds::endless_affinity),
    },
    Fault {
        name: "ignores-affinity-under-local",
        breaks: "Affinity ClientIP holds under Local too.",
        sources: &[NFTABLES, "k#55429"],
        caught_by: &[
            "affinity/external-local/only-pods-of-the-entry-node",
            "affinity/external-local/switch-frees-from-remote-pods",
        ],
        deed: Deed::World(worlds::no_affinity_under_local),
    },
    Fault {
        name: "sticks-to-remote-pods-under-local",
        breaks: "Affinity is among the policy's endpoints.",
        sources: &[NFTABLES, "k#63351"],
        caught_by: &["affinity/external-local/only-pods-of-the-entry-node"],
        deed: Deed::Plan(plans::local_has_all_with_affinity),
    },
    Fault {
        name: "remembers-affinity-by-address",
        breaks: "Affinity is one across all addresses of a Service port.",
        sources: &[NFTABLES],
        caught_by: &["affinity/one-pod-for-all-addresses"],
        deed: Deed::Plan(plans::affinity_by_address),
    },
    Fault {
        name: "sticks-to-pods-that-have-left",
        breaks: "Affinity ends with its endpoint.",
        sources: &[NFTABLES],
        caught_by: &["affinity/outlives-other-changes-and-ends-with-its-pod"],
        deed: Deed::World(worlds::endpoints_stay_with_affinity),
    },
];
