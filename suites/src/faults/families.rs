//! Faults of address families.

use onehop_harness::case::{Change, Families};

use super::rules::{Rules, filter_arriving, rewrite_arriving};
use super::scene::Scene;
use super::{Deed, Fault};

const SERVICE_CHANGES: &str = "kubernetes/pkg/proxy/servicechangetracker.go";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "serves-a-family-that-the-service-has-not",
        breaks: "A node port of a Service of one family is nobody's in the other.",
        sources: &["KEP-563", SERVICE_CHANGES],
        caught_by: &[
            ("families/ipv4/cluster", "reached web-1, not refused"),
            ("families/ipv6/local", "reached web-1, not refused"),
            ("families/ipv4/load-balancer", "reached web-1, not refused"),
        ],
        spares: &[
            "external/cluster/every-node-answers",
            "families/pods-of-one/cluster",
        ],
        deed: Deed::Rules(serve_the_other),
    },
    Fault {
        name: "refuses-a-family-that-came-later",
        breaks: "A Service that becomes dual stack is served in its second family, by every node.",
        sources: &["KEP-563", SERVICE_CHANGES],
        caught_by: &[
            ("families/changed/cluster", "both families: "),
            ("families/changed/local", "both families: "),
        ],
        spares: &["families/ipv4/cluster", "families/ipv6/local"],
        deed: Deed::Rules(refuse_the_second),
    },
];

/// vm2 serves the node port in the family that the Service does not have.
fn serve_the_other(scene: &Scene<'_>, rules: &mut Rules) {
    if !scene.spec().families.has(scene.family)
        && let Some(called) = scene.node_port()
    {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &(rewrite_arriving(&to_pod) + &scene.masquerade()));
    }
}

/// vm3 goes on to refuse the node port in the family that the Service gets later.
fn refuse_the_second(scene: &Scene<'_>, rules: &mut Rules) {
    let mut changes = scene.victim.case.changes();
    let comes = changes.any(|change| *change == Change::Families(Families::Dual));
    if comes
        && !scene.spec().families.has(scene.family)
        && let Some(called) = scene.node_port()
    {
        let refused = format!("{called} reject with tcp reset");
        rules.on("vm3", &filter_arriving(&refused));
    }
}
