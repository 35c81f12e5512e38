//! The share of each pod as bars, with what was expected, and how far chance may lead away from it.

use std::ops::RangeInclusive;

use maud::{Markup, html};
use onehop_harness::verdict::FlowResult;
use statrs::distribution::{Binomial, DiscreteCDF};

/// The range in which the share of one pod lies but for a chance of `false_alarm`, given the share that it should have and the
/// number of connections. The verdict is by all pods together (χ²); this is what the same rate means for one.
pub(super) fn bounds(share: f64, count: u64, false_alarm: f64) -> RangeInclusive<f64> {
    // Results that somebody else has written may say anything.
    let false_alarm = false_alarm.clamp(f64::MIN_POSITIVE, 1.0);
    let Ok(binomial) = Binomial::new(share, count.clamp(1, 1 << 40)) else {
        return 0.0..=1.0;
    };
    let quantile = |p: f64| binomial.inverse_cdf(p) as f64 / binomial.n() as f64;
    quantile(false_alarm / 2.0)..=quantile(1.0 - false_alarm / 2.0)
}

/// Bars for a row whose shares were judged; nothing for any other.
pub(super) fn bars(row: &FlowResult) -> Markup {
    let (Some(p_value), Some(false_alarm)) = (row.p_value, row.false_alarm) else {
        return html! {};
    };
    let answered: u64 = row
        .tally
        .iter()
        .flat_map(|tally| tally.reached.values())
        .sum();
    html! {
        figure.shares {
            figcaption { (row.from) " to " (row.to) @if let Some(family) = row.family { " · " (family) } " · " (answered) " answers · p = " (format!("{p_value:.2e}")) ", fails below " (format!("{false_alarm:.0e}")) }
            @for (pod, expected) in &row.expected_shares {
                @let got = row.shares.get(pod).copied().unwrap_or(0.0);
                @let within = bounds(*expected, answered.max(1), false_alarm);
                div.share role="img" aria-label=(format!("{pod}: {:.1} % of {:.1} %, within {:.1} to {:.1} %", got * 100.0, expected * 100.0, within.start() * 100.0, within.end() * 100.0)) {
                    span.pod-name { (pod) }
                    span.track {
                        span.bound style=(format!("left:{:.2}%;width:{:.2}%", within.start() * 100.0, (within.end() - within.start()) * 100.0)) {}
                        span.bar.out[!within.contains(&got)] style=(format!("width:{:.2}%", got * 100.0)) {}
                        span.expected style=(format!("left:{:.2}%", expected * 100.0)) {}
                    }
                    span.number { (format!("{:.1} %", got * 100.0)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_close_in_with_more_connections_and_leave_room_for_the_rate() {
        let (few, many) = (
            bounds(1.0 / 3.0, 100, 1e-6),
            bounds(1.0 / 3.0, 10_000, 1e-6),
        );
        assert!(few.contains(&(1.0 / 3.0)) && many.contains(&(1.0 / 3.0)));
        assert!(few.start() < many.start() && many.end() < few.end());
        // Five standard deviations or so of √(⅓ · ⅔ / 10 000).
        assert!((many.end() - 1.0 / 3.0 - 0.0231).abs() < 0.001, "{many:?}");
        assert_eq!(bounds(1.0, 50, 1e-6), 1.0..=1.0);
    }
}
