//! How results of checks become the health of a node. Pure.

use std::time::Duration;

use crate::timing::Timing;

/// The weight of a node that announces none: that of a single endpoint, so that nodes which all say nothing are even.
const UNSTATED: u32 = 1;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The node passed.
    Passed,
    /// The node answered, and the answer is no: an HTTP status other than 200.
    Denied,
    /// Nobody answered: refused, timed out, or no HTTP.
    Unanswered,
}

/// The result of one check, with the words that a report shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) finding: Finding,
    pub(super) text: String,
    /// The weight that the node announced; none where it said nothing of one.
    pub(super) weight: Option<u32>,
}

/// The numbers that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    threshold: u32,
    patience: Duration,
}

impl Rules {
    pub(super) fn of(timing: &Timing) -> Self {
        Self {
            threshold: timing.health_check_threshold.max(1),
            patience: timing.health_check_patience,
        }
    }
}

/// The health of one node for one Service.
///
/// A verdict belongs to the check that found it, so a changed check must find its own. Until it
/// has, the node keeps its old role: a cloud does not take a node out of service because its
/// operator edited the check, and doing so would cut traffic at every policy switch. Per node:
/// - the first success makes it healthy at once, because the node has proven that it serves;
/// - a denial counts by the ordinary threshold;
/// - silence counts only after [`Timing::health_check_patience`]. The health port opens when the *proxy* has
///   processed the switch, perhaps a second after this load balancer has, whose interval is a
///   hundredth of a cloud's; without patience every node would be lost in between.
///
/// Successes are thus known sooner than failures, so the old set never empties before the new
/// one is there. A node of a new Service has no old role: unknown, it gets no traffic.
///
/// A weight counts at once, and is that of the last success: a node that denies keeps its role, weight and all, until the
/// denials have their number.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    healthy: bool,
    /// When the last check that it passed was begun, by the clock of the taps.
    passed: Option<Duration>,
    /// Whether the rules that the kernel has are of a healthy node, and since when, by the clock of the taps.
    programmed: (bool, Duration),
    last: String,
    weight: u32,
    /// Whether `healthy` was found under the current check.
    settled: bool,
    /// Results in a row that contradict `healthy`, or, before it is settled, denials in a row.
    streak: u32,
    /// When the current check began.
    begun: Duration,
}

