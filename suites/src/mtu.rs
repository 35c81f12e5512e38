//! Datagrams of nearly the MTU, of just that, and of more: each must come whole to a pod on whatever node, and so must an
//! answer as long.
//!
//! A proxy that adds something to a packet on its way to another node (an option, a header, a tunnel) makes it longer than
//! the next link takes. Short datagrams hide that, and so do connections, whose SYN is short too. What is lost then, or has
//! to be fragmented by somebody who must not, shows in the lengths at which it begins. A node that needs room and says so, by the
//! ICMP messages of path MTU discovery, is right: callers follow, as any would, and are measured by what they have learned.
//!
//! Whoever rewrites ports has to know them of every fragment, and only the first has any: a proxy puts datagrams together
//! before it looks at them. Two that are in fragments at one time, between the same two ends, would spoil each other if both
//! had drawn one identification of IPv4's 65536. So no two flows of one check have a caller in common, nor a node that
//! hides them. Two cases that run side by side may have; their fragments would have to come within the same microseconds, too.

use onehop_harness::case::{BalancerMode, Case, Policy, Question, Service, Target};
use onehop_harness::world::Length;

use crate::external_policy::own_pods_or_drop;
use crate::load_balancer::{balanced_cluster, balanced_local};
use crate::story::{
    STORY, external_ip, inside, kept_on, node_port, on, private, public, reaches, spread_by,
};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const DSR_OPTION: &str = "c#32601";
const DSR_OPTION_AND_VLAN: &str = "c#39690";
const LAST_FRAGMENT_TINY: &str = "c#32427";
/// From where no header that somebody might add has room: an IPv6 header and an IPv4 one with UDP, an IPv4 one, an option of
/// eight octets, and nothing at all.
const UP_TO_THE_MTU: [Length; 5] = [
    Length::Mtu(-40),
    Length::Mtu(-28),
    Length::Mtu(-20),
    Length::Mtu(-8),
    Length::Mtu(0),
];
/// Those that need a second fragment for an octet or for as much as the first, and a third for the rest.
const FRAGMENTED: [Length; 2] = [Length::Mtu(1), Length::Mtus(2)];

pub(crate) fn cases() -> Vec<Case> {
    [up_to_the_mtu(), fragmented()].concat()
}

fn up_to_the_mtu() -> Vec<Case> {
    let cluster = Service::node_port().udp();
    let balanced = Service::load_balancer(BalancerMode::Vip).udp();
    let case = |id: &str, claim: &str, service: Service| {
        Case::new(id, claim, service, &STORY).sources(&[DSR_OPTION, DSR_OPTION_AND_VLAN, NFTABLES])
    };
    vec![
        sweep(
            case(
                "mtu/cluster-ip/cluster",
                "Datagrams of pods to a ClusterIP come whole to pods on every node, up to the MTU, and their answers do.",
                Service::cluster_ip().udp(),
            ),
            &UP_TO_THE_MTU,
            || inside(|_| &STORY).to_vec(),
        ),
        sweep(
            case(
                "mtu/node-port/cluster",
                "Under Cluster, datagrams to the port of a node without pods come whole to pods on other nodes, up to the \
                 MTU, and their answers do.",
                cluster,
            ),
            &UP_TO_THE_MTU,
            || vec![to_vm2()],
        ),
        sweep(
            case(
                "mtu/node-port/local",
                "Under Local, datagrams to a node port come whole to the node's own pods, up to the MTU, and a node \
                 without pods drops them.",
                cluster.external(Policy::Local),
            ),
            &UP_TO_THE_MTU,
            || own_pods_or_drop(&private()).to_vec(),
        ),
        sweep(
            case(
                "mtu/external-ip/cluster",
                "Datagrams to an external address that the network sends to a node without pods come whole to pods on \
                 other nodes, up to the MTU, and their answers do.",
                cluster.external_ips(),
            ),
            &UP_TO_THE_MTU,
            || {
                vec![reaches(
                    &private(),
                    external_ip("vm2"),
                    spread_by("vm2", &STORY),
                )]
            },
        ),
        sweep(
            case(
                "mtu/load-balancer/cluster",
                "Under Cluster, datagrams to the load-balancer address come whole to every pod by every node, up to the \
                 MTU, and their answers do.",
                balanced,
            ),
            &UP_TO_THE_MTU,
            || vec![to_vip_under_cluster()],
        ),
        sweep(
            case(
                "mtu/load-balancer/local",
                "Under Local, datagrams to the load-balancer address come whole to the pods of the nodes that have any, \
                 up to the MTU, and their answers do.",
                balanced.external(Policy::Local),
            ),
            &UP_TO_THE_MTU,
            || vec![to_vip_under_local()],
        ),
    ]
}

