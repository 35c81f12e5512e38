//! A second proxy on the same node.

use std::fs::{self, File};
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onehop_harness::netns::start_in;
use tokio::process::Command;

use crate::scene::Scene;
use crate::traffic::Traffic;

/// It touches nothing while the first one runs, and ends when it is asked to.
pub(crate) async fn waits() -> Result<(), Failed> {
    let scene = Scene::build("second").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    let transactions = async || -> Result<f64, Failed> {
        let metrics = scene.metrics().await?;
        let counted = metrics
            .iter()
            .filter(|(name, _)| name.contains("transactions_total"));
        Ok(counted.map(|(_, count)| *count).sum())
    };
    let before = transactions().await?;
    assert!(before > 0.0, "transactions are counted");
    let folder = scene.proxy().log().parent().ok_or("a folder")?;
    let (log, config) = (folder.join("second.log"), folder.join("config.yaml"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_onehop"));
    command
        .args(["proxy", "--config"])
        .arg(config)
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .kill_on_drop(true);
    start_in(&mut command, scene.node());
    let mut second = command.spawn()?;
    let said = "another proxy runs in this network namespace; waiting until it ends";
    scene
        .until("the second proxy waits", async || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(said))
        })
        .await?;
    traffic.flow_for(Duration::from_millis(700)).await;
    assert_eq!(transactions().await?, before, "nobody changed the rules");
    let process = second.id().ok_or("it runs")?;
    kill(Pid::from_raw(process.cast_signed()), Signal::SIGTERM)?;
    assert!(second.wait().await?.success());
    traffic.end().await?.is_lossless()
}
