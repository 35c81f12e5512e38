//! Services of one address family and of both (KEP-563), each family by itself.
//!
//! A Service of one family has addresses of that family alone. Its node ports are numbers, which the other family has as
//! well: there they are nobody's, and a node refuses them by itself. A Service of both has endpoints of each, and whether
//! anybody can answer is decided in each by its own.

use onehop_harness::case::{
    Backend, BalancerCheck, BalancerMode, Case, Change, Expectation, Families, Feature, Policy,
    Question, Service, Target,
};
use onehop_harness::world::Family::{self, V4, V6};

use crate::external_policy::{own_pods_or_drop, spread_over_all};
use crate::health_check::{port, ports};
use crate::load_balancer::{balanced_local, healthy};
use crate::story::{
    NODES, STORY, client_on, dropped, external_ip, from_pod_on, host, inside, kept_on, node_port,
    private, reaches, refused, spread_by,
};

const KEP: &str = "KEP-563";
/// A Service without a ClusterIP of a proxier's family is none to it.
const SERVICE_CHANGES: &str = "kubernetes/pkg/proxy/servicechangetracker.go";
const BY_FAMILY: &str = "kubernetes/pkg/proxy/util/utils.go";
const META_PROXIER: &str = "kubernetes/pkg/proxy/metaproxier/meta_proxier.go";
const REGISTRY: &str = "kubernetes/pkg/registry/core/service/storage/alloc.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";

pub(crate) fn cases() -> Vec<Case> {
    let (cluster, local) = (
        Service::node_port(),
        Service::node_port().external(Policy::Local),
    );
    let balanced = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    let one = [V4, V6].into_iter().flat_map(|family| {
        [
            one_family(family, ("cluster", cluster)),
            one_family(family, ("local", local)),
            one_family_balanced(family, balanced),
        ]
    });
    let changed = [
        changed("cluster", cluster, V4),
        changed("local", local, V6),
        changed_balanced(balanced),
    ];
    let pods = [
        pods_of_one_family_under_cluster(cluster),
        pods_of_one_family_under_local(local),
        pods_of_one_family_under_internal_local(),
        pods_of_one_family_counted(balanced),
    ];
    one.chain(changed).chain(pods).collect()
}

fn one_family(own: Family, (policy, service): (&str, Service)) -> Case {
    Case::new(
        &format!("families/{}/{policy}", name(own)),
        &format!(
            "A Service of {own} alone is served as any in {own}. In {}, nodes refuse its node ports to anybody, and serve \
             none of its external addresses.",
            other(own)
        ),
        service.only(own).external_ips(),
        &STORY,
    )
    .sources(&[KEP, SERVICE_CHANGES, BY_FAMILY])
    .check(
        "pods 1-0-2",
        only(own, node_ports(service).into_iter().chain(inside(|_| &STORY)))
            .chain(closed(other(own)))
            .chain(only(
                other(own),
                NODES.map(|node| private().calls(external_ip(node), Expectation::Unserved)),
            )),
    )
}

fn one_family_balanced(own: Family, service: Service) -> Case {
    Case::new(
        &format!("families/{}/load-balancer", name(own)),
        &format!(
            "Under Local, a Service of {own} alone has its health check node port open in {own}, by which a load \
             balancer chooses nodes, and closed in {}.",
            other(own)
        ),
        service.only(own),
        &STORY,
    )
    .sources(&[KEP, SERVICE_HEALTH, SERVICE_CHANGES])
    .needs(Feature::HealthCheckNodePort)
    .check(
        "pods 1-0-2",
        balanced_in(own).chain(absent(other(own))),
    )
}

