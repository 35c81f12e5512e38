//! `onehop survey`: the built program against the embedded API, with small servers on 127.0.0.0/8 for the nodes' health
//! check ports, and against servers that answer as an API does where the embedded one never would.

mod cluster;
mod refusals;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use cluster::{Cluster, health};
use server::{SILENCE, Server};
use support::{Ended, Home, run};

/// Runs a survey by the kubeconfig of this directory.
fn survey(home: &Home, arguments: &[&str]) -> Ended {
    let file = ["survey", "--kubeconfig", "./kubeconfig"];
    run(&mut home.onehop(&[&file[..], arguments].concat()))
}

/// A row of a table that has these cells, and no others.
fn row(text: &str, cells: &[&str]) -> bool {
    text.lines().any(|line| {
        let found = line.trim_matches('│').split('┆').map(str::trim);
        found.eq(cells.iter().copied())
    })
}

#[test]
fn the_story_is_told_in_tables_with_the_worst_first() {
    let cluster = Cluster::story();
    let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    cluster.serve("idle", local);
    let agent = json!({"type": "ClusterIP", "internalTrafficPolicy": "Local"});
    cluster.serve("agent", agent);
    cluster.endpoints("agent", &[("agent-1", "10.0.1.9", "vm1")]);
    cluster.serve("front", json!({"type": "NodePort"}));
    let headless =
        json!({"type": "ClusterIP", "clusterIP": "None", "internalTrafficPolicy": "Local"});
    cluster.serve("headless", headless);
    let _servers =
        [(1, 1), (2, 0), (3, 2)].map(|(node, n)| cluster.health(node, move |_| health(n)));

    let ended = cluster.survey(&[]);
    let text = &ended.stdout;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let head = "context onehop, all namespaces: 3 nodes, 5 Services, 3 with a Local policy\n";
    assert!(text.starts_with(head), "{text}");
    let at = |id: &str| text.find(id).unwrap_or_else(|| panic!("{id}: {text}"));
    assert!(at("shop/idle") < at("shop/web") && at("shop/web") < at("shop/agent"));
    for cells in [
        &["shop/idle", "external", "0", "0", "3 REFUSED", "", "", "1"][..],
        &[
            "shop/web",
            "external",
            "3",
            "2",
            "1 DROPPED",
            "50.0 %",
            "1.50",
            "0",
        ],
        &["shop/agent", "internal", "1", "1", "2 DROPPED", "", "", "0"],
        &[
            "vm1",
            "1",
            "web-0",
            "50.0 %",
            "served",
            "200, localEndpoints 1",
        ],
        &["vm2", "0", "", "", "DROPPED", "503, localEndpoints 0"],
        &[
            "vm3",
            "2",
            "web-1 web-2",
            "25.0 %",
            "served",
            "200, localEndpoints 2",
        ],
        &["vm2 vm3", "0", "", "DROPPED"],
    ] {
        assert!(row(text, cells), "{cells:?} is no row of\n{text}");
    }
    for part in [
        "! no ready endpoint anywhere",
        "one pod gets 50.0 %, an even share is 33.3 %, imbalance 1.50",
        "shop/headless  headless: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(
        !text.contains("DISAGREES") && !text.contains("shop/front"),
        "{text}"
    );

    let ended = cluster.survey(&["--namespace", "default"]);
    let none = "context onehop, namespace default: 3 nodes, 0 Services, 0 with a Local policy\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), none));
}

#[test]
fn the_story_is_one_json_document() {
    let cluster = Cluster::story();
    let _servers =
        [(1, 1), (2, 0), (3, 2)].map(|(node, n)| cluster.health(node, move |_| health(n)));
    let document = cluster.json(&[]);
    assert_eq!(document["schema"], "onehop.survey/v1");
    assert_eq!(document["context"], "onehop");
    assert_eq!(document["probed"], true);
    let web = &document["services"][0];
    assert_eq!(web["name"], "web");
    assert_eq!(web["imbalance"], 1.5);
    let spread = &web["spreads"][0];
    assert_eq!(spread["ready"], 3);
    assert_eq!(spread["nodes"][1]["node"], "vm3");
    assert_eq!(spread["nodes"][1]["share"], 0.25);
    assert_eq!(
        spread["without"],
        json!({"fate": "dropped", "nodes": ["vm2"]})
    );
    let said = &web["health"][1];
    assert_eq!(said["node"], "vm2");
    assert_eq!(said["outcome"], "answered");
    assert_eq!(said["detail"]["status"], 503);
    assert_eq!(said["detail"]["local_endpoints"], 0);
    assert_eq!(said["expected"], json!({"IPv4": 0}));
    assert_eq!(said["disagrees"], Value::Null);
    assert_eq!(web["notes"], json!([]));
}

