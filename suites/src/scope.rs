//! What of a Service a proxy serves at all, and what it leaves alone.

use std::time::Duration;

use onehop_harness::case::{
    BalancerCheck, BalancerMode, Case, Change, Expectation, Feature, IpMode, Policy, Question,
    Service, ServiceType, Target, Variation,
};

use crate::health_check::ports;
use crate::load_balancer::{balanced_cluster, balanced_local, healthy};
use crate::story::{
    NODES, STORY, client_on, external_ip, from_node, from_pod_on, host, node_port, private, public,
    reaches, refused, spread_by,
};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const SERVICE_PORT: &str = "kubernetes/pkg/proxy/serviceport.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";
const SERVICE_PROXY_NAME: &str = "kubernetes/pkg/proxy/apis/well_known_labels.go";

pub(crate) fn cases() -> Vec<Case> {
    let balanced = Service::load_balancer(BalancerMode::Vip);
    vec![
        ip_mode("cluster", balanced),
        ip_mode("local", balanced.external(Policy::Local)),
        Case::new(
            "scope/no-node-ports/cluster",
            "A load-balancer Service without node ports is served on its load-balancer address and \
             its ClusterIP all the same.",
            balanced.without_node_ports(),
            &STORY,
        )
        .sources(&["KEP-1864", NFTABLES])
        .check(
            "no node port",
            [
                Question::NodePortAllocated(false),
                reaches(&public(), Target::Vip, balanced_cluster(&STORY)),
                reaches(&client_on("vm2"), Target::Vip, from_node("vm2", &STORY)),
                reaches(
                    &client_on("vm2"),
                    Target::ClusterIp,
                    from_pod_on("vm2", &STORY),
                ),
            ],
        ),
        Case::new(
            "scope/no-node-ports/local",
            "Without node ports, Local on the load-balancer address still keeps the client and \
             follows the health checks.",
            balanced.without_node_ports().external(Policy::Local),
            &STORY,
        )
        .sources(&["KEP-1864", NFTABLES])
        .check(
            "no node port",
            [
                Question::NodePortAllocated(false),
                reaches(
                    &public(),
                    Target::Vip,
                    balanced_local(&["vm1", "vm3"], &STORY),
                ),
                reaches(&client_on("vm2"), Target::Vip, from_pod_on("vm2", &STORY)),
            ],
        ),
        Case::new(
            "scope/cluster-ip/wrong-port-refused",
            "A ClusterIP refuses on ports that the Service does not have, to pods and nodes.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .needs(Feature::ClusterIpOtherPorts)
        .check(
            "port 80 only",
            cluster_ip().into_iter().chain(
                NODES
                    .map(|node| refused(&client_on(node), Target::ClusterIpWrongPort))
                    .into_iter()
                    .chain(NODES.map(|node| refused(&host(node), Target::ClusterIpWrongPort))),
            ),
        ),
        Case::new(
            "scope/cluster-ip/unallocated-address",
            "An address of the service range that no Service has is served by nobody. Whether it is dropped, refused, \
             or travels on is measured.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&[NFTABLES, "KEP-1880"])
        .check(
            "another Service's address works",
            cluster_ip().into_iter().chain(NODES.map(|node| {
                let any = Expectation::varies(Variation::UnallocatedAddress, None);
                client_on(node).calls(Target::Unallocated, any)
            })),
        ),
        Case::new(
            "scope/headless",
            "A headless Service has no address that nodes serve, not even its external ones.",
            Service::new(ServiceType::Headless).external_ips(),
            &STORY,
        )
        .sources(&["kubernetes/pkg/proxy/util/utils.go"])
        // It can never have been served: the proxies get the time in which they would serve it.
        .wait(Duration::from_millis(500))
        .check(
            "half a second later",
            NODES.into_iter().flat_map(|node| {
                [private(), client_on(node), host(node)]
                    .map(|from| from.calls(external_ip(node), Expectation::Unserved))
            }),
        ),
        Case::new(
            "scope/service-proxy-name",
            "A Service with the label service-proxy-name is another proxy's: none of its addresses \
             is served as long as it has the label.",
            Service::node_port().external_ips(),
            &STORY,
        )
        .sources(&[SERVICE_PROXY_NAME, "kubernetes/test/e2e/network/service.go"])
        .check("no label", served())
        .change(Change::ProxyName(Some("another-proxy")))
        .check("labelled", left_alone())
        .change(Change::ProxyName(None))
        .check("no label again", served()),
        Case::new(
            "scope/service-proxy-name/load-balancer",
            "With the label service-proxy-name, nodes leave the load-balancer address alone, and the health check port is \
             closed, so that the load balancer finds no node for it.",
            Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
            &STORY,
        )
        .sources(&[SERVICE_PROXY_NAME, SERVICE_HEALTH])
        .needs(Feature::HealthCheckNodePort)
        .check("no label", balanced_here())
        .change(Change::ProxyName(Some("another-proxy")))
        .check("labelled", not_balanced())
        .change(Change::ProxyName(None))
        .check("no label again", balanced_here()),
    ]
}

/// A load-balancer address that nodes serve, and say so.
fn balanced_here() -> impl Iterator<Item = Question> {
    let nodes = ["vm1", "vm3"];
    let counted = ports([Some(1), Some(0), Some(2)]).into_iter();
    counted.chain([
        healthy(BalancerCheck::HealthCheckNodePort, &nodes),
        reaches(&private(), Target::Vip, balanced_local(&nodes, &STORY)),
    ])
}

/// The same that is another proxy's.
fn not_balanced() -> impl Iterator<Item = Question> {
    let closed = ports([None, None, None]).into_iter();
    let left = NODES.map(|node| client_on(node).calls(Target::Vip, Expectation::LeftToBalancer));
    closed
        .chain(left)
        .chain([healthy(BalancerCheck::HealthCheckNodePort, &[])])
}

fn ip_mode(policy: &str, service: Service) -> Case {
    let vip = |expect: fn(&str) -> Question| NODES.map(expect);
    let served = if service.external == Policy::Local {
        vip(|node| reaches(&client_on(node), Target::Vip, from_pod_on(node, &STORY)))
    } else {
        vip(|node| reaches(&client_on(node), Target::Vip, from_node(node, &STORY)))
    };
    Case::new(
        &format!("scope/ip-mode-proxy/{policy}"),
        "With ipMode Proxy, nodes leave the load-balancer address alone: what pods and nodes send \
         to it goes to the load balancer. The ClusterIP and the node ports are served as before.",
        service,
        &STORY,
    )
    .sources(&["KEP-1860", SERVICE_PORT])
    .check("ipMode VIP", served.clone())
    .change(Change::IpMode(IpMode::Proxy))
    .check(
        "ipMode Proxy",
        NODES
            .map(|node| client_on(node).calls(Target::Vip, Expectation::LeftToBalancer))
            .into_iter()
            .chain(NODES.map(|node| host(node).calls(Target::Vip, Expectation::LeftToBalancer)))
            .chain([
                reaches(
                    &client_on("vm2"),
                    Target::ClusterIp,
                    from_pod_on("vm2", &STORY),
                ),
                reaches(&host("vm2"), node_port("vm2"), from_node("vm2", &STORY)),
            ]),
    )
    .change(Change::IpMode(IpMode::Vip))
    .check("ipMode VIP again", served)
}

fn cluster_ip() -> [Question; 3] {
    NODES.map(|node| {
        reaches(
            &client_on(node),
            Target::ClusterIp,
            from_pod_on(node, &STORY),
        )
    })
}

fn served() -> Vec<Question> {
    let outside = NODES.into_iter().flat_map(|node| {
        [node_port(node), external_ip(node)]
            .map(|to| reaches(&private(), to, spread_by(node, &STORY)))
    });
    outside.chain(cluster_ip()).collect()
}

fn left_alone() -> Vec<Question> {
    let outside = NODES.into_iter().flat_map(|node| {
        [
            refused(&private(), node_port(node)),
            private().calls(external_ip(node), Expectation::Unserved),
        ]
    });
    let inside = NODES.map(|node| client_on(node).calls(Target::ClusterIp, Expectation::Unserved));
    outside.chain(inside).collect()
}
