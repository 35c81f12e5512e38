//! Objects are applied, and the survey is held against what a reader of them expects. No server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::health::{Answer, Answered, disagreement};
use super::*;
use crate::world::Family;

/// A LoadBalancer Service with an external Local policy, changed by a patch of its spec.
fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Cluster",
            "clusterIP": "10.96.0.1",
            "ipFamilies": ["IPv4"],
            "selector": {"app": name},
            "healthCheckNodePort": 31000,
            "ports": [{"port": 80}],
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

/// A pod on a node.
fn pod(name: &str, address: &str, node: &str) -> Value {
    json!({"addresses": [address], "nodeName": node, "targetRef": {"kind": "Pod", "name": name}})
}

fn with(mut endpoint: Value, ready: bool, serving: bool, terminating: bool) -> Value {
    endpoint["conditions"] =
        json!({"ready": ready, "serving": serving, "terminating": terminating});
    endpoint
}

fn slice(service: &str, family: &str, endpoints: &[Value]) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    })
}

fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [
                {"type": "Hostname", "address": name},
                {"type": "ExternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "172.18.0.11"},
                {"type": "InternalIP", "address": "fd00::11"},
            ],
        },
    })
}

fn three_nodes() -> Vec<Value> {
    ["vm1", "vm2", "vm3"].map(node).to_vec()
}

fn web_1_0_2() -> [Value; 3] {
    [
        pod("web-0", "10.0.1.1", "vm1"),
        pod("web-1", "10.0.3.1", "vm3"),
        pod("web-2", "10.0.3.2", "vm3"),
    ]
}

fn typed<K: serde::de::DeserializeOwned>(objects: &[Value]) -> Vec<K> {
    let objects = objects.iter().cloned();
    objects
        .map(|object| serde_json::from_value(object).unwrap())
        .collect()
}

fn surveyed(services: &[Value], slices: &[Value], nodes: &[Value]) -> Survey {
    survey(&Objects {
        services: typed(services),
        slices: typed(slices),
        nodes: typed(nodes),
    })
}

/// The survey of one Service on the three nodes.
fn of_one(spec: Value, slices: &[Value]) -> SurveyedService {
    let mut survey = surveyed(&[service("web", spec)], slices, &three_nodes());
    assert_eq!(survey.services.len(), 1, "{:?}", survey.skipped);
    survey.services.remove(0)
}

fn shares(spread: &Spread) -> Vec<(&str, usize, Option<f64>)> {
    let rows = spread.nodes.iter();
    rows.map(|row| (row.node.as_str(), row.ready, row.share))
        .collect()
}

fn kinds(service: &SurveyedService) -> Vec<NoteKind> {
    service.notes.iter().map(|note| note.kind).collect()
}

#[test]
fn one_none_and_two_pods_get_a_half_and_two_quarters() {
    let web = of_one(json!({}), &[slice("web", "IPv4", &web_1_0_2())]);
    let [spread] = &web.spreads[..] else {
        panic!("{web:?}")
    };
    assert_eq!(
        shares(spread),
        [("vm1", 1, Some(0.5)), ("vm3", 2, Some(0.25))]
    );
    assert_eq!(spread.nodes[1].pods, ["web-1", "web-2"]);
    assert_eq!(spread.imbalance, Some(1.5));
    assert_eq!(web.imbalance, Some(1.5));
    let dropping = Without {
        fate: Fate::Dropped,
        nodes: vec!["vm2".to_owned()],
    };
    assert_eq!(spread.without, dropping);
    assert_eq!(web.notes, []);
}

#[test]
fn slices_are_joined_and_an_endpoint_in_two_of_them_is_one() {
    let [zero, one, two] = web_1_0_2();
    let stale = with(zero.clone(), false, false, false);
    let slices = [
        slice("web", "IPv4", &[zero, one.clone()]),
        slice("web", "IPv4", &[stale, two, one]),
        slice("other", "IPv4", &[pod("other", "10.0.2.1", "vm2")]),
    ];
    let web = of_one(json!({}), &slices);
    assert_eq!(web.spreads[0].ready, 3);
    assert_eq!(web.imbalance, Some(1.5));
}