fn changed(policy: &str, service: Service, first: Family) -> Case {
    let second = other(first);
    let alone = || {
        let served = only(
            first,
            node_ports(service).into_iter().chain(inside(|_| &STORY)),
        );
        served.chain(closed(second))
    };
    let former = only(
        second,
        NODES.map(|node| client_on(node).calls(Target::ClusterIp, Expectation::Unserved)),
    );
    Case::new(
        &format!("families/changed/{policy}"),
        &format!(
            "A Service of {first} alone that is made dual stack begins to be served in {second}, and ceases to be when it \
             is single stack again; in {first} every connection is answered all the while."
        ),
        service.only(first),
        &STORY,
    )
    .sources(&[KEP, REGISTRY, META_PROXIER])
    .check("one family", alone())
    .traffic("in the first family", &private(), node_port("vm1"))
    .change(Change::Families(Families::Dual))
    .check(
        "both families",
        node_ports(service).into_iter().chain(inside(|_| &STORY)),
    )
    .change(Change::Families(Families::Only(first)))
    .check(
        "one family again",
        alone()
            .chain(former)
            .chain([Question::Answered("in the first family")]),
    )
}

fn changed_balanced(service: Service) -> Case {
    let alone = || balanced_in(V4).chain(absent(V6));
    let former = NODES.map(|node| client_on(node).calls(Target::Vip, Expectation::LeftToBalancer));
    Case::new(
        "families/changed/load-balancer",
        "With a second family, a Service under Local gets a load-balancer address of it that nodes serve, and a health \
         check node port that is open in it. Without it again, they leave the address alone, and the port is closed.",
        service.only(V4),
        &STORY,
    )
    .sources(&[KEP, REGISTRY, SERVICE_HEALTH, "k#114702"])
    .needs(Feature::HealthCheckNodePort)
    .check("IPv4", alone())
    .change(Change::Families(Families::Dual))
    .check("both families", balanced_in(V4).chain(balanced_in(V6)))
    .change(Change::Families(Families::Only(V4)))
    .check("IPv4 again", alone().chain(only(V6, former)))
}

fn pods_of_one_family_under_cluster(service: Service) -> Case {
    let each = |family, pods: &'static [&'static str]| {
        let outside = NODES.map(|node| reaches(&private(), node_port(node), spread_by(node, pods)));
        let inside =
            NODES.map(|node| reaches(&client_on(node), Target::ClusterIp, from_pod_on(node, pods)));
        only(family, outside.into_iter().chain(inside))
    };
    let none = || {
        let outside = NODES.map(|node| refused(&private(), node_port(node)));
        let inside = NODES.map(|node| refused(&client_on(node), Target::ClusterIp));
        outside.into_iter().chain(inside)
    };
    Case::new(
        "families/pods-of-one/cluster",
        "A dual stack Service whose pods are ready in one family only is served in that one, and refused in the other.",
        service,
        &[],
    )
    .backends(ready_in([("web-0", V4), ("web-1", V6)]))
    .sources(&[KEP, META_PROXIER])
    .check(
        "one pod of each family",
        each(V4, &["web-0"]).chain(each(V6, &["web-1"])),
    )
    .change(Change::Backends(ready_in([("web-0", V4)])))
    .check("none of IPv6", each(V4, &["web-0"]).chain(only(V6, none())))
    .change(Change::Backends(ready_in([("web-1", V6)])))
    .check("none of IPv4", each(V6, &["web-1"]).chain(only(V4, none())))
}

fn pods_of_one_family_under_local(service: Service) -> Case {
    let each = |family, [at_vm1, at_vm3]: [&'static [&'static str]; 2]| {
        let at = |node, pods: &'static [&'static str]| match pods {
            [] => dropped(&private(), node_port(node)),
            pods => reaches(&private(), node_port(node), kept_on(node, pods)),
        };
        only(
            family,
            [at("vm1", at_vm1), at("vm2", &[]), at("vm3", at_vm3)],
        )
    };
    let none = only(V6, NODES.map(|node| refused(&private(), node_port(node))));
    Case::new(
        "families/pods-of-one/local",
        "Under Local, whether a node drops, because it has no pod, is decided in each family by itself, and whether \
         it refuses, because there is none anywhere, too.",
        service,
        &[],
    )
    .backends(ready_in([("web-0", V4), ("web-1", V6)]))
    .sources(&[KEP, META_PROXIER])
    .check(
        "IPv4 on vm1, IPv6 on vm3",
        each(V4, [&["web-0"], &[]]).chain(each(V6, [&[], &["web-1"]])),
    )
    .change(Change::Backends(ready_in([("web-0", V4)])))
    .check("none of IPv6", each(V4, [&["web-0"], &[]]).chain(none))
}

