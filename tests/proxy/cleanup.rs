//! `onehop proxy --cleanup`.

use std::process::Stdio;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use onehop_harness::netns::start_in;
use onehop_nft::{Batch, Family, Netfilter, Table};
use onehop_proxy::dataplane::TABLE;
use tokio::process::Command;

use crate::scene::Scene;
use crate::traffic::{Traffic, try_once};

/// While the proxy stands still, its tables go, and another's of a name like theirs stays. Once it goes on, it
/// makes them anew.
pub(crate) async fn its_own_only() -> Result<(), Failed> {
    let scene = Scene::build("cleanup").await?;
    let others = [
        (Family::Ip, "other".to_owned()),
        (Family::Inet, TABLE.to_owned()),
        (Family::Ip6, format!("{TABLE}-2")),
    ];
    let mut batch = Batch::new();
    for (family, name) in &others {
        batch.add_table(&Table::new(*family, name.clone()));
    }
    scene
        .node()
        .within(|| Netfilter::open()?.commit(&mut batch))??;
    let tables = || -> Result<Vec<(Family, String)>, Failed> {
        let found = scene.node().within(|| Netfilter::open()?.tables(None))??;
        Ok(found
            .into_iter()
            .map(|table| (table.object.family, table.object.name))
            .collect())
    };
    let own = [Family::Ip, Family::Ip6].map(|family| (family, TABLE.to_owned()));
    let before = tables()?;
    for table in own.iter().chain(&others) {
        assert!(before.contains(table), "no {table:?} in {before:?}");
    }

    scene.signal(Signal::SIGSTOP)?;
    assert_eq!(clean_up(&scene).await?, "the proxy's tables are removed\n");
    let mut left = tables()?;
    let mut expected = others.to_vec();
    left.sort_by(|a, b| a.1.cmp(&b.1));
    expected.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(left, expected);
    assert!(try_once(&scene.routes[0]).await.is_err(), "nobody serves");
    assert_eq!(clean_up(&scene).await?, "there is nothing to remove\n");

    scene.signal(Signal::SIGCONT)?;
    scene.works(&scene.routes).await?;
    let traffic = Traffic::start(&scene.routes).await?;
    traffic
        .flow_for(std::time::Duration::from_millis(500))
        .await;
    traffic.end().await?.is_lossless()
}

async fn clean_up(scene: &Scene) -> Result<String, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onehop"));
    command
        .args(["proxy", "--cleanup"])
        .stderr(Stdio::inherit());
    start_in(&mut command, scene.node());
    let output = command.output().await?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}
