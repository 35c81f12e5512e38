//! A journey as a drawing: a column for each host, the request's way down to whoever got it, and the answer's way back, with each
//! rewrite where it happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use maud::{Markup, PreEscaped, html};
use onehop_harness::tap::{Direction, Half, Journey, Rewrite, Sample, Sighting, What};

/// The width of a column.
const COLUMN: usize = 190;
/// The height of a hop, with the addresses above and below its arrow.
const HOP: usize = 46;
/// The height of a rewrite.
const NOTE: usize = 26;
/// How wide a letter is, at the most.
const LETTER: usize = 7;
/// The height of the names of the hosts.
const HEAD: usize = 44;
/// How far the length of an arrow stays away from its columns.
const GAP: usize = 7;

/// The colours of a drawing that stands alone. In a page they are the page's.
const STYLE: &str = "\
svg.journey{--ink:#1c1f24;--dim:#5c6570;--line:#c9ced6;--paper:#fff;--request:#1d4ed8;--reply:#0f766e;--note:#fef3c7;\
--note-ink:#713f12;--bad:#b91c1c;background:var(--paper);font-family:ui-monospace,Menlo,Consolas,monospace}\
@media(prefers-color-scheme:dark){svg.journey{--ink:#e6e8eb;--dim:#9aa4b2;--line:#3a424e;--paper:#14171c;--request:#7aa2ff;\
--reply:#4fd1c0;--note:#3b2f12;--note-ink:#fcd34d;--bad:#f87171}}";

/// What every drawing of journeys needs of its page.
pub(crate) const RULES: &str = "\
.journey text{font-size:11.5px;fill:var(--ink)}.journey .host{font-weight:600;font-size:13px;text-anchor:middle}\
.journey .dim{fill:var(--dim)}.journey .lane{stroke:var(--line);stroke-dasharray:2 4}\
.journey .mid{text-anchor:middle}.journey .bad{fill:var(--bad);font-weight:600}\
.journey path{fill:none;stroke-width:1.6}.journey .rq{stroke:var(--request)}.journey .rp{stroke:var(--reply)}\
.journey .note{fill:var(--note);stroke:var(--note-ink);stroke-width:.7}.journey .note-text{fill:var(--note-ink);text-anchor:middle}\
.journey .lost{stroke:var(--bad);stroke-width:2.2}";

/// One thing that the drawing shows, from top to bottom.
#[derive(Debug, PartialEq)]
enum Event {
    /// A packet on its way from one host to the next; to nobody, if nobody has seen it come.
    Hop {
        half: Half,
        from: usize,
        to: Option<usize>,
        source: String,
        destination: String,
        ttl: u8,
    },
    /// What a host has rewritten.
    Note { host: usize, text: String },
    /// What became of the request where it ended.
    End {
        host: usize,
        text: String,
        bad: bool,
    },
}

impl Event {
    fn height(&self) -> usize {
        match self {
            Self::Hop { .. } => HOP,
            Self::Note { .. } | Self::End { .. } => NOTE,
        }
    }
}

/// A journey as an SVG that stands alone; none where no interface saw the call.
pub fn journey_svg(sample: &Sample) -> Option<String> {
    let drawing = draw(sample, true)?;
    Some(drawing.into_string())
}

/// The drawing of a journey; none where no interface saw the call. One that stands `alone` has its style with it.
pub(crate) fn draw(sample: &Sample, alone: bool) -> Option<Markup> {
    let journey = sample.journey.as_ref()?;
    let hosts = hosts(journey);
    let events = events(sample, journey, &hosts);
    let count = count(journey);
    let width = (hosts.len() * COLUMN).max(count.chars().count() * LETTER + 16);
    let height = HEAD + events.iter().map(Event::height).sum::<usize>() + NOTE;
    let mut y = HEAD;
    let drawn: Vec<Markup> = events
        .iter()
        .map(|event| {
            let markup = draw_event(event, y, width);
            y += event.height();
            markup
        })
        .collect();
    let namespace = alone.then_some("http://www.w3.org/2000/svg");
    Some(html! {
        svg.journey xmlns=[namespace] role="img" width=(width) height=(height) viewBox=(format!("0 0 {width} {height}"))
            aria-label=(summary(sample, journey)) {
            @if alone {
                style { (PreEscaped(STYLE)) (PreEscaped(RULES)) }
            }
            @for (index, host) in hosts.iter().enumerate() {
                line.lane x1=(middle(index)) x2=(middle(index)) y1=(HEAD - 12) y2=(height - NOTE) {}
                text.host x=(middle(index)) y="22" { (host) }
            }
            @for markup in drawn { (markup) }
            text.dim x="8" y=(height - 8) { (count) }
        }
    })
}

