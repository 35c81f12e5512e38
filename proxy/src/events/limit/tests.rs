use super::*;
use crate::events::Regarding;

fn event(note: &str) -> Event {
    Event::warning(
        Regarding::Node("vm1".into()),
        "Reason",
        "Action",
        note.into(),
    )
}

#[test]
fn the_same_is_said_again_only_after_a_while() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    assert_eq!(limiter.ask(&event("a"), start), Verdict::Allowed);
    assert_eq!(
        limiter.ask(&event("a"), start),
        Verdict::Allowed,
        "it has not been said yet"
    );
    limiter.said(event("a"), start);
    assert_eq!(
        limiter.ask(&event("a"), start + SILENCE / 2),
        Verdict::Repeated
    );
    assert_eq!(
        limiter.ask(&event("b"), start + SILENCE / 2),
        Verdict::Allowed
    );
    assert_eq!(limiter.ask(&event("a"), start + SILENCE), Verdict::Allowed);
    assert_eq!(limiter.said.len(), 0, "what was said long ago is forgotten");
}

#[test]
fn many_different_ones_are_limited() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    let mut allowed = |at: Instant, from: u32| {
        let verdicts = (from..from + 100).map(|n| limiter.ask(&event(&n.to_string()), at));
        verdicts
            .filter(|verdict| *verdict == Verdict::Allowed)
            .count()
    };
    assert_eq!(allowed(start, 0), 25);
    assert_eq!(allowed(start + REFILL / 2, 100), 0);
    assert_eq!(allowed(start + REFILL, 200), 1);
    assert_eq!(
        allowed(start + REFILL + REFILL / 2, 300),
        0,
        "half a second is not forgotten, nor counted twice"
    );
    assert_eq!(allowed(start + REFILL * 3, 400), 2);
    assert_eq!(
        allowed(start + REFILL * 1000, 500),
        25,
        "no more than the burst gathers"
    );
}
