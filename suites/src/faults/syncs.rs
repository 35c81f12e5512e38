//! Faults of time: a proxy that follows late, or not at all.

use std::time::Duration;

use super::{Deed, Fault, SLICES};

/// Longer than any case waits for a change, with what may go before it.
const LONG: Duration = Duration::from_secs(20);
/// Enough for a sync.
const SHORT: Duration = Duration::from_secs(1);

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "syncs-no-more-on-one-node-of-three",
        breaks: "Every node follows every change.",
        sources: &[SLICES, "k#99299", "k#121362"],
        caught_by: &[
            ("external/cluster/every-node-answers", "node-port@vm3"),
            (
                "health-check/counts-local-endpoints",
                "health-check-port@vm3",
            ),
        ],
        spares: &["transitions/pods-come-and-go-under-cluster"],
        deed: Deed::Stopped {
            node: "vm3",
            turns: None,
        },
    },
    Fault {
        name: "syncs-late-on-one-node-of-three",
        breaks: "A change takes effect within seconds, on every node.",
        sources: &[SLICES, "k#99299"],
        caught_by: &[(
            "transitions/external-policy-switched-both-ways",
            "node-port@vm3|only later",
        )],
        spares: &[],
        deed: Deed::Stopped {
            node: "vm3",
            turns: Some((LONG, SHORT)),
        },
    },
    Fault {
        name: "syncs-seldom",
        breaks: "A change takes effect within seconds.",
        sources: &["kubernetes/pkg/proxy/apis/config/types.go"],
        caught_by: &[(
            "transitions/pods-come-and-go-under-cluster",
            "two pods: |three pods: |one pod: ",
        )],
        spares: &[],
        deed: Deed::Setting {
            instead_of: "minSyncPeriod: 10ms",
            written: "minSyncPeriod: 20s",
        },
    },
];
