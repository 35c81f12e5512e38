//! Services that ask for what is not theirs, or for too much, beside a good one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Failed;
use onehop_harness::case::SERVICE_PORT;
use onehop_harness::lab::NAMESPACE;
use onehop_harness::probe::{self, HttpOutcome};
use onehop_harness::world::CLIENT_PUBLIC;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::echo;
use crate::scene::{GOOD, NODE, PATIENCE, PODS, Scene};
use crate::traffic::{Route, Traffic};

/// The pod that answers for hostile Services. No good one has it.
const IMPOSTOR: &str = "client-vm1";
/// Its ports, of TCP and UDP.
const IMPOSTOR_PORTS: (u16, u16) = (20_901, 20_902);
/// An address that two Services ask for.
const CONTESTED: &str = "198.51.100.7";

/// The good Service works on, and users are told of what is not served.
pub(crate) async fn beside() -> Result<(), Failed> {
    let scene = Scene::build("hostile").await?;
    let mut impostors = JoinSet::new();
    let impostor = scene.lab.netns().namespace(IMPOSTOR);
    echo::open(impostor, IMPOSTOR_PORTS, &mut impostors)?;
    let good = scene.lab.objects().get_service(GOOD).await?;
    let node = scene.lab.world().node(NODE).expect("it exists").address;
    let cluster_ip = good.cluster_ip.expect("it has one");
    let node_port = good.node_port().expect("it has one");
    health_is_its_own(&scene, &node.both()).await?;
    let traffic = Traffic::start(&scene.routes).await?;

    // Names on both sides of the good one: of several Services that ask for an address, the name may decide.
    let mut refused = Vec::new();
    for side in ["a", "z"] {
        let hostile = [
            ("own-address", json!({"externalIPs": node.both()}), 10256),
            (
                "stolen",
                json!({"externalIPs": cluster_ip.both()}),
                SERVICE_PORT,
            ),
            (
                "contested",
                json!({"externalIPs": [CONTESTED]}),
                SERVICE_PORT,
            ),
            ("loopback-4", json!({"externalIPs": ["127.0.0.1"]}), 10249),
            ("loopback-6", json!({"externalIPs": ["::1"]}), 10249),
            (
                "unspecified",
                json!({"externalIPs": ["0.0.0.0"]}),
                SERVICE_PORT,
            ),
            (
                "cluster-ip",
                json!({"clusterIP": cluster_ip.v4}),
                SERVICE_PORT,
            ),
            ("node-port", json!({"type": "NodePort"}), SERVICE_PORT),
        ];
        for (kind, spec, port) in hostile {
            let name = format!("{side}-{kind}");
            let taken = (kind == "node-port").then_some(node_port);
            if !admits(&scene, &name, spec, port, taken).await {
                refused.push(name);
            }
        }
    }
    let impossible = [
        "loopback-4",
        "loopback-6",
        "unspecified",
        "cluster-ip",
        "node-port",
    ];
    let impossible = ["a", "z"].map(|side| impossible.map(|kind| format!("{side}-{kind}")));
    assert_eq!(refused, impossible.concat(), "what the API refuses");
    let mut admitted = Vec::new();
    for slice in odd_slices() {
        admitted.push(scene.admits_slice(slice).await);
    }
    assert_eq!(
        admitted,
        [true, false, true, true],
        "which slices the API takes"
    );
    many_endpoints(&scene, "many", 5000).await?;
    assert!(scene.admits_service(many("many")).await);

    // Whatever came last is in the kernel by then. The impostor answers where it may, so that it would elsewhere.
    scene.serve("last").await?;
    let address = |port| SocketAddr::new(CONTESTED.parse().expect("an address"), port);
    let contested = Route {
        from: scene.routes[0].from.clone(),
        tcp: address(SERVICE_PORT),
        udp: address(SERVICE_PORT),
    };
    scene.works(&[contested]).await?;
    traffic.flow_for(Duration::from_millis(500)).await;
    health_is_its_own(&scene, &node.both()).await?;
    let report = traffic.end().await?;
    report.is_lossless()?;
    assert_eq!(
        report.answered_by(),
        BTreeSet::from(PODS.map(str::to_owned))
    );
    told(&scene, "z-contested", CONTESTED).await?;
    for side in ["a", "z"] {
        let whose = format!("{NAMESPACE}/{GOOD}, whose cluster address it is");
        told(&scene, &format!("{side}-stolen"), &whose).await?;
        told(&scene, &format!("{side}-own-address"), "10256").await?;
    }
    Ok(())
}

/// Makes a Service whose endpoints are the impostor's, and says whether the API took it.
async fn admits(
    scene: &Scene,
    name: &str,
    mut spec: Value,
    port: u16,
    node_port: Option<u16>,
) -> bool {
    spec["ipFamilyPolicy"] = json!("PreferDualStack");
    spec["ports"] = json!([
        {"name": "tcp", "port": port, "protocol": "TCP"}, {"name": "udp", "port": port, "protocol": "UDP"},
    ]);
    if let Some(taken) = node_port {
        spec["ports"][0]["nodePort"] = json!(taken);
    }
    let pod = scene.lab.world().pod(IMPOSTOR).expect("it exists").address;
    for (kind, address) in ["IPv4", "IPv6"].into_iter().zip(pod.both()) {
        let rest = json!({
            "addressType": kind,
            "endpoints": [{"addresses": [address]}],
            "ports": [
                {"name": "tcp", "port": IMPOSTOR_PORTS.0, "protocol": "TCP"},
                {"name": "udp", "port": IMPOSTOR_PORTS.1, "protocol": "UDP"},
            ],
        });
        let of_family = format!("{name}-{}", kind.to_lowercase());
        assert!(scene.admits_slice(slice(&of_family, name, &rest)).await);
    }
    let service = json!({"metadata": {"name": name}, "spec": spec});
    scene.admits_service(service).await
}

/// Who asks from outside the node for its health is answered by the proxy.
async fn health_is_its_own(scene: &Scene, addresses: &[IpAddr]) -> Result<(), Failed> {
    let outside = scene.lab.netns().namespace(CLIENT_PUBLIC);
    for address in addresses {
        let server = SocketAddr::new(*address, 10256);
        match probe::get(outside, server, "/healthz", PATIENCE).await? {
            HttpOutcome::Answered(answer) if answer.body.contains("nodeEligible") => {
                assert_eq!(answer.status, 200);
            }
            other => return Err(format!("health at {server}: {other:?}").into()),
        }
    }
    Ok(())
}

/// There is a Warning event of a Service that says this.
async fn told(scene: &Scene, name: &str, text: &str) -> Result<(), Failed> {
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
            "a-contested",
            &json!({"endpoints": [{"addresses": ["127.0.0.1"]}]}),
        ),
        slice("odd-2", &long, &json!({"ports": []})),
        slice(
            "odd-3",
            "z-contested",
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
