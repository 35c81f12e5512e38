//! The node is about to go, and its Node is gone.

use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::scene::{NODE, PATIENCE, Scene};
use crate::traffic::{Traffic, try_once};

/// Load balancers are told to send nothing new, and what comes all the same is served.
pub(crate) async fn about_to_go() -> Result<(), Failed> {
    let scene = Scene::build("node").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    let eligible = async |eligible: bool| {
        scene
            .becomes("/healthz", if eligible { 200 } else { 503 })
            .await?;
        assert_eq!(scene.status("/livez").await?, 200, "it works");
        Ok::<_, Failed>(())
    };
    eligible(true).await?;
    taint(
        &scene,
        json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]),
    )
    .await?;
    eligible(false).await?;
    scene.serve("while-tainted").await?;
    taint(&scene, json!(null)).await?;
    eligible(true).await?;

    let nodes = scene.nodes();
    let node = nodes.get(NODE).await?;
    nodes.delete(NODE, &DeleteParams::default()).await?;
    eligible(false).await?;
    scene.serve("without-node").await?;
    let mut again: Node = node.clone();
    again.metadata.resource_version = None;
    again.metadata.uid = None;
    nodes.create(&PostParams::default(), &again).await?;
    let status = Patch::Merge(json!({ "status": node.status }));
    nodes
        .patch_status(NODE, &PatchParams::default(), &status)
        .await?;
    eligible(true).await?;
    scene.serve("with-node").await?;
    traffic.flow_for(std::time::Duration::from_secs(1)).await;
    traffic.end().await?.is_lossless()
}

/// The Node has no address when the proxy starts, and node ports are on its primary addresses: nowhere, rather than
/// everywhere. They are back as soon as it has.
pub(crate) async fn without_addresses() -> Result<(), Failed> {
    let quiet = Scene::with_verbosity(2, &["-v", "0"]);
    let scene = Scene::build_with("addresses", quiet).await?;
    let [cluster_ip, node_port] = &scene.routes[..] else {
        return Err("there are two ways".into());
    };
    let addresses = scene.nodes().get(NODE).await?.status;
    let addresses = addresses.and_then(|status| status.addresses);
    address(&scene, &json!(null)).await?;
    scene.restart(Signal::SIGTERM).await?;
    let said = "no address is a primary one";
    scene
        .within(
            PATIENCE * 4,
            "the proxy begins without addresses",
            async || scene.log().is_ok_and(|log| log.contains(said)),
        )
        .await?;
    // What a new Service gets, the old one has as well.
    let late = scene.create("late").await?;
    scene.works(&scene.routes_of(&late)?[..1]).await?;
    assert!(try_once(node_port).await.is_err(), "it is served");
    try_once(cluster_ip).await?;

    address(&scene, &json!(addresses)).await?;
    scene.works(&scene.routes).await?;
    let log = scene.log()?;
    assert!(!log.contains("DEBUG"), "-v wins over the file:\n{log}");
    Ok(())
}

async fn address(scene: &Scene, addresses: &Value) -> Result<(), Failed> {
    let status = Patch::Merge(json!({ "status": { "addresses": addresses } }));
    let params = PatchParams::default();
    scene.nodes().patch_status(NODE, &params, &status).await?;
    Ok(())
}

async fn taint(scene: &Scene, taints: Value) -> Result<(), Failed> {
    change(scene, json!({ "spec": { "taints": taints } })).await
}

/// Gives the Node annotations.
pub(crate) async fn annotate(scene: &Scene, annotations: Value) -> Result<(), Failed> {
    change(scene, json!({ "metadata": { "annotations": annotations } })).await
}

async fn change(scene: &Scene, change: Value) -> Result<(), Failed> {
    let (patch, params) = (Patch::Merge(change), PatchParams::default());
    scene.nodes().patch(NODE, &params, &patch).await?;
    Ok(())
}
