//! Lists, selectors, dry runs, preconditions, strict validation and bad bodies.

use super::{CONFIG_MAPS, JSON, JSON_PATCH, Row, SERVICES, WEB, map, two_maps, web};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const BARE: &str = r#"{"ports":[{"port":80}]}"#;

pub(super) fn rows() -> Vec<Row> {
    [reads(), tables(), deletions(), bodies(), headers(), paths()].concat()
}

fn reads() -> Vec<Row> {
    let list = |name, query: &str| two_maps(name).get(&format!("{CONFIG_MAPS}?{query}"));
    vec![
        list("list/all", ""),
        list("list/label", "labelSelector=app%3Dx"),
        list("list/label_in", "labelSelector=app+in+(x,y),app!=y"),
        list("list/label_missing", "labelSelector=!app"),
        list("list/label_bad", "labelSelector=app+in").answers(400, "BadRequest"),
        list("list/field_name", "fieldSelector=metadata.name%3Db"),
        list("list/field_name_not", "fieldSelector=metadata.name!%3Db"),
        list("list/field_unknown", "fieldSelector=data.a%3Db").answers(400, "BadRequest"),
        // Version 0 would do, too, but then a real server may answer from a cache that is behind.
        list("list/version_not_older_than", "resourceVersion=$RV&resourceVersionMatch=NotOlderThan"),
        list("list/version_text", "resourceVersion=abc").answers(400, "BadRequest"),
        list("list/match_without_version", "resourceVersionMatch=Exact").answers(422, "Invalid"),
        list("list/initial_events_without_watch", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan").answers(422, "Invalid"),
        Row::new("list/service_cluster_ip")
            .web(BARE)
            .post(SERVICES, r#"{"metadata":{"name":"h"},"spec":{"clusterIP":"None"}}"#)
            .get(&format!("{SERVICES}?fieldSelector=spec.clusterIP!%3DNone&labelSelector=!service.kubernetes.io/service-proxy-name")),
        Row::new("list/service_type").web(BARE).get(&format!("{SERVICES}?fieldSelector=spec.type%3DNodePort")),
        Row::new("list/service_field_unknown").get(&format!("{SERVICES}?fieldSelector=spec.ports%3D1")).answers(400, "BadRequest"),
        two_maps("list/partial_metadata")
            .get_as(CONFIG_MAPS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        Row::new("list/not_acceptable").get_as(CONFIG_MAPS, "text/html").answers(406, "NotAcceptable"),
        Row::new("get/missing").get(WEB).answers(404, "NotFound"),
    ]
}

/// What `kubectl get` asks for and prints.
fn tables() -> Vec<Row> {
    let load_balancer = r#"{"type":"LoadBalancer","selector":{"a":"b","c":"d"},"externalIPs":["192.0.2.7"],"ports":[{"name":"a","port":80},{"name":"b","port":81,"protocol":"UDP"}]}"#;
    let slice = r#"{"metadata":{"name":"s"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"]},{"addresses":["10.0.0.3"]},{"addresses":["10.0.0.4"]}],"ports":[{"name":"a","port":8080},{"name":"b"}]}"#;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}"#;
    let node = r#"{"metadata":{"name":"$NS","labels":{"node-role.kubernetes.io/worker":""}},"spec":{"unschedulable":true},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready","status":"True"}]}}"#;
    vec![
        Row::new("table/load_balancer")
            .web(load_balancer)
            .get_as(SERVICES, TABLE),
        Row::new("table/external_name")
            .web(r#"{"type":"ExternalName","externalName":"a.example"}"#)
            .get_as(SERVICES, TABLE),
        Row::new("table/headless")
            .web(r#"{"clusterIP":"None"}"#)
            .get_as(SERVICES, TABLE),
        Row::new("table/slice")
            .post(super::SLICES, slice)
            .get_as(super::SLICES, TABLE),
        Row::new("table/pod")
            .post(super::PODS, pod)
            .get_as(super::PODS, TABLE),
        Row::new("table/node")
            .post("/api/v1/nodes", node)
            .get_as("/api/v1/nodes/$NS", TABLE),
        Row::new("table/lease")
            .post(
                super::LEASES,
                r#"{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}"#,
            )
            .get_as(super::LEASES, TABLE),
        two_maps("table/config_maps").get_as(CONFIG_MAPS, TABLE),
        Row::new("table/namespace").get_as("/api/v1/namespaces/$NS", TABLE),
        Row::new("table/empty").get_as(CONFIG_MAPS, TABLE),
        two_maps("table/watch").get_as(
            &format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Da"),
            TABLE,
        ),
    ]
}

fn deletions() -> Vec<Row> {
    let one = format!("{CONFIG_MAPS}/a");
    let made = |name| Row::new(name).post(CONFIG_MAPS, &map("a", "x"));
    vec![
        made("delete/status").delete(&one, ""),
        made("delete/missing")
            .delete(&format!("{CONFIG_MAPS}/z"), "")
            .answers(404, "NotFound"),
        Row::new("delete/service").web(BARE).delete(WEB, ""),
        made("delete/uid").delete(&one, r#"{"preconditions":{"uid":"$UID"}}"#),
        made("delete/other_uid")
            .delete(
                &one,
                r#"{"preconditions":{"uid":"b8b8a7a0-0000-4000-8000-000000000000"}}"#,
            )
            .answers(409, "Conflict"),
        made("delete/other_version")
            .delete(&one, r#"{"preconditions":{"resourceVersion":"1"}}"#)
            .answers(409, "Conflict"),
        made("delete/dry_run")
            .delete(&format!("{one}?dryRun=All"), "")
            .get(&one),
        made("delete/dry_run_in_body")
            .delete(&one, r#"{"dryRun":["All"]}"#)
            .get(&one),
        made("delete/dry_run_value")
            .delete(&one, r#"{"dryRun":["Some"]}"#)
            .answers(422, "Invalid"),
        two_maps("delete/collection").delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), ""),
        two_maps("delete/collection_leaves_others")
            .delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), "")
            .get(CONFIG_MAPS),
        Row::new("dry_run/create")
            .post(&format!("{SERVICES}?dryRun=All"), &web(BARE))
            .answers(201, ""),
        Row::new("dry_run/create_is_not_stored")
            .post(&format!("{SERVICES}?dryRun=All"), &web(BARE))
            .get(WEB)
            .answers(404, "NotFound"),
        Row::new("dry_run/update")
            .web(BARE)
            .put(
                &format!("{WEB}?dryRun=All"),
                &web(r#"{"type":"NodePort","ports":[{"port":80}]}"#),
            )
            .get(WEB),
        Row::new("dry_run/value")
            .post(&format!("{SERVICES}?dryRun=Some"), &web(BARE))
            .answers(422, "Invalid"),
    ]
}

fn bodies() -> Vec<Row> {
    let post = |name, body: &str| Row::new(name).post(SERVICES, body);
    let strict =
        |name, body: &str| Row::new(name).post(&format!("{SERVICES}?fieldValidation=Strict"), body);
    vec![
        post("body/empty", "").answers(400, "BadRequest"),
        post("body/not_json", "nonsense").answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        post("body/cut_off", r#"{"metadata":{"name":"#).answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        post("body/list", "[]").answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        post("body/wrong_type", r#"{"metadata":{"name":"web"},"spec":{"ports":[{"port":"http"}]}}"#).answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        post("body/wrong_kind", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"}}"#).answers(400, "BadRequest"),
        post("body/wrong_version", r#"{"apiVersion":"v2","kind":"Service","metadata":{"name":"web"}}"#).answers(400, "BadRequest"),
        post("body/unknown_field_dropped", r#"{"metadata":{"name":"web"},"spec":{"color":"red","ports":[{"port":80}]}}"#).answers(201, ""),
        post("body/deep", &"[".repeat(200_000)).answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        strict("body/strict/unknown", r#"{"metadata":{"name":"web"},"spec":{"color":"red","ports":[{"port":80,"size":1}]}}"#).answers(400, "BadRequest"),
        strict("body/strict/duplicate", r#"{"metadata":{"name":"web"},"spec":{"type":"NodePort","type":"ClusterIP","ports":[{"port":80}]}}"#).answers(400, "BadRequest"),
        strict("body/strict/good", &web(BARE)).answers(201, ""),
        Row::new("body/validation_value").post(&format!("{SERVICES}?fieldValidation=Loose"), &web(BARE)).answers(422, "Invalid"),
        Row::new("body/yaml")
            .send("POST", SERVICES, "application/yaml", "metadata: {name: web}\nspec:\n  ports:\n  - port: 80\n")
            .answers(201, ""),
        Row::new("body/media_type").send("POST", SERVICES, "text/plain", "x").answers(415, "UnsupportedMediaType"),
        Row::new("body/too_large")
            .post(CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"c"}},"data":{{"k":"{}"}}}}"#, "x".repeat(3 << 20)))
            .answers(413, "RequestEntityTooLarge"),
        Row::new("body/huge_number").post(SERVICES, r#"{"metadata":{"name":"web"},"spec":{"ports":[{"port":99999999999}]}}"#).answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
    ]
}

/// Warnings and content types, which are compared for every step of every row.
fn headers() -> Vec<Row> {
    let many: Vec<String> = (0..150)
        .map(|n| format!("\"{}{n}\":1", "f".repeat(300)))
        .collect();
    let many = format!(r#"{{"metadata":{{"name":"c"}},{}}}"#, many.join(","));
    let beta = "/apis/networking.k8s.io/v1beta1/servicecidrs/kubernetes";
    vec![
        Row::new("warning/unknown_and_duplicate")
            .post(
                CONFIG_MAPS,
                r#"{"metadata":{"name":"c"},"colour":1,"data":{"a":"b","a":"c"}}"#,
            )
            .answers(201, ""),
        Row::new("warning/ignored")
            .post(
                &format!("{CONFIG_MAPS}?fieldValidation=Ignore"),
                r#"{"metadata":{"name":"c"},"colour":1}"#,
            )
            .answers(201, ""),
        Row::new("warning/too_many")
            .post(CONFIG_MAPS, &many)
            .answers(201, ""),
        Row::new("warning/not_ascii")
            .post(CONFIG_MAPS, r#"{"metadata":{"name":"c"},"größe\"":1}"#)
            .answers(201, ""),
        Row::new("accept/protobuf")
            .get_as(
                "/api/v1/namespaces/$NS",
                "application/vnd.kubernetes.protobuf",
            )
            .differs(
                200,
                "",
                "answers are always JSON, which clients recognise by the Content-Type",
            ),
        Row::new("accept/protobuf_or_json")
            .get_as(
                "/api/v1/namespaces/$NS",
                "application/vnd.kubernetes.protobuf,application/json",
            )
            .differs(
                200,
                "",
                "answers are always JSON, which clients recognise by the Content-Type",
            ),
        Row::new("service_cidr/beta").get(beta).differs(
            404,
            "NotFound",
            "1.36 serves v1beta1 only on demand",
        ),
        Row::new("version")
            .get("/version")
            .differs(200, "", "the build is another one"),
        Row::new("discovery/core")
            .get("/api/v1")
            .differs(200, "", "fewer resources are served"),
        Row::new("discovery/slices").get("/apis/discovery.k8s.io/v1"),
        Row::new("discovery/leases").get("/apis/coordination.k8s.io/v1"),
        Row::new("discovery/events").get("/apis/events.k8s.io/v1"),
        Row::new("discovery/groups")
            .get("/apis")
            .differs(200, "", "fewer groups are served"),
        Row::new("openapi").get("/openapi/v3").differs(
            200,
            "",
            "only what kubectl needs is served",
        ),
        Row::new("health").get("/readyz"),
        Row::new("option/limit")
            .get(&format!("{CONFIG_MAPS}?limit=x"))
            .answers(400, "BadRequest"),
        Row::new("option/timeout")
            .get(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=abc"))
            .answers(400, "BadRequest"),
        Row::new("option/timeout_empty")
            .get(&format!("{CONFIG_MAPS}?timeoutSeconds="))
            .answers(400, "BadRequest"),
        Row::new("option/timeout_too_large")
            .get(&format!(
                "{CONFIG_MAPS}?timeoutSeconds=99999999999999999999"
            ))
            .answers(400, "BadRequest"),
        Row::new("option/grace")
            .post(CONFIG_MAPS, &map("c", "x"))
            .delete(&format!("{CONFIG_MAPS}/c?gracePeriodSeconds=x"), "")
            .answers(400, "BadRequest"),
        Row::new("service/kubelet_port_of_a_load_balancer")
            .web(r#"{"type":"LoadBalancer","ports":[{"port":10250}]}"#)
            .answers(201, ""),
        Row::new("patch/copies")
            .post(CONFIG_MAPS, &map("c", "x"))
            .patch(&format!("{CONFIG_MAPS}/c"), JSON_PATCH, &copies())
            .answers(422, "Invalid"),
        Row::new("patch/move_into_itself")
            .post(CONFIG_MAPS, &map("c", "x"))
            .patch(
                &format!("{CONFIG_MAPS}/c"),
                JSON_PATCH,
                r#"[{"op":"add","path":"/a","value":{}},{"op":"move","from":"/a","path":"/b/c"}]"#,
            )
            .answers(422, "Invalid"),
    ]
}

/// A JSON patch whose result would have a hundred million fields.
fn copies() -> String {
    let copies: Vec<String> = (0..20)
        .map(|n| format!(r#"{{"op":"copy","from":"/data","path":"/data/c{n}"}}"#))
        .collect();
    format!(
        r#"[{{"op":"add","path":"/data","value":{{"a":"{}"}}}},{}]"#,
        "x".repeat(100),
        copies.join(",")
    )
}

fn paths() -> Vec<Row> {
    vec![
        Row::new("path/unknown_resource")
            .get("/api/v1/namespaces/$NS/things")
            .answers(404, "NotFound"),
        Row::new("path/unknown_group")
            .get("/apis/example.com/v1/things")
            .answers(404, ""),
        Row::new("path/unknown").get("/nothing").answers(404, ""),
        Row::new("path/unknown_subresource")
            .get(&format!("{WEB}/scale"))
            .answers(404, "NotFound"),
        Row::new("path/status_of_slice")
            .get("/apis/discovery.k8s.io/v1/namespaces/$NS/endpointslices/s/status")
            .answers(404, "NotFound"),
        Row::new("path/post_to_item")
            .send("POST", WEB, JSON, "{}")
            .answers(405, "MethodNotAllowed"),
        Row::new("path/put_to_collection")
            .send("PUT", SERVICES, JSON, "{}")
            .answers(405, "MethodNotAllowed"),
        Row::new("path/post_to_all_namespaces")
            .send("POST", "/api/v1/services", JSON, "{}")
            .answers(405, "MethodNotAllowed"),
        Row::new("path/delete_all_namespaces")
            .send("DELETE", "/api/v1/namespaces", JSON, "")
            .answers(405, "MethodNotAllowed"),
        Row::new("list/service_cidrs")
            .get("/apis/networking.k8s.io/v1/servicecidrs?fieldSelector=metadata.name%3Dnone"),
    ]
}
