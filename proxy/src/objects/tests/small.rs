//! Nodes, ServiceCIDRs, and the words of problems.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Reading, node, service, service_cidr};
use super::{fields, ip};
use crate::model::Node;

fn read_node(metadata: &Value, addresses: &Value) -> Reading<Node> {
    let object = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"addresses": addresses},
    });
    node(&serde_json::from_value(object).unwrap())
}

#[test]
fn nodes() {
    let labelled = json!({"name": "a", "labels": {"topology.kubernetes.io/zone": "z"}});
    let listed = json!([
        {"type": "Hostname", "address": "a"},
        {"type": "ExternalIP", "address": "203.0.113.1"},
        {"type": "InternalIP", "address": "192.168.0.1"},
        {"type": "InternalIP", "address": "x"},
        {"type": "InternalIP", "address": "fd00::1"},
        {"type": "ExternalIP", "address": "192.168.0.1"},
        {"type": "InternalIP", "address": "fe80::1"},
    ]);
    let reading = read_node(&labelled, &listed);
    let addresses = vec![ip("192.168.0.1"), ip("fd00::1"), ip("203.0.113.1")];
    assert_eq!(
        reading.value,
        Some(Node {
            name: "a".into(),
            zone: Some("z".into()),
            addresses,
            own_ports: [].into(),
        })
    );
    assert_eq!(fields(&reading), ["status.addresses[3]"]);

    let bare = Node {
        name: "a".into(),
        zone: None,
        addresses: vec![],
        own_ports: [].into(),
    };
    for labels in [
        json!({}),
        json!({"topology.kubernetes.io/zone": ""}),
        Value::Null,
    ] {
        let reading = read_node(&json!({"name": "a", "labels": labels}), &Value::Null);
        assert_eq!(
            (reading.value, reading.problems),
            (Some(bare.clone()), vec![])
        );
    }
    for (port, own_ports) in [
        (10250, BTreeSet::from([10250])),
        (0, [].into()),
        (65536, [].into()),
    ] {
        let object = json!({
            "metadata": {"name": "a"}, "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}},
        });
        let reading = node(&serde_json::from_value(object).unwrap());
        assert_eq!(reading.value.unwrap().own_ports, own_ports);
    }
    let nameless = read_node(&json!({}), &Value::Null);
    assert_eq!(
        (&nameless.value, fields(&nameless)),
        (&None, vec!["metadata.name"])
    );
}

#[test]
fn service_cidrs() {
    let read = |cidrs: Value| {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
        });
        service_cidr(&serde_json::from_value(object).unwrap())
    };
    let reading = read(json!(["fd00::/112", "10.96.0.0/12", "10.96.0.0/12"]));
    assert_eq!(
        reading.value,
        Some(vec![
            "10.96.0.0/12".parse().unwrap(),
            "fd00::/112".parse().unwrap()
        ])
    );
    assert_eq!(reading.problems, []);

    let bad = json!([
        "0.0.0.0/0",
        "::/0",
        "127.0.0.0/8",
        "x",
        "10.96.0.0",
        "224.0.0.0/4",
        "fe80::/10",
        "128.0.0.0/1"
    ]);
    let reading = read(bad);
    assert_eq!((reading.value, reading.problems.len()), (None, 8));
    assert_eq!(read(Value::Null).value, None);
}

#[test]
fn problems_are_one_line_of_bounded_length() {
    let long = "\u{202e}'; flush ruleset\n".repeat(1000);
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "n\n", "name": "\u{7}\""},
        "spec": {"clusterIP": long, "clusterIPs": [long]},
    });
    let reading = service(&serde_json::from_value(object).unwrap());
    let words: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
    assert!(
        words[0].starts_with(
            r#"Service n\n/\u{7}\": spec.clusterIPs[0]: "\u{202e}'; flush ruleset\n\u{202e}"#
        ),
        "{words:?}"
    );
    assert!(
        words
            .iter()
            .all(|line| line.len() < 500 && !line.contains(char::is_control)),
        "{words:?}"
    );
}
