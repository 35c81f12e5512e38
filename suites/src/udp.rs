//! The same promises for UDP: nothing in them hangs on the protocol but how a refusal is told.

use onehop_harness::case::{
    Backend, BalancerMode, Case, Change, Feature, Place, Policy, Port, Question, Reach, Service,
    Target, pod,
};

use crate::external_policy::own_pods_or_drop;
use crate::load_balancer::{balanced_cluster, balanced_local};
use crate::source_ranges::PRIVATE;
use crate::story::{
    NODES, STORY, balancer, client_on, dropped, external_ip, from_node, from_pod_on, host, kept_on,
    node_port, on, private, public, reaches, ready, refused, spread_by, tcp, udp,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";
const KEP_INTERNAL: &str = "KEP-2086";
/// HTTP by TCP and HTTP/3 by UDP.
const WEB: [Port; 2] = [tcp("https", 443), udp("quic", 443)];

pub(crate) fn cases() -> Vec<Case> {
    [cluster_ips(), node_ports(), vips(), modifiers()].concat()
}

fn cluster_ips() -> Vec<Case> {
    let cluster = Service::cluster_ip().udp();
    vec![
        Case::new(
            "udp/cluster-ip/cluster/every-pod-answers",
            "Datagrams of pods and nodes to a ClusterIP reach all pods, those of pods with their \
             own address.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("pods 1-0-2", from_inside(|_| &STORY)),
        Case::new(
            "udp/cluster-ip/local/own-pods-or-drop",
            "Under internal Local, datagrams of pods and nodes reach their node's pods, or are \
             dropped.",
            cluster.internal(Policy::Local),
            &STORY,
        )
        .sources(&[KEP_INTERNAL, TOPOLOGY])
        .check("pods 1-0-2", from_inside(on)),
        Case::new(
            "udp/cluster-ip/no-endpoint-refused",
            "Datagrams to a ClusterIP without endpoints are answered by ICMP that the port is \
             unreachable.",
            cluster,
            &STORY,
        )
        .sources(&[TOPOLOGY, NFTABLES])
        .check("pods 1-0-2", from_inside(|_| &STORY))
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            NODES.into_iter().flat_map(|node| {
                [client_on(node), host(node)].map(|from| refused(&from, Target::ClusterIp))
            }),
        ),
        Case::new(
            "udp/cluster-ip/shares-are-even",
            "Each pod gets the same share of datagrams with a source port each.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            NODES.map(|node| {
                let reach = from_pod_on(node, &STORY).judged();
                reaches(&client_on(node), Target::ClusterIp, reach)
            }),
        ),
    ]
}

fn node_ports() -> Vec<Case> {
    let cluster = Service::node_port().udp();
    let local = cluster.external(Policy::Local);
    vec![
        Case::new(
            "udp/node-port/cluster/masqueraded",
            "Under Cluster, datagrams to any node's port reach all pods, which see the entry node, \
             save, where implementations differ, pods of that node; answers come from the address that was called.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&private(), node_port(node), spread_by(node, &STORY))),
        ),
        Case::new(
            "udp/node-port/cluster/shares-are-even",
            "Under Cluster, each pod gets the same share of datagrams to a node port.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            [reaches(
                &private(),
                node_port("vm2"),
                spread_by("vm2", &STORY).judged(),
            )],
        ),
        Case::new(
            "udp/node-port/local/client-ip-kept",
            "Under Local, datagrams reach the entry node's own pods with the client's address; a \
             node without pods drops them and sends no ICMP.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, E2E_LB])
        .check(
            "pods 1-0-2",
            own_pods_or_drop(&private())
                .into_iter()
                .chain(own_pods_or_drop(&public())),
        ),
        Case::new(
            "udp/node-port/local/pods-and-nodes-reach-all",
            "Under Local, datagrams of pods and nodes to their own node's port reach all pods.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            NODES.into_iter().flat_map(|node| {
                [
                    reaches(&client_on(node), node_port(node), from_pod_on(node, &STORY)),
                    reaches(&host(node), node_port(node), from_node(node, &STORY)),
                ]
            }),
        ),
        Case::new(
            "udp/node-port/no-endpoint-refused",
            "Datagrams to a node port without an endpoint anywhere are refused by ICMP on every \
             node, under either policy.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .needs(Feature::ExternalTrafficPolicy)
        .check(
            "Cluster, pods 1-0-2",
            NODES.map(|node| reaches(&private(), node_port(node), spread_by(node, &STORY))),
        )
        .change(Change::Backends(Vec::new()))
        .check("Cluster, no pod", no_node_port())
        .change(Change::ExternalPolicy(Policy::Local))
        .change(Change::Backends(ready(&STORY)))
        .check("Local, pods 1-0-2", own_pods_or_drop(&private()))
        .change(Change::Backends(Vec::new()))
        .check("Local, no pod", no_node_port()),
        Case::new(
            "udp/node-port/only-terminating-pods-serve",
            "Datagrams reach terminating pods only where no ready one is left: under Local, on \
             the entry node.",
            local,
            &STORY,
        )
        .sources(&["KEP-1669", TOPOLOGY, "c#19810"])
        .check("all ready", own_pods_or_drop(&private()))
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::terminating("web-1"),
            Backend::ready("web-2"),
        ]))
        .check(
            "one ready, on vm3",
            [
                reaches(&private(), node_port("vm1"), kept_on("vm1", &["web-0"])),
                reaches(&private(), node_port("vm3"), kept_on("vm3", &["web-2"])),
            ],
        ),
    ]
}

