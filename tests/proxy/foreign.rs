//! Somebody else deletes what the proxy has in the kernel.

use std::time::Duration;

use libtest_mimic::Failed;
use onehop_nft::{Batch, Family, Netfilter, Table};
use onehop_proxy::dataplane::TABLE;

use crate::scene::Scene;
use crate::traffic::{Kind, Traffic};

/// How long it may take until new connections work again.
const WINDOW: Duration = Duration::from_secs(10);

/// One of them at a time: a whole table, the contents of the maps, the rules.
pub(crate) async fn repaired() -> Result<(), Failed> {
    let scene = Scene::build("foreign").await?;
    for (what, damage) in [
        ("the tables", tables as fn(&mut Netfilter, &mut Batch)),
        ("the elements", elements),
        ("the rules", rules),
    ] {
        let resyncs = resyncs(&scene).await?;
        let traffic = Traffic::start(&scene.routes).await?;
        traffic.flow_for(Duration::from_millis(400)).await;
        let damaged = traffic.now();
        scene.node().within(|| -> Result<(), Failed> {
            let mut netfilter = Netfilter::open()?;
            let mut batch = Batch::new();
            damage(&mut netfilter, &mut batch);
            if batch.is_empty() {
                return Err(format!("there is nothing of {what}").into());
            }
            Ok(netfilter.commit(&mut batch)?)
        })??;
        scene.works(&scene.routes).await?;
        let again = scene.until("the repair is counted", async || {
            self::resyncs(&scene).await.is_ok_and(|now| now > resyncs)
        });
        again.await?;
        traffic.flow_for(Duration::from_millis(400)).await;
        let report = traffic.end().await?;
        // Established connections go on; what was sent meanwhile is sent again. Not so by a node port: while
        // nothing is translated, the node itself answers for its own address, and resets the connection.
        let broken = report
            .of(Kind::OldTcp)
            .next()
            .is_none_or(|lane| !lane.failures().is_empty());
        if broken {
            return Err(format!("{what}: an established connection broke:\n{report}").into());
        }
        let lost = report.failures(&[Kind::NewTcp, Kind::NewUdp, Kind::OldUdp]);
        let window = match (lost.first(), lost.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Duration::ZERO,
        };
        eprintln!("{what}: {} exchanges failed within {window:?}", lost.len());
        // An exchange that began just before is hit as well.
        let slack = Duration::from_millis(500);
        let outside = |at: &&Duration| **at + slack < damaged || **at > damaged + WINDOW;
        if let Some(at) = lost.iter().find(outside) {
            return Err(
                format!("{what}: deleted at {damaged:?}, lost at {at:?}:\n{report}").into(),
            );
        }
    }
    Ok(())
}

async fn resyncs(scene: &Scene) -> Result<f64, Failed> {
    let metrics = scene.metrics().await?;
    let found = metrics.iter().find(|(name, _)| {
        name.contains("resyncs_total") && name.to_lowercase().contains("foreign")
    });
    Ok(found.map_or(0.0, |(_, count)| *count))
}

fn own() -> [Table; 2] {
    [Family::Ip, Family::Ip6].map(|family| Table::new(family, TABLE))
}

fn tables(_: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        batch.delete_table(&table);
    }
}

fn elements(netfilter: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        for set in netfilter.sets(&table).expect("its sets can be read") {
            batch.flush_set(&table, &set.object.name);
        }
    }
}

fn rules(netfilter: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        for chain in netfilter.chains(&table).expect("its chains can be read") {
            batch.flush_chain(&table, &chain.object.name);
        }
    }
}