fn fragmented() -> Vec<Case> {
    let cluster = Service::node_port().udp();
    let balanced = Service::load_balancer(BalancerMode::Vip).udp();
    let case = |id: &str, claim: &str, service: Service| {
        Case::new(id, claim, service, &STORY).sources(&[
            LAST_FRAGMENT_TINY,
            "RFC 791",
            "RFC 8200",
            NFTABLES,
        ])
    };
    vec![
        sweep(
            case(
                "mtu/fragments/cluster-ip",
                "Datagrams of pods to a ClusterIP that are longer than the MTU come whole to pods on every node, and their \
                 answers do.",
                Service::cluster_ip().udp(),
            ),
            &FRAGMENTED,
            || inside(|_| &STORY).to_vec(),
        ),
        sweep(
            case(
                "mtu/fragments/node-port/cluster",
                "Under Cluster, datagrams that are longer than the MTU come whole by a node without pods, and their \
                 answers do.",
                cluster,
            ),
            &FRAGMENTED,
            || vec![to_vm2()],
        ),
        sweep(
            case(
                "mtu/fragments/node-port/local",
                "Under Local, datagrams that are longer than the MTU come whole to the node's own pods, with the client's \
                 address.",
                cluster.external(Policy::Local),
            ),
            &FRAGMENTED,
            || {
                vec![
                    reaches(&private(), node_port("vm1"), kept_on("vm1", on("vm1"))),
                    reaches(&public(), node_port("vm3"), kept_on("vm3", on("vm3"))),
                ]
            },
        ),
        sweep(
            case(
                "mtu/fragments/load-balancer/cluster",
                "Under Cluster, datagrams to the load-balancer address that are longer than the MTU come whole to every \
                 pod by every node, and their answers do.",
                balanced,
            ),
            &FRAGMENTED,
            || vec![to_vip_under_cluster()],
        ),
        sweep(
            case(
                "mtu/fragments/load-balancer/local",
                "Under Local, datagrams to the load-balancer address that are longer than the MTU come whole to the pods \
                 of the nodes that have any, with the client's address.",
                balanced.external(Policy::Local),
            ),
            &FRAGMENTED,
            || vec![to_vip_under_local()],
        ),
    ]
}

/// Asks the same with datagrams of each length, one after the other.
fn sweep(case: Case, lengths: &[Length], questions: impl Fn() -> Vec<Question>) -> Case {
    lengths.iter().fold(case, |case, &length| {
        let asked = questions().into_iter();
        case.check(
            &length.to_string(),
            asked.map(|question| question.of_length(length)),
        )
    })
}

fn to_vm2() -> Question {
    reaches(&private(), node_port("vm2"), spread_by("vm2", &STORY))
}

fn to_vip_under_cluster() -> Question {
    reaches(&private(), Target::Vip, balanced_cluster(&STORY))
}

fn to_vip_under_local() -> Question {
    reaches(
        &public(),
        Target::Vip,
        balanced_local(&["vm1", "vm3"], &STORY),
    )
}
