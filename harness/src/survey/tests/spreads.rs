//! Where endpoints are, what nodes do, and shares.

use super::*;

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