fn pods_of_one_family_under_internal_local() -> Case {
    Case::new(
        "families/pods-of-one/internal-local",
        "Under internal Local, a pod reaches the ClusterIP of each family by the pods of that family on its node, or is \
         dropped.",
        Service::cluster_ip().internal(Policy::Local),
        &[],
    )
    .backends(ready_in([("web-0", V4), ("web-1", V6)]))
    .sources(&[KEP, META_PROXIER, "KEP-2086"])
    .check(
        "IPv4 on vm1, IPv6 on vm3",
        only(V4, inside(|node| if node == "vm1" { &["web-0"] } else { &[] }))
            .chain(only(V6, inside(|node| if node == "vm3" { &["web-1"] } else { &[] }))),
    )
}

fn pods_of_one_family_counted(service: Service) -> Case {
    let mut backends = ready_in([("web-0", V4), ("web-1", V6)]);
    backends.push(Backend::ready("web-2"));
    Case::new(
        "families/pods-of-one/health-check",
        "The health check node port counts the pods of each family by itself: a node may be healthy in one and not in \
         the other, and a load balancer that asks in each reaches the pods of each.",
        service,
        &[],
    )
    .backends(backends)
    .sources(&[KEP, SERVICE_HEALTH, "k#114702"])
    .needs(Feature::HealthCheckNodePort)
    .check(
        "IPv4 on vm1, IPv6 on vm3, both on vm3",
        counted_and_balanced(V4, [1, 0, 1], (&["vm1", "vm3"], &["web-0", "web-2"]))
            .chain(counted_and_balanced(V6, [0, 0, 2], (&["vm3"], &["web-1", "web-2"]))),
    )
}

/// What health check ports count in a family, and whom a load balancer reaches in it that goes by that.
fn counted_and_balanced(
    family: Family,
    counts: [u32; 3],
    (nodes, pods): (&[&str], &[&str]),
) -> impl Iterator<Item = Question> {
    let balanced = [
        healthy(BalancerCheck::HealthCheckNodePort, nodes),
        reaches(&private(), Target::Vip, balanced_local(nodes, pods)),
    ];
    let counted = ports(counts.map(Some)).into_iter();
    only(family, counted.chain(balanced))
}

/// What clients outside see of the node ports, in any family that is served.
fn node_ports(service: Service) -> [Question; 3] {
    match service.external {
        Policy::Cluster => spread_over_all(),
        Policy::Local => own_pods_or_drop(&private()),
    }
}

/// Node ports of a family that the Service does not have: each node refuses its own, to anybody.
fn closed(family: Family) -> impl Iterator<Item = Question> {
    let callers = |node| [private(), client_on(node), host(node)];
    let each = move |node: &'static str| callers(node).map(|from| refused(&from, node_port(node)));
    only(family, NODES.into_iter().flat_map(each))
}

/// What a load balancer and its clients see of a Service under Local in a family that it has.
fn balanced_in(family: Family) -> impl Iterator<Item = Question> {
    let nodes = ["vm1", "vm3"];
    let vip = reaches(&private(), Target::Vip, balanced_local(&nodes, &STORY));
    let counted = ports([Some(1), Some(0), Some(2)]);
    only(family, counted.into_iter().chain([vip]))
        .chain([healthy(BalancerCheck::HealthCheckNodePort, &nodes)])
}

/// What there is to see of it in one that it does not have.
fn absent(family: Family) -> impl Iterator<Item = Question> {
    only(family, NODES.map(|node| port(node, None))).chain(closed(family))
}

/// These in one family.
fn only(
    family: Family,
    questions: impl IntoIterator<Item = Question>,
) -> impl Iterator<Item = Question> {
    questions.into_iter().map(move |asked| asked.only(family))
}

fn ready_in<const N: usize>(pods: [(&str, Family); N]) -> Vec<Backend> {
    let each = pods.map(|(pod, family)| Backend::ready(pod).only(family));
    each.to_vec()
}

fn other(family: Family) -> Family {
    match family {
        V4 => V6,
        V6 => V4,
    }
}

/// A family in ids.
fn name(family: Family) -> &'static str {
    match family {
        V4 => "ipv4",
        V6 => "ipv6",
    }
}
