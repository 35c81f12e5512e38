//! EndpointSlices, Nodes, Pods, Namespaces, Leases, ConfigMaps, Events and ServiceCIDRs.

use super::{CONFIG_MAPS, LEASES, PODS, Row, SLICES};

pub(super) fn rows() -> Vec<Row> {
    [slices(), nodes(), pods(), others()].concat()
}

fn slices() -> Vec<Row> {
    let one = format!("{SLICES}/s");
    let post = |name, body: &str| {
        Row::new(name).post(SLICES, &format!(r#"{{"metadata":{{"name":"s"}},{body}}}"#))
    };
    let many = format!(
        r#""addressType":"IPv4","endpoints":[{}]"#,
        vec![r#"{"addresses":["10.0.0.1"]}"#; 1001].join(",")
    );
    let good = r#""addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]"#;
    vec![
        post("slice/create", r#""addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"n","zone":"z","hints":{"forZones":[{"name":"z"}]},"targetRef":{"kind":"Pod","name":"p"}}],"ports":[{"name":"http","port":80,"protocol":"TCP","appProtocol":"http"}]"#).answers(201, ""),
        post("slice/create_v6", r#""addressType":"IPv6","endpoints":[{"addresses":["fd00::1"]}],"ports":[{"port":80}]"#).answers(201, ""),
        post("slice/create_empty", r#""addressType":"IPv4","endpoints":[],"ports":[]"#).answers(201, ""),
        post("slice/create_bare", r#""addressType":"IPv4""#).answers(201, ""),
        post("slice/create_fqdn", r#""addressType":"FQDN","endpoints":[{"addresses":["a.example.com"]}]"#).answers(201, ""),
        post("slice/refuse/no_address_type", r#""endpoints":[]"#).answers(422, "Invalid"),
        post("slice/refuse/address_type", r#""addressType":"IP","endpoints":[]"#).answers(422, "Invalid"),
        post("slice/refuse/family", r#""addressType":"IPv4","endpoints":[{"addresses":["fd00::1"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/address_text", r#""addressType":"IPv4","endpoints":[{"addresses":["x"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/leading_zero", r#""addressType":"IPv4","endpoints":[{"addresses":["010.0.0.1"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/loopback", r#""addressType":"IPv4","endpoints":[{"addresses":["127.0.0.1"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/no_address", r#""addressType":"IPv4","endpoints":[{"addresses":[]}]"#).answers(422, "Invalid"),
        post("slice/refuse/too_many", &many).answers(422, "Invalid"),
        post("slice/refuse/port_name", r#""addressType":"IPv4","ports":[{"name":"A_b","port":80}]"#).answers(422, "Invalid"),
        post("slice/refuse/port_names_equal", r#""addressType":"IPv4","ports":[{"name":"a","port":80},{"name":"a","port":81}]"#).answers(422, "Invalid"),
        post("slice/refuse/protocol", r#""addressType":"IPv4","ports":[{"port":80,"protocol":"ICMP"}]"#).answers(422, "Invalid"),
        post("slice/refuse/hostname", r#""addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"hostname":"A_b"}]"#).answers(422, "Invalid"),
        post("slice/refuse/node_name", r#""addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"nodeName":"A_b"}]"#).answers(422, "Invalid"),
        post("slice/update", good).put(&one, r#"{"metadata":{"name":"s"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.2"]}]}"#),
        post("slice/update_unchanged", good).put(&one, &format!(r#"{{"metadata":{{"name":"s"}},{good}}}"#)),
        post("slice/update_labels", good).put(&one, &format!(r#"{{"metadata":{{"name":"s","labels":{{"a":"b"}}}},{good}}}"#)),
        post("slice/refuse/address_type_changed", r#""addressType":"IPv4""#).put(&one, r#"{"metadata":{"name":"s"},"addressType":"IPv6"}"#).answers(422, "Invalid"),
        post("slice/refuse/v4_in_v6", r#""addressType":"IPv6","endpoints":[{"addresses":["10.0.0.1"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/mapped_address", r#""addressType":"IPv6","endpoints":[{"addresses":["::ffff:10.0.0.1"]}]"#).answers(422, "Invalid"),
        post("slice/refuse/hints", r#""addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"hints":{"forZones":[{"name":"a"},{"name":"a"}]}}]"#).answers(422, "Invalid"),
        post("slice/port_is_not_checked", r#""addressType":"IPv4","ports":[{"port":70000}]"#).answers(201, ""),
        post("slice/delete", good).delete(&one, ""),
    ]
}

fn nodes() -> Vec<Row> {
    let nodes = "/api/v1/nodes";
    let one = "/api/v1/nodes/$NS";
    let post = |name, rest: &str| {
        Row::new(name).post(nodes, &format!(r#"{{"metadata":{{"name":"$NS"}}{rest}}}"#))
    };
    vec![
        post("node/create", r#","spec":{"podCIDR":"10.244.0.0/24"},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready","status":"True"}]}"#)
            .answers(201, ""),
        post("node/create_bare", "").answers(201, ""),
        post("node/refuse/pod_cidr", r#","spec":{"podCIDR":"10.244.0.0","podCIDRs":["10.244.0.0"]}"#).answers(422, "Invalid"),
        post("node/refuse/pod_cidrs_of_one_family", r#","spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24","10.244.1.0/24"]}"#).answers(422, "Invalid"),
        post("node/refuse/taint_effect", r#","spec":{"taints":[{"key":"a","effect":"Never"}]}"#).answers(422, "Invalid"),
        Row::new("node/refuse/name").post(nodes, r#"{"metadata":{"name":"A_b"}}"#).answers(422, "Invalid"),
        post("node/refuse/pod_cidr_changed", r#","spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24"]}"#)
            .put(one, r#"{"metadata":{"name":"$NS"},"spec":{"podCIDR":"10.244.9.0/24","podCIDRs":["10.244.9.0/24"]}}"#)
            .answers(422, "Invalid"),
        post("node/delete", "").delete(one, ""),
        post("node/refuse/missing_put", "").delete(one, "").put(one, r#"{"metadata":{"name":"$NS"}}"#).answers(404, "NotFound"),
    ]
}

fn pods() -> Vec<Row> {
    let one = format!("{PODS}/p");
    let pod = |spec: &str| format!(r#"{{"metadata":{{"name":"p"}},"spec":{spec}}}"#);
    let bare = r#"{"containers":[{"name":"c","image":"i"}]}"#;
    let on_node = r#"{"nodeName":"n","containers":[{"name":"c","image":"i"}]}"#;
    let post = |name, spec: &str| Row::new(name).post(PODS, &pod(spec));
    vec![
        post("pod/create", r#"{"nodeName":"n","containers":[{"name":"c","image":"i:1","ports":[{"containerPort":80}]}]}"#).answers(201, ""),
        post("pod/create_host_network", r#"{"hostNetwork":true,"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"name":"http"}]}]}"#).answers(201, ""),
        post("pod/refuse/no_containers", r#"{"containers":[]}"#).answers(422, "Invalid"),
        post("pod/refuse/container_name", r#"{"containers":[{"image":"i"}]}"#).answers(422, "Invalid"),
        post("pod/refuse/container_port", r#"{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}]}]}"#).answers(422, "Invalid"),
        post("pod/refuse/restart_policy", r#"{"restartPolicy":"Maybe","containers":[{"name":"c","image":"i"}]}"#).answers(422, "Invalid"),
        post("pod/status", on_node).put(&format!("{one}/status"), r#"{"metadata":{"name":"p"},"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True"}]}}"#),
        post("pod/refuse/node_changed", on_node)
            .put(&one, &pod(r#"{"nodeName":"m","containers":[{"name":"c","image":"i"}]}"#))
            .answers(422, "Invalid")
            .differs_in_words("upstream adds a diff of its internal types to the message"),
        post("pod/delete_unscheduled", bare).delete(&one, ""),
        post("pod/delete_gracefully", on_node).delete(&one, ""),
        post("pod/delete_now", on_node).delete(&format!("{one}?gracePeriodSeconds=0"), "").get(&one).answers(404, "NotFound"),
        post("pod/delete_twice", on_node).delete(&one, "").delete(&one, r#"{"gracePeriodSeconds":0}"#).get(&one).answers(404, "NotFound"),
    ]
}

/// A ConfigMap whose values have this many bytes.
fn sized(bytes: usize) -> String {
    format!(
        r#"{{"metadata":{{"name":"c"}},"data":{{"k":"{}"}},"binaryData":{{"b":"eHg="}}}}"#,
        "x".repeat(bytes - 2)
    )
}

fn owned(name: &'static str, owners: &str) -> Row {
    Row::new(name).post(
        CONFIG_MAPS,
        &format!(r#"{{"metadata":{{"name":"c","ownerReferences":[{owners}]}}}}"#),
    )
}

fn others() -> Vec<Row> {
    let event = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Node","name":"n","namespace":"$NS"},"reason":"Started","message":"hi","type":"Normal"}"#;
    let new_event = r#"{"metadata":{"name":"e"},"regarding":{"kind":"Node","name":"n","namespace":"$NS"},"reason":"Started","note":"hi","type":"Normal","action":"Start","eventTime":"2026-01-01T00:00:00.000000Z","reportingController":"kube-proxy","reportingInstance":"n"}"#;
    let events = "/api/v1/namespaces/$NS/events";
    let new_events = "/apis/events.k8s.io/v1/namespaces/$NS/events";
    let lease = format!("{LEASES}/l");
    let map = format!("{CONFIG_MAPS}/c");
    vec![
        Row::new("namespace/create").post("/api/v1/namespaces", r#"{"metadata":{"name":"$NS-two"}}"#).answers(201, ""),
        Row::new("namespace/refuse/name").post("/api/v1/namespaces", r#"{"metadata":{"name":"a.b"}}"#).answers(422, "Invalid"),
        Row::new("namespace/refuse/permanent").delete("/api/v1/namespaces/default", "").answers(403, "Forbidden"),
        Row::new("namespace/refuse/missing").post("/api/v1/namespaces/nowhere/configmaps", r#"{"metadata":{"name":"c"}}"#).answers(404, "NotFound"),
        Row::new("namespace/refuse/other_in_body").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","namespace":"other"}}"#).answers(400, "BadRequest"),
        Row::new("namespace/delete").delete("/api/v1/namespaces/$NS", ""),
        Row::new("lease/create").post(LEASES, r#"{"metadata":{"name":"l"},"spec":{"holderIdentity":"me","leaseDurationSeconds":15,"acquireTime":"2026-01-01T00:00:00.000000Z"}}"#).answers(201, ""),
        Row::new("lease/refuse/duration").post(LEASES, r#"{"metadata":{"name":"l"},"spec":{"leaseDurationSeconds":0}}"#).answers(422, "Invalid"),
        Row::new("lease/refuse/put_without_version").post(LEASES, r#"{"metadata":{"name":"l"}}"#).put(&lease, r#"{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}"#).answers(422, "Invalid"),
        Row::new("lease/renew").post(LEASES, r#"{"metadata":{"name":"l"}}"#).put(&lease, r#"{"metadata":{"name":"l","resourceVersion":"$RV"},"spec":{"holderIdentity":"me"}}"#),
        Row::new("config_map/create").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","labels":{"a":""}},"data":{"k":"","l":"v"}}"#).answers(201, ""),
        Row::new("config_map/generate_name").post(CONFIG_MAPS, r#"{"metadata":{"generateName":"c-"}}"#).answers(201, ""),
        Row::new("config_map/refuse/no_name").post(CONFIG_MAPS, r#"{"data":{"a":"b"}}"#).answers(422, "Invalid"),
        Row::new("config_map/refuse/key").post(CONFIG_MAPS, r#"{"metadata":{"name":"c"},"data":{"a b":"c"}}"#).answers(422, "Invalid"),
        Row::new("config_map/refuse/label").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","labels":{"a b":"c d"}}}"#).answers(422, "Invalid"),
        Row::new("config_map/refuse/annotation").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","annotations":{"a b":"c d"}}}"#).answers(422, "Invalid"),
        Row::new("config_map/refuse/immutable").post(CONFIG_MAPS, r#"{"metadata":{"name":"c"},"immutable":true,"data":{"a":"b"}}"#).put(&map, r#"{"metadata":{"name":"c"},"immutable":true,"data":{"a":"c"}}"#).answers(422, "Invalid"),
        Row::new("config_map/refuse/version_on_create").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","resourceVersion":"7"}}"#).answers(500, ""),
        Row::new("config_map/finalizer_holds").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","finalizers":["a.example/b"]}}"#).delete(&map, "").get(&map),
        Row::new("config_map/finalizer_removed").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","finalizers":["a.example/b"]}}"#).delete(&map, "").put(&map, r#"{"metadata":{"name":"c"}}"#).get(&map).answers(404, "NotFound"),
        Row::new("config_map/size").post(CONFIG_MAPS, &sized(1 << 20)).answers(201, ""),
        Row::new("config_map/refuse/size").post(CONFIG_MAPS, &sized((1 << 20) + 1)).answers(422, "Invalid"),
        Row::new("config_map/refuse/new_finalizer").post(CONFIG_MAPS, r#"{"metadata":{"name":"c","finalizers":["a.example/b"]}}"#).delete(&map, "")
            .put(&map, r#"{"metadata":{"name":"c","finalizers":["a.example/b","a.example/d","a.example/c"]}}"#).answers(422, "Invalid"),
        owned("owner/good", r#"{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true}"#).answers(201, ""),
        owned("owner/refuse/empty", r#"{"apiVersion":"","kind":"","name":"","uid":""}"#).answers(422, "Invalid"),
        owned("owner/refuse/version", r#"{"apiVersion":"a/b/c","kind":"Pod","name":"p","uid":"u"}"#).answers(422, "Invalid"),
        owned("owner/refuse/event", r#"{"apiVersion":"v1","kind":"Event","name":"e","uid":"u"}"#).answers(422, "Invalid"),
        owned("owner/refuse/two_controllers", r#"{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true},{"apiVersion":"v1","kind":"Pod","name":"q","uid":"v","controller":true,"blockOwnerDeletion":false}"#).answers(422, "Invalid"),
        Row::new("service_cidr/other_is_not_ready").post("/apis/networking.k8s.io/v1/servicecidrs?dryRun=All", r#"{"metadata":{"name":"$NS"},"spec":{"cidrs":["172.30.0.0/24"]}}"#)
            .answers(201, ""),
        Row::new("event/create").post(events, event).answers(201, ""),
        Row::new("event/read_in_the_new_group").post(events, event).get(&format!("{new_events}/e")),
        Row::new("event/create_in_the_new_group").post(new_events, new_event).answers(201, ""),
        Row::new("event/read_in_the_old_group").post(new_events, new_event).get(&format!("{events}/e")),
        Row::new("event/field_selector").post(events, event).get(&format!("{events}?fieldSelector=involvedObject.name=n,reason=Started")),
        Row::new("service_cidr/get").get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes"),
        Row::new("namespace/merged_labels").send("PATCH", "/api/v1/namespaces/$NS", super::MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#),
        Row::new("event/series").post(new_events, new_event).send("PATCH", &format!("{new_events}/e"), super::STRATEGIC, r#"{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:01.000000Z"}}"#),
        Row::new("event/refuse/other_namespace").post(events, r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Node","name":"n","namespace":"other"}}"#).answers(422, "Invalid"),
        Row::new("service_cidr/refuse").post("/apis/networking.k8s.io/v1/servicecidrs", r#"{"metadata":{"name":"$NS"},"spec":{"cidrs":["10.0.0.0"]}}"#).answers(422, "Invalid"),
    ]
}
