//! EndpointSlices.

use serde_json::{Value, json};

use super::super::{Reading, slice};
use super::{edited, fields, ip};
use crate::model::{Endpoint, Family, ObjectName, Protocol, Slice, SlicePort};

fn object() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 8080},
            {"name": "dns", "protocol": "UDP", "port": 5353},
        ],
        "endpoints": [
            {
                "addresses": ["10.0.0.1", "x"],
                "nodeName": "a",
                "conditions": {"ready": false, "serving": false, "terminating": true},
                "hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": [{"name": "a"}]},
            },
            {"addresses": ["10.0.0.2"], "nodeName": null, "conditions": null, "hints": null},
        ],
    })
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint {
        address: ip(address),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        zones: [].into(),
        nodes: [].into(),
    }
}

fn expected() -> Slice {
    let port = |name: &str, protocol, port| SlicePort {
        name: name.into(),
        protocol,
        port,
    };
    let first = Endpoint {
        node: Some("a".into()),
        ready: false,
        serving: false,
        terminating: true,
        zones: ["z".into()].into(),
        nodes: ["a".into()].into(),
        ..endpoint("10.0.0.1")
    };
    Slice {
        service: ObjectName {
            namespace: "default".into(),
            name: "web".into(),
        },
        family: Family::V4,
        ports: vec![
            port("dns", Protocol::Udp, 5353),
            port("http", Protocol::Tcp, 8080),
        ],
        endpoints: vec![first, endpoint("10.0.0.2")],
    }
}

fn read(edits: &[(&str, Value)]) -> Reading<Slice> {
    slice(&serde_json::from_value(edited(object(), edits)).unwrap())
}

/// What it says, the fields that are different, what of the slice is different, and the problems' fields.
type Row<'a> = (
    &'a str,
    &'a [(&'a str, Value)],
    fn(&mut Slice),
    &'a [&'a str],
);

#[test]
fn all_fields_are_read_and_the_rest_is_left_out() {
    fn nothing_known(slice: &mut Slice) {
        slice.endpoints[0] = endpoint("10.0.0.1");
    }
    #[rustfmt::skip]
    let rows: [Row<'_>; 20] = [
        ("as it is", &[], |_| {}, &[]),
        ("no conditions, no hints, no node", &[("/endpoints/0", json!({"addresses": ["10.0.0.1"]}))], nothing_known, &[]),
        ("conditions and hints that are null, no name for a node", &[("/endpoints/0", json!({"addresses": ["10.0.0.1"],
            "nodeName": "", "conditions": {"ready": null, "serving": null, "terminating": null},
            "hints": {"forZones": null, "forNodes": []}}))], nothing_known, &[]),
        ("no address", &[("/endpoints/0/addresses", json!([]))], |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("null addresses", &[("/endpoints/0/addresses", Value::Null)],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("what is no address", &[("/endpoints/0/addresses/0", json!("web.example"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("an address of the wrong family", &[("/endpoints/0/addresses/0", json!("fd00::1"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("loopback", &[("/endpoints/0/addresses/0", json!("127.1.2.3"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("link-local", &[("/endpoints/0/addresses/0", json!("169.254.169.254"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("multicast", &[("/endpoints/0/addresses/0", json!("239.0.0.1"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("unspecified", &[("/endpoints/0/addresses/0", json!("0.0.0.0"))],
            |s| drop(s.endpoints.remove(0)), &["endpoints[0].addresses"]),
        ("the other order is the same", &[("/endpoints/0", object()["endpoints"][1].clone()),
            ("/endpoints/1", object()["endpoints"][0].clone())], |_| {}, &[]),
        ("no endpoints", &[("/endpoints", Value::Null)], |s| s.endpoints.clear(), &[]),
        ("no ports", &[("/ports", Value::Null)], |s| s.ports.clear(), &[]),
        ("a port without a number is all ports: none", &[("/ports/1/port", Value::Null)],
            |s| drop(s.ports.remove(0)), &["ports[1]"]),
        ("port 0", &[("/ports/1/port", json!(0))], |s| drop(s.ports.remove(0)), &["ports[1]"]),
        ("port 65536", &[("/ports/1/port", json!(65536))], |s| drop(s.ports.remove(0)), &["ports[1]"]),
        ("an unknown protocol", &[("/ports/1/protocol", json!("udp"))], |s| drop(s.ports.remove(0)), &["ports[1]"]),
        ("no name and no protocol", &[("/ports/1", json!({"port": 5353}))],
            |s| s.ports[0] = SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 5353 }, &[]),
        ("the same port twice", &[("/ports/1", object()["ports"][0].clone())], |s| drop(s.ports.remove(0)), &[]),
    ];
    for (says, edits, change, problems) in rows {
        let reading = read(edits);
        let mut expected = expected();
        change(&mut expected);
        assert_eq!(reading.value.as_ref(), Some(&expected), "{says}");
        assert_eq!(fields(&reading), problems, "{says}: {:?}", reading.problems);
    }
}

#[test]
fn slices_that_do_not_count() {
    let labels = |labels| ("/metadata/labels", labels);
    #[rustfmt::skip]
    let rows: [(&str, (&str, Value), &[&str]); 8] = [
        ("headless", labels(json!({"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""})), &[]),
        ("no Service", labels(json!({})), &["metadata.labels"]),
        ("no labels", labels(Value::Null), &["metadata.labels"]),
        ("a Service of no name", labels(json!({"kubernetes.io/service-name": ""})), &["metadata.labels"]),
        ("host names", ("/addressType", json!("FQDN")), &[]),
        ("no address type", ("/addressType", json!("")), &["addressType"]),
        ("no name", ("/metadata/name", Value::Null), &["metadata.name"]),
        ("no namespace", ("/metadata/namespace", Value::Null), &["metadata.namespace"]),
    ];
    for (says, edit, problems) in rows {
        let reading = read(&[edit]);
        assert_eq!(reading.value, None, "{says}");
        assert_eq!(fields(&reading), problems, "{says}");
    }
}

#[test]
fn thousands_of_endpoints_good_and_bad() {
    let endpoints = |first: u8| {
        let address = |at: u32| format!("{first}.0.{}.{}", at / 250, at % 250 + 1);
        (0..5000)
            .map(|at| json!({"addresses": [address(at)]}))
            .collect::<Vec<_>>()
    };
    let reading = read(&[("/endpoints", json!(endpoints(10)))]);
    assert_eq!(
        (
            reading.value.unwrap().endpoints.len(),
            reading.problems.len()
        ),
        (5000, 0)
    );

    let reading = read(&[("/endpoints", json!(endpoints(127)))]);
    assert_eq!(reading.value.unwrap().endpoints.len(), 0);
    assert_eq!(reading.problems.len(), 17);
    assert_eq!(reading.problems[16].why, "4984 more problems like these");
}
