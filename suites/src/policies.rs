//! Both policies at once: each of the four pairs, by every kind of client and address.
//!
//! | address | policy | pods and nodes | clients outside |
//! |---|---|---|---|
//! | ClusterIP | internal Cluster | all pods | all pods, where the network routes ClusterIPs to nodes |
//! | | internal Local | their node's own, or dropped | the entry node's own, or dropped |
//! | node port, load balancer's | external Cluster | all pods | all pods |
//! | | external Local | all pods | the entry node's own, or dropped |
//!
//! Each policy decides for its own addresses and leaves those of the other alone.

use onehop_harness::case::{BalancerMode, Case, Change, Policy, Question, Service, Target};

use crate::external_policy::{own_pods_or_drop, spread_over_all};
use crate::load_balancer::{balanced_cluster, balanced_local};
use crate::story::{
    NODES, STORY, balancer, client_on, dropped, from_node, from_pod_on, host, node_port, on,
    private, reaches, spread_by,
};

const KEPS: [&str; 2] = ["KEP-2086", "KEP-1669"];
const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";

/// The node whose callers are asked after each switch: without pods, it does something else under each policy.
const ASKED: [&str; 1] = ["vm2"];

pub(crate) fn cases() -> Vec<Case> {
    let policies = [Policy::Cluster, Policy::Local];
    let pairs = policies.map(|external| policies.map(|internal| pair(external, internal)));
    pairs.into_iter().flatten().chain([switched()]).collect()
}

fn pair(external: Policy, internal: Policy) -> Case {
    Case::new(
        &format!("policies/external-{}-internal-{}", name(external), name(internal)),
        &format!(
            "Under externalTrafficPolicy {external} and internalTrafficPolicy {internal}, the ClusterIP goes by the \
             internal policy, node ports and the load-balancer address by the external one, for pods, nodes and \
             clients outside.",
        ),
        service().external(external).internal(internal),
        &STORY,
    )
    .sources(&KEPS)
    .sources(&[TOPOLOGY, NFTABLES])
    .check("pods 1-0-2", under(external, internal, &NODES))
}

fn switched() -> Case {
    let changes = [
        (
            Change::ExternalPolicy(Policy::Local),
            (Policy::Local, Policy::Cluster),
        ),
        (
            Change::InternalPolicy(Policy::Local),
            (Policy::Local, Policy::Local),
        ),
        (
            Change::ExternalPolicy(Policy::Cluster),
            (Policy::Cluster, Policy::Local),
        ),
        (
            Change::InternalPolicy(Policy::Cluster),
            (Policy::Cluster, Policy::Cluster),
        ),
    ];
    let case = Case::new(
        "policies/switched-one-by-one",
        "A switch of one policy changes what its own addresses do, and nothing of the other's, through all four pairs.",
        service(),
        &STORY,
    )
    .sources(&KEPS)
    .sources(&[TOPOLOGY, "k#57678"])
    .check("both Cluster", under(Policy::Cluster, Policy::Cluster, &ASKED));
    changes
        .into_iter()
        .fold(case, |case, (change, (external, internal))| {
            let label = format!("external {external}, internal {internal}");
            case.change(change)
                .check(&label, under(external, internal, &ASKED))
        })
}

fn service() -> Service {
    Service::load_balancer(BalancerMode::Vip)
}

/// What everybody sees of every address under a pair of policies.
fn under(external: Policy, internal: Policy, nodes: &[&str]) -> Vec<Question> {
    let outside = match external {
        Policy::Cluster => spread_over_all(),
        Policy::Local => own_pods_or_drop(&private()),
    };
    let balanced = match external {
        Policy::Cluster => balanced_cluster(&STORY),
        Policy::Local => balanced_local(&["vm1", "vm3"], &STORY),
    };
    let inside = nodes.iter().flat_map(|&node| {
        let from_pods = match external {
            Policy::Cluster => from_node(node, &STORY),
            Policy::Local => from_pod_on(node, &STORY),
        };
        [node_port(node), Target::Vip]
            .into_iter()
            .flat_map(move |to| {
                [
                    reaches(&client_on(node), to.clone(), from_pods.clone()),
                    reaches(&host(node), to, from_node(node, &STORY)),
                ]
            })
    });
    let by_cluster_ip = nodes.iter().flat_map(|node| by_cluster_ip(node, internal));
    let all = by_cluster_ip.chain(outside).chain(inside);
    all.chain([reaches(&private(), Target::Vip, balanced)])
        .collect()
}

/// What pods of a node, the node itself, and whoever is routed to it see of the ClusterIP.
fn by_cluster_ip(node: &str, internal: Policy) -> [Question; 3] {
    let routed = Target::ClusterIpAt(node.to_owned());
    let pods = match internal {
        Policy::Cluster => &STORY,
        Policy::Local => on(node),
    };
    // Masqueraded, so that the answer comes back by the node.
    let from_outside = match internal {
        Policy::Cluster => spread_by(node, pods),
        Policy::Local => from_node(node, pods),
    };
    let seen = [
        (client_on(node), Target::ClusterIp, from_pod_on(node, pods)),
        (host(node), Target::ClusterIp, from_node(node, pods)),
        (balancer(), routed, from_outside),
    ];
    seen.map(|(from, to, reach)| match pods {
        [] => dropped(&from, to),
        _ => reaches(&from, to, reach),
    })
}

/// A policy in ids.
fn name(policy: Policy) -> &'static str {
    match policy {
        Policy::Cluster => "cluster",
        Policy::Local => "local",
    }
}
