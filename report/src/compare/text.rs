//! A comparison as text, as Markdown, and as a page.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use maud::html;
use onehop_harness::bench::{Measure, digits};
use onehop_harness::run::Verdict;
use onehop_harness::verdict::AddressKind;

use super::{
    BenchPair, Change, Comparison, Difference, FALSE_ALARM, Loss, MeasurePair, Pair, Ratio,
};
use crate::html::page;
use crate::markdown::cell;

/// What is said of a proxy beside its verdicts: what it is about, and what became of it.
type Line = (&'static str, String);

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pair in &self.proxies {
            writeln!(f, "{} -> {}\n", pair.base, pair.head)?;
            writeln!(f, "  verdicts       {}", verdicts(pair))?;
            for change in &pair.verdicts {
                let Change {
                    case,
                    base,
                    head,
                    reason,
                    was_known: _,
                } = change;
                let reason = reason.as_deref().unwrap_or_default();
                let sign = sign(change);
                writeln!(
                    f,
                    "    {sign} {case}: {} -> {}  {reason}",
                    word(*base),
                    word(*head)
                )?;
            }
            for (what, text) in measured(pair) {
                writeln!(f, "  {what:13}  {text}")?;
            }
            for moved in &pair.moved {
                let (base, head) = (shares(&moved.base), shares(&moved.head));
                writeln!(
                    f,
                    "    {}, {}: {base} -> {head} (p = {:.1e})",
                    moved.case, moved.row, moved.p_value
                )?;
            }
            writeln!(f)?;
        }
        for pair in &self.benches {
            writeln!(f, "bench: {} -> {}\n", pair.base, pair.head)?;
            for besides in &pair.besides {
                writeln!(f, "  {besides}")?;
            }
            for measure in &pair.measures {
                writeln!(f, "  {:22}  {}", measure.name, change(measure))?;
            }
            writeln!(f)?;
        }
        for unjudged in &self.unjudged {
            writeln!(f, "not judged: {unjudged}")?;
        }
        match self.regressions.len() {
            0 if !self.unjudged.is_empty() => writeln!(f, "nothing that was judged is worse"),
            0 => writeln!(f, "nothing is worse"),
            worse => writeln!(f, "{worse} worse:\n  {}", self.regressions.join("\n  ")),
        }
    }
}

impl Comparison {
    /// Whether nothing is worse.
    pub fn is_clean(&self) -> bool {
        self.regressions.is_empty()
    }

