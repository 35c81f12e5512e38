//! Both external policies through a load balancer, in both of its modes.

use onehop_harness::case::{
    BalancerCheck, BalancerMode, Case, Change, Entry, Hops, Policy, Question, Reach, Service,
    Source, Target,
};
use onehop_harness::world::World;

use crate::story::{
    NODES, STORY, balancer, client_on, dropped, from_node, from_pod_on, host, kept_on, on, private,
    public, reaches, refused, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";

pub(crate) fn cases() -> Vec<Case> {
    BalancerMode::ALL
        .into_iter()
        .flat_map(cases_in)
        .chain(at_each_node())
        .collect()
}

/// What each node does with the load-balancer address, whether or not a load balancer would have
/// chosen it. Behind one that follows the health checks, a node that is wrong here is never asked.
fn at_each_node() -> Vec<Case> {
    let local = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    let at = |node: &str| Target::VipAt(node.to_owned());
    let own_pods_or_drop = || {
        NODES.map(|node| match on(node) {
            [] => dropped(&balancer(), at(node)),
            pods => reaches(&balancer(), at(node), kept_on(node, pods)),
        })
    };
    vec![
        Case::new(
            "load-balancer/vip/local/node-without-pods-drops",
            "Under Local, a node without pods drops what is sent to the load-balancer address, and \
             the others answer from their own pods, as on the node port.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, "k#71596"])
        .check("pods 1-0-2, each node asked", own_pods_or_drop()),
        Case::new(
            "load-balancer/vip/local/no-endpoint-refused",
            "Under Local, the load-balancer address without an endpoint anywhere is refused by \
             every node.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check("pods 1-0-2, each node asked", own_pods_or_drop())
        .change(Change::Backends(Vec::new()))
        .check("no pod", NODES.map(|node| refused(&balancer(), at(node)))),
        Case::new(
            "load-balancer/vip/cluster/every-node-answers",
            "Under Cluster, every node answers on the load-balancer address, from all pods.",
            local.external(Policy::Cluster),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "pods 1-0-2, each node asked",
            NODES.map(|node| reaches(&balancer(), at(node), spread_by(node, &STORY))),
        ),
    ]
}

fn cases_in(mode: BalancerMode) -> Vec<Case> {
    let id = |rest: &str| format!("load-balancer/{}/{rest}", mode.name());
    let cluster = Service::load_balancer(mode);
    let local = cluster.external(Policy::Local);
    vec![
        Case::new(
            &id("cluster/shares-are-even"),
            "Under Cluster, all three nodes are used and each pod gets a third.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "pods 1-0-2",
            [
                healthy(BalancerCheck::NodePort, &NODES),
                reaches(&private(), Target::Vip, balanced_cluster(&STORY).judged()),
            ],
        ),
        Case::new(
            &id("cluster/client-ip-lost"),
            "Under Cluster, the pod sees the node that the load balancer chose.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "pods 1-0-2",
            [reaches(&public(), Target::Vip, balanced_cluster(&STORY))],
        ),
        Case::new(
            &id("local/shares-follow-the-nodes"),
            "Under Local, the node without pods is never chosen, and the pods get 50, 25 and 25 %.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, E2E_LB])
        .check(
            "pods 1-0-2",
            [
                healthy(BalancerCheck::HealthCheckNodePort, &["vm1", "vm3"]),
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY)
                        .shares(&[0.5, 0.25, 0.25])
                        .judged(),
                ),
            ],
        ),
        Case::new(
            &id("local/client-ip-kept"),
            "Under Local, the pod sees the client's own address, without an extra hop.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB, "Azure/AKS#785"])
        .check(
            "pods 1-0-2",
            [
                reaches(
                    &public(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY),
                ),
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY),
                ),
            ],
        ),
        Case::new(
            &id("local/in-cluster-short-circuits"),
            "Under Local, pods and nodes that call the load-balancer address reach all pods from \
             every node: Local restricts outside traffic only.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, "k#75262", "k#93456", "k#131765", "c#45252"])
        .check(
            "pods 1-0-2",
            NODES
                .map(|node| reaches(&client_on(node), Target::Vip, from_pod_on(node, &STORY)))
                .into_iter()
                .chain(
                    NODES.map(|node| reaches(&host(node), Target::Vip, from_node(node, &STORY))),
                ),
        ),
    ]
}

/// Which nodes the load balancer must find healthy.
pub(crate) fn healthy(by: BalancerCheck, nodes: &[&str]) -> Question {
    Question::HealthyNodes {
        by,
        nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
    }
}

/// Through the load balancer under Cluster: any node, then any pod.
pub(crate) fn balanced_cluster(pods: &[&str]) -> Reach {
    Reach::pods(pods, Source::EntryNode, Hops::OneIfRemote, balanced(&NODES))
}

/// Through the load balancer under Local: a node with pods, each with the same share, then a pod
/// of that node.
pub(crate) fn balanced_local(nodes: &[&str], pods: &[&str]) -> Reach {
    let world = World::story();
    let node_of = |pod: &str| world.pod(pod).map(|pod| pod.node.clone());
    let share = |pod: &&str| {
        let together = pods
            .iter()
            .filter(|other| node_of(other) == node_of(pod))
            .count();
        1.0 / (nodes.len() * together) as f64
    };
    let shares: Vec<f64> = pods.iter().map(share).collect();
    Reach::pods(pods, Source::Preserved, Hops::Direct, balanced(nodes)).shares(&shares)
}

fn balanced(nodes: &[&str]) -> Entry {
    Entry::Balanced(nodes.iter().map(|&node| node.to_owned()).collect())
}
