//! Hairpins: a pod that calls its own Service, and is given to itself.
//!
//! It could not know its own answer for one, if its own address were the source. Every address of a
//! Service must masquerade it.

use onehop_harness::case::{BalancerMode, Case, Policy, Service, Target, Variation, pod};

use crate::story::{client_on, external_ip, from_node, from_pod_on, node_port, reaches, varies};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const ALONE: [&str; 1] = ["web-0"];

pub(crate) fn cases() -> Vec<Case> {
    let itself = pod("web-0");
    let balanced = Service::load_balancer(BalancerMode::Vip);
    let masqueraded = || from_node("vm1", &ALONE);
    vec![
        Case::new(
            "hairpin/cluster-ip",
            "A pod that reaches itself by the ClusterIP sees its node as the source; a neighbour \
             keeps its own address.",
            Service::cluster_ip(),
            &ALONE,
        )
        .sources(&[NFTABLES, "k#134884", "kube-ovn#4457"])
        .check(
            "one pod, on vm1",
            [
                reaches(&itself, Target::ClusterIp, masqueraded()),
                reaches(
                    &client_on("vm1"),
                    Target::ClusterIp,
                    from_pod_on("vm1", &ALONE),
                ),
            ],
        ),
        Case::new(
            "hairpin/cluster-ip-under-internal-local",
            "A pod that reaches itself by the ClusterIP under internal Local sees its node.",
            Service::cluster_ip().internal(Policy::Local),
            &ALONE,
        )
        .sources(&[NFTABLES, "k#134884", "KEP-2086"])
        .check(
            "one pod, on vm1",
            [reaches(&itself, Target::ClusterIp, masqueraded())],
        ),
        Case::new(
            "hairpin/among-others",
            "One pod of three that calls the ClusterIP reaches itself, masqueraded, as well as the \
             others with its own address.",
            Service::cluster_ip(),
            &["web-0", "web-4", "web-3"],
        )
        .sources(&[NFTABLES, "k#134884"])
        .check(
            "two pods on vm1, one on vm2",
            [reaches(
                &itself,
                Target::ClusterIp,
                // That itself is masqueraded is judged in any case.
                from_pod_on("vm1", &["web-0", "web-4", "web-3"]),
            )],
        ),
        Case::new(
            "hairpin/external-addresses-under-cluster",
            "A pod that reaches itself by its node's node port, the load-balancer address or an \
             external address sees its node.",
            balanced.external_ips(),
            &ALONE,
        )
        .sources(&[NFTABLES, "k#134884"])
        .check(
            "one pod, on vm1",
            [node_port("vm1"), Target::Vip, external_ip("vm2")]
                .map(|to| reaches(&itself, to, masqueraded())),
        ),
        Case::new(
            "hairpin/external-addresses-under-local",
            "Under Local too, a pod reaches itself by its node's node port, the load-balancer \
             address and an external address. Which source it sees is measured.",
            balanced.external_ips().external(Policy::Local),
            &ALONE,
        )
        .sources(&[NFTABLES, "k#98069"])
        .check(
            "one pod, on vm1",
            [node_port("vm1"), Target::Vip, external_ip("vm2")]
                .map(|to| varies(&itself, to, Variation::HairpinVipSource, &masqueraded())),
        ),
    ]
}
