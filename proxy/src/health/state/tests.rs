use k8s_openapi::api::core::v1::{NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::clock::tests::Hands;

const PERIOD: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn state() -> (Hands, HealthState) {
    let hands = Hands::at("2026-01-02T03:04:05Z");
    let state = HealthState::new(hands.clock(), PERIOD);
    (hands, state)
}

fn tainted(key: &str) -> Node {
    let taint = Taint {
        key: key.into(),
        ..Taint::default()
    };
    Node {
        spec: Some(NodeSpec {
            taints: Some(vec![taint]),
            ..NodeSpec::default()
        }),
        ..Node::default()
    }
}

#[test]
fn a_proxy_that_starts_is_healthy_however_long_it_takes() {
    let (hands, state) = state();
    state.queued(Family::V4);
    hands.advance(PERIOD * 100);
    assert!(state.healthy());
    assert_eq!(state.health().families, BTreeMap::new());
}

#[test]
fn an_idle_proxy_is_healthy() {
    let (hands, state) = state();
    state.started();
    hands.advance(PERIOD * 100);
    assert!(state.healthy());
}

#[test]
fn an_update_may_wait_for_less_than_two_periods() {
    let (hands, state) = state();
    state.started();
    state.queued(Family::V4);
    hands.advance(PERIOD * 2 - Duration::from_nanos(1));
    assert!(state.healthy());
    hands.advance(Duration::from_nanos(1));
    assert!(!state.healthy());
    assert!(!state.health().healthy);
    state.synced(Family::V4);
    assert!(state.healthy());
}

#[test]
fn the_oldest_update_counts_and_not_the_last() {
    let (hands, state) = state();
    state.started();
    state.queued(Family::V4);
    for _ in 0..60 {
        hands.advance(SECOND);
        state.queued(Family::V4);
    }
    assert!(!state.healthy(), "updates without end and no sync");
}

#[test]
fn one_family_that_waits_makes_the_proxy_unhealthy_and_is_named() {
    let (hands, state) = state();
    state.started();
    let start = state.health().now;
    state.queued(Family::V6);
    hands.advance(PERIOD);
    state.synced(Family::V4);
    hands.advance(PERIOD);
    let health = state.health();
    assert!(!health.healthy);
    let v4 = FamilyHealth {
        last_updated: start + PERIOD,
        healthy: true,
    };
    let v6 = FamilyHealth {
        last_updated: start,
        healthy: false,
    };
    assert_eq!(health.families, [(Family::V4, v4), (Family::V6, v6)].into());
    assert_eq!(
        health.last_updated,
        Some(start + PERIOD),
        "of the most recent family"
    );
}

#[test]
fn a_clock_that_somebody_sets_changes_no_health() {
    let base = Instant::now();
    let wall = std::sync::Arc::new(Mutex::new(Timestamp::UNIX_EPOCH));
    let read = std::sync::Arc::clone(&wall);
    let clock = Clock::new(move || Moment {
        wall: *read.lock().unwrap(),
        steady: base,
    });
    let state = HealthState::new(clock, PERIOD);
    state.started();
    state.queued(Family::V4);
    *wall.lock().unwrap() += PERIOD * 100;
    assert!(state.healthy());
}

#[test]
fn a_node_is_eligible_unless_it_goes_away() {
    let (_, state) = state();
    let eligible = || state.health().node_eligible;
    assert!(!eligible(), "a Node that nobody saw");
    state.node_changed(Some(&Node::default()));
    assert!(eligible());
    state.node_changed(Some(&tainted("node.kubernetes.io/unschedulable")));
    assert!(eligible(), "another taint");
    state.node_changed(Some(&tainted("ToBeDeletedByClusterAutoscaler")));
    assert!(!eligible());
    state.node_changed(Some(&Node::default()));
    assert!(eligible(), "the taint is gone");
    let mut deleted = Node::default();
    deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    state.node_changed(Some(&deleted));
    assert!(!eligible(), "being deleted");
    state.node_changed(None);
    assert!(!eligible(), "deleted");
    assert!(state.healthy(), "the proxy's own health is another matter");
}