#[test]
fn a_disagreement_that_stays_is_flagged() {
    let cluster = Cluster::story();
    let servers =
        [(1, 1), (2, 0), (3, 1)].map(|(node, n)| cluster.health(node, move |_| health(n)));
    let ended = cluster.survey(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let wrong = "200, localEndpoints 1 DISAGREES";
    let cells = ["vm3", "2", "web-1 web-2", "25.0 %", "served", wrong];
    assert!(row(&ended.stdout, &cells), "{}", ended.stdout);
    let note =
        "! health check node port disagrees on vm3: it counts 1, and the slices have 2 ready here";
    assert!(ended.stdout.contains(note), "{}", ended.stdout);
    // It was looked at twice.
    let asked = servers.each_ref().map(Server::requests);
    assert_eq!(asked, [(); 3].map(|()| vec!["GET /healthz HTTP/1.1"; 2]));

    let document = cluster.json(&[]);
    let web = &document["services"][0];
    assert_eq!(web["notes"][0]["kind"], "health-disagrees");
    assert_eq!(
        web["health"][2]["disagrees"],
        "it counts 1, and the slices have 2 ready here"
    );
}

#[test]
fn a_disagreement_that_passes_is_none() {
    let cluster = Cluster::story();
    let _right = [(1, 1), (2, 0)].map(|(node, n)| cluster.health(node, move |_| health(n)));
    let asked = AtomicUsize::new(0);
    let late = cluster.health(3, move |_| {
        health(asked.fetch_add(1, Ordering::Relaxed) + 1)
    });
    let ended = cluster.survey(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(late.requests().len(), 2);
    assert!(!ended.stdout.contains("DISAGREES"), "{}", ended.stdout);
}

#[test]
fn refusals_and_silence_are_told_apart_and_a_closed_port_beside_endpoints_is_flagged() {
    let cluster = Cluster::story();
    let _silent = cluster.health(3, |_| None);
    let started = Instant::now();
    let ended = cluster.survey(&["--timeout-seconds", "1"]);
    assert!(started.elapsed() < SILENCE, "{:?}", started.elapsed());
    for cells in [
        &["vm1", "1", "web-0", "50.0 %", "served", "refused DISAGREES"][..],
        &["vm2", "0", "", "", "DROPPED", "refused"],
        &["vm3", "2", "web-1 web-2", "25.0 %", "served", "no answer"],
    ] {
        assert!(row(&ended.stdout, cells), "{cells:?}: {}", ended.stdout);
    }
    let note = "vm1: nothing listens, and the slices have 1 ready here";
    assert!(ended.stdout.contains(note), "{}", ended.stdout);
}

#[test]
fn no_port_is_asked_when_none_shall_be() {
    let cluster = Cluster::story();
    let server = cluster.health(1, |_| health(7));
    let document = cluster.json(&["--no-probe"]);
    assert_eq!(document["probed"], false);
    assert_eq!(document["services"][0]["health"], json!([]));
    assert_eq!(server.requests(), Vec::<String>::new());
}

/// Something between may answer instead of the nodes, as a firewall does with its own page.
#[test]
fn what_is_no_health_check_port_is_not_believed() {
    let cluster = Cluster::story();
    let _servers = [1, 2, 3]
        .map(|node| cluster.health(node, |_| Some((404, "<html>not here</html>".to_owned()))));
    let ended = cluster.survey(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = "404 of something else";
    assert!(row(&ended.stdout, &["vm2", "0", "", "", "DROPPED", said]));
    let note = "! no health check node port could be reached from here";
    assert!(ended.stdout.contains(note) && !ended.stdout.contains("DISAGREES"));
}
