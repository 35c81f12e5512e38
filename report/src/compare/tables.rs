//! What a comparison says, as headings, lines and tables. How those are written is the matter of each form.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use onehop_harness::bench::{Measure, digits};
use onehop_harness::run::{Outcome, Verdict};
use onehop_harness::verdict::AddressKind;

use super::{
    BenchPair, Change, Comparison, Difference, FALSE_ALARM, Loss, MeasurePair, Pair, Ratio,
};

/// Two proxies.
pub(super) struct Section {
    /// Which.
    pub(super) heading: String,
    /// What is to be known before.
    pub(super) notes: Vec<String>,
    /// What was compared. None is empty.
    pub(super) tables: Vec<Table>,
}

/// A table. All rows have as many cells as there are columns.
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: &'static str,
    /// Its columns, with what stands above them.
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// What stands above it; nothing where that is clear.
    pub(super) name: &'static str,
    /// Whether it names a thing as the command line does.
    pub(super) is_id: bool,
}

const fn column(name: &'static str) -> Column {
    Column { name, is_id: false }
}

const fn id(name: &'static str) -> Column {
    Column { name, is_id: true }
}

/// In how few words all of it is said.
pub(super) fn verdict(comparison: &Comparison) -> String {
    match comparison.outcome() {
        Outcome::NotJudged => "Not everything was judged".to_owned(),
        Outcome::Passed => "Nothing is worse".to_owned(),
        Outcome::Failed => format!("{} worse", comparison.regressions.len()),
    }
}

/// Everything but what is worse and what was not judged.
pub(super) fn sections(comparison: &Comparison) -> Vec<Section> {
    let proxies = comparison.proxies.iter().map(of_proxies);
    proxies
        .chain(comparison.benches.iter().map(of_benches))
        .collect()
}

fn of_proxies(pair: &Pair) -> Section {
    let verdicts = pair.verdicts.iter().map(|change| {
        vec![
            sign(change).to_owned(),
            change.case.clone(),
            word(change.base),
            word(change.head),
            change.reason.clone().unwrap_or_default(),
        ]
    });
    let moved = pair.moved.iter().map(|moved| {
        vec![
            moved.case.clone(),
            moved.row.clone(),
            shares(&moved.base),
            shares(&moved.head),
            format!("{:.1e}", moved.p_value),
        ]
    });
    let tables = [
        Table {
            caption: "What was measured",
            columns: vec![column(""), column("")],
            rows: measured(pair),
        },
        Table {
            caption: "Cases with another verdict",
            columns: vec![
                column(""),
                id("case"),
                column("before"),
                column("after"),
                column("why"),
            ],
            rows: verdicts.collect(),
        },
        Table {
            caption: "Distributions that moved",
            columns: vec![
                id("case"),
                column("distribution"),
                column("before"),
                column("after"),
                column("p"),
            ],
            rows: moved.collect(),
        },
    ];
    Section {
        heading: format!("{} → {}", pair.base, pair.head),
        notes: pair.besides.clone(),
        tables: filled(tables),
    }
}

fn of_benches(pair: &BenchPair) -> Section {
    let measures = pair.measures.iter().map(|measure| {
        vec![
            measure.name.to_string(),
            measure.services.to_string(),
            value(measure, 0),
            value(measure, 1),
            measure.unit.clone(),
            times(measure),
            judged(measure),
        ]
    });
    let table = Table {
        caption: "What the benches measured",
        columns: vec![
            id("measure"),
            column("Services"),
            column("before"),
            column("after"),
            column("unit"),
            column("change"),
            column("by chance"),
        ],
        rows: measures.collect(),
    };
    Section {
        heading: format!("Bench: {} → {}", pair.base, pair.head),
        notes: pair.besides.clone(),
        tables: filled([table]),
    }
}

fn filled(tables: impl IntoIterator<Item = Table>) -> Vec<Table> {
    let tables = tables.into_iter();
    tables.filter(|table| !table.rows.is_empty()).collect()
}

/// What has become of a measure, in a line.
pub(super) fn change(measure: &MeasurePair) -> String {
    let (base, head) = (value(measure, 0), value(measure, 1));
    let (unit, services) = (&measure.unit, measure.services);
    let mut text = format!("{base} -> {head} {unit} with {services} Services");
    let (times, judged) = (times(measure), judged(measure));
    if !times.is_empty() {
        let _ = write!(text, ", {times}");
    }
    if !judged.is_empty() {
        let _ = write!(text, " ({judged})");
    }
    text
}

/// What a measure is in BASE (0) or in HEAD (1).
fn value(measure: &MeasurePair, side: usize) -> String {
    let value = digits([measure.base, measure.head][side]);
    match measure.made {
        Some(made) => format!("{value} of {}", made[side]),
        None => value,
    }
}

/// How much worse or better a measure is.
fn times(measure: &MeasurePair) -> String {
    match measure.worse {
        0.995..1.005 => "as before".to_owned(),
        f64::INFINITY => "worse beyond any number".to_owned(),
        worse if worse > 1.0 => format!("{worse:.2} times worse"),
        0.0 => "better beyond any number".to_owned(),
        worse => format!("{:.2} times better", 1.0 / worse),
    }
}

/// Whether that may be chance.
fn judged(measure: &MeasurePair) -> String {
    match measure.chance {
        // None may go wrong, so that one that does is no matter of chance.
        _ if measure.name == Measure::WrongConnections && measure.base == 0.0 => String::new(),
        Some(chance) if measure.differs() => format!("chance at most {chance:.1e}"),
        _ if measure.too_few => "too few samples to tell".to_owned(),
        _ => "not beyond chance".to_owned(),
    }
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
fn measured(pair: &Pair) -> Vec<Vec<String>> {
    let moved = format!(
        "{} of {} moved (the chance that any seems to that has not: {FALSE_ALARM:.1e})",
        pair.moved.len(),
        pair.distributions
    );
    let mut lines = vec![("verdicts", verdicts(pair)), ("distributions", moved)];
    if let Some(ratio) = &pair.convergence {
        lines.push((
            "convergence",
            ratio_text(ratio, pair.turns.is_some(), "cases"),
        ));
    }
    for (kind, ratio) in &pair.latencies {
        lines.push((
            "latency",
            format!(
                "{}: {}",
                address(*kind),
                ratio_text(ratio, pair.turns.is_some(), "flows")
            ),
        ));
    }
    if let Some(loss) = &pair.loss {
        lines.push(("losses", self::loss(loss)));
    }
    let cells = |(what, text): (&str, String)| vec![what.to_owned(), text];
    lines.into_iter().map(cells).collect()
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

/// A ratio of cases or flows, judged in turns or not.
fn ratio_text(ratio: &Ratio, in_turns: bool, what: &str) -> String {
    let judged = if ratio.differs() {
        ""
    } else {
        ", not beyond chance"
    };
    let Ratio {
        pairs,
        turns,
        ratio,
        low,
        high,
    } = ratio;
    let by = match in_turns {
        true => format!(" in {turns} turns"),
        false if pairs == turns => String::new(),
        false => format!(" of {turns} cases"),
    };
    format!(
        "{ratio:.2} times as long (99 %: {low:.2} to {high:.2}{judged}), over {pairs} {what}{by}"
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