/// What the drawing shows, in a sentence.
pub(crate) fn summary(sample: &Sample, journey: &Journey) -> String {
    let mut there: Vec<&str> = journey.request.iter().map(|s| &*s.host).collect();
    there.dedup();
    let mut text = format!("{}: {}", sample.outcome, there.join(" to "));
    let mut back: Vec<&str> = journey.reply.iter().map(|s| &*s.host).collect();
    back.dedup();
    if !back.is_empty() {
        text.push_str(&format!("; back by {}", back.join(" to ")));
    }
    let all = journey.rewrites();
    for rewrite in &all {
        text.push_str(&format!(
            "; {} at {}",
            note(sample, rewrite, &all),
            rewrite.host
        ));
    }
    text
}

/// How long the way is, and whether what was rewritten on it was taken back.
fn count(journey: &Journey) -> String {
    let left = |way: &[Sighting]| way.iter().filter(|s| s.direction == Direction::Out).count();
    let hops = |count: usize| match count {
        1 => "1 hop".to_owned(),
        count => format!("{count} hops"),
    };
    let mut text = format!("{} there", hops(left(&journey.request)));
    if !journey.reply.is_empty() {
        text.push_str(&format!(", {} back", hops(left(&journey.reply))));
    }
    let rewrites = journey.rewrites().into_iter();
    let rewrites = rewrites
        .filter(|rewrite| rewrite.half == Half::Request)
        .count();
    match (
        rewrites,
        journey.reply.is_empty(),
        journey.not_undone().len(),
    ) {
        (0, ..) => text.push_str("; nothing rewritten"),
        (_, true, _) => text.push_str(&format!("; {rewrites} rewritten")),
        (_, false, 0) => text.push_str(&format!("; {rewrites} rewritten, and undone")),
        (_, false, left) => text.push_str(&format!("; {rewrites} rewritten, {left} not undone")),
    }
    text
}

/// The middle of something of this width, as near to `at` as it fits into the whole.
fn fitting(at: usize, width: usize, whole: usize) -> usize {
    let half = width.div_ceil(2) + 2;
    at.min(whole.saturating_sub(half)).max(half)
}

fn middle(column: usize) -> usize {
    column * COLUMN + COLUMN / 2
}

/// The hosts in the order in which they were first come to.
fn hosts(journey: &Journey) -> Vec<&str> {
    let mut known = BTreeSet::new();
    let all = journey.request.iter().chain(&journey.reply);
    all.map(|sighting| &*sighting.host)
        .filter(|host| known.insert(*host))
        .collect()
}

fn events(sample: &Sample, journey: &Journey, hosts: &[&str]) -> Vec<Event> {
    let rewrites = journey.rewrites();
    let column = |host: &str| hosts.iter().position(|one| *one == host).unwrap_or(0);
    let mut events = Vec::new();
    for (half, sightings) in [
        (Half::Request, &journey.request),
        (Half::Reply, &journey.reply),
    ] {
        let mut before: Option<&Sighting> = None;
        for (index, sighting) in sightings.iter().enumerate() {
            let ends = match before {
                Some(before) => Some((before.source, before.destination)),
                None if half == Half::Request => Some((journey.call.local, journey.call.remote)),
                None => None,
            };
            if let (Direction::Out, Some(ends)) = (sighting.direction, ends) {
                let seen = (sighting.source, sighting.destination);
                let made = rewrites
                    .iter()
                    .filter(|r| r.host == sighting.host && r.half == half && shows(r, ends, seen));
                events.extend(made.map(|rewrite| Event::Note {
                    host: column(&sighting.host),
                    text: note(sample, rewrite, &rewrites),
                }));
            }
            if sighting.direction == Direction::Out {
                let next = sightings.get(index + 1);
                let next = next.filter(|next| next.direction == Direction::In);
                events.push(Event::Hop {
                    half,
                    from: column(&sighting.host),
                    to: next.map(|next| column(&next.host)),
                    source: address(sample, sighting.source),
                    destination: address(sample, sighting.destination),
                    ttl: sighting.ttl,
                });
            }
            before = Some(sighting);
        }
        let Some(last) = sightings.last() else {
            continue;
        };
        let host = column(&last.host);
        if half == Half::Reply {
            // What the caller itself takes back happens behind its interface.
            let own = rewrites
                .iter()
                .filter(|r| r.half == half && r.host == journey.call.from && r.host == last.host);
            events.extend(own.map(|rewrite| Event::Note {
                host,
                text: note(sample, rewrite, &rewrites),
            }));
        }
        let came_back = journey.came_back();
        let text = match (half, journey.reply.first()) {
            (Half::Request, Some(answer)) => answer.kind.to_string(),
            (Half::Request, None) => format!("{}: nobody answered", sample.outcome),
            (Half::Reply, _) if came_back => continue,
            (Half::Reply, _) => "the answer did not come back".to_owned(),
        };
        events.push(Event::End {
            host,
            text,
            bad: !came_back,
        });
    }
    events
}

/// Whether a rewrite is what changed between these two pairs of source and destination.
fn shows(
    rewrite: &Rewrite,
    before: (SocketAddr, SocketAddr),
    after: (SocketAddr, SocketAddr),
) -> bool {
    let (before, after) = match rewrite.what {
        What::Source => (before.0, after.0),
        What::Destination => (before.1, after.1),
    };
    (before, after) == (rewrite.from, rewrite.to)
}

