//! Both external policies through a load balancer, in each of its modes.

use onehop_harness::case::{
    Backend, BalancerCheck, BalancerMode, Case, Change, Entry, Hops, Policy, Question, Reach,
    Service, Source, Target,
};
use onehop_harness::world::World;

use crate::story::{
    FIVE_AND_ONE, NODES, STORY, balancer, client_on, dropped, from_node, from_pod_on, host,
    kept_on, on, private, public, reaches, ready, refused, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";
const SERVICE_PORT: &str = "kubernetes/pkg/proxy/serviceport.go";
const IP_MODE: &str = "KEP-1860";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";
/// The header by which nodes announce their weights.
const WEIGHT_HEADER: &str = "k#118999";

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
    let under_cluster = vec![
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
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_cluster_in(mode, &STORY).judged(),
                ),
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
            [reaches(
                &public(),
                Target::Vip,
                balanced_cluster_in(mode, &STORY),
            )],
        ),
    ];
    let shares_under_local = match mode {
        BalancerMode::Weighted => by_weight(),
        BalancerMode::Vip | BalancerMode::NodePort | BalancerMode::Proxy => vec![by_nodes(mode)],
    };
    let rest = match mode {
        BalancerMode::Vip | BalancerMode::NodePort | BalancerMode::Weighted => passed_on(mode),
        BalancerMode::Proxy => proxied(),
    };
    [under_cluster, shares_under_local, rest].concat()
}

/// What callers see of a load balancer that passes their packets on, to nodes that serve its address themselves.
fn passed_on(mode: BalancerMode) -> Vec<Case> {
    let id = |rest: &str| format!("load-balancer/{}/{rest}", mode.name());
    let local = Service::load_balancer(mode).external(Policy::Local);
    let kept = || balanced_local_in(mode, &["vm1", "vm3"], &STORY);
    vec![
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
                reaches(&public(), Target::Vip, kept()),
                reaches(&private(), Target::Vip, kept()),
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

/// What callers see of a load balancer that answers them itself, and whose address nodes leave to it.
fn proxied() -> Vec<Case> {
    let mode = BalancerMode::Proxy;
    let cluster = Service::load_balancer(mode);
    let local = cluster.external(Policy::Local);
    let under_cluster = || balanced_cluster_in(mode, &STORY);
    let under_local = || balanced_local_in(mode, &["vm1", "vm3"], &STORY);
    let inside = |reach: &dyn Fn() -> Reach| {
        let callers = NODES.map(client_on).into_iter().chain(NODES.map(host));
        let calls = callers.map(|from| reaches(&from, Target::Vip, reach()));
        calls.collect::<Vec<_>>()
    };
    vec![
        Case::new(
            "load-balancer/proxy/local/source-is-the-balancer",
            "Behind a load balancer that terminates connections, the pod sees the load balancer's \
             address under Local, without an extra hop: the client's is lost before any node.",
            local,
            &STORY,
        )
        .sources(&[IP_MODE, NFTABLES])
        .check(
            "pods 1-0-2",
            [private(), public()].map(|from| reaches(&from, Target::Vip, under_local())),
        ),
        Case::new(
            "load-balancer/proxy/local/in-cluster-goes-through-it",
            "Under Local, pods and nodes that call the address of a load balancer of ipMode Proxy \
             go through it: the pod sees the load balancer, and the node without pods is not \
             chosen for its own callers either.",
            local,
            &STORY,
        )
        .sources(&[IP_MODE, SERVICE_PORT, "k#66607"])
        .check("pods 1-0-2", inside(&under_local)),
        Case::new(
            "load-balancer/proxy/cluster/in-cluster-goes-through-it",
            "Under Cluster, pods and nodes that call the address of a load balancer of ipMode Proxy \
             go through it, and by any node to any pod.",
            cluster,
            &STORY,
        )
        .sources(&[IP_MODE, SERVICE_PORT, "k#66607"])
        .check("pods 1-0-2", inside(&under_cluster)),
    ]
}

/// Shares under Local where all nodes with pods get the same.
fn by_nodes(mode: BalancerMode) -> Case {
    Case::new(
        &format!(
            "load-balancer/{}/local/shares-follow-the-nodes",
            mode.name()
        ),
        "Under Local, the node without pods is never chosen, and the pods get 50, 25 and 25 %.",
        Service::load_balancer(mode).external(Policy::Local),
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
                balanced_local_in(mode, &["vm1", "vm3"], &STORY)
                    .shares(&[0.5, 0.25, 0.25])
                    .judged(),
            ),
        ],
    )
}

