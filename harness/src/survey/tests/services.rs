//! Which Services are surveyed, and in which order.

use super::*;

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
