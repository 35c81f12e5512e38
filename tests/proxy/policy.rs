//! Policies and endpoints change under established flows.

use std::time::Duration;

use kube::api::DeleteParams;
use libtest_mimic::Failed;
use serde_json::json;

use crate::scene::{GOOD, PATIENCE, Scene};
use crate::traffic::{Exchange, Kind, Traffic};

/// How many UDP flows the proxy has ended.
const ENDED: &str = "kubeproxy_conntrack_reconciler_deleted_entries_total";

/// Both policies go to Local and back. An endpoint of the node itself is there all the time, so that new
/// connections work as well.
pub(crate) async fn switched() -> Result<(), Failed> {
    let scene = Scene::build("policy").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    for policy in ["Local", "Cluster", "Local"] {
        traffic.flow_for(Duration::from_millis(400)).await;
        let spec = json!({"externalTrafficPolicy": policy, "internalTrafficPolicy": policy});
        scene.lab.objects().patch_service(GOOD, spec).await?;
    }
    traffic.flow_for(Duration::from_secs(3)).await;
    let report = traffic.end().await?;
    report.is_lossless()?;
    for lane in report.of(Kind::NewTcp).chain(report.of(Kind::NewUdp)) {
        let last: Vec<_> = lane.read(|all| {
            let last = all.iter().rev().take(10);
            last.map(|exchange| exchange.answer.clone()).collect()
        });
        let local = Ok("web-3".to_owned());
        assert!(last.iter().all(|answer| *answer == local), "{last:?}");
    }
    for lane in report.of(Kind::OldUdp).chain(report.of(Kind::OldTcp)) {
        let pods = lane.read(|all| {
            let pods = all.iter().map(|exchange| exchange.answer.clone());
            pods.collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(pods.len(), 1, "a flow stays where it is: {pods:?}");
    }
    Ok(())
}

/// Each endpoint in turn is the only one. Flows that went to the other one move, and nothing else is lost, because
/// both pods work on. An answer under way while a flow is forgotten finds no way back: one packet a move at most.
pub(crate) async fn udp_moves() -> Result<(), Failed> {
    let scene = Scene::build("endpoints").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    let both: &[&str] = &["web-0", "web-3"];
    let mut before = both;
    let mut removed = Vec::new();
    for left in ["web-0", "web-3", "web-0"] {
        traffic.flow_for(Duration::from_millis(500)).await;
        let after: &[&str] = match left {
            "web-0" => &["web-0"],
            _ => &["web-3"],
        };
        scene.endpoints(before, after).await?;
        removed.push((traffic.now(), left));
        before = after;
    }
    traffic.flow_for(Duration::from_millis(700)).await;
    let report = traffic.end().await?;
    report.is_lossless_but(&[Kind::OldUdp])?;
    for lane in report.of(Kind::OldUdp) {
        let lost = lane.failures();
        assert!(lost.len() <= removed.len(), "{lost:?}\n{report}");
        for (at, left) in &removed {
            let moved = lane.read(|all| {
                let mut after = all.iter().filter(|exchange| exchange.at >= *at);
                after
                    .find(|exchange| exchange.answer.as_deref() == Ok(left))
                    .map(|first| first.at)
            });
            let took = moved.ok_or_else(|| format!("no answer of {left} after {at:?}"))? - *at;
            assert!(took < PATIENCE, "it moved to {left} after {took:?}");
            eprintln!("moved to {left} within {took:?}");
        }
    }
    Ok(())
}

/// A Service is deleted. Its UDP flows end on every way to it, and another one works on.
pub(crate) async fn udp_ends() -> Result<(), Failed> {
    let scene = Scene::build("deleted").await?;
    let routes = scene.serve("deleted").await?;
    let deleted = Traffic::start(&routes).await?;
    let ended = async || {
        let metrics = scene.metrics().await.unwrap_or_default();
        let ended = metrics.iter().filter(|(name, _)| name.starts_with(ENDED));
        ended.map(|(_, number)| number).sum::<f64>()
    };
    deleted.flow_for(Duration::from_millis(500)).await;
    assert!(ended().await.abs() < 0.5, "all endpoints serve");
    let services = scene.services();
    services.delete("deleted", &DeleteParams::default()).await?;
    scene
        .until("the flows of both ways are ended", async || {
            ended().await >= 2.0
        })
        .await?;
    deleted.flow_for(Duration::from_millis(500)).await;
    let report = deleted.end().await?;
    for lane in report.of(Kind::OldUdp) {
        lane.read(|all| {
            let answered = |some: &[Exchange]| some.iter().filter(|one| one.answer.is_ok()).count();
            assert!(answered(&all[..20]) == 20, "it worked\n{report}");
            let last = &all[all.len() - 20..];
            assert_eq!(answered(last), 0, "nobody answers any more\n{report}");
        });
    }
    scene.works(&scene.routes).await
}
