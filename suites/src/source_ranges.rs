//! `loadBalancerSourceRanges`: who may call a load-balancer address. Nothing else of the Service is
//! restricted by them.

use onehop_harness::case::{
    BalancerMode, Case, Change, Policy, Question, Reach, Service, SourceRange, Target,
};
use onehop_harness::world::{CLIENT_PRIVATE, CLIENT_PUBLIC};

use crate::external_policy::own_pods_or_drop;
use crate::load_balancer::{balanced_cluster, balanced_local};
use crate::story::{
    NODES, STORY, balancer, client_on, dropped, external_ip, from_node, from_pod_on, host,
    node_port, private, public, reaches, spread_by,
};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";

/// The network of the private client.
pub(crate) const PRIVATE: &[SourceRange] = &[SourceRange::Client(CLIENT_PRIVATE)];
/// The networks of both clients.
const BOTH: &[SourceRange] = &[
    SourceRange::Client(CLIENT_PRIVATE),
    SourceRange::Client(CLIENT_PUBLIC),
];
/// The pods, and the nodes themselves.
const CLUSTER: &[SourceRange] = &[SourceRange::Pods, SourceRange::Nodes];

pub(crate) fn cases() -> Vec<Case> {
    let cluster = Service::load_balancer(BalancerMode::Vip);
    let local = cluster.external(Policy::Local);
    vec![
        Case::new(
            "source-ranges/outside-clients",
            "A client within the ranges reaches the load-balancer address, and one outside of them \
             is dropped, not refused.",
            cluster.source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "private allowed",
            [
                reaches(&private(), Target::Vip, balanced_cluster(&STORY)),
                dropped(&public(), Target::Vip),
            ],
        ),
        Case::new(
            "source-ranges/outside-clients-under-local",
            "Under Local, a client within the ranges is still seen by its own address, and one \
             outside of them is dropped by every node.",
            local.source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "private allowed",
            [
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY),
                ),
                dropped(&public(), Target::Vip),
            ]
            .into_iter()
            .chain(NODES.map(|node| dropped(&balancer(), Target::VipAt(node.to_owned())))),
        ),
        Case::new(
            "source-ranges/several",
            "Clients within any of several ranges reach the load-balancer address; pods, nodes and \
             neighbours outside of them are dropped.",
            cluster.source_ranges(BOTH),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "private and public allowed",
            [private(), public()]
                .map(|from| reaches(&from, Target::Vip, balanced_cluster(&STORY)))
                .into_iter()
                .chain(inside_dropped()),
        ),
        Case::new(
            "source-ranges/pods-and-nodes",
            "Pods and nodes are held to the ranges by their own addresses: within them they reach \
             the load-balancer address, while outside clients are dropped.",
            cluster.source_ranges(CLUSTER),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods and nodes allowed",
            inside_reach(from_node)
                .chain([private(), public()].map(|from| dropped(&from, Target::Vip))),
        ),
        Case::new(
            "source-ranges/pods-and-nodes-under-local",
            "Under Local too, pods and nodes within the ranges reach all pods by the load-balancer \
             address, and outside clients are dropped.",
            local.source_ranges(CLUSTER),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods and nodes allowed",
            inside_reach(from_pod_on).chain([dropped(&public(), Target::Vip)]),
        ),
        Case::new(
            "source-ranges/two-addresses/clients",
            "Of two load-balancer addresses, both are held to the ranges: clients within them reach either, and those outside, \
             pods and nodes among them, are dropped on either.",
            cluster.two_addresses().source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, "k#109826"])
        .check(
            "private allowed",
            TWO_ADDRESSES.into_iter().flat_map(|vip| {
                [
                    reaches(&private(), vip.clone(), balanced_cluster(&STORY)),
                    dropped(&public(), vip.clone()),
                    dropped(&client_on("vm2"), vip.clone()),
                    dropped(&host("vm2"), vip),
                ]
            }),
        ),
        two_addresses_inside("cluster", cluster, from_node),
        two_addresses_inside("local", local, from_pod_on),
        Case::new(
            "source-ranges/no-other-address-is-restricted",
            "Clients outside the ranges reach the node ports, the external addresses and the \
             ClusterIP as if there were none.",
            cluster.external_ips().source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, "c#42334"])
        .check(
            "private allowed",
            NODES
                .map(|node| reaches(&public(), node_port(node), spread_by(node, &STORY)))
                .into_iter()
                .chain([
                    dropped(&public(), Target::Vip),
                    reaches(&public(), external_ip("vm2"), spread_by("vm2", &STORY)),
                    reaches(
                        &client_on("vm2"),
                        node_port("vm2"),
                        from_node("vm2", &STORY),
                    ),
                    reaches(
                        &client_on("vm2"),
                        Target::ClusterIp,
                        from_pod_on("vm2", &STORY),
                    ),
                ]),
        ),
        Case::new(
            "source-ranges/node-ports-under-local",
            "Under Local, node ports are not restricted by the ranges either.",
            local.source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, "c#42334"])
        .check(
            "private allowed",
            own_pods_or_drop(&public())
                .into_iter()
                .chain([dropped(&public(), Target::Vip)]),
        ),
        Case::new(
            "source-ranges/changed",
            "Ranges take effect when they are set, changed and removed.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check("none", [public_reaches(), inside("vm2")])
        .change(Change::SourceRanges(PRIVATE))
        .check(
            "private allowed",
            [
                reaches(&private(), Target::Vip, balanced_cluster(&STORY)),
                dropped(&public(), Target::Vip),
                dropped(&client_on("vm2"), Target::Vip),
            ],
        )
        .change(Change::SourceRanges(BOTH))
        .check(
            "public allowed too",
            [public_reaches(), dropped(&client_on("vm2"), Target::Vip)],
        )
        .change(Change::SourceRanges(&[]))
        .check("none again", [public_reaches(), inside("vm2")]),
    ]
}

