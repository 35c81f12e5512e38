//! Nothing happens for a while.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::sleep;

use crate::foreign;
use crate::node;
use crate::scene::Scene;

/// Longer than a proxy may be behind before it calls itself unhealthy.
const WHILE: Duration = Duration::from_secs(4);

/// It has programmed everything, and says so for as long as nothing changes: after a start, after a repair, and after
/// changes of its Node that concern it in no way.
pub(crate) async fn healthy() -> Result<(), Failed> {
    let scene = Scene::build_with("quiet", Scene::with_short_sync_period).await?;
    stays(&scene, "after a first start").await?;
    scene.restart(Signal::SIGTERM).await?;
    scene.works(&scene.routes).await?;
    stays(&scene, "after another start").await?;
    foreign::delete(&scene, "the elements", foreign::elements)?;
    scene.works(&scene.routes).await?;
    node::annotate(&scene, json!({"onehop.dev/changed": "yes"})).await?;
    stays(&scene, "after a repair").await
}

async fn stays(scene: &Scene, when: &str) -> Result<(), Failed> {
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        for path in ["/healthz", "/livez"] {
            let status = scene.status(path).await?;
            if status != 200 {
                return Err(format!("{when}: {path} is {status}").into());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
