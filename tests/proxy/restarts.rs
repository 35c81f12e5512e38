//! The proxy ends, however it does, and is started again.

use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use onehop_harness::tools::find_in_path;

use crate::scene::{GOOD, Scene};
use crate::traffic::Traffic;

/// Twice, and the second time while Services change. New ones work afterwards.
pub(crate) async fn lose_nothing(name: &str, signal: Signal) -> Result<(), Failed> {
    let scene = Scene::build(name).await?;
    let traffic = Traffic::start(&scene.routes).await?;
    traffic.flow_for(Duration::from_millis(300)).await;
    scene.restart(signal).await?;
    let others = async {
        for number in 0..10 {
            scene.create(&format!("other-{number}")).await?;
        }
        Ok::<_, Failed>(())
    };
    let (restarted, created) = tokio::join!(scene.restart(signal), others);
    restarted.and(created)?;
    scene.serve("new").await?;
    traffic.flow_for(Duration::from_millis(300)).await;
    let report = traffic.end().await?;
    report.is_lossless()?;
    // What was there before the restart is still told from what is new.
    scene.lab.objects().delete_service(GOOD).await?;
    scene
        .until("the deleted Service is gone", async || {
            crate::traffic::try_once(&scene.routes[0]).await.is_err()
        })
        .await
}

/// With no capability but `CAP_NET_ADMIN`, it starts, and restarts as well.
pub(crate) async fn with_net_admin_only() -> Result<(), Failed> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setpriv = find_in_path("setpriv", &path).ok_or("setpriv is not in PATH")?;
    let changed = Scene::build_with("capabilities", |proxy| {
        let onehop = std::mem::replace(&mut proxy.program.path, setpriv);
        // Its options keep their order: its first word is the program in any case.
        let only = ["setpriv", "--bounding-set", "-all,+net_admin", "--"];
        let own = proxy.profile.netns.command.split_off(1);
        proxy.profile.netns.command = only.map(str::to_owned).to_vec();
        let onehop = onehop.display().to_string();
        proxy.profile.netns.command.push(onehop);
        proxy.profile.netns.command.extend(own);
    });
    let scene = changed.await?;
    let process = scene.proxy().process().ok_or("the proxy does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    for kind in ["CapPrm", "CapEff"] {
        // CAP_NET_ADMIN is number 12.
        let line = format!("{kind}:\t{:016x}", 1 << 12);
        assert!(status.contains(&line), "no `{line}` in:\n{status}");
    }
    let traffic = Traffic::start(&scene.routes).await?;
    scene.restart(Signal::SIGTERM).await?;
    scene.serve("new").await?;
    traffic.flow_for(Duration::from_millis(200)).await;
    traffic.end().await?.is_lossless()
}
