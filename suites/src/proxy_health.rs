//! What a node's proxy says of its own health, by which load balancers under Cluster may choose nodes.

use onehop_harness::case::{
    BalancerCheck, BalancerMode, Case, Change, HealthPath, Policy, Question, Service,
    TO_BE_DELETED, TaintEffect, Target,
};

use crate::health_check::port;
use crate::load_balancer::{balanced_cluster_by, healthy};
use crate::story::{NODES, STORY, kept_on, node_port, private, reaches, spread_by};

const PROXY_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/proxy_health.go";
/// The node that gets the taints.
const NODE: &str = "vm1";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "proxy-health/node-about-to-be-removed",
            "A node that the autoscaler is about to remove is not eligible for new connections: \
             /healthz says 503. Its proxy works, so /livez says 200, a Service's health check port \
             stays 200, and traffic that comes all the same is served. No other taint matters.",
            Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
            &STORY,
        )
        .sources(&["KEP-3836", PROXY_HEALTH])
        .check("no taint", says(true))
        .change(taint(Some(TO_BE_DELETED)))
        .check(
            "about to be removed",
            says(false).into_iter().chain([
                port(NODE, Some(1)),
                reaches(&private(), node_port(NODE), kept_on(NODE, &["web-0"])),
            ]),
        )
        .change(taint(Some("onehop.dev/full")))
        .check("kept, and full", says(true)),
        Case::new(
            "proxy-health/decides-behind-a-load-balancer",
            "Under Cluster, without a TCP node port that could be asked, a load balancer goes by /healthz: it sends nothing \
             new to a node that the autoscaler is about to remove, which serves on its node port all the same.",
            Service::load_balancer(BalancerMode::Vip).udp(),
            &STORY,
        )
        .sources(&["KEP-3836", PROXY_HEALTH])
        .check("no taint", by_proxy_health(&NODES))
        .change(taint(Some(TO_BE_DELETED)))
        .check(
            "vm1 is about to be removed",
            by_proxy_health(&["vm2", "vm3"])
                .into_iter()
                .chain([reaches(&private(), node_port(NODE), spread_by(NODE, &STORY))]),
        )
        .change(taint(None))
        .check("no taint again", by_proxy_health(&NODES)),
    ]
}

fn taint(key: Option<&'static str>) -> Change {
    Change::Taint {
        node: NODE,
        key,
        effect: TaintEffect::NoSchedule,
    }
}

/// A load balancer finds these nodes healthy by what their proxies say, and enters by them.
fn by_proxy_health(nodes: &[&str]) -> [Question; 2] {
    [
        healthy(BalancerCheck::ProxyHealth, nodes),
        reaches(&private(), Target::Vip, balanced_cluster_by(nodes, &STORY)),
    ]
}

/// The node's proxy works, and says whether the node is eligible.
fn says(eligible: bool) -> [Question; 2] {
    [(HealthPath::Healthz, eligible), (HealthPath::Livez, true)].map(|(path, good)| {
        Question::ProxyHealth {
            node: NODE.to_owned(),
            path,
            good,
        }
    })
}
