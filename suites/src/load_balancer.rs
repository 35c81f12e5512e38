//! Both external policies through a load balancer, in both of its modes.

use onehop_harness::case::{
    BalancerCheck, BalancerMode, Case, Entry, Hops, Policy, Question, Reach, Service, Source,
    Target,
};

use crate::story::{
    NODES, STORY, client_on, from_node, from_pod_on, host, private, public, reaches,
};

const SERVICE_PORT: &str = "kubernetes/pkg/proxy/serviceport.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";

pub(crate) fn cases() -> Vec<Case> {
    BalancerMode::ALL.into_iter().flat_map(cases_in).collect()
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
        .sources(&[SERVICE_PORT, E2E_LB])
        .check(
            "pods 1-0-2",
            [
                healthy(BalancerCheck::NodePort, &NODES),
                reaches(&private(), Target::Vip, balanced_cluster(&STORY).even()),
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
        .sources(&[SERVICE_PORT, E2E_LB, "k#71596"])
        .check(
            "pods 1-0-2",
            [
                healthy(BalancerCheck::HealthCheckNodePort, &["vm1", "vm3"]),
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY).shares(&[0.5, 0.25, 0.25]),
                ),
            ],
        ),
        Case::new(
            &id("local/client-ip-kept"),
            "Under Local, the pod sees the client's own address, without an extra hop.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_PORT, E2E_LB, "Azure/AKS#785", "k#62537"])
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
        .sources(&[NFTABLES, "k#75262", "k#93456", "c#45252"])
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

/// Through the load balancer under Local: a node with pods, then a pod of that node.
pub(crate) fn balanced_local(nodes: &[&str], pods: &[&str]) -> Reach {
    Reach::pods(pods, Source::Preserved, Hops::Direct, balanced(nodes))
}

fn balanced(nodes: &[&str]) -> Entry {
    Entry::Balanced(nodes.iter().map(|&node| node.to_owned()).collect())
}
