//! Services that ask for what is not theirs, or for too much, beside a good one.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Failed;
use onehop_harness::lab::NAMESPACE;
use serde_json::{Value, json};

use crate::scene::{GOOD, NODE, Scene};
use crate::traffic::Traffic;

/// The good Service works on, and users are told of what is not served.
pub(crate) async fn beside() -> Result<(), Failed> {
    let scene = Scene::build("hostile").await?;
    let good = scene.lab.objects().get_service(GOOD).await?;
    let traffic = Traffic::start(&scene.routes).await?;
    let node = scene.lab.world().node(NODE).expect("it exists").address;
    let cluster_ip = good.cluster_ip.expect("it has one");
    let node_port = good.node_port().expect("it has one");
    let hostile = [
        // The node's own addresses: its health server, and the good Service's node port.
        ("own-address", json!({"externalIPs": node.both()}), 10256),
        ("own-port", json!({"externalIPs": node.both()}), node_port),
        (
            "loopback",
            json!({"externalIPs": ["127.0.0.1", "::1"]}),
            10249,
        ),
        ("unspecified", json!({"externalIPs": ["0.0.0.0"]}), 80),
        ("stolen", json!({"externalIPs": cluster_ip.both()}), 80),
        ("twice-a", json!({"externalIPs": ["198.51.100.7"]}), 80),
        ("twice-b", json!({"externalIPs": ["198.51.100.7"]}), 80),
        ("node-port", json!({"type": "NodePort"}), 80),
    ];
    let mut refused = Vec::new();
    for (name, mut spec, port) in hostile {
        let mut ports = json!([{"name": "a", "port": port}]);
        if name == "node-port" {
            ports[0]["nodePort"] = json!(node_port);
        }
        spec["ports"] = ports;
        let service = json!({"metadata": {"name": name}, "spec": spec});
        if !scene.admits_service(service).await {
            refused.push(name);
        }
    }
    for (number, slice) in odd_slices().into_iter().enumerate() {
        if !scene.admits_slice(slice).await {
            refused.push(["slice-0", "slice-1", "slice-2", "slice-3"][number]);
        }
    }
    eprintln!("the API refuses {refused:?}");
    many_endpoints(&scene, "many", 5000).await?;
    assert!(scene.admits_service(many("many")).await);
    // Whatever came last is in the kernel by then.
    scene.serve("last").await?;
    traffic.flow_for(Duration::from_millis(500)).await;
    assert_eq!(scene.status("/healthz").await?, 200, "it is still its own");
    traffic.end().await?.is_lossless()?;
    told(&scene, "twice-b", "198.51.100.7", &refused).await
}

/// There is a Warning event of a Service that says this.
async fn told(scene: &Scene, name: &str, text: &str, refused: &[&str]) -> Result<(), Failed> {
    assert!(!refused.contains(&name), "the API takes it");
    let events: Api<Event> = Api::namespaced(scene.client(), NAMESPACE);
    let what = format!("a warning of {name} that says {text}");
    scene
        .until(&what, async || {
            let listed = events.list(&ListParams::default()).await;
            listed.is_ok_and(|all| {
                all.iter().any(|event| {
                    let regarding = event.regarding.as_ref();
                    regarding.and_then(|of| of.name.as_deref()) == Some(name)
                        && event.type_.as_deref() == Some("Warning")
                        && event.note.as_ref().is_some_and(|note| note.contains(text))
                })
            })
        })
        .await
}

pub(crate) fn slice(name: &str, service: &str, rest: &Value) -> Value {
    let mut slice = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [{"name": "tcp", "port": 1}],
    });
    for (field, value) in rest.as_object().expect("fields") {
        slice[field] = value.clone();
    }
    slice
}

/// Slices for Services that exist, for one that does not, and of things that are none.
fn odd_slices() -> Vec<Value> {
    let long = "a".repeat(63);
    vec![
        slice(
            "odd-0",
            "nobody",
            &json!({"endpoints": [{"addresses": ["10.244.9.9"]}]}),
        ),
        slice(
            "odd-1",
            "twice-a",
            &json!({"endpoints": [{"addresses": ["127.0.0.1"]}]}),
        ),
        slice("odd-2", &long, &json!({"ports": []})),
        slice(
            "odd-3",
            "twice-b",
            &json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]}),
        ),
    ]
}

/// A Service of [`many_endpoints`].
pub(crate) fn many(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"name": "tcp", "port": 80}]}})
}

/// Makes slices of so many endpoints for a Service, and returns their names.
pub(crate) async fn many_endpoints(
    scene: &Scene,
    name: &str,
    count: u32,
) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for first in (0..count).step_by(1000) {
        let address = |number: u32| std::net::Ipv4Addr::from(0x0a64_0001 + number);
        let endpoint = |number| json!({"addresses": [address(number)]});
        let endpoints: Vec<_> = (first..count.min(first + 1000)).map(endpoint).collect();
        let own = format!("{name}-{first}");
        let slice = slice(&own, name, &json!({ "endpoints": endpoints }));
        assert!(scene.admits_slice(slice).await);
        names.push(own);
    }
    Ok(names)
}
