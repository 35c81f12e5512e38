//! What a survey cannot do, it says in one error; and what it asks of an API.

use std::fs;

use onehop_harness::control_plane::kubeconfig;
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::{Ended, Home};
use crate::survey;

#[track_caller]
fn refused(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    for text in texts {
        let times = ended.stderr.matches(text).count();
        assert_eq!(times, 1, "`{text}` is there {times} times: {ended:?}");
    }
    assert_eq!(ended.stderr.matches("onehop: ").count(), 1, "{ended:?}");
}

#[test]
fn no_cluster_is_guessed_and_the_contexts_are_listed() {
    let home = Home::new();
    let mut two: Value = serde_json::from_str(&kubeconfig("http://127.0.0.1:1", None)).unwrap();
    two["contexts"] = json!([
        {"name": "prod", "context": {"cluster": "onehop"}},
        {"name": "test", "context": {"cluster": "onehop"}},
    ]);
    two["current-context"] = json!("prod");
    fs::write(home.path().join("kubeconfig"), two.to_string()).expect("written");
    refused(
        &survey(&home, &[]),
        &["--context", "the kubeconfig has prod, test"],
    );
    let ended = survey(&home, &["--context", "pord"]);
    refused(&ended, &["no context `pord`", "which has prod, test"]);
    // The port is nobody's.
    let ended = survey(&home, &["--context", "prod"]);
    let texts = [
        "context `prod`",
        "failed to list services",
        "Connection refused",
    ];
    refused(&ended, &texts);
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_named() {
    let home = Home::new();
    let ended = survey(&home, &["--context", "onehop"]);
    refused(&ended, &["the kubeconfig ./kubeconfig", "No such file"]);
    fs::write(home.path().join("kubeconfig"), "users: [{token: hush}").expect("written");
    for arguments in [&["--context", "onehop"][..], &[]] {
        let ended = survey(&home, arguments);
        refused(
            &ended,
            &["./kubeconfig is none: its YAML is wrong at line 1"],
        );
        assert!(!ended.stderr.contains("hush"), "{ended:?}");
    }
}

/// A server in place of an API, with a kubeconfig for it.
fn api(
    home: &Home,
    answers: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
) -> Server {
    let server = Server::start(([127, 0, 0, 1], 0).into(), answers);
    let text = kubeconfig(&format!("http://{}", server.address), None);
    fs::write(home.path().join("kubeconfig"), text).expect("written");
    server
}

fn list(items: &[Value], next: Option<&str>) -> String {
    json!({"metadata": {"resourceVersion": "1", "continue": next}, "items": items}).to_string()
}

fn status(code: u16, message: &str) -> Option<(u16, String)> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code});
    Some((code, body.to_string()))
}

#[test]
fn what_is_forbidden_is_named_with_what_is_needed() {
    let home = Home::new();
    let _server = api(&home, |request| {
        if request.contains("/nodes") {
            return status(
                403,
                "nodes is forbidden: User \"ops\" cannot list resource \"nodes\"",
            );
        }
        Some((200, list(&[], None)))
    });
    let ended = survey(&home, &["--context", "onehop"]);
    let texts = [
        "not allowed to list nodes",
        "the verb `list` on services, endpointslices.discovery.k8s.io and nodes",
        "User \"ops\"",
    ];
    refused(&ended, &texts);

    let _server = api(&home, |_| status(401, "Unauthorized"));
    let ended = survey(&home, &["--context", "onehop"]);
    refused(&ended, &["does not accept the credentials of this context"]);

    let _server = api(&home, |_| Some((200, "<html>".to_owned())));
    let ended = survey(&home, &["--context", "onehop"]);
    refused(
        &ended,
        &["failed to list services: the API cannot be reached, or is none"],
    );
}

/// Large lists come in pages; one that outlives the API's history is begun anew. And nothing but lists is asked for.
#[test]
fn lists_are_read_page_by_page_and_nothing_is_written() {
    let home = Home::new();
    let service = |name: &str| {
        json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"type": "NodePort", "externalTrafficPolicy": "Local", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]},
        })
    };
    let (first, second) = (service("first"), service("second"));
    let node = json!({"metadata": {"name": "vm1"}});
    let server = api(&home, move |request| {
        let page = |items: &[Value], next| Some((200, list(items, next)));
        match request.split_whitespace().nth(1).expect("a target") {
            target if target.starts_with("/api/v1/services") && target.contains("continue=2") => {
                page(std::slice::from_ref(&second), None)
            }
            target if target.starts_with("/api/v1/services") => {
                page(std::slice::from_ref(&first), Some("2"))
            }
            target if target.contains("continue=old") => status(410, "Expired"),
            target if target.starts_with("/api/v1/nodes") => {
                let next = target.contains("limit=500").then_some("old");
                page(std::slice::from_ref(&node), next)
            }
            _ => page(&[], None),
        }
    });
    let ended = survey(&home, &["--context", "onehop", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(document["read"], 2);
    let nodes = &document["services"][1]["spreads"][0]["without"]["nodes"];
    assert_eq!(*nodes, json!(["vm1"]));
    let mut requests = server.requests();
    requests.sort();
    let services = "GET /api/v1/services?&limit=500";
    let expected = [
        "GET /api/v1/nodes?".to_owned(),
        "GET /api/v1/nodes?&limit=500".to_owned(),
        "GET /api/v1/nodes?&limit=500&continue=old".to_owned(),
        services.to_owned(),
        format!("{services}&continue=2"),
        "GET /apis/discovery.k8s.io/v1/endpointslices?&limit=500".to_owned(),
    ];
    let requests: Vec<_> = requests
        .iter()
        .map(|request| request.trim_end_matches(" HTTP/1.1"))
        .collect();
    assert_eq!(requests, expected);
}