/// Both load-balancer addresses of a Service that has two.
const TWO_ADDRESSES: [Target; 2] = [Target::Vip, Target::OtherVip];

fn two_addresses_inside(
    policy: &str,
    service: Service,
    from_pod: fn(&str, &[&str]) -> Reach,
) -> Case {
    Case::new(
        &format!("source-ranges/two-addresses/pods-and-nodes-under-{policy}"),
        "Pods and nodes within the ranges reach all pods by either of two load-balancer addresses, and clients outside are \
         dropped on either.",
        service.two_addresses().source_ranges(CLUSTER),
        &STORY,
    )
    .sources(&[NFTABLES, "k#109826"])
    .check(
        "pods and nodes allowed",
        TWO_ADDRESSES.into_iter().flat_map(|vip| {
            let inside = NODES.into_iter().flat_map(|node| {
                [
                    reaches(&client_on(node), vip.clone(), from_pod(node, &STORY)),
                    reaches(&host(node), vip.clone(), from_node(node, &STORY)),
                ]
            });
            let inside: Vec<_> = inside.collect();
            inside.into_iter().chain([dropped(&public(), vip.clone())])
        }),
    )
}

fn public_reaches() -> Question {
    reaches(&public(), Target::Vip, balanced_cluster(&STORY))
}

fn inside(node: &str) -> Question {
    reaches(&client_on(node), Target::Vip, from_node(node, &STORY))
}

fn inside_dropped() -> impl Iterator<Item = Question> {
    let pods = NODES.map(|node| dropped(&client_on(node), Target::Vip));
    let nodes = NODES.map(|node| dropped(&host(node), Target::Vip));
    pods.into_iter().chain(nodes)
}

fn inside_reach(from_pod: fn(&str, &[&str]) -> Reach) -> impl Iterator<Item = Question> {
    let pods = NODES.map(|node| reaches(&client_on(node), Target::Vip, from_pod(node, &STORY)));
    let nodes = NODES.map(|node| reaches(&host(node), Target::Vip, from_node(node, &STORY)));
    pods.into_iter().chain(nodes)
}