/// Shares under Local where nodes get as many times more as they announce.
fn by_weight() -> Vec<Case> {
    let local = Service::load_balancer(BalancerMode::Weighted).external(Policy::Local);
    let even = |pods: &[&str]| {
        let nodes = ["vm1", "vm3"];
        let reach = balanced_local_in(BalancerMode::Weighted, &nodes, pods);
        [
            weighed_by_pods(&nodes, pods),
            reaches(&private(), Target::Vip, reach.judged()),
        ]
    };
    let one_ends = vec![
        Backend::ready("web-0"),
        Backend::ready("web-1"),
        Backend::terminating("web-2"),
    ];
    vec![
        Case::new(
            "load-balancer/weighted/local/shares-are-even-by-weight",
            "Under Local, each node gets connections in proportion to the ready endpoints that its \
             health check node port announces, so that each pod gets a third.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, WEIGHT_HEADER])
        .check("pods 1-0-2", even(&STORY)),
        Case::new(
            "load-balancer/weighted/local/weights-follow-the-endpoints",
            "Under Local, the weights of nodes become those of their ready endpoints whenever these \
             change; endpoints that terminate do not count.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, WEIGHT_HEADER, "KEP-1669"])
        .check("pods 1-0-2", even(&STORY))
        .change(Change::Backends(ready(&FIVE_AND_ONE)))
        .check("pods 5-0-1", even(&FIVE_AND_ONE))
        .change(Change::Backends(one_ends))
        .check(
            "pods 1-0-2, one of vm3 terminates",
            even(&["web-0", "web-1"]),
        ),
    ]
}

/// Which nodes the load balancer must find healthy, all of the same weight.
pub(crate) fn healthy(by: BalancerCheck, nodes: &[&str]) -> Question {
    Question::HealthyNodes {
        by,
        nodes: nodes.iter().map(|&node| (node.to_owned(), 1)).collect(),
        family: None,
    }
}

/// The same of one that weighs each node by how many of these pods it has.
pub(crate) fn weighed_by_pods(nodes: &[&str], pods: &[&str]) -> Question {
    let world = World::story();
    let pods = pods.iter().filter_map(|pod| world.pod(pod));
    let weight = |node: &str| pods.clone().map(|pod| u32::from(pod.node == node)).sum();
    Question::HealthyNodes {
        by: BalancerCheck::HealthCheckNodePort,
        nodes: nodes
            .iter()
            .map(|&node| (node.to_owned(), weight(node)))
            .collect(),
        family: None,
    }
}

/// Through the load balancer under Cluster: any node, then any pod.
pub(crate) fn balanced_cluster(pods: &[&str]) -> Reach {
    balanced_cluster_by(&NODES, pods)
}

/// The same where only these nodes are healthy.
pub(crate) fn balanced_cluster_by(nodes: &[&str], pods: &[&str]) -> Reach {
    Reach::pods(pods, Source::EntryNode, Hops::OneIfRemote, balanced(nodes))
}

/// The same through a load balancer of this mode.
fn balanced_cluster_in(mode: BalancerMode, pods: &[&str]) -> Reach {
    in_mode(mode, balanced_cluster(pods))
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

/// The same through a load balancer of this mode.
pub(crate) fn balanced_local_in(mode: BalancerMode, nodes: &[&str], pods: &[&str]) -> Reach {
    let reach = balanced_local(nodes, pods);
    match mode {
        // A node with more pods gets as many times more.
        BalancerMode::Weighted => reach.shares(&vec![1.0 / pods.len() as f64; pods.len()]),
        BalancerMode::Vip | BalancerMode::NodePort | BalancerMode::Proxy => in_mode(mode, reach),
    }
}

/// A way through the load balancer, as it is in this mode: one that terminates connections is the source of those to nodes.
fn in_mode(mode: BalancerMode, reach: Reach) -> Reach {
    if mode != BalancerMode::Proxy {
        return reach;
    }
    Reach {
        source: match reach.source {
            Source::Preserved => Source::Balancer,
            other => other,
        },
        entry: Entry::Proxied(reach.entries().to_vec()),
        ..reach
    }
}

fn balanced(nodes: &[&str]) -> Entry {
    Entry::Balanced(nodes.iter().map(|&node| node.to_owned()).collect())
}
