//! Objects that no API server would accept: they break nothing, and least of all other Services.

use onehop_proxy::fuzzing;
use onehop_proxy::index::Index;
use onehop_proxy::model::ObjectName;
use onehop_proxy::plan::ServicePlan;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

/// Objects with every field that is read, which belong together.
fn good(name: &str) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "default", "name": name, "labels": {"app": "web"}},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"],
                "externalIPs": ["203.0.113.9", "2001:db8::9"],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "healthCheckNodePort": 32000,
                "loadBalancerSourceRanges": ["172.16.0.0/12"],
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080},
                    {"name": "dns", "protocol": "UDP", "port": 80, "nodePort": 30080},
                ],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "VIP"}]}},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "default", "name": format!("{name}-1"),
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 8080},
                {"name": "dns", "protocol": "UDP", "port": 5353},
            ],
            "endpoints": [
                {
                    "addresses": ["10.0.0.1"], "nodeName": fuzzing::NODE,
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": fuzzing::NODE}]},
                },
                {
                    "addresses": ["10.0.0.2"], "nodeName": "other",
                    "conditions": {"ready": false, "serving": true, "terminating": true},
                    "hints": {"forZones": [{"name": "y"}], "forNodes": [{"name": "other"}]},
                },
            ],
        }),
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "other", "labels": {"topology.kubernetes.io/zone": "z"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", "fd00::/112"]},
        }),
    ]
}

/// A change to one value of an object.
#[derive(Clone, Debug)]
enum Edit {
    /// The value is gone, as null or altogether.
    Null,
    Remove,
    /// A string, where one is.
    Text(String),
    /// A number, where one is.
    Number(i64),
    /// A condition, where one is.
    Flip,
    /// A list, with its elements again, that often.
    Repeat(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let texts = [
        "",
        " ",
        "None",
        "x",
        "10.96.0.1",
        "010.1.2.3",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "256.1.1.1",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2001:db8::1%eth0",
        "10.0.0.0/8",
        "10.0.0.0/33",
        "0.0.0.0/0",
        "::/0",
        "/",
        "1.2.3.4/-1",
        "::ffff:0:0/95",
        "a\nb",
        "\u{0}",
        "\u{202e}",
        "../..",
        "; flush ruleset",
        "ClusterIP",
        "NodePort",
        "ExternalName",
        "Local",
        "Cluster",
        "Proxy",
        "UDP",
        "SCTP",
        "IPv4",
        "IPv6",
        "FQDN",
        "http",
        "web",
        fuzzing::NODE,
    ];
    let numbers = [
        -1,
        0,
        1,
        80,
        65_535,
        65_536,
        86_401,
        i64::from(i32::MIN),
        i64::from(i32::MAX),
        i64::MAX,
    ];
    prop_oneof![
        Just(Edit::Null),
        Just(Edit::Remove),
        select(texts.to_vec()).prop_map(|text| Edit::Text(text.to_owned())),
        any::<String>().prop_map(Edit::Text),
        (1..5000_usize).prop_map(|length| Edit::Text("é".repeat(length))),
        select(numbers.to_vec()).prop_map(Edit::Number),
        Just(Edit::Flip),
        (0..50_usize).prop_map(Edit::Repeat),
    ]
}

/// The pointers to all values of a document that can be changed and still deserialise.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(key, value)| (key.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        if !matches!(key.as_str(), "kind" | "apiVersion") {
            pointers(child, format!("{at}/{key}"), found);
        }
    }
    if !at.is_empty() {
        found.push(at);
    }
}

fn apply(object: &mut Value, pick: Pick, edit: Edit) {
    let mut found = Vec::new();
    pointers(object, String::new(), &mut found);
    if found.is_empty() {
        return;
    }
    let pointer = pick.get(&found);
    let value = object.pointer_mut(pointer).unwrap();
    match (edit, value) {
        (Edit::Null, value) => *value = Value::Null,
        (Edit::Text(text), Value::String(value)) => *value = text,
        (Edit::Number(number), Value::Number(value)) => *value = number.into(),
        (Edit::Flip, Value::Bool(value)) => *value = !*value,
        (Edit::Repeat(times), Value::Array(list)) => {
            let length = (list.len() * times).min(5000);
            *list = list.iter().cycle().take(length).cloned().collect();
        }
        (Edit::Remove, _) => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match object.pointer_mut(parent).unwrap() {
                Value::Object(fields) => drop(fields.remove(key)),
                Value::Array(list) => drop(list.remove(key.parse().unwrap())),
                _ => unreachable!("a parent has children"),
            }
        }
        _ => {}
    }
}