impl Tally {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            healthy: false,
            passed: None,
            programmed: (false, Duration::ZERO),
            last: "not checked yet".to_owned(),
            weight: UNSTATED,
            settled: false,
            streak: 0,
            begun: now,
        }
    }

    /// Begins a changed check.
    pub(super) fn begin(&mut self, now: Duration) {
        self.settled = false;
        self.streak = 0;
        self.begun = now;
    }

    /// Counts the result of a check that was begun at this time by the clock of the taps. True if anything that is visible
    /// from outside changed.
    pub(super) fn record(
        &mut self,
        begun: Duration,
        outcome: Outcome,
        now: Duration,
        rules: Rules,
    ) -> bool {
        let before = (self.healthy, self.settled, self.weight);
        let passed = outcome.finding == Finding::Passed;
        if passed {
            self.passed = Some(begun);
            self.weight = outcome.weight.unwrap_or(UNSTATED);
        }
        if self.settled {
            self.streak = if passed == self.healthy {
                0
            } else {
                self.streak + 1
            };
            if self.streak >= rules.threshold {
                self.turn(passed);
            }
        } else {
            match outcome.finding {
                Finding::Passed => self.turn(true),
                Finding::Denied => {
                    self.streak += 1;
                    if self.streak >= rules.threshold {
                        self.turn(false);
                    }
                }
                Finding::Unanswered => {
                    if now.saturating_sub(self.begun) >= rules.patience {
                        self.turn(false);
                    }
                }
            }
        }
        let text_changed = self.last != outcome.text;
        self.last = outcome.text;
        text_changed || before != (self.healthy, self.settled, self.weight)
    }

    fn turn(&mut self, healthy: bool) {
        self.healthy = healthy;
        self.settled = true;
        self.streak = 0;
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy
    }

    pub(super) fn settled(&self) -> bool {
        self.settled
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    /// Takes in that the kernel has the rules of its present health, at this time by the clock of the taps.
    pub(super) fn program(&mut self, now: Duration) {
        if self.programmed.0 != self.healthy {
            self.programmed = (self.healthy, now);
        }
    }

    pub(super) fn since(&self) -> Duration {
        self.programmed.1
    }

    pub(super) fn passed(&self) -> Option<Duration> {
        self.passed
    }

    pub(super) fn last(&self) -> &str {
        &self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        threshold: 2,
        patience: Duration::from_secs(2),
    };

    /// Records findings 100 ms apart, from `start`; the health after each.
    fn play(tally: &mut Tally, start: u64, findings: &[Finding]) -> Vec<bool> {
        let at = |index: usize| Duration::from_millis(start + 100 * index as u64);
        let mut health = Vec::new();
        for (index, finding) in findings.iter().enumerate() {
            let outcome = Outcome {
                finding: finding.clone(),
                text: format!("{finding:?}"),
                weight: None,
            };
            tally.record(at(index), outcome, at(index), RULES);
            health.push(tally.healthy());
        }
        health
    }

    use Finding::{Denied, Passed, Unanswered};

    #[test]
    fn an_unknown_node_is_unhealthy_until_its_first_success() {
        let mut tally = Tally::new(Duration::ZERO);
        assert!(!tally.healthy());
        assert_eq!(
            play(&mut tally, 0, &[Denied, Unanswered, Passed]),
            [false, false, true]
        );
    }

    #[test]
    fn a_settled_verdict_takes_a_threshold_in_a_row_to_change() {
        let mut tally = Tally::new(Duration::ZERO);
        assert_eq!(
            play(
                &mut tally,
                0,
                &[Passed, Denied, Passed, Denied, Unanswered, Passed, Passed]
            ),
            [true, true, true, true, false, false, true]
        );
    }

    #[test]
    fn a_node_is_left_when_the_kernel_knows_and_its_last_pass_is_known() {
        let at = Duration::from_millis;
        let mut tally = Tally::new(Duration::ZERO);
        assert_eq!(tally.passed(), None);
        play(&mut tally, 0, &[Passed, Passed]);
        tally.program(at(150));
        play(&mut tally, 200, &[Denied, Denied]);
        assert_eq!((tally.since(), tally.passed()), (at(150), Some(at(100))));
        tally.program(at(310));
        tally.program(at(400));
        assert_eq!((tally.since(), tally.passed()), (at(310), Some(at(100))));
    }

    #[test]
    fn a_changed_check_keeps_the_old_role_until_it_finds_its_own_verdict() {
        let mut tally = Tally::new(Duration::ZERO);
        play(&mut tally, 0, &[Passed]);
        tally.begin(Duration::from_secs(1));
        assert!(tally.healthy() && !tally.settled());
        assert_eq!(play(&mut tally, 1000, &[Denied, Denied]), [true, false]);
        tally.begin(Duration::from_secs(3));
        assert_eq!(play(&mut tally, 3000, &[Passed]), [true]);
        assert!(tally.settled());
    }

    #[test]
    fn silence_under_a_changed_check_is_patiently_borne_and_not_for_ever() {
        let mut tally = Tally::new(Duration::ZERO);
        play(&mut tally, 0, &[Passed]);
        tally.begin(Duration::from_secs(1));
        let silence = vec![Unanswered; 21];
        let health = play(&mut tally, 1000, &silence);
        assert!(health[..20].iter().all(|healthy| *healthy), "{health:?}");
        assert!(!health[20]);
    }

    #[test]
    fn only_what_is_visible_counts_as_a_change() {
        let mut tally = Tally::new(Duration::ZERO);
        let passed = Outcome {
            finding: Passed,
            text: "200".to_owned(),
            weight: None,
        };
        let mut record = |outcome, now| tally.record(now, outcome, now, RULES);
        assert!(record(passed.clone(), Duration::ZERO));
        assert!(!record(passed, Duration::from_secs(1)));
        let failed = Outcome {
            finding: Denied,
            text: "503".to_owned(),
            weight: None,
        };
        // By which it is shown when the last one was that it passed.
        assert!(record(failed, Duration::from_secs(2)));
        assert_eq!(tally.passed(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_weight_counts_at_once_and_is_that_of_the_last_success() {
        let mut tally = Tally::new(Duration::ZERO);
        let mut record = |finding, weight| {
            let outcome = Outcome {
                finding,
                text: String::new(),
                weight,
            };
            let changed = tally.record(Duration::ZERO, outcome, Duration::ZERO, RULES);
            (changed, tally.weight())
        };
        assert_eq!(record(Passed, Some(3)), (true, 3));
        assert_eq!(record(Passed, Some(3)), (false, 3));
        assert_eq!(record(Passed, Some(2)), (true, 2));
        assert_eq!(record(Denied, Some(0)), (false, 2));
        assert_eq!(record(Unanswered, None), (true, 2), "it is unhealthy now");
        // A check that announces nothing, after one that did.
        assert_eq!(record(Passed, None), (true, 1));
    }
}
