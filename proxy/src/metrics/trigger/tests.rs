use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn annotated(time: &str) -> BTreeMap<String, String> {
    [(TRIGGER_TIME.to_owned(), time.to_owned())].into()
}

#[test]
fn each_change_of_a_family_counts_once() {
    let mut times = TriggerTimes::since(at("2026-01-01T00:00:00Z"));
    times.noticed(Family::V4, &annotated("2026-01-01T00:00:01Z"));
    times.noticed(Family::V4, &annotated("2026-01-01T00:00:02.5Z"));
    times.noticed(Family::V6, &annotated("2026-01-01T00:00:03Z"));
    let passed = times.take(Family::V4, at("2026-01-01T00:00:04Z"));
    assert_eq!(
        passed,
        [Duration::from_secs(3), Duration::from_millis(1500)]
    );
    assert_eq!(
        times.take(Family::V4, at("2026-01-01T00:00:05Z")),
        Vec::<Duration>::new()
    );
    let passed = times.take(Family::V6, at("2026-01-01T00:00:05Z"));
    assert_eq!(passed, [Duration::from_secs(2)]);
}

#[test]
fn what_says_nothing_useful_does_not_count() {
    let mut times = TriggerTimes::since(at("2026-01-01T00:00:00Z"));
    times.noticed(Family::V4, &BTreeMap::new());
    times.noticed(Family::V4, &annotated("yesterday"));
    times.noticed(Family::V4, &annotated("2025-12-31T23:59:59Z"));
    assert_eq!(
        times.take(Family::V4, at("2026-01-01T00:00:05Z")),
        Vec::<Duration>::new()
    );
    times.noticed(Family::V4, &annotated("2026-01-01T00:00:09Z"));
    let ahead = times.take(Family::V4, at("2026-01-01T00:00:05Z"));
    assert_eq!(ahead, [Duration::ZERO]);
}
