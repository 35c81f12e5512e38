//! The four kinds of patch, on Services, EndpointSlices and Nodes.

use super::{APPLY, CONFIG_MAPS, JSON, JSON_PATCH, MERGE, Row, SLICES, STRATEGIC, WEB};

const TWO_PORTS: &str =
    r#"{"type":"NodePort","ports":[{"name":"a","port":80},{"name":"b","port":81}]}"#;

pub(super) fn rows() -> Vec<Row> {
    let on_web = |name, content_type, body: &str| {
        Row::new(name).web(TWO_PORTS).patch(WEB, content_type, body)
    };
    let apply = format!("{WEB}?fieldManager=a");
    let mut rows = vec![
        on_web("patch/merge/policy", MERGE, r#"{"spec":{"externalTrafficPolicy":"Local"}}"#),
        on_web("patch/merge/type", MERGE, r#"{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local"}}"#),
        on_web("patch/merge/to_cluster_ip", MERGE, r#"{"spec":{"type":"ClusterIP"}}"#),
        on_web("patch/merge/ports_replaced", MERGE, r#"{"spec":{"ports":[{"name":"a","port":80}]}}"#),
        on_web("patch/merge/null", MERGE, r#"{"spec":{"externalTrafficPolicy":null}}"#),
        on_web("patch/merge/labels", MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#),
        on_web("patch/merge/nothing", MERGE, "{}"),
        on_web("patch/merge/invalid", MERGE, r#"{"spec":{"externalTrafficPolicy":"Global"}}"#).answers(422, "Invalid"),
        on_web("patch/merge/name", MERGE, r#"{"metadata":{"name":"other"}}"#).answers(400, "BadRequest"),
        on_web("patch/merge/outdated", MERGE, r#"{"metadata":{"resourceVersion":"1"}}"#).answers(409, "Conflict"),
        on_web("patch/strategic/port_merged", STRATEGIC, r#"{"spec":{"ports":[{"port":81,"targetPort":8081}]}}"#),
        on_web("patch/strategic/port_added", STRATEGIC, r#"{"spec":{"ports":[{"name":"c","port":82}]}}"#),
        on_web("patch/strategic/port_deleted", STRATEGIC, r#"{"spec":{"ports":[{"port":80,"$patch":"delete"}]}}"#),
        on_web("patch/strategic/ports_replaced", STRATEGIC, r#"{"spec":{"ports":[{"$patch":"replace"},{"name":"z","port":90}]}}"#),
        on_web("patch/strategic/order", STRATEGIC, r#"{"spec":{"$setElementOrder/ports":[{"port":81},{"port":80}],"ports":[{"port":81},{"port":80}]}}"#),
        on_web("patch/strategic/replace_map", STRATEGIC, r#"{"spec":{"selector":{"$patch":"replace","a":"b"}}}"#),
        on_web("patch/strategic/no_key", STRATEGIC, r#"{"spec":{"ports":[{"name":"c"}]}}"#).answers(500, ""),
        on_web("patch/json/replace", JSON_PATCH, r#"[{"op":"replace","path":"/spec/ports/0/port","value":8080}]"#),
        on_web("patch/json/add_remove", JSON_PATCH, r#"[{"op":"add","path":"/spec/selector","value":{"a":"b"}},{"op":"remove","path":"/spec/ports/1"}]"#),
        on_web("patch/json/test_fails", JSON_PATCH, r#"[{"op":"test","path":"/spec/type","value":"ClusterIP"}]"#).answers(422, "Invalid"),
        on_web("patch/json/missing_path", JSON_PATCH, r#"[{"op":"remove","path":"/spec/nothing"}]"#).answers(422, "Invalid"),
        on_web("patch/json/not_a_list", JSON_PATCH, r#"{"op":"remove"}"#).answers(400, "BadRequest"),
        on_web("patch/merge/not_json", MERGE, "nonsense").answers(400, "BadRequest").differs_in_words("the words are those of Go's decoder"),
        on_web("patch/merge/wrong_type", MERGE, r#"{"spec":{"ports":"many"}}"#).answers(422, "Invalid").differs_in_words("the message quotes the whole object"),
        on_web("patch/unknown_type", JSON, r#"{"spec":{}}"#).answers(415, "UnsupportedMediaType"),
        Row::new("patch/missing").patch(WEB, MERGE, "{}").answers(404, "NotFound"),
        Row::new("patch/merge/unknown_field_strict")
            .web(TWO_PORTS)
            .patch(&format!("{WEB}?fieldValidation=Strict"), MERGE, r#"{"spec":{"color":"red"}}"#)
            .answers(422, "Invalid")
            .differs_in_words("the message quotes the whole object"),
        Row::new("patch/apply/creates")
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]}}"#)
            .answers(201, ""),
        Row::new("patch/apply/yaml")
            .patch(&apply, APPLY, "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n  - port: 80\n")
            .answers(201, ""),
        Row::new("patch/apply/removes_what_it_drops")
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},"spec":{"type":"NodePort","externalTrafficPolicy":"Local","ports":[{"name":"a","port":80},{"name":"b","port":81}]}}"#)
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"NodePort","ports":[{"name":"a","port":80}]}}"#),
        Row::new("patch/apply/tcp_and_udp")
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"name":"a","port":53},{"name":"b","port":53,"protocol":"UDP"}]}}"#)
            .answers(201, ""),
        Row::new("patch/apply/refuse/other_name")
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"other"},"spec":{"ports":[{"port":80}]}}"#)
            .answers(400, "BadRequest"),
        Row::new("patch/apply/refuse/other_name_than_before")
            .web(TWO_PORTS)
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"other"},"spec":{"type":"NodePort"}}"#)
            .answers(400, "BadRequest"),
        Row::new("patch/apply/refuse/no_name")
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{},"spec":{"ports":[{"port":80}]}}"#)
            .answers(400, "BadRequest"),
        Row::new("patch/apply/no_manager")
            .patch(WEB, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]}}"#)
            .answers(422, "Invalid"),
        Row::new("patch/apply/other_manager")
            .web(TWO_PORTS)
            .patch(&apply, APPLY, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"LoadBalancer"}}"#)
            .differs(409, "Conflict", "without managed fields there is no conflict between managers"),
    ];
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    let slice = r#"{"metadata":{"name":"s"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"name":"a","port":80}]}"#;
    let node = r#"{"metadata":{"name":"$NS"},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready","status":"True"}]}}"#;
    let path = "/api/v1/nodes/$NS";
    vec![
        Row::new("patch/slice/strategic_replaces_lists")
            .post(SLICES, slice)
            .patch(&format!("{SLICES}/s"), STRATEGIC, r#"{"endpoints":[{"addresses":["10.0.0.2"],"conditions":{"ready":false}}]}"#),
        Row::new("patch/slice/json_condition")
            .post(SLICES, slice)
            .patch(&format!("{SLICES}/s"), JSON_PATCH, r#"[{"op":"add","path":"/endpoints/0/conditions/terminating","value":true}]"#),
        Row::new("patch/node/condition_merged")
            .post("/api/v1/nodes", node)
            .patch(&format!("{path}/status"), STRATEGIC, r#"{"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"DiskPressure","status":"False"}]}}"#),
        Row::new("patch/node/address_added")
            .post("/api/v1/nodes", node)
            .patch(&format!("{path}/status"), STRATEGIC, r#"{"status":{"addresses":[{"type":"Hostname","address":"n"}]}}"#),
        Row::new("patch/node/unschedulable")
            .post("/api/v1/nodes", node)
            .patch(path, MERGE, r#"{"spec":{"unschedulable":true}}"#),
        Row::new("patch/config_map/merge")
            .post(CONFIG_MAPS, r#"{"metadata":{"name":"c"},"data":{"a":"1","b":"2"}}"#)
            .patch(&format!("{CONFIG_MAPS}/c"), MERGE, r#"{"data":{"a":null,"c":""}}"#),
    ]
}
