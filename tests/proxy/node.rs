//! The node is about to go, and its Node is gone.

use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use libtest_mimic::Failed;
use serde_json::json;

use crate::scene::{NODE, Scene};
use crate::traffic::Traffic;

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

async fn taint(scene: &Scene, taints: serde_json::Value) -> Result<(), Failed> {
    let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
    let params = PatchParams::default();
    scene.nodes().patch(NODE, &params, &patch).await?;
    Ok(())
}
