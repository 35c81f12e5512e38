//! Single changes.

use super::{list_services, list_slices};
use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use serde_json::json;

use super::super::{Index, Touched};
use crate::model::{
    Endpoint, Family, Node, ObjectName, Policy, Protocol, Service, ServicePort, Slice, SlicePort,
};

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn touched<const N: usize>(names: [&str; N]) -> Touched {
    names.into_iter().map(name).collect()
}

fn service(of: &str) -> Service {
    Service {
        name: name(of),
        cluster_ips: vec![IpAddr::from([10, 96, 0, 1])],
        external_ips: vec![],
        vips: vec![],
        source_ranges: vec![],
        external_policy: Policy::Cluster,
        internal_policy: Policy::Cluster,
        affinity: None,
        health_check_node_port: None,
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
    }
}

fn slice(of: &str, last: u8) -> Slice {
    let endpoint = Endpoint {
        address: IpAddr::from([10, 0, 0, last]),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        zones: BTreeSet::new(),
        nodes: BTreeSet::new(),
    };
    let ports = vec![SlicePort {
        name: "".into(),
        protocol: Protocol::Tcp,
        port: 8080,
    }];
    Slice {
        service: name(of),
        family: Family::V4,
        ports,
        endpoints: vec![endpoint],
    }
}

/// How many endpoints a Service has, if it exists.
fn endpoints(index: &Index, of: &str) -> Option<usize> {
    Some(index.plan(&name(of))?.ports[0].cluster.len())
}

#[test]
fn services_and_slices_come_in_any_order() {
    let mut index = Index::new("a");
    assert_eq!(
        index.apply_slice(&"web-1".into(), slice("web", 1)),
        touched([]),
        "the Service does not exist yet"
    );
    assert_eq!(endpoints(&index, "web"), None);
    assert_eq!(index.apply_service(service("web")), touched(["web"]));
    assert_eq!(endpoints(&index, "web"), Some(1));
    assert_eq!(
        index.apply_slice(&"web-2".into(), slice("web", 2)),
        touched(["web"])
    );
    assert_eq!(endpoints(&index, "web"), Some(2));

    assert_eq!(index.delete_service(&name("web")), touched(["web"]));
    assert_eq!(endpoints(&index, "web"), None);
    assert_eq!(index.apply_service(service("web")), touched(["web"]));
    assert_eq!(
        endpoints(&index, "web"),
        Some(2),
        "slices outlive their Service"
    );

    assert_eq!(index.delete_slice(&name("web-1")), touched(["web"]));
    assert_eq!(index.delete_slice(&name("web-2")), touched(["web"]));
    assert_eq!(endpoints(&index, "web"), Some(0));
    assert_eq!(index.delete_service(&name("web")), touched(["web"]));
    assert!(
        index.entries.is_empty() && index.owners.is_empty(),
        "nothing is left of what is gone"
    );
}

#[test]
fn what_changes_nothing_touches_nothing() {
    let mut index = Index::new("a");
    index.apply_service(service("web"));
    index.apply_slice(&"web-1".into(), slice("web", 1));
    assert_eq!(index.apply_service(service("web")), touched([]));
    assert_eq!(
        index.apply_slice(&"web-1".into(), slice("web", 1)),
        touched([])
    );
    assert_eq!(list_services(&mut index, vec![service("web")]), touched([]));
    assert_eq!(
        list_slices(&mut index, vec![("web-1".into(), slice("web", 1))]),
        touched([])
    );
    assert_eq!(index.delete_service(&name("other")), touched([]));
    assert_eq!(index.delete_slice(&name("other-1")), touched([]));
}

#[test]
fn a_slice_that_changes_hands_touches_both_services() {
    let mut index = Index::new("a");
    index.apply_service(service("old"));
    index.apply_service(service("new"));
    index.apply_slice(&"slice".into(), slice("old", 1));
    assert_eq!(
        index.apply_slice(&"slice".into(), slice("new", 1)),
        touched(["new", "old"])
    );
    assert_eq!(
        (endpoints(&index, "old"), endpoints(&index, "new")),
        (Some(0), Some(1))
    );
    assert_eq!(index.delete_slice(&name("slice")), touched(["new"]));
}

#[test]
fn a_list_replaces_what_was_there() {
    let mut index = Index::new("a");
    list_services(
        &mut index,
        ["gone", "kept", "changed"].map(service).to_vec(),
    );
    list_slices(
        &mut index,
        vec![
            ("gone-1".into(), slice("gone", 1)),
            ("kept-1".into(), slice("kept", 1)),
        ],
    );
    let changed = Service {
        affinity: Some(60),
        ..service("changed")
    };
    let touched_services =
        list_services(&mut index, vec![service("kept"), changed, service("fresh")]);
    assert_eq!(touched_services, touched(["changed", "fresh", "gone"]));
    assert_eq!(
        index.services().collect::<Vec<_>>(),
        [&name("changed"), &name("fresh"), &name("kept")]
    );
    assert_eq!(
        list_slices(&mut index, vec![("fresh-1".into(), slice("fresh", 1))]),
        touched(["fresh", "kept"])
    );
    assert_eq!(list_slices(&mut index, vec![]), touched(["fresh"]));
    assert_eq!(
        list_services(&mut index, vec![]),
        touched(["changed", "fresh", "kept"])
    );
    assert!(index.entries.is_empty());
}

