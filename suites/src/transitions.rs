//! Changes of a Service that exists, compared with what a fresh one does.

use onehop_harness::case::{
    Backend, BalancerMode, Case, Change, Feature, Policy, Question, Service, ServiceType, Target,
};

use crate::external_policy::{own_pods_or_drop, spread_over_all};
use crate::load_balancer::{balanced_cluster, balanced_local};
use crate::story::{
    NODES, ON_VM2, STORY, client_on, dropped, from_pod_on, kept_on, node_port, private, reaches,
    refused, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "transitions/external-policy-switched-both-ways",
            "A switch of externalTrafficPolicy takes effect on node ports, both ways.",
            Service::node_port(),
            &STORY,
        )
        .sources(&[TOPOLOGY, "an#3301", "kr#466"])
        .needs(Feature::ExternalTrafficPolicy)
        .check("Cluster", spread_over_all())
        .change(Change::ExternalPolicy(Policy::Local))
        .check("Local", own_pods_or_drop(&private()))
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check("Cluster again", spread_over_all()),
        Case::new(
            "transitions/external-policy-switched-behind-a-balancer",
            "A switch of externalTrafficPolicy takes effect on the load-balancer address.",
            Service::load_balancer(BalancerMode::NodePort),
            &STORY,
        )
        .sources(&[E2E_LB, "an#3301", "k#53657"])
        .needs(Feature::ExternalTrafficPolicy)
        .check(
            "Cluster",
            [reaches(&private(), Target::Vip, balanced_cluster(&STORY))],
        )
        .change(Change::ExternalPolicy(Policy::Local))
        .check(
            "Local",
            [reaches(
                &private(),
                Target::Vip,
                balanced_local(&["vm1", "vm3"], &STORY),
            )],
        )
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check(
            "Cluster again",
            [reaches(&private(), Target::Vip, balanced_cluster(&STORY))],
        ),
        Case::new(
            "transitions/pod-moves-under-local",
            "Under Local, a pod that moves from vm1 to vm2 takes its node's traffic with it.",
            Service::node_port().external(Policy::Local),
            &STORY,
        )
        .sources(&[TOPOLOGY])
        .check("pods 1-0-2", own_pods_or_drop(&private()))
        .change(Change::Backends(
            [ON_VM2, "web-1", "web-2"].map(Backend::ready).to_vec(),
        ))
        .check(
            "pods 0-1-2",
            [
                dropped(&private(), node_port("vm1")),
                reaches(&private(), node_port("vm2"), kept_on("vm2", &[ON_VM2])),
                reaches(
                    &private(),
                    node_port("vm3"),
                    kept_on("vm3", &["web-1", "web-2"]),
                ),
            ],
        ),
        Case::new(
            "transitions/pods-come-and-go-under-cluster",
            "Under Cluster, a new pod gets its share and a removed one nothing.",
            Service::node_port(),
            &["web-0", "web-1"],
        )
        .sources(&[TOPOLOGY])
        .check("two pods", [via_vm2(&["web-0", "web-1"])])
        .change(Change::Backends(STORY.map(Backend::ready).to_vec()))
        .check(
            "three pods",
            [reaches(&private(), node_port("vm2"), spread_by("vm2", &STORY).judged())],
        )
        .change(Change::Backends(["web-2"].map(Backend::ready).to_vec()))
        .check("one pod", [via_vm2(&["web-2"])]),
        Case::new(
            "transitions/terminating-pods-serve-when-alone",
            "Terminating pods get traffic only when no ready pod is left.",
            Service::node_port(),
            &STORY,
        )
        .sources(&["KEP-1669", TOPOLOGY, "c#19810"])
        .needs(Feature::TerminatingEndpoints)
        .check("all ready", spread_over_all())
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::ready("web-1"),
            Backend::terminating("web-2"),
        ]))
        .check("one ready", [via_vm2(&["web-1"])])
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::terminating("web-2"),
        ]))
        .check("only terminating", [via_vm2(&["web-0", "web-2"])]),
        Case::new(
            "transitions/cluster-ip-survives-a-change-of-type",
            "A Service that becomes a NodePort and a ClusterIP again keeps its ClusterIP working, and \
             leaves no node port behind.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&["kubernetes/pkg/registry/core/service/strategy.go"])
        .needs(Feature::NodePort)
        .check("ClusterIP", [cluster_ip()])
        .change(Change::Type(ServiceType::NodePort))
        .check("NodePort", [cluster_ip(), via_vm2(&STORY)])
        .change(Change::Type(ServiceType::ClusterIp))
        .check(
            "ClusterIP again: the node port is closed",
            NODES
                .map(|node| refused(&private(), node_port(node)))
                .into_iter()
                .chain([cluster_ip()]),
        ),
    ]
}

fn via_vm2(pods: &[&str]) -> Question {
    reaches(&private(), node_port("vm2"), spread_by("vm2", pods))
}

fn cluster_ip() -> Question {
    reaches(
        &client_on("vm2"),
        Target::ClusterIp,
        from_pod_on("vm2", &STORY),
    )
}
