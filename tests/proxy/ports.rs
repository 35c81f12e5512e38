//! A health check port that somebody else has at first.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Failed;
use onehop_harness::lab::NAMESPACE;
use onehop_harness::probe::{self, HttpOutcome};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::scene::{NODE, PATIENCE, Scene};

/// In the range of node ports, from which the API lets a user choose it.
const PORT: u16 = 32_123;
const NAME: &str = "late";

/// Users are told, and once the port is free it is served, though nothing else changes.
pub(crate) async fn taken_at_first() -> Result<(), Failed> {
    let detailed = Scene::with_verbosity(2, &[]);
    let scene = Scene::build_with("ports", detailed).await?;
    let others = scene.node().within(|| -> Result<_, Failed> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        Ok([
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?,
            listen_on_v6(v6)?,
        ])
    })??;
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ipFamilyPolicy": "RequireDualStack", "healthCheckNodePort": PORT,
        "ports": [{"name": "tcp", "port": 80}],
    });
    let service = json!({"metadata": {"name": NAME}, "spec": spec});
    assert!(scene.admits_service(service).await, "the API takes it");
    scene
        .until("a warning says that the port is taken", async || {
            warned(&scene).await
        })
        .await?;
    let syncs = settled(&scene).await?;
    drop::<[TcpListener; 2]>(others);

    let node = scene.lab.world().node(NODE).expect("it exists").address;
    for address in node.both() {
        let what = format!("the health check port of {address} is served");
        scene
            .until(&what, async || {
                let address = SocketAddr::new(address, PORT);
                let answer = probe::get(scene.node(), address, "/", PATIENCE).await;
                // There is no endpoint.
                matches!(answer, Ok(HttpOutcome::Answered(answer)) if answer.status == 503)
            })
            .await?;
    }
    assert_eq!(self::syncs(&scene).await?, syncs, "nothing else changed");
    let log = scene.log()?;
    assert!(log.contains("DEBUG"), "as verbose as the file says:\n{log}");
    Ok(())
}

/// Listens on IPv6 and leaves IPv4 alone.
fn listen_on_v6(address: SocketAddr) -> Result<TcpListener, Failed> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    Ok(socket.into())
}

async fn warned(scene: &Scene) -> bool {
    let events: Api<Event> = Api::namespaced(scene.client(), NAMESPACE);
    let listed = events.list(&ListParams::default()).await;
    listed.is_ok_and(|all| {
        all.iter().any(|event| {
            let regarding = event.regarding.as_ref();
            regarding.and_then(|of| of.name.as_deref()) == Some(NAME)
                && event.type_.as_deref() == Some("Warning")
                && event.reason.as_deref() == Some("FailedToStartServiceHealthcheck")
        })
    })
}

/// How many syncs there were, once there are no more.
async fn settled(scene: &Scene) -> Result<f64, Failed> {
    let mut before = syncs(scene).await?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = syncs(scene).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

async fn syncs(scene: &Scene) -> Result<f64, Failed> {
    let metrics = scene.metrics().await?;
    let counted = metrics
        .iter()
        .filter(|(name, _)| name.contains("sync_proxy_rules_duration_seconds_count"));
    let total: f64 = counted.map(|(_, count)| *count).sum();
    assert!(total > 0.0, "syncs are counted");
    Ok(total)
}