    /// The comparison in GitHub-flavoured Markdown.
    pub fn markdown(&self) -> String {
        let mut text = match self.regressions.len() {
            0 if !self.unjudged.is_empty() => "## ⚠️ Not everything was judged\n".to_owned(),
            0 => "## ✅ Nothing is worse\n".to_owned(),
            worse => format!("## ❌ {worse} worse\n"),
        };
        for unjudged in &self.unjudged {
            let _ = write!(text, "\n**Not judged:** {}\n", cell(unjudged));
        }
        for pair in &self.proxies {
            let _ = write!(
                text,
                "\n### {} → {}\n\n| | |\n|---|---|\n| verdicts | {} |\n",
                cell(&pair.base),
                cell(&pair.head),
                cell(&verdicts(pair))
            );
            for (what, said) in measured(pair) {
                let _ = writeln!(text, "| {what} | {} |", cell(&said));
            }
            if !pair.verdicts.is_empty() {
                text.push_str("\n| | case | before | after | why |\n|---|---|---|---|---|\n");
            }
            for change in &pair.verdicts {
                let reason = cell(change.reason.as_deref().unwrap_or_default());
                let (base, head) = (word(change.base), word(change.head));
                let _ = writeln!(
                    text,
                    "| {} | `{}` | {base} | {head} | {reason} |",
                    sign(change),
                    change.case
                );
            }
            if !pair.moved.is_empty() {
                text.push_str(
                    "\n| case | distribution | before | after | p |\n|---|---|---|---|---|\n",
                );
            }
            for moved in &pair.moved {
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} | {} | {:.1e} |",
                    moved.case,
                    cell(&moved.row),
                    shares(&moved.base),
                    shares(&moved.head),
                    moved.p_value
                );
            }
        }
        for pair in &self.benches {
            let (base, head) = (cell(&pair.base), cell(&pair.head));
            let _ = write!(text, "\n### Bench: {base} → {head}\n\n");
            for besides in &pair.besides {
                let _ = write!(text, "{}\n\n", cell(besides));
            }
            text.push_str("| measure | before and after |\n|---|---|\n");
            for measure in &pair.measures {
                let _ = writeln!(text, "| `{}` | {} |", measure.name, change(measure));
            }
        }
        text
    }

    /// The comparison as a page that needs no network.
    pub fn html(&self) -> String {
        let word_of_all = match self.regressions.len() {
            0 if !self.unjudged.is_empty() => "Not everything was judged".to_owned(),
            0 => "Nothing is worse".to_owned(),
            worse => format!("{worse} worse"),
        };
        let body = html! {
            header {
                p.brand { "onehop compare" }
                h1.(if self.is_clean() { "pass" } else { "fail" }) { (word_of_all) }
                @if !self.unjudged.is_empty() { ul { @for unjudged in &self.unjudged { li { "Not judged: " (unjudged) } } } }
                @if !self.is_clean() { ul { @for worse in &self.regressions { li { (worse) } } } }
            }
            main {
                @for pair in &self.proxies { (pair_section(pair)) }
                @for pair in &self.benches { (bench_section(pair)) }
            }
        };
        page(&word_of_all, &html! {}, &body)
    }
}