#[test]
fn what_changes_about_the_node_touches_every_service() {
    let mut index = Index::new("a");
    list_services(&mut index, ["one", "two"].map(service).to_vec());
    let zoned = Node {
        name: "a".into(),
        zone: Some("z".into()),
        ..Node::default()
    };
    assert_eq!(index.apply_node(zoned.clone()), touched(["one", "two"]));
    assert_eq!(index.apply_node(zoned.clone()), touched([]));
    assert_eq!(
        index.apply_node(Node {
            name: "b".into(),
            ..zoned
        }),
        touched([]),
        "another node"
    );
    assert_eq!(index.node().zone.as_deref(), Some("z"));
}

#[test]
fn service_cidrs_are_counted_by_their_names() {
    let range = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
    let mut index = Index::new("a");
    assert!(index.apply_service_cidr("one", vec![range("10.96.0.0/12")]));
    assert!(!index.apply_service_cidr("one", vec![range("10.96.0.0/12")]));
    assert!(index.apply_service_cidr("two", vec![range("10.96.0.0/12"), range("fd00::/112")]));
    assert_eq!(
        index.service_cidrs(),
        [range("10.96.0.0/12"), range("fd00::/112")]
    );
    assert!(index.delete_service_cidr("two"));
    assert!(!index.delete_service_cidr("two"));
    assert_eq!(
        index.service_cidrs(),
        [range("10.96.0.0/12")],
        "the other still has it"
    );
    let names = |named: &[&str]| {
        named
            .iter()
            .map(|text| ObjectName {
                namespace: "".into(),
                name: (*text).into(),
            })
            .collect()
    };
    assert!(!index.keep_service_cidrs(&names(&["one", "other"])));
    assert!(index.keep_service_cidrs(&names(&["other"])));
    assert_eq!(index.service_cidrs(), []);
}

#[test]
fn what_clashes_with_the_node_is_reported_and_does_not_count() {
    let node = |address: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        });
        serde_json::from_value::<core::Node>(object).unwrap()
    };
    let web: core::Service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
    }))
    .unwrap();
    let range: networking::ServiceCIDR = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/12"]},
    }))
    .unwrap();

    let mut index = Index::new("a");
    let observed = index.observe_node(&node("192.168.0.1"));
    assert!(observed.service_cidrs_changed && observed.problems.is_empty());
    assert_eq!(index.observe_service(&web).problems, []);
    assert_eq!(index.observe_service_cidr(&range).problems, []);
    assert_eq!(
        (
            index.plan(&name("web")).unwrap().ports.len(),
            index.service_cidrs().len()
        ),
        (1, 1)
    );

    let observed = index.observe_node(&node("10.96.0.1"));
    assert_eq!(observed.touched, touched(["web"]));
    let fields: Vec<_> = observed
        .problems
        .iter()
        .map(|problem| (problem.kind, problem.field.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("Service", "spec.clusterIPs"),
            ("ServiceCIDR", "spec.cidrs")
        ]
    );
    let plan = index.plan(&name("web")).unwrap();
    assert!(plan.ports.is_empty() && plan.cluster_ips.is_empty());
    assert_eq!(index.service_cidrs(), []);
    assert_eq!(index.observe_service(&web).problems.len(), 1);
    assert_eq!(index.observe_service_cidr(&range).problems.len(), 1);
}

#[test]
fn an_outside_address_that_is_the_nodes_is_a_problem_at_the_nodes_own_ports_alone() {
    let node = |port: i32| {
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.168.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        });
        serde_json::from_value::<core::Node>(object).unwrap()
    };
    let web: core::Service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "externalIPs": ["192.168.0.1"],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 10250}, {"name": "c", "port": 10256}],
        },
    }))
    .unwrap();
    let fields = |observed: crate::index::Observed| {
        let problems = observed.problems.into_iter();
        problems.map(|problem| problem.field).collect::<Vec<_>>()
    };
    let mut index = Index::new("a").serving_at([10256].into());
    assert_eq!(fields(index.observe_node(&node(0))), [""; 0]);
    assert_eq!(fields(index.observe_service(&web)), ["spec.ports (10256)"]);
    let both = ["spec.ports (10250)", "spec.ports (10256)"];
    let observed = index.observe_node(&node(10250));
    assert_eq!(observed.touched, touched(["web"]));
    assert_eq!(fields(observed), both);
    assert_eq!(fields(index.observe_service(&web)), both);
    let fronts = index.plan(&name("web")).unwrap().ports.into_iter();
    let fronts: Vec<_> = fronts.map(|port| port.fronts.len()).collect();
    assert_eq!(fronts, [2, 1, 1], "the cluster address has all ports");
}

#[test]
fn a_service_that_is_no_longer_programmed_is_gone() {
    let object = |cluster_ip: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
            "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]},
        });
        serde_json::from_value::<core::Service>(object).unwrap()
    };
    let mut index = Index::new("a");
    assert_eq!(
        index.observe_service(&object("10.96.0.1")).touched,
        touched(["web"])
    );
    assert_eq!(
        index.observe_service(&object("None")).touched,
        touched(["web"])
    );
    assert_eq!(index.plan(&name("web")), None);
    assert_eq!(index.observe_service(&object("None")).touched, touched([]));
}
