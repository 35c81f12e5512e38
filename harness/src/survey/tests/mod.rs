//! Objects are applied, and the survey is held against what a reader of them expects. No server.

mod health;
mod services;
mod spreads;

use serde_json::{Value, json};

use super::*;

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
    let Value::Object(fields) = spec else {
        panic!("{spec}")
    };
    for (field, value) in fields {
        service["spec"][field] = value;
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