fn pair_section(pair: &Pair) -> maud::Markup {
    html! {
        section {
            h2 { (pair.base) " → " (pair.head) }
            div.scroll tabindex="0" role="region" aria-label="what was measured" {
                table {
                    tbody {
                        tr { th scope="row" { "verdicts" } td { (verdicts(pair)) } }
                        @for (what, said) in measured(pair) { tr { th scope="row" { (what) } td { (said) } } }
                    }
                }
            }
            @if !pair.verdicts.is_empty() {
                h3 { "Cases with another verdict" }
                div.scroll tabindex="0" role="region" aria-label="verdicts" {
                    table {
                        thead { tr { th scope="col" { "" } th scope="col" { "case" } th scope="col" { "before" } th scope="col" { "after" } th scope="col" { "why" } } }
                        tbody {
                            @for change in &pair.verdicts {
                                tr {
                                    td { (sign(change)) } td.id { (change.case) } td { (word(change.base)) } td { (word(change.head)) }
                                    td { (change.reason.as_deref().unwrap_or_default()) }
                                }
                            }
                        }
                    }
                }
            }
            @if !pair.moved.is_empty() {
                h3 { "Distributions that moved" }
                div.scroll tabindex="0" role="region" aria-label="distributions" {
                    table {
                        thead { tr { th scope="col" { "case" } th scope="col" { "distribution" } th scope="col" { "before" } th scope="col" { "after" } th scope="col" { "p" } } }
                        tbody {
                            @for moved in &pair.moved {
                                tr { td.id { (moved.case) } td { (moved.row) } td { (shares(&moved.base)) } td { (shares(&moved.head)) } td { (format!("{:.1e}", moved.p_value)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn bench_section(pair: &BenchPair) -> maud::Markup {
    html! {
        section {
            h2 { "Bench: " (pair.base) " → " (pair.head) }
            @for besides in &pair.besides { p { (besides) } }
            div.scroll tabindex="0" role="region" aria-label="what the benches measured" {
                table {
                    tbody {
                        @for measure in &pair.measures { tr { th scope="row" { (measure.name) } td { (change(measure)) } } }
                    }
                }
            }
        }
    }
}

/// What has become of a measure.
pub(super) fn change(measure: &MeasurePair) -> String {
    let MeasurePair {
        unit,
        services,
        base,
        head,
        worse,
        chance,
        too_few,
        name,
    } = measure;
    let (base, head) = (digits(*base), digits(*head));
    let times = worse.map_or_else(String::new, |worse| match worse {
        0.995..1.005 => ", as before".to_owned(),
        1.0.. => format!(", {worse:.2} times worse"),
        _ => format!(", {:.2} times better", 1.0 / worse),
    });
    let judged = match chance {
        _ if *name == Measure::WrongConnections => String::new(),
        Some(chance) if measure.differs() => format!(" (chance at most {chance:.1e})"),
        _ if *too_few => " (too few samples to tell)".to_owned(),
        _ => " (not beyond chance)".to_owned(),
    };
    format!("{base} -> {head} {unit} with {services} Services{times}{judged}")
}

fn verdicts(pair: &Pair) -> String {
    let count = |is: fn(&Change) -> bool| pair.verdicts.iter().filter(|change| is(change)).count();
    let (worse, mended) = (count(Change::is_regression), count(Change::is_mended));
    let mut text = format!(
        "{} cases judged in both; {worse} worse, {mended} mended",
        pair.compared
    );
    for (count, what) in [
        (pair.verdicts.len() - worse - mended, "otherwise another"),
        (pair.only_base.len(), "only before"),
        (pair.only_head.len(), "only after"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// What was measured, and how it compares.
fn measured(pair: &Pair) -> Vec<Line> {
    let mut lines = vec![(
        "distributions",
        format!(
            "{} of {} moved (the chance that any seems to that has not: {FALSE_ALARM:.1e})",
            pair.moved.len(),
            pair.distributions
        ),
    )];
    if let Some(ratio) = &pair.convergence {
        lines.push((
            "convergence",
            format!("{}, over {} cases", ratio_text(ratio), ratio.pairs),
        ));
    }
    for (kind, ratio) in &pair.latencies {
        lines.push((
            "latency",
            format!(
                "{}: {}, over {} flows",
                address(*kind),
                ratio_text(ratio),
                ratio.pairs
            ),
        ));
    }
    if let Some(loss) = &pair.loss {
        lines.push(("losses", self::loss(loss)));
    }
    lines
}

pub(super) fn loss(loss: &Loss) -> String {
    let ((before, of_before), (after, of_after)) = (loss.base, loss.head);
    let (more, fewer) = loss.flows;
    let Difference { mean, low, high } = loss.grown;
    let [mean, low, high] = [mean, low, high].map(|part| part * 100.0);
    format!(
        "{before} of {of_before} connections -> {after} of {of_after}; a larger part of {more} flows and a smaller of {fewer}: \
         {mean:+.2} % of a flow (99 %: {low:+.2} to {high:+.2})"
    )
}

fn ratio_text(ratio: &Ratio) -> String {
    let judged = if ratio.differs() {
        ""
    } else {
        ", not beyond chance"
    };
    format!(
        "{:.2} times as long (99 %: {:.2} to {:.2}{judged})",
        ratio.ratio, ratio.low, ratio.high
    )
}

pub(super) fn address(kind: AddressKind) -> &'static str {
    match kind {
        AddressKind::ClusterIp => "ClusterIP",
        AddressKind::NodePort => "node port",
        AddressKind::ExternalIp => "external IP",
        AddressKind::LoadBalancer => "load-balancer address",
        AddressKind::Nobodys => "service address that nobody serves",
    }
}

fn sign(change: &Change) -> &'static str {
    match (change.is_regression(), change.is_mended()) {
        (true, _) => "✘",
        (_, true) => "✔",
        _ => "·",
    }
}

fn word(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(
        || "not there".to_owned(),
        |verdict| verdict.to_string().to_lowercase(),
    )
}

fn shares(shares: &BTreeMap<String, f64>) -> String {
    let each = shares
        .iter()
        .map(|(pod, share)| format!("{pod} {:.1} %", share * 100.0));
    each.collect::<Vec<_>>().join(", ")
}
