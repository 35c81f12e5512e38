//! Lists, watches, selectors, dry runs, preconditions, strict validation and bad bodies.

use super::{CONFIG_MAPS, JSON, Row, SERVICES, STRATEGIC, WEB, web};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const BARE: &str = r#"{"ports":[{"port":80}]}"#;

pub(super) fn rows() -> Vec<Row> {
    [reads(), tables(), watches(), deletions(), bodies(), paths()].concat()
}

fn map(name: &str, label: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{label}"}}}}}}"#)
}

fn two_maps(name: &'static str) -> Row {
    Row::new(name)
        .post(CONFIG_MAPS, &map("a", "x"))
        .post(CONFIG_MAPS, &map("b", "y"))
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

fn watches() -> Vec<Row> {
    let watch = |query: &str| format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&{query}");
    vec![
        two_maps("watch/from_nothing").get(&watch("")),
        two_maps("watch/from_version").get(&watch("resourceVersion=$RV")),
        Row::new("watch/replays_after_version")
            .post(CONFIG_MAPS, &map("a", "x"))
            .get(&format!("{CONFIG_MAPS}/a"))
            .get(&watch("resourceVersion=$RV&labelSelector=app%3Dz"))
            .post(CONFIG_MAPS, &map("b", "y"))
            .get(&watch("resourceVersion=$RV")),
        Row::new("watch/modified_and_deleted")
            .post(CONFIG_MAPS, &map("a", "x"))
            // The version of this one is what the watch starts from.
            .get(&format!("{CONFIG_MAPS}/a"))
            .patch(&format!("{CONFIG_MAPS}/a"), STRATEGIC, r#"{"data":{"k":"v"}}"#)
            .get(&watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")),
        two_maps("watch/list_with_bookmark")
            .get(&watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=app%3Dx")),
        two_maps("watch/one_name").get(&watch("fieldSelector=metadata.name%3Da")),
        two_maps("watch/initial_events_without_match").get(&watch("sendInitialEvents=true")).answers(422, "Invalid"),
        two_maps("watch/match_without_initial_events").get(&watch("resourceVersion=0&resourceVersionMatch=NotOlderThan")).answers(422, "Invalid"),
        two_maps("watch/initial_events_of_the_future").get(&watch(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=9000000000000000000",
        )),
        two_maps("watch/expired").get(&watch("resourceVersion=1")).differs(
            "a young real server still has its first version, the embedded one starts at a later one",
        ),
        two_maps("watch/version_text").get(&watch("resourceVersion=abc")).answers(500, ""),
        two_maps("watch/partial_metadata").get_as(
            &watch("fieldSelector=metadata.name%3Da"),
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
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
