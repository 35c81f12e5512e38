//! The health check node port, and the load balancer that follows it.

use onehop_harness::case::{
    Backend, BalancerCheck, BalancerMode, Case, Change, Feature, HEALTH_PATH, NodeAddress, Policy,
    Port, Question, Service, ServiceType, Target,
};

use crate::load_balancer::{balanced_cluster, balanced_local, healthy};
use crate::story::{
    NODES, ON_VM2, STORY, dropped, kept_on, node_port, private, reaches, ready, tcp,
};

const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";
const REGISTRY: &str = "kubernetes/pkg/registry/core/service/storage/alloc.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";

/// Two ports of a Service, which lead to the same pods.
const PORTS: [Port; 2] = [tcp("web", 80), tcp("admin", 8080)];

pub(crate) fn cases() -> Vec<Case> {
    let local = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    vec![
        Case::new(
            "health-check/allocated-for-load-balancer-and-local-only",
            "healthCheckNodePort exists for type LoadBalancer under Local and for nothing else.",
            local,
            &STORY,
        )
        .sources(&[REGISTRY, SERVICE_HEALTH, "kr#455"])
        .needs(Feature::HealthCheckNodePort)
        .check(
            "LoadBalancer, Local",
            allocated_and(true, [Some(1), Some(0), Some(2)]),
        )
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check("LoadBalancer, Cluster", allocated_and(false, [None; 3]))
        .change(Change::ExternalPolicy(Policy::Local))
        .check(
            "LoadBalancer, Local again",
            allocated_and(true, [Some(1), Some(0), Some(2)]),
        )
        .change(Change::Type(ServiceType::NodePort))
        .check("NodePort, Local", allocated_and(false, [None; 3]))
        // By which it is told that the port is gone from who has never taken it in.
        .change(Change::Type(ServiceType::LoadBalancer(BalancerMode::Vip)))
        .check(
            "LoadBalancer, Local once more",
            allocated_and(true, [Some(1), Some(0), Some(2)]),
        )
        .change(Change::Type(ServiceType::ClusterIp))
        .check("ClusterIP", allocated_and(false, [None; 3])),
        Case::new(
            "health-check/counts-local-endpoints",
            "The port says 200 with the number of local endpoints, or 503 with none, by IPv4 and by IPv6.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, E2E_LB, "k#114702"])
        .needs(Feature::HealthCheckNodePort)
        .check("pods 1-0-2", ports([Some(1), Some(0), Some(2)])),
        Case::new(
            "health-check/any-path",
            "The port answers by any path as by /healthz: load balancers differ in which one they ask.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH])
        .needs(Feature::HealthCheckNodePort)
        .check(
            "other paths, pods 1-0-2",
            ["/", "/health/of?the=node"].into_iter().flat_map(|path| {
                let nodes = std::iter::zip(NODES, [1, 0, 2]);
                nodes.map(move |(node, count)| by_path(node, path, Some(count)))
            }),
        ),
        Case::new(
            "health-check/several-ports-count-once",
            "A pod counts once, however many ports the Service has.",
            local.ports(&PORTS),
            &STORY,
        )
        .sources(&[SERVICE_HEALTH])
        .needs(Feature::HealthCheckNodePort)
        .check("two ports, pods 1-0-2", ports([Some(1), Some(0), Some(2)])),
        Case::new(
            "health-check/follows-the-last-pod",
            "The port of a node turns 503 when its last pod leaves, and 200 when one comes.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, "k#44311"])
        .needs(Feature::HealthCheckNodePort)
        .check("pods 1-0-2", ports([Some(1), Some(0), Some(2)]))
        .change(Change::Backends(ready(&["web-1", "web-2"])))
        .check("pods 0-0-2", ports([Some(0), Some(0), Some(2)]))
        .change(Change::Backends(ready(&["web-0", "web-4", "web-1"])))
        .check("pods 2-0-1", ports([Some(2), Some(0), Some(1)])),
        Case::new(
            "health-check/policy-switch-moves-the-balancer",
            "After a switch to Cluster the port is closed and the load balancer checks the node \
             port, so that its healthy nodes go from two to three; and back again.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, REGISTRY, "k#53657"])
        .needs(Feature::HealthCheckNodePort)
        .check("Local", under_local())
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check(
            "Cluster",
            ports([None; 3]).into_iter().chain([
                Question::HealthCheckAllocated(false),
                healthy(BalancerCheck::NodePort, &NODES),
                reaches(&private(), Target::Vip, balanced_cluster(&STORY)),
            ]),
        )
        .change(Change::ExternalPolicy(Policy::Local))
        .check("Local again", under_local()),
        Case::new(
            "health-check/moved-pod-moves-the-traffic",
            "A pod that moves to vm2 makes vm2 healthy and chosen, and vm1 neither.",
            local,
            &STORY,
        )
        .sources(&[SERVICE_HEALTH, E2E_LB])
        .needs(Feature::HealthCheckNodePort)
        .check("pods 1-0-2", under_local())
        .change(Change::Backends(ready(&[ON_VM2, "web-1", "web-2"])))
        .check(
            "pods 0-1-2",
            ports([Some(0), Some(1), Some(2)]).into_iter().chain([
                healthy(BalancerCheck::HealthCheckNodePort, &["vm2", "vm3"]),
                reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm2", "vm3"], &[ON_VM2, "web-1", "web-2"])
                        .shares(&[0.5, 0.25, 0.25])
                        .judged(),
                ),
                dropped(&private(), node_port("vm1")),
            ]),
        ),
        Case::new(
            "health-check/terminating-pods-serve-uncounted",
            "A node with only terminating pods says 503 while those pods still serve its traffic.",
            local,
            &STORY,
        )
        .sources(&["KEP-1669", SERVICE_HEALTH, "c#21062"])
        .needs(Feature::HealthCheckNodePort)
        .needs(Feature::TerminatingEndpoints)
        .check("pods 1-0-2", ports([Some(1), Some(0), Some(2)]))
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::ready("web-1"),
            Backend::ready("web-2"),
        ]))
        .check(
            "the pod on vm1 is terminating",
            ports([Some(0), Some(0), Some(2)]).into_iter().chain([
                healthy(BalancerCheck::HealthCheckNodePort, &["vm3"]),
                reaches(&private(), node_port("vm1"), kept_on("vm1", &["web-0"])),
            ]),
        ),
    ]
}

fn under_local() -> Vec<Question> {
    let mut questions = ports([Some(1), Some(0), Some(2)]).to_vec();
    questions.extend([
        Question::HealthCheckAllocated(true),
        healthy(BalancerCheck::HealthCheckNodePort, &["vm1", "vm3"]),
        reaches(
            &private(),
            Target::Vip,
            balanced_local(&["vm1", "vm3"], &STORY),
        ),
    ]);
    questions
}

fn allocated_and(allocated: bool, local_endpoints: [Option<u32>; 3]) -> Vec<Question> {
    let ports = ports(local_endpoints).into_iter();
    ports
        .chain([Question::HealthCheckAllocated(allocated)])
        .collect()
}

pub(crate) fn port(node: &str, local_endpoints: Option<u32>) -> Question {
    by_path(node, HEALTH_PATH, local_endpoints)
}

fn by_path(node: &str, path: &'static str, local_endpoints: Option<u32>) -> Question {
    Question::HealthCheck {
        node: node.to_owned(),
        at: NodeAddress::Primary,
        path,
        local_endpoints,
        family: None,
    }
}

pub(crate) fn ports(local_endpoints: [Option<u32>; 3]) -> [Question; 3] {
    std::array::from_fn(|index| port(NODES[index], local_endpoints[index]))
}