#[test]
fn both_families_of_a_pod_are_one_pod() {
    let v6 = [
        pod("web-0", "fd01::1", "vm1"),
        pod("web-1", "fd03::1", "vm3"),
        pod("web-2", "fd03::2", "vm3"),
    ];
    let slices = [
        slice("web", "IPv4", &web_1_0_2()),
        slice("web", "IPv6", &v6),
    ];
    let dual = json!({"ipFamilies": ["IPv4", "IPv6"]});
    let web = of_one(dual.clone(), &slices);
    assert_eq!(web.spreads.len(), 1);
    assert_eq!(web.spreads[0].ready, 3);
    assert_eq!(web.spreads[0].label(), "IPv4, IPv6");

    // A family that the Service does not have is not served.
    assert_eq!(of_one(json!({}), &slices).spreads[0].label(), "IPv4");

    // Where the families differ, each is told by itself.
    let slices = [
        slice("web", "IPv4", &web_1_0_2()),
        slice("web", "IPv6", &v6[..1]),
    ];
    let web = of_one(dual, &slices);
    let labels: Vec<_> = web.spreads.iter().map(Spread::label).collect();
    assert_eq!(labels, ["IPv4", "IPv6"]);
    assert_eq!(web.spreads[1].imbalance, Some(1.0));
    assert_eq!(web.imbalance, Some(1.5));
}

#[test]
fn ports_with_other_endpoints_are_told_apart() {
    let ports = json!({"ports": [
        {"name": "http", "port": 80},
        {"name": "admin", "port": 81},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]});
    let mut http = slice("web", "IPv4", &web_1_0_2());
    http["ports"] = json!([
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    let web = of_one(ports, &[http]);
    let labels: Vec<_> = web
        .spreads
        .iter()
        .map(|s| (s.label(), s.ready, s.without.fate))
        .collect();
    assert_eq!(
        labels,
        [
            ("IPv4 http, IPv4 dns UDP".to_owned(), 3, Fate::Dropped),
            ("IPv4 admin".to_owned(), 0, Fate::Refused)
        ]
    );
    assert_eq!(kinds(&web), [NoteKind::NoReadyEndpoints]);
    assert!(web.notes[0].text.starts_with("IPv4 admin: no ready"));
}

#[test]
fn a_node_falls_back_to_terminating_endpoints_that_still_serve() {
    let endpoints = [
        with(pod("a", "10.0.1.1", "vm1"), true, true, false),
        with(pod("b", "10.0.1.2", "vm1"), false, true, true),
        with(pod("c", "10.0.2.1", "vm2"), false, true, true),
        with(pod("d", "10.0.3.1", "vm3"), false, false, true),
    ];
    let web = of_one(json!({}), &[slice("web", "IPv4", &endpoints)]);
    let spread = &web.spreads[0];
    let rows: Vec<_> = spread
        .nodes
        .iter()
        .map(|row| (row.node.as_str(), row.fate, row.pods.join(" "), row.share))
        .collect();
    let a = ("vm1", Fate::Served, "a".to_owned(), Some(1.0));
    let c = ("vm2", Fate::ServedByTerminating, "c".to_owned(), None);
    assert_eq!(rows, [a, c]);
    assert_eq!(spread.without.nodes, ["vm3"]);

    let web = of_one(json!({}), &[slice("web", "IPv4", &endpoints[1..])]);
    assert_eq!(kinds(&web), [NoteKind::NoReadyEndpoints]);
    assert_eq!(web.spreads[0].without.fate, Fate::Dropped);
    assert_eq!(web.imbalance, None);
}

#[test]
fn conditions_that_say_nothing_are_ready_and_published_ones_are_as_well() {
    let mut nothing = pod("a", "10.0.1.1", "vm1");
    nothing["conditions"] = json!({});
    let published = with(pod("b", "10.0.2.1", "vm2"), true, false, true);
    let not_ready = with(pod("c", "10.0.3.1", "vm3"), false, false, false);
    let slices = [slice("web", "IPv4", &[nothing, published, not_ready])];
    let web = of_one(json!({}), &slices);
    let spread = &web.spreads[0];
    assert_eq!(
        shares(spread),
        [("vm1", 1, Some(0.5)), ("vm2", 1, Some(0.5))]
    );
    assert_eq!(spread.without.nodes, ["vm3"]);
}

#[test]
fn nodes_that_no_balancer_has_get_nothing_of_it_and_still_serve() {
    let mut nodes = three_nodes();
    nodes[0]["metadata"]["labels"] =
        json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""});
    nodes[1]["metadata"]["labels"] =
        json!({"node.kubernetes.io/exclude-from-external-load-balancers": "false"});
    nodes[1]["status"]["conditions"][0]["status"] = json!("Unknown");
    let mut endpoints = web_1_0_2().to_vec();
    endpoints.push(pod("web-3", "10.0.2.1", "vm2"));
    let slices = [slice("web", "IPv4", &endpoints)];
    let services = [service("web", json!({}))];
    let survey = surveyed(&services, &slices, &nodes);
    let web = &survey.services[0];
    let expected = [
        ("vm1", 1, Some(0.0)),
        ("vm2", 1, Some(0.5)),
        ("vm3", 2, Some(0.25)),
    ];
    assert_eq!(shares(&web.spreads[0]), expected);
    assert_eq!(web.imbalance, Some(2.0));
    assert_eq!(web.spreads[0].nodes[0].fate, Fate::Served);
    assert_eq!(
        kinds(web),
        [NoteKind::OutOfBalancer, NoteKind::NodeNotReady]
    );

    for node in &mut nodes {
        node["spec"] =
            json!({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]});
    }
    let survey = surveyed(&services, &slices, &nodes);
    assert_eq!(survey.services[0].imbalance, None);
    let out = survey.nodes["vm2"].out_of_balancer;
    assert_eq!(out, Some(OutOfBalancer::ToBeDeleted));
}

