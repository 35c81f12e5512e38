//! The kernel refuses transactions, because one would be larger than it lets through.
//!
//! Who is not root of the machine cannot make a socket's send buffer larger than `net.core.wmem_max`, and one
//! transaction has to fit in it.

use std::time::Duration;

use libtest_mimic::Failed;
use onehop_nft::Netfilter;
use serde_json::{Value, json};

use crate::hostile::slice;
use crate::scene::Scene;
use crate::traffic::{Traffic, try_once};

/// The name of the Service that is too large.
const HUGE: &str = "huge";
/// Its endpoints. With the ports there is an element for each of each.
const ENDPOINTS: usize = 6000;
/// As many as the API allows in a slice.
const IN_A_SLICE: usize = 1000;
/// Fewer bytes than the element of an IPv4 endpoint has in a transaction, which are 36.
const ELEMENT: usize = 30;

/// The old rules stay whole, so that traffic goes on; the attempts go on as well, and are seen in `/healthz` and
/// in the metrics. Once what was too large is gone, what had waited behind it is programmed.
pub(crate) async fn kept() -> Result<(), Failed> {
    let scene = Scene::build_with("refused", Scene::with_short_sync_period).await?;
    let ports = too_many_ports(&scene)?;
    // Nothing of it counts before there is a Service. So all of it comes in one transaction.
    for first in (0..ENDPOINTS).step_by(IN_A_SLICE) {
        let made = scene.admits_slice(endpoints(first, ports)).await;
        assert!(made, "the API takes the endpoints from {first} on");
    }
    let traffic = Traffic::start(&scene.routes).await?;
    traffic.flow_for(Duration::from_millis(300)).await;
    assert_eq!(failures(&scene).await?, 0.0, "so far nothing fails");
    assert_eq!(scene.status("/healthz").await?, 200);

    let spec = json!({"ports": service_ports(ports)});
    let huge = json!({"metadata": {"name": HUGE}, "spec": spec});
    assert!(scene.admits_service(huge).await);
    scene.becomes("/healthz", 503).await?;
    assert_eq!(scene.status("/livez").await?, 503);
    let before = failures(&scene).await?;
    assert!(before >= 1.0, "it was refused");
    let why = "is larger than the limit of";
    assert!(scene.log()?.contains(why), "the log does not say why");
    scene
        .until("it is tried again and again", async || {
            failures(&scene).await.is_ok_and(|now| now >= before + 2.0)
        })
        .await?;
    // A transaction is of everything, or of nothing.
    let waiting = scene.routes_of(&scene.create("waiting").await?)?;
    traffic.flow_for(Duration::from_secs(1)).await;
    assert!(try_once(&waiting[0]).await.is_err(), "it is not programmed");

    scene.lab.objects().delete_service(HUGE).await?;
    scene.works(&waiting).await?;
    scene.becomes("/healthz", 200).await?;
    assert_eq!(scene.status("/livez").await?, 200);
    scene.serve("new").await?;
    traffic.flow_for(Duration::from_millis(300)).await;
    traffic.end().await?.is_lossless()
}

/// So many ports that one transaction cannot have all of their endpoints.
fn too_many_ports(scene: &Scene) -> Result<usize, Failed> {
    let limit = scene
        .node()
        .within(|| Netfilter::open()?.capacity(1 << 30))??;
    Ok(limit / (ENDPOINTS * ELEMENT) + 1)
}

/// Transactions that a family's kernel refused.
async fn failures(scene: &Scene) -> Result<f64, Failed> {
    let metrics = scene.metrics().await?;
    let found = metrics
        .iter()
        .find(|(name, _)| name.contains("sync_failures_total") && name.contains("IPv4"));
    Ok(found.map_or(0.0, |(_, count)| *count))
}

fn names(ports: usize) -> impl Iterator<Item = (String, usize)> {
    (1..=ports).map(|port| (format!("port-{port}"), port))
}

fn service_ports(ports: usize) -> Value {
    names(ports)
        .map(|(name, port)| json!({"name": name, "port": port}))
        .collect()
}

fn endpoints(first: usize, ports: usize) -> Value {
    let address = |number| {
        let number = u32::try_from(number).expect("there are not so many");
        std::net::Ipv4Addr::from_bits(0x0a64_0001 + number)
    };
    let endpoints =
        (first..first + IN_A_SLICE).map(|number| json!({"addresses": [address(number)]}));
    let fields = json!({
        "endpoints": endpoints.collect::<Value>(),
        "ports": service_ports(ports),
    });
    slice(&format!("{HUGE}-{first}"), HUGE, &fields)
}