/// What a host did, in the field's short words.
fn note(sample: &Sample, rewrite: &Rewrite, all: &[Rewrite]) -> String {
    let to = address(sample, rewrite.to);
    let undone = all.iter().any(|request| rewrite.undoes(request));
    match (rewrite.what, undone) {
        (What::Source, true) => format!("DNAT undone: {to}"),
        (What::Destination, true) => format!("SNAT undone: {to}"),
        (What::Source, false) => format!("SNAT → {to}"),
        (What::Destination, false) => format!("DNAT → {to}"),
    }
}

fn address(sample: &Sample, address: SocketAddr) -> String {
    match sample.names.get(&address.ip()) {
        Some(name) => format!("{name}:{}", address.port()),
        None => address.to_string(),
    }
}

fn draw_event(event: &Event, y: usize, whole: usize) -> Markup {
    match event {
        Event::Hop {
            half,
            from,
            to,
            source,
            destination,
            ttl,
        } => {
            let class = match half {
                Half::Request => "rq",
                Half::Reply => "rp",
            };
            let line = y + HOP / 2;
            // One that nobody saw come ends between the columns.
            let (start, end) = match to {
                Some(to) if to >= from => (middle(*from) + GAP, middle(*to) - GAP),
                Some(to) => (middle(*from) - GAP, middle(*to) + GAP),
                None => (middle(*from) + GAP, middle(*from) + COLUMN / 2),
            };
            // One path: a page has thousands of hops.
            let back = if end >= start { end - 7 } else { end + 7 };
            let arrow = format!(
                "M{start} {line}H{end}M{back} {}L{end} {line}L{back} {}",
                line - 4,
                line + 4
            );
            let centre = usize::midpoint(start, end);
            html! {
                path class=(class) d=(arrow) {}
                @if to.is_none() {
                    path.lost d=(format!("M{} {}l10 10m0-10l-10 10", end - 5, line - 5)) {}
                }
                text.mid x=(centre) y=(line - 6) { (source) }
                text.mid x=(centre) y=(line + 14) { "→ " (destination) " ttl " (ttl) }
            }
        }
        Event::Note { host, text } => {
            let width = text.chars().count() * LETTER + 14;
            let at = fitting(middle(*host), width, whole);
            html! {
                rect.note x=(at - width / 2) y=(y + 3) width=(width) height=(NOTE - 6) rx="4" {}
                text.note-text x=(at) y=(y + NOTE / 2 + 4) { (text) }
            }
        }
        Event::End { host, text, bad } => {
            let at = fitting(middle(*host), text.chars().count() * LETTER, whole);
            html! { text.mid.bad[*bad].dim[!*bad] x=(at) y=(y + NOTE / 2 + 4) { (text) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn drawn(answered: bool) -> String {
        let sample: Sample = serde_json::from_value(sample::journey(answered)).expect("a journey");
        journey_svg(&sample).expect("a drawing")
    }

    /// The texts of a drawing, in its order.
    fn texts(svg: &str) -> Vec<String> {
        let parts = svg.split("<text").skip(1);
        let inner = parts.filter_map(|part| part.split_once('>')?.1.split_once("</text>"));
        inner.map(|(text, _)| text.to_owned()).collect()
    }

    #[test]
    fn each_hop_and_each_rewrite_is_there_in_the_order_of_travel() {
        let expected = [
            "client-vm1",
            "vm1",
            "web-0",
            "client-vm1:4000",
            "→ cluster-ip:80 ttl 64",
            "DNAT → web-0:8080",
            "client-vm1:4000",
            "→ web-0:8080 ttl 63",
            "SYN-ACK",
            "web-0:8080",
            "→ client-vm1:4000 ttl 64",
            "DNAT undone: cluster-ip:80",
            "cluster-ip:80",
            "→ client-vm1:4000 ttl 63",
            "2 hops there, 2 hops back; 1 rewritten, and undone",
        ];
        assert_eq!(texts(&drawn(true)), expected);
    }

    #[test]
    fn a_call_that_nobody_answers_ends_where_it_was_last_seen() {
        let svg = drawn(false);
        let texts = texts(&svg);
        let end = ["dropped: nobody answered", "2 hops there; 1 rewritten"];
        assert_eq!(texts[texts.len() - 2..], end);
        assert_eq!(svg.matches("class=\"lost\"").count(), 1);
        assert!(
            svg.contains("aria-label=\"dropped: client-vm1 to vm1; DNAT"),
            "{svg}"
        );
    }

    #[test]
    fn a_drawing_stands_alone_and_a_call_that_never_left_has_none() {
        let svg = drawn(true);
        assert!(svg.starts_with("<svg") && svg.contains("xmlns=\"http://www.w3.org/2000/svg\""));
        let mut sample = sample::journey(true);
        sample["journey"] = serde_json::Value::Null;
        let sample: Sample = serde_json::from_value(sample).expect("a sample");
        assert_eq!(journey_svg(&sample), None);
    }
}