#[test]
fn endpoints_on_no_node_are_usable_elsewhere_and_flagged() {
    let mut nowhere = pod("a", "10.0.9.1", "");
    nowhere.as_object_mut().unwrap().remove("nodeName");
    let gone = pod("b", "10.0.9.2", "vm9");
    let web = of_one(json!({}), &[slice("web", "IPv4", &[nowhere, gone])]);
    let spread = &web.spreads[0];
    assert_eq!(spread.ready, 2);
    assert_eq!(spread.placeless.without_node_name, 1);
    assert_eq!(spread.placeless.on_unknown_nodes["vm9"], 1);
    assert_eq!(spread.without.nodes, ["vm1", "vm2", "vm3"]);
    assert_eq!(spread.without.fate, Fate::Dropped);
    assert_eq!(kinds(&web), [NoteKind::NoNodeName, NoteKind::UnknownNode]);
}

#[test]
fn a_local_policy_counts_where_it_means_something() {
    let sides = |spec: Value| -> Option<Vec<Side>> {
        let survey = surveyed(&[service("web", spec)], &[], &[]);
        let services = survey.services.first();
        services.map(|service| service.local.iter().copied().collect())
    };
    let (external, internal) = (Side::External, Side::Internal);
    assert_eq!(sides(json!({})), Some(vec![external]));
    assert_eq!(sides(json!({"type": "NodePort"})), Some(vec![external]));
    assert_eq!(sides(json!({"type": "ClusterIP"})), None);
    let addresses = json!({"type": "ClusterIP", "externalIPs": ["192.0.2.9"]});
    assert_eq!(sides(addresses), Some(vec![external]));
    assert_eq!(sides(json!({"externalTrafficPolicy": "Cluster"})), None);
    let both = json!({"internalTrafficPolicy": "Local"});
    assert_eq!(sides(both), Some(vec![external, internal]));
    let alone = json!({"type": "ClusterIP", "internalTrafficPolicy": "Local", "externalTrafficPolicy": null});
    assert_eq!(sides(alone), Some(vec![internal]));
}

#[test]
fn internal_policies_have_drops_and_no_shares() {
    let spec = json!({
        "type": "ClusterIP",
        "externalTrafficPolicy": null,
        "internalTrafficPolicy": "Local",
        "selector": null,
    });
    let web = of_one(spec, &[slice("web", "IPv4", &web_1_0_2())]);
    assert_eq!(
        shares(&web.spreads[0]),
        [("vm1", 1, None), ("vm3", 2, None)]
    );
    assert_eq!(web.imbalance, None);
    assert_eq!(web.spreads[0].without.nodes, ["vm2"]);
    assert_eq!(kinds(&web), [NoteKind::NoSelector]);
}

#[test]
fn what_no_proxy_serves_is_skipped_with_a_word() {
    let mut other = service("other", json!({}));
    other["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "mesh"});
    let headless = service(
        "headless",
        json!({"type": "ClusterIP", "clusterIP": "None", "internalTrafficPolicy": "Local"}),
    );
    let cluster = service("cluster", json!({"externalTrafficPolicy": "Cluster"}));
    let survey = surveyed(&[other, headless, cluster], &[], &three_nodes());
    assert_eq!(survey.read, 3);
    assert_eq!(survey.services, []);
    let skipped: Vec<_> = survey
        .skipped
        .iter()
        .map(|s| (s.name.as_str(), s.reason.split(':').next().unwrap()))
        .collect();
    let left = "left to the proxy \"mesh\" by service.kubernetes.io/service-proxy-name";
    assert_eq!(skipped, [("headless", "headless"), ("other", left)]);
}

#[test]
fn the_worst_comes_first() {
    let services = ["even", "half", "none"].map(|name| service(name, json!({})));
    let slices = [
        slice("even", "IPv4", &[pod("even-0", "10.0.1.9", "vm1")]),
        slice("half", "IPv4", &web_1_0_2()),
    ];
    let survey = surveyed(&services, &slices, &three_nodes());
    let names: Vec<_> = survey.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["none", "half", "even"]);
    let none = &survey.services[0];
    assert_eq!(none.spreads[0].without.fate, Fate::Refused);
    assert_eq!(none.spreads[0].without.nodes.len(), 3);
    assert_eq!(kinds(none), [NoteKind::NoReadyEndpoints]);
}

