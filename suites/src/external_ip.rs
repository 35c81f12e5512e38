//! External addresses: the same rules as on node ports, on an address of the Service's own.

use onehop_harness::case::{
    BalancerMode, Case, Change, Feature, Place, Policy, Question, Reach, Service, Target,
};

use crate::story::{
    NODES, STORY, client_on, dropped, external_ip, from_node, from_pod_on, host, kept_on, on,
    private, public, reaches, refused, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";

pub(crate) fn cases() -> Vec<Case> {
    let cluster = Service::cluster_ip().external_ips();
    let local = cluster.external(Policy::Local);
    vec![
        Case::new(
            "external-ip/cluster/every-node-answers",
            "Under Cluster, the external address of each node answers from all pods, which see \
             that node.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&public(), external_ip(node), spread_by(node, &STORY))),
        ),
        Case::new(
            "external-ip/cluster/in-cluster-is-masqueraded",
            "Under Cluster, pods and nodes that call an external address reach all pods by their \
             own node, masqueraded as that node, wherever the network would send the address; whether \
             also before a pod of that node, implementations differ.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES])
        .check("pods 1-0-2, the address of vm2", in_cluster(from_node)),
        Case::new(
            "external-ip/local/client-ip-kept",
            "Under Local, a node answers on its external address from its own pods, which see the \
             client; a node without pods drops.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, "k#62537", "k#88786", "k#121909"])
        .check("pods 1-0-2, private client", own_pods_or_drop(&private()))
        .check("pods 1-0-2, public client", own_pods_or_drop(&public())),
        Case::new(
            "external-ip/local/in-cluster-short-circuits",
            "Under Local, pods that call an external address reach all pods with their own \
             address, and nodes reach all pods too.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, "k#62537"])
        .check("pods 1-0-2, the address of vm2", in_cluster(from_pod_on)),
        Case::new(
            "external-ip/local/shares-on-a-node-are-even",
            "Under Local, the two pods of vm3 get the same share of its external address.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "two pods on vm3",
            [reaches(
                &private(),
                external_ip("vm3"),
                kept_on("vm3", on("vm3")).judged(),
            )],
        ),
        no_endpoint(
            "cluster",
            cluster,
            NODES.map(|node| reaches(&private(), external_ip(node), spread_by(node, &STORY))),
        ),
        no_endpoint("local", local, own_pods_or_drop(&private())),
        Case::new(
            "external-ip/no-endpoint-refused-to-nodes",
            "A node that calls an external or a load-balancer address without an endpoint \
             anywhere is refused by itself; its call does not leave it.",
            Service::load_balancer(BalancerMode::Vip).external_ips(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .needs(Feature::NodeExternalRefusal)
        .check("pods 1-0-2", from_hosts())
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            NODES.into_iter().flat_map(|node| {
                [external_ip("vm2"), Target::Vip].map(|to| refused(&host(node), to))
            }),
        ),
        Case::new(
            "external-ip/external-policy-switched-both-ways",
            "A switch of externalTrafficPolicy takes effect on external addresses, both ways.",
            cluster,
            &STORY,
        )
        .sources(&[TOPOLOGY, "k#62537"])
        .check("Cluster", [by_vm2()])
        .change(Change::ExternalPolicy(Policy::Local))
        .check("Local", own_pods_or_drop(&private()))
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check("Cluster again", [by_vm2()]),
    ]
}

fn no_endpoint(policy: &str, service: Service, before: [Question; 3]) -> Case {
    Case::new(
        &format!("external-ip/{policy}/no-endpoint-refused"),
        "An external address without an endpoint anywhere is refused to outside clients and to \
         pods, under either policy.",
        service,
        &STORY,
    )
    .sources(&[NFTABLES, TOPOLOGY])
    .check("pods 1-0-2", before)
    .change(Change::Backends(Vec::new()))
    .check(
        "no pod",
        NODES
            .map(|node| refused(&private(), external_ip(node)))
            .into_iter()
            .chain(NODES.map(|node| refused(&client_on(node), external_ip("vm2")))),
    )
}

/// What pods and nodes see of the address of vm2: the pods' way there differs, the nodes' does not.
fn in_cluster(from_pod: fn(&str, &[&str]) -> Reach) -> impl Iterator<Item = Question> {
    let from_pod = |node| {
        let reach = from_pod(node, &STORY);
        reaches(&client_on(node), external_ip("vm2"), reach)
    };
    NODES.map(from_pod).into_iter().chain(from_hosts())
}

fn from_hosts() -> [Question; 3] {
    NODES.map(|node| reaches(&host(node), external_ip("vm2"), from_node(node, &STORY)))
}

fn by_vm2() -> Question {
    reaches(&private(), external_ip("vm2"), spread_by("vm2", &STORY))
}

fn own_pods_or_drop(from: &Place) -> [Question; 3] {
    let to = |node: &str| Target::ExternalIp(node.to_owned());
    NODES.map(|node| match on(node) {
        [] => dropped(from, to(node)),
        pods => reaches(from, to(node), kept_on(node, pods)),
    })
}
