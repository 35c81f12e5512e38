use super::*;
use serde_json::json;

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

#[test]
fn an_unreadable_object_keeps_its_name_and_its_list() {
    let service = |name: &str, port: serde_json::Value| {
        json!({"metadata": {"namespace": "default", "name": name, "resourceVersion": "7"},
               "spec": {"ports": [{"port": port}]}})
    };
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [
        service("good", json!(80)),
        service("bad", json!("eighty")),
        service("also-good", json!(65536)),
    ]});
    let list: kube::api::ObjectList<Read<Service>> =
        serde_json::from_str(&list.to_string()).expect("the list itself is fine");
    let changes: Vec<_> = list
        .items
        .into_iter()
        .map(|item| change(Event::Apply(item)))
        .collect();
    let [
        Change::Applied(_),
        Change::Unreadable { name: bad, error },
        Change::Applied(_),
    ] = &changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!(*bad, name("default", "bad"));
    assert!(error.contains("eighty"), "{error}");
}

#[test]
fn an_unreadable_object_keeps_the_version_that_a_watch_goes_on_from() {
    // The type comes first, as in every API server, which are all Go's.
    let line = r#"{"type":"ADDED","object":{"metadata":
        {"namespace": "n", "name": "x", "resourceVersion": "7", "labels": 3}}}"#;
    let event: kube::api::WatchEvent<Read<Service>> = serde_json::from_str(line).expect("read");
    let kube::api::WatchEvent::Added(object) = event else {
        panic!("{event:?}");
    };
    assert!(matches!(object, Read::Unreadable { .. }), "{object:?}");
    assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
    assert_eq!(object.name(), name("n", "x"));
}
