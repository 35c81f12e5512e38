//! What `onehop trace` prints.

use console::style;
use serde_json::{Value, json};

use super::{Traced, Way};
use crate::catalogue;

/// The schema of what was traced, as JSON.
const SCHEMA: &str = "onehop.trace/v1";

/// What is traced.
pub(super) fn heading(traced: &Traced) -> String {
    let Traced {
        service,
        from,
        to,
        family,
        ..
    } = traced;
    format!(
        "type {}, externalTrafficPolicy {}, internalTrafficPolicy {}; endpoints {}\n{from} calls {to} by {}, {family}\n\n",
        service.kind.api_name(),
        service.external,
        service.internal,
        catalogue::backends(&traced.endpoints),
        service.ports[0].protocol
    )
}

/// The way of a call by a proxy, which is named where there are several, and what became of it.
pub(super) fn way(way: &Way, several: bool) -> String {
    let mut lines = Vec::new();
    lines.extend(several.then(|| style(&way.proxy).bold().to_string()));
    lines.extend(way.sample.to_string().lines().map(coloured));
    lines.push(String::new());
    lines.push(match &way.reached {
        Some((identity, latency)) => format!(
            "reached {} on {}, which saw {} ({}), TTL {}, in {latency:.1?}",
            style(&identity.pod).green(),
            identity.node,
            identity.peer,
            way.seen,
            identity.ttl
        ),
        None => style(&way.sample.outcome).red().to_string(),
    });
    lines.join("\n") + "\n\n"
}

/// Everything as one document.
pub(super) fn document(traced: &Traced, ways: &[Way]) -> Value {
    let each = ways.iter().map(|way| {
        let answer = way.reached.as_ref().map(|(identity, latency)| {
            json!({ "by": identity, "which_saw": way.seen, "seconds": latency.as_secs_f64() })
        });
        let steps = way.sample.steps();
        let parts = part(&ways[0].sample.steps(), &steps);
        json!({
            "proxy": way.proxy,
            "way": way.sample,
            "steps": steps,
            "answer": answer,
            "parts_from_the_first": parts.map(|[first, own]| json!({ "first": first, "own": own })),
        })
    });
    json!({
        "schema": SCHEMA,
        "service": traced.service,
        "endpoints": traced.endpoints,
        "from": traced.from,
        "to": traced.to,
        "family": traced.family,
        "ways": each.collect::<Vec<_>>(),
    })
}

/// A line of a way in the colours of its half, and what was rewritten in one of its own. Nothing of it is coloured where the output is
/// no terminal, or NO_COLOR is set.
fn coloured(line: &str) -> String {
    let note = ["SNAT", "DNAT"]
        .iter()
        .filter_map(|word| line.find(word))
        .min();
    let (seen, note) = line.split_at(note.unwrap_or(line.len()));
    let seen = match seen.chars().next() {
        Some('→') => style(seen).blue().to_string(),
        Some('←') => style(seen).green().to_string(),
        _ => seen.to_owned(),
    };
    format!("{seen}{}", style(note).yellow())
}

/// Where the ways of other proxies part from that of the first.
pub(super) fn partings(ways: &[Way]) -> String {
    let [first, others @ ..] = ways else {
        return String::new();
    };
    let each = others.iter().map(|other| {
        let (one, another) = (&first.proxy, &other.proxy);
        match part(&first.sample.steps(), &other.sample.steps()) {
            None => format!("{one} and {another}: the same way\n"),
            Some([with_one, with_other]) => format!(
                "{one} and {another} part here:\n  {one:20}  {with_one}\n  {another:20}  {with_other}\n"
            ),
        }
    });
    each.collect()
}

/// The first steps that are not the same.
fn part(one: &[String], other: &[String]) -> Option<[String; 2]> {
    let place =
        (0..one.len().max(other.len())).find(|place| one.get(*place) != other.get(*place))?;
    let step = |steps: &[String]| {
        let step = steps.get(place).cloned();
        step.unwrap_or_else(|| "nothing more was seen".to_owned())
    };
    Some([step(one), step(other)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(of: &[&str]) -> Vec<String> {
        of.iter().map(|step| (*step).to_owned()).collect()
    }

    #[test]
    fn ways_part_at_the_first_step_that_is_not_the_same() {
        assert_eq!(part(&steps(&["a", "b"]), &steps(&["a", "b"])), None);
        let parted = part(&steps(&["a", "b", "c"]), &steps(&["a", "x", "c"]));
        assert_eq!(parted, Some(["b".to_owned(), "x".to_owned()]));
        let ended = part(&steps(&["a"]), &steps(&["a", "x"]));
        assert_eq!(
            ended,
            Some(["nothing more was seen".to_owned(), "x".to_owned()])
        );
    }
}
