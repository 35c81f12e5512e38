//! The kernel takes no transaction.
//!
//! Inside the lab's user namespace a transaction is bounded by `net.core.wmem_max`, so that a Service with very
//! many endpoints makes every one fail, for as long as it exists.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::hostile::many_endpoints;
use crate::scene::Scene;
use crate::traffic::Traffic;

/// The old rules stay, it is tried again and shows in `/healthz`; once the cause is gone, all is made up for.
pub(crate) async fn too_large() -> Result<(), Failed> {
    let scene = Scene::build_with("refused", |proxy| {
        let config = proxy.profile.netns.files.get_mut("config.yaml");
        // Unhealthy is who has had something queued for twice this long.
        config
            .expect("it has one")
            .push_str("nftables:\n  syncPeriod: 1s\n");
    })
    .await?;
    let traffic = Traffic::start(&scene.routes).await?;
    let failures = async || {
        let metrics = scene.metrics().await?;
        let found = metrics.iter().filter(|(name, _)| {
            name.starts_with("kubeproxy_sync_proxy_rules_nftables_sync_failures")
        });
        Ok::<f64, Failed>(found.map(|(_, count)| *count).sum())
    };
    assert_eq!(failures().await?, 0.0);
    let slices = many_endpoints(&scene, "large", 100_000).await?;
    scene.becomes("/healthz", 503).await?;
    assert_eq!(scene.status("/livez").await?, 503);
    let before = failures().await?;
    scene
        .until("it is tried again", async || {
            failures().await.is_ok_and(|now| now > before)
        })
        .await?;
    assert!(before > 1.0, "only {before} failures");
    let unknown = scene.create("meanwhile").await?;
    let unknown = scene.routes_of(&unknown)?;
    traffic.flow_for(Duration::from_millis(500)).await;
    assert!(crate::traffic::try_once(&unknown[0]).await.is_err());

    for name in slices {
        scene.slices().delete(&name, &Default::default()).await?;
    }
    scene.works(&unknown).await?;
    scene.becomes("/healthz", 200).await?;
    let log = scene.log()?;
    let said = "failed to sync, the old rules stay";
    assert!(log.contains(said), "no `{said}` in:\n{log}");
    traffic.end().await?.is_lossless()
}