/// Objects with a few values changed.
fn hostile() -> impl Strategy<Value = Vec<Value>> {
    let changed = (0..4_usize, vec((any::<Pick>(), edit()), 0..6)).prop_map(|(which, edits)| {
        let mut object = good("web").swap_remove(which);
        for (pick, edit) in edits {
            apply(&mut object, pick, edit);
        }
        object
    });
    vec(changed, 1..8)
}

fn world(objects: &[Value]) -> Index {
    let bytes: Vec<u8> = objects
        .iter()
        .flat_map(|object| object.to_string().into_bytes())
        .collect();
    fuzzing::world(&bytes)
}

fn plan_of_other(index: &Index) -> Option<ServicePlan> {
    index.plan(&ObjectName {
        namespace: "default".into(),
        name: "other".into(),
    })
}

#[test]
fn good_objects_make_a_plan() {
    let index = world(&good("other"));
    let plan = plan_of_other(&index).unwrap();
    assert_eq!(
        (
            plan.ports.len(),
            plan.ports[0].fronts.len(),
            plan.ports[0].cluster.len()
        ),
        (4, 4, 1)
    );
    assert_eq!(index.service_cidrs().len(), 2);
}

#[test]
fn without_a_kind_every_kind_is_tried() {
    let mut objects = good("other");
    for object in &mut objects {
        object.as_object_mut().unwrap().remove("kind");
        object.as_object_mut().unwrap().remove("apiVersion");
    }
    assert!(plan_of_other(&world(&objects)).is_some());
}

#[test]
fn lists_and_events_of_watches_are_taken() {
    let list = |object: &Value, items: &[&Value]| {
        let kind = format!("{}List", object["kind"].as_str().unwrap());
        let version = &object["apiVersion"];
        json!({ "kind": kind, "apiVersion": version, "metadata": {}, "items": items }).to_string()
    };
    let objects = good("other");
    let service = objects.iter().find(|object| object["kind"] == "Service");
    let service = service.unwrap();
    let event = |kind: &str| format!(r#"{{"type":"{kind}","object":{service}}}"#);
    let plan = |said: &[String]| plan_of_other(&fuzzing::world(said.concat().as_bytes()));
    let mut said: Vec<_> = objects.iter().map(|one| list(one, &[one])).collect();
    assert!(plan(&said).is_some());
    // Not in the next list, there again, deleted, and in a list beside one that cannot be read.
    said.push(list(service, &[]));
    assert!(plan(&said).is_none());
    said.push(event("ADDED"));
    assert!(plan(&said).is_some());
    said.push(event("DELETED"));
    assert!(plan(&said).is_none());
    let unreadable = json!({ "metadata": { "namespace": "default", "name": "bad" }, "spec": 1 });
    said.push(list(service, &[&unreadable, service]));
    assert!(plan(&said).is_some());
}

/// Also that the changes are not so wild that nothing is ever read.
#[test]
fn changed_objects_mostly_deserialise() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut planned = 0;
    for _ in 0..200 {
        let objects = hostile().new_tree(&mut runner).unwrap().current();
        planned += usize::from(world(&objects).services().next().is_some());
    }
    assert!(planned > 80, "only {planned} of 200 worlds have a Service");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_deserialises_panics_or_touches_another_service(objects in hostile()) {
        let other = good("other");
        let expected = plan_of_other(&world(&other));
        prop_assert_eq!(plan_of_other(&world(&[objects.clone(), other.clone()].concat())), expected.clone());
        prop_assert_eq!(plan_of_other(&world(&[other, objects].concat())), expected);
    }

    #[test]
    fn bytes_that_are_no_objects_do_nothing(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(fuzzing::world(&bytes).services().next().is_none());
    }
}