fn vips() -> Vec<Case> {
    let cluster = Service::load_balancer(BalancerMode::Vip).udp();
    let local = cluster.external(Policy::Local);
    let at = |node: &str| Target::VipAt(node.to_owned());
    vec![
        Case::new(
            "udp/load-balancer/cluster/masqueraded",
            "Under Cluster, datagrams to the load-balancer address reach all pods by every node, \
             which hides the client, save, where implementations differ, from its own pods.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "pods 1-0-2",
            [reaches(&private(), Target::Vip, balanced_cluster(&STORY))],
        ),
        Case::new(
            "udp/load-balancer/local/client-ip-kept",
            "Under Local, datagrams to the load-balancer address keep their source, and a node \
             without pods drops those that it is sent.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, E2E_LB])
        .check(
            "pods 1-0-2",
            [
                reaches(
                    &public(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY),
                ),
                dropped(&balancer(), at("vm2")),
                reaches(&balancer(), at("vm3"), kept_on("vm3", on("vm3"))),
            ],
        ),
        Case::new(
            "udp/load-balancer/no-endpoint-refused",
            "Datagrams to the load-balancer address without an endpoint anywhere are refused by \
             every node, to clients outside and to its own pods.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&balancer(), at(node), spread_by(node, &STORY))),
        )
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            NODES
                .map(|node| refused(&balancer(), at(node)))
                .into_iter()
                .chain(NODES.map(|node| refused(&client_on(node), Target::Vip))),
        ),
        Case::new(
            "udp/load-balancer/source-ranges",
            "Datagrams from outside of the source ranges are dropped on the load-balancer address, \
             and are served on the node ports.",
            cluster.source_ranges(PRIVATE),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "private allowed",
            [
                reaches(&private(), Target::Vip, balanced_cluster(&STORY)),
                dropped(&public(), Target::Vip),
                dropped(&client_on("vm1"), Target::Vip),
                reaches(&public(), node_port("vm2"), spread_by("vm2", &STORY)),
            ],
        ),
    ]
}

fn modifiers() -> Vec<Case> {
    let itself = pod("web-0");
    let alone = ["web-0"];
    vec![
        Case::new(
            "udp/external-ip/local/client-ip-kept",
            "Under Local, datagrams to an external address reach the node's own pods with their \
             source, or are dropped.",
            Service::node_port()
                .udp()
                .external_ips()
                .external(Policy::Local),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "pods 1-0-2",
            NODES.map(|node| match on(node) {
                [] => dropped(&private(), external_ip(node)),
                pods => reaches(&private(), external_ip(node), kept_on(node, pods)),
            }),
        ),
        Case::new(
            "udp/hairpin",
            "A pod that is given its own datagrams sees its node, by the ClusterIP and by the node \
             port.",
            Service::node_port().udp(),
            &alone,
        )
        .sources(&[NFTABLES, "k#134884"])
        .check(
            "one pod, on vm1",
            [
                reaches(&itself, Target::ClusterIp, from_node("vm1", &alone)),
                reaches(&itself, node_port("vm1"), from_node("vm1", &alone)),
            ],
        ),
        Case::new(
            "udp/a-port-number-that-tcp-has-too",
            "TCP and UDP on one port number of a Service are two ports, and each goes to its own \
             port of the pods.",
            Service::node_port().ports(&WEB),
            &STORY,
        )
        .sources(&[NFTABLES, "KEP-1435"])
        .check(
            "443 by TCP and by UDP",
            WEB.iter().flat_map(|port| {
                let from = client_on("vm1");
                [
                    reaches(&from, Target::ClusterIp, from_pod_on("vm1", &STORY)),
                    reaches(&private(), node_port("vm2"), spread_by("vm2", &STORY)),
                ]
                .map(|question| question.on_port(port.name))
            }),
        ),
        Case::new(
            "udp/affinity",
            "With ClientIP affinity, datagrams of a client reach one pod from whatever port they \
             come.",
            Service::node_port().udp().affinity(10_800),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check(
            "pods and a client outside",
            NODES.into_iter().flat_map(|node| {
                let inside = from_pod_on(node, &STORY).sticky();
                let outside = spread_by(node, &STORY).sticky();
                [
                    reaches(&client_on(node), Target::ClusterIp, inside),
                    reaches(&private(), node_port(node), outside),
                ]
            }),
        ),
    ]
}

/// What pods and nodes see of the ClusterIP where these pods serve a node; none means a drop.
fn from_inside(pods: impl Fn(&str) -> &'static [&'static str]) -> Vec<Question> {
    let asked = NODES.into_iter().flat_map(|node| {
        let by = |from: Place, reach: fn(&str, &[&str]) -> Reach| match pods(node) {
            [] => dropped(&from, Target::ClusterIp),
            pods => reaches(&from, Target::ClusterIp, reach(node, pods)),
        };
        [by(client_on(node), from_pod_on), by(host(node), from_node)]
    });
    asked.collect()
}

fn no_node_port() -> [Question; 3] {
    NODES.map(|node| refused(&private(), node_port(node)))
}
