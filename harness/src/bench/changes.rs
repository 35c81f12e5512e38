//! What it takes to follow changes: a cold start, single changes, bursts, and a large Service.

use std::time::{Duration, Instant};

use super::error::BenchError;
use super::population::Member;
use super::process;
use super::stage::{Served, Stage};
use super::wait::{Target, until_all_right, until_right};
use crate::lab::ProxyUnderTest;

/// Services across all that are looked at after a cold start.
const LOOKED_AT: usize = 20;
/// Connections in a row that show that a change has arrived.
const IN_A_ROW: usize = 3;
/// The same for a Service with ten slices: one of them still old is missed once in 40 000 times.
const IN_A_ROW_OF_MANY: usize = 100;
/// Pause between two changes that each are waited for: longer than the shortest between two syncs
/// of a proxy, and not the same each time.
const PAUSES: std::ops::Range<u64> = 20..40;
/// Pause between two changes whose CPU time is measured.
const PACE: Duration = Duration::from_millis(20);

/// Starts the proxy and waits until Services across all are served. How long that took.
pub(super) async fn cold_start(
    stage: &mut Stage,
    proxy: &ProxyUnderTest,
) -> Result<Duration, BenchError> {
    let targets = across(&stage.present, LOOKED_AT, stage);
    let started = stage.start_proxy(proxy)?;
    let right = stage.wait(move |patience| until_all_right(&targets, patience));
    Ok(right.await? - started)
}

/// Waits until Services across all that are only there are served.
pub(super) async fn present(stage: &Stage) -> Result<Instant, BenchError> {
    let targets = across(&stage.present, LOOKED_AT, stage);
    stage
        .wait(move |patience| until_all_right(&targets, patience))
        .await
}

/// So many Services at equal distances, and the last.
fn across(services: &[Served], count: usize, stage: &Stage) -> Vec<Target> {
    let step = services.len().div_ceil(count).max(1);
    let some = services.iter().rev().skip(step).step_by(step);
    let mut targets: Vec<_> = some.map(|service| service.target(stage.family())).collect();
    targets.extend(services.last().map(|last| last.target(stage.family())));
    targets
}

/// Swaps the endpoint of one Service after the other, each once the one before was right. How long
/// each took.
pub(super) async fn latencies(
    stage: &mut Stage,
    services: usize,
    changes: u32,
) -> Result<Vec<Duration>, BenchError> {
    let mut latencies = Vec::new();
    for change in 0..changes {
        let pause = PAUSES.start + u64::from(change) * 7 % (PAUSES.end - PAUSES.start);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let index = change as usize % services;
        stage.changing[index].next_generation();
        let target = stage.changing[index].target(stage.family());
        let waited = stage.wait(move |patience| until_right(&target, IN_A_ROW, patience));
        let written = async {
            let sent = Instant::now();
            stage.patch(&stage.changing[index]).await.map(|()| sent)
        };
        let (settled, sent) = tokio::try_join!(waited, written)?;
        latencies.push(settled.at.saturating_duration_since(sent));
    }
    Ok(latencies)
}

/// Swaps an endpoint every [`PACE`], and waits until the last change has arrived and the proxy is
/// at rest. The CPU time that it used.
pub(super) async fn cpu_time(
    stage: &mut Stage,
    services: usize,
    changes: u32,
) -> Result<Duration, BenchError> {
    stage.at_rest().await;
    let used = |stage: &Stage| process::cpu_time(stage.process()).unwrap_or_default();
    let before = used(stage);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for change in 0..changes {
        pace.tick().await;
        let index = change as usize % services;
        stage.changing[index].next_generation();
        stage.patch(&stage.changing[index]).await?;
    }
    right(stage, services).await?;
    stage.at_rest().await;
    Ok(used(stage).saturating_sub(before))
}

/// Waits until every one of the first so many changing Services is right; when the last was.
pub(super) async fn right(stage: &Stage, services: usize) -> Result<Instant, BenchError> {
    let changing = stage.changing[..services].iter();
    let targets: Vec<_> = changing.map(|s| s.target(stage.family())).collect();
    stage
        .wait(move |patience| until_all_right(&targets, patience))
        .await
}

/// Swaps the endpoint of every changing Service without a pause. How long it took until all were
/// right.
pub(super) async fn burst(stage: &mut Stage) -> Result<Duration, BenchError> {
    for service in &mut stage.changing {
        service.next_generation();
    }
    let started = Instant::now();
    stage.replace(&stage.changing).await?;
    Ok(right(stage, stage.changing.len()).await? - started)
}

/// Creates a Service with many endpoints, and replaces them all a few times. How long it took until
/// the Service answered, and each time until none of the old was reached.
pub(super) async fn large_service(
    stage: &Stage,
    swaps: u32,
) -> Result<(Duration, Vec<Duration>), BenchError> {
    let mut added = stage.add(std::iter::once(Member::large())).await?;
    let large = added.first_mut().expect("one was added");
    let target = large.target(stage.family());
    let settled = stage.wait(move |patience| until_right(&target, IN_A_ROW, patience));
    let programmed = settled.await?.at - large.created;
    let mut swapped = Vec::new();
    for _ in 0..swaps {
        stage.at_rest().await;
        large.next_generation();
        let target = large.target(stage.family());
        let started = Instant::now();
        stage.replace(std::slice::from_ref(large)).await?;
        let settled = stage.wait(move |patience| until_right(&target, IN_A_ROW_OF_MANY, patience));
        swapped.push(settled.await?.at - started);
    }
    Ok((programmed, swapped))
}