#[test]
fn slices_of_names_are_flagged() {
    let names = json!({"addresses": ["example.com"]});
    let web = of_one(json!({}), &[slice("web", "FQDN", &[names])]);
    let expected = [NoteKind::NoReadyEndpoints, NoteKind::NamesIgnored];
    assert_eq!(kinds(&web), expected);
}

#[test]
fn each_node_is_asked_at_its_internal_address_else_its_external_one() {
    let mut nodes = three_nodes();
    nodes[1]["status"]["addresses"] = json!([{"type": "ExternalIP", "address": "192.0.2.2"}]);
    nodes[2]["status"]["addresses"] = json!([]);
    let asked = |families: Value| -> Vec<Option<String>> {
        let services = [
            service("web", json!({"ipFamilies": families})),
            service("internal", json!({"healthCheckNodePort": null})),
        ];
        let survey = surveyed(&services, &[], &nodes);
        let questions = survey.questions().into_iter();
        questions
            .map(|question| question.address.map(|address| address.to_string()))
            .collect()
    };
    let some = |address: &str| Some(address.to_owned());
    let v4 = [some("172.18.0.11:31000"), some("192.0.2.2:31000"), None];
    assert_eq!(asked(json!(["IPv4"])), v4);
    let v6 = [some("[fd00::11]:31000"), None, None];
    assert_eq!(asked(json!(["IPv6"])), v6);
    let dual = [some("[fd00::11]:31000"), some("192.0.2.2:31000"), None];
    assert_eq!(asked(json!(["IPv6", "IPv4"])), dual);
}

fn answered(status: u16, local: Option<usize>) -> Answer {
    Answer::Answered(Answered {
        status,
        local_endpoints: local,
        proxy_healthy: None,
        service: Some("shop/web".to_owned()),
    })
}

#[test]
fn an_answer_disagrees_when_the_slices_of_no_family_say_so() {
    let disagrees = |v4: usize, v6: usize, answer: &Answer| {
        let expected = BTreeMap::from([(Family::V4, v4), (Family::V6, v6)]);
        disagreement("shop/web", &expected, answer)
    };
    for (v4, v6, agreeing) in [
        (1, 1, answered(200, Some(1))),
        (0, 0, answered(503, Some(0))),
        (2, 0, answered(503, Some(0))),
        (2, 0, answered(200, Some(2))),
        (1, 1, answered(200, None)),
        (0, 0, answered(503, None)),
        (0, 0, Answer::Refused),
        (1, 1, Answer::Silent),
        (1, 1, Answer::NotAsked(String::new())),
    ] {
        assert_eq!(disagrees(v4, v6, &agreeing), None, "{agreeing:?}");
    }
    let mut unhealthy = answered(503, Some(1));
    let mut other = answered(200, Some(1));
    if let (Answer::Answered(unhealthy), Answer::Answered(other)) = (&mut unhealthy, &mut other) {
        unhealthy.proxy_healthy = Some(false);
        other.service = Some("shop/other".to_owned());
    }
    for (count, answer, text) in [
        (
            2,
            answered(200, Some(1)),
            "it counts 1, and the slices have 2 ready here",
        ),
        (0, answered(200, Some(0)), "200, and it counts no endpoint"),
        (1, answered(503, Some(1)), "503, and it counts 1"),
        (
            1,
            answered(503, None),
            "503, and the slices have 1 ready here",
        ),
        (
            0,
            answered(200, None),
            "200, and the slices have 0 ready here",
        ),
        (
            1,
            Answer::Refused,
            "nothing listens, and the slices have 1 ready here",
        ),
        (
            1,
            unhealthy,
            "503, because its proxy calls itself unhealthy",
        ),
        (1, other, "it answers for shop/other"),
    ] {
        assert_eq!(disagrees(count, count, &answer).as_deref(), Some(text));
    }
}
