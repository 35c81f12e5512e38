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
    times.noticed(Family::V4, at("2026-01-01T00:00:01Z"));
    times.noticed(Family::V4, at("2026-01-01T00:00:02.5Z"));
    times.noticed(Family::V6, at("2026-01-01T00:00:03Z"));
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
fn what_is_from_before_does_not_count_and_what_is_ahead_took_no_time() {
    let mut times = TriggerTimes::since(at("2026-01-01T00:00:00Z"));
    times.noticed(Family::V4, at("2025-12-31T23:59:59Z"));
    assert_eq!(
        times.take(Family::V4, at("2026-01-01T00:00:05Z")),
        Vec::<Duration>::new()
    );
    times.noticed(Family::V4, at("2026-01-01T00:00:09Z"));
    let ahead = times.take(Family::V4, at("2026-01-01T00:00:05Z"));
    assert_eq!(ahead, [Duration::ZERO]);
}

#[test]
fn annotations_say_when_or_nothing() {
    let time = "2026-01-01T00:00:01.5Z";
    assert_eq!(trigger_time(&annotated(time)), Some(at(time)));
    assert_eq!(trigger_time(&annotated("yesterday")), None);
    assert_eq!(trigger_time(&BTreeMap::new()), None);
}
