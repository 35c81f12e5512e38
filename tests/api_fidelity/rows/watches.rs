//! Watches: where they start, what they send of each change, and how they end.

use super::{CONFIG_MAPS, MERGE, Row, map, two_maps};

pub(super) fn rows() -> Vec<Row> {
    [starts(), changes(), refusals()].concat()
}

fn watch(query: &str) -> String {
    format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&{query}")
}

const LIST: &str =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

fn starts() -> Vec<Row> {
    vec![
        two_maps("watch/from_nothing").get(&watch("")),
        two_maps("watch/from_nothing_with_bookmarks").get(&watch("allowWatchBookmarks=true")),
        two_maps("watch/from_zero_with_bookmarks")
            .get(&watch("resourceVersion=0&allowWatchBookmarks=true")),
        two_maps("watch/from_the_last_version").get(&watch("resourceVersion=$RV")),
        two_maps("watch/list_with_bookmark").get(&watch(&format!("{LIST}&labelSelector=app%3Dx"))),
        two_maps("watch/list_without_bookmark").get(&watch(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        )),
        two_maps("watch/without_initial_events").get(&watch(
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        )),
        two_maps("watch/one_name").get(&watch("fieldSelector=metadata.name%3Da")),
        two_maps("watch/partial_metadata").get_as(
            &watch("fieldSelector=metadata.name%3Da"),
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
    ]
}

/// Everything after the version `first`, which is that of an object that nobody watches.
fn changes() -> Vec<Row> {
    let a = &format!("{CONFIG_MAPS}/a");
    let from = |query: &str| watch(&format!("resourceVersion=$RV:first&{query}"));
    let row = |name| {
        Row::new(name)
            .post(CONFIG_MAPS, &map("start", "start"))
            .keep("first")
    };
    let label = |value: &str| format!(r#"{{"metadata":{{"labels":{{"app":"{value}"}}}}}}"#);
    let changed = |name| {
        row(name)
            .post(CONFIG_MAPS, &map("a", "x"))
            .patch(a, MERGE, r#"{"data":{"k":"v"}}"#)
            .patch(a, MERGE, &label("y"))
            .patch(a, MERGE, r#"{"data":{"k":"w"}}"#)
            .patch(a, MERGE, &label("x"))
            .delete(a, "")
    };
    let in_both =
        |name: &str| format!(r#"{{"metadata":{{"name":"{name}","labels":{{"row":"$NS"}}}}}}"#);
    let other = "/api/v1/namespaces/$NS-z/configmaps";
    vec![
        changed("watch/changes").get(&from("")),
        changed("watch/changes_of_a_selection").get(&from("labelSelector=app%3Dx")),
        changed("watch/changes_outside_of_a_selection").get(&from("labelSelector=app%3Dz")),
        changed("watch/changes_of_another_name").get(&from("fieldSelector=metadata.name%3Db")),
        changed("watch/changes_of_one_name").get(&from("fieldSelector=metadata.name%3Da")),
        changed("watch/changes_as_metadata").get_as(
            &from("labelSelector=app%3Dx"),
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
        row("watch/deletion_has_a_new_version")
            .post(CONFIG_MAPS, &map("a", "x"))
            .keep("made")
            .delete(a, "")
            .get(&watch("resourceVersion=$RV:made")),
        row("watch/deletion_with_finalizer")
            .post(CONFIG_MAPS, r#"{"metadata":{"name":"a","finalizers":["a.example/b"]}}"#)
            .delete(a, "")
            .patch(a, MERGE, r#"{"metadata":{"finalizers":null}}"#)
            .get(&from("")),
        row("watch/unchanged_is_no_event")
            .post(CONFIG_MAPS, &map("a", "x"))
            .patch(a, MERGE, &label("x"))
            .get(&from("")),
        row("watch/order_across_namespaces")
            .post("/api/v1/namespaces", r#"{"metadata":{"name":"$NS-z"}}"#)
            .post(other, &in_both("a"))
            .post(CONFIG_MAPS, &in_both("b"))
            .patch(&format!("{other}/a"), MERGE, r#"{"data":{"k":"v"}}"#)
            .post(CONFIG_MAPS, &in_both("a"))
            .delete(&format!("{CONFIG_MAPS}/b"), "")
            .get("/api/v1/configmaps?watch=true&timeoutSeconds=1&resourceVersion=$RV:first&labelSelector=row%3D$NS"),
        row("watch/first_state_across_namespaces")
            .post("/api/v1/namespaces", r#"{"metadata":{"name":"$NS-z"}}"#)
            .post(other, &in_both("a"))
            .post(CONFIG_MAPS, &in_both("b"))
            .post(CONFIG_MAPS, &in_both("a"))
            .get(&format!("/api/v1/configmaps?watch=true&timeoutSeconds=1&{LIST}&labelSelector=row%3D$NS")),
    ]
}

fn refusals() -> Vec<Row> {
    vec![
        two_maps("watch/initial_events_without_match")
            .get(&watch("sendInitialEvents=true"))
            .answers(422, "Invalid"),
        two_maps("watch/initial_events_with_exact")
            .get(&watch("sendInitialEvents=true&resourceVersion=1&resourceVersionMatch=Exact"))
            .answers(422, "Invalid"),
        two_maps("watch/match_without_initial_events")
            .get(&watch("resourceVersion=0&resourceVersionMatch=NotOlderThan"))
            .answers(422, "Invalid"),
        two_maps("watch/initial_events_of_the_future").get(&watch(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=9000000000000000000",
        )).answers(200, "ERROR 504 Timeout"),
        // An error inside of the stream, with HTTP code 200.
        two_maps("watch/expired")
            .get(&watch("resourceVersion=1"))
            .answers(200, "ERROR 410 Expired")
            .differs(
                200,
                "",
                "a young real server still has its first version, the embedded one starts at a later one",
            ),
        two_maps("watch/version_text")
            .get(&watch("resourceVersion=abc"))
            .answers(500, ""),
    ]
}
