//! Imbalance: what each policy costs when pods and nodes are not the same in number.
//!
//! A load balancer gives every healthy node the same share. Under Local, a node divides its share
//! among its own pods: with H healthy nodes and k pods on a node, each of those pods gets
//! 1 / (H · k). Under Cluster, any node divides among all P pods, and each gets 1 / P. The
//! imbalance is the largest share over the mean share, 1 / P.
//!
//! A load balancer that gives each node k / P, by the weights that health check node ports announce,
//! takes the imbalance from Local: each pod gets k / (P · k), which is 1 / P again.

use onehop_harness::case::{BalancerMode, Case, Policy, Service, Target};

use crate::load_balancer::{balanced_cluster, balanced_local, balanced_local_in, weighed_by_pods};
use crate::story::{FIVE_AND_ONE, private, reaches};

const SOURCES: [&str; 2] = [
    "kubernetes/pkg/proxy/topology.go",
    "kubernetes.io/docs: Preserving the client source IP, caveats: traffic is not equally balanced",
];

/// Where the pods of a case run, and what follows from it under Local.
struct Placement {
    id: &'static str,
    claim: &'static str,
    pods: &'static [&'static str],
    /// The nodes with pods.
    nodes: &'static [&'static str],
    /// The share of each pod under Local.
    local: &'static [f64],
    /// The largest of those over the mean.
    imbalance: f64,
}

const PLACEMENTS: [Placement; 3] = [
    Placement {
        id: "many-pods-on-few-nodes",
        claim: "Five pods on vm1 and one on vm3",
        pods: &FIVE_AND_ONE,
        nodes: &["vm1", "vm3"],
        // Half of the traffic for five pods, half for one: 1/(2·5) and 1/(2·1).
        local: &[0.1, 0.1, 0.1, 0.1, 0.1, 0.5],
        imbalance: 3.0,
    },
    Placement {
        id: "few-pods-on-many-nodes",
        claim: "Two pods, on two of three nodes",
        pods: &["web-0", "web-1"],
        nodes: &["vm1", "vm3"],
        local: &[0.5, 0.5],
        imbalance: 1.0,
    },
    Placement {
        id: "about-as-many-of-each",
        claim: "Four pods on three nodes, two of them together",
        pods: &["web-0", "web-3", "web-1", "web-2"],
        nodes: &["vm1", "vm2", "vm3"],
        // A third for each node: 1/(3·1), 1/(3·1), and 1/(3·2) twice.
        local: &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0],
        imbalance: 4.0 / 3.0,
    },
];

pub(crate) fn cases() -> Vec<Case> {
    PLACEMENTS
        .iter()
        .flat_map(|placement| {
            [
                under_local(placement),
                under_local_by_weight(placement),
                under_cluster(placement),
            ]
        })
        .collect()
}

fn under_local(placement: &Placement) -> Case {
    let service = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    let claim = format!(
        "{}: under Local the busiest pod gets {:.2} times its fair share.",
        placement.claim, placement.imbalance
    );
    let reach = balanced_local(placement.nodes, placement.pods)
        .shares(placement.local)
        .judged()
        .imbalance(placement.imbalance);
    Case::new(
        &format!("distribution/{}/local", placement.id),
        &claim,
        service,
        placement.pods,
    )
    .sources(&SOURCES)
    .check(placement.claim, [reaches(&private(), Target::Vip, reach)])
}

fn under_local_by_weight(placement: &Placement) -> Case {
    let mode = BalancerMode::Weighted;
    let claim = format!(
        "{}: under Local every pod gets its fair share of a load balancer that goes by the weights \
         that nodes announce.",
        placement.claim
    );
    let reach = balanced_local_in(mode, placement.nodes, placement.pods);
    Case::new(
        &format!("distribution/{}/local-by-weight", placement.id),
        &claim,
        Service::load_balancer(mode).external(Policy::Local),
        placement.pods,
    )
    .sources(&[
        "kubernetes/pkg/proxy/healthcheck/service_health.go",
        "k#118999",
    ])
    .check(
        placement.claim,
        [
            weighed_by_pods(placement.nodes, placement.pods),
            reaches(&private(), Target::Vip, reach.judged().imbalance(1.0)),
        ],
    )
}

fn under_cluster(placement: &Placement) -> Case {
    let service = Service::load_balancer(BalancerMode::Vip);
    let claim = format!(
        "{}: under Cluster every pod gets its fair share.",
        placement.claim
    );
    let reach = balanced_cluster(placement.pods).judged().imbalance(1.0);
    Case::new(
        &format!("distribution/{}/cluster", placement.id),
        &claim,
        service,
        placement.pods,
    )
    .sources(&SOURCES)
    .check(placement.claim, [reaches(&private(), Target::Vip, reach)])
}
