//! `nodePortAddresses`: on which of a node's addresses node ports and health check ports are.
//!
//! Every profile says that they are on the primary ones, which the Node object has. Each node of the lab has others
//! besides.

use onehop_harness::case::{
    BalancerMode, Case, Expectation, Feature, HEALTH_PATH, NodeAddress, Policy, Question, Service,
    Target, Variation,
};

use crate::external_policy::own_pods_or_drop;
use crate::health_check::ports;
use crate::story::{
    NODES, STORY, client_on, host, node_port, on, private, public, reaches, spread_by,
};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const ADDRESSES: &str = "kubernetes/pkg/proxy/util/nodeport_addresses.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";

pub(crate) fn cases() -> Vec<Case> {
    let local = Service::node_port().external(Policy::Local);
    vec![
        Case::new(
            "node-port-addresses/cluster",
            "A node port is open on the addresses that nodePortAddresses names. On every other one of \
             the node it is a port like any other, which the node itself refuses.",
            Service::node_port(),
            &STORY,
        )
        .sources(&[NFTABLES, ADDRESSES, "KEP-3866"])
        .check(
            "nodes with two addresses",
            NODES
                .map(|node| reaches(&private(), node_port(node), spread_by(node, &STORY)))
                .into_iter()
                .chain(elsewhere(|_| Expectation::Refused)),
        ),
        Case::new(
            "node-port-addresses/local",
            "Under Local, a node port is closed on addresses that nodePortAddresses does not name, too; \
             whether a node without pods drops what comes there or refuses it is measured.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, ADDRESSES, "KEP-3866"])
        .check(
            "nodes with two addresses",
            own_pods_or_drop(&private())
                .into_iter()
                .chain(elsewhere(|node| match on(node) {
                    [] => Expectation::varies(Variation::NodePortElsewhere, None),
                    _ => Expectation::Refused,
                })),
        ),
        Case::new(
            "node-port-addresses/health-check-port",
            "The health check port listens on the addresses that nodePortAddresses names, and on no other.",
            Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, ADDRESSES, "KEP-3866", "k#82163"])
        .needs(Feature::HealthCheckNodePort)
        .check(
            "nodes with two addresses",
            ports([Some(1), Some(0), Some(2)])
                .into_iter()
                .chain(NODES.map(|node| Question::HealthCheck {
                    node: node.to_owned(),
                    at: NodeAddress::Other,
                    path: HEALTH_PATH,
                    local_endpoints: None,
                    family: None,
                })),
        ),
    ]
}

/// Calls of the other address of each node: from outside, from a pod of the node and of another, and from the node itself.
fn elsewhere(expect: impl Fn(&str) -> Expectation) -> impl Iterator<Item = Question> {
    NODES.into_iter().flat_map(move |node| {
        let callers = [
            private(),
            public(),
            client_on(node),
            client_on("vm2"),
            host(node),
        ];
        callers.map(|from| from.calls(Target::OtherNodePort(node.to_owned()), expect(node)))
    })
}
