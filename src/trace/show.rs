//! What `onehop trace` prints.

use console::style;
use onehop_harness::lab::{Call, Lab};
use onehop_harness::probe::Outcome;
use onehop_harness::tap::Sample;

use super::Traced;
use crate::catalogue;

/// What is traced.
pub(super) fn heading(traced: &Traced) {
    let Traced {
        service,
        from,
        to,
        family,
        ..
    } = traced;
    println!(
        "type {}, externalTrafficPolicy {}, internalTrafficPolicy {}; endpoints {}",
        service.kind.api_name(),
        service.external,
        service.internal,
        catalogue::backends(&traced.endpoints)
    );
    println!(
        "{from} calls {to} by {}, {family}\n",
        service.ports[0].protocol
    );
}

/// The way of a call, and what became of it.
pub(super) fn way(lab: &Lab, proxy: Option<&str>, call: &Call) {
    if let Some(proxy) = proxy {
        println!("{}", style(proxy).bold());
    }
    for line in call.sample(lab).to_string().lines() {
        println!("{}", coloured(line));
    }
    println!();
    match &call.observed.connection.outcome {
        Outcome::Reached { identity, latency } => println!(
            "reached {} on {}, which saw {} ({}), TTL {}, in {latency:.1?}\n",
            style(&identity.pod).green(),
            identity.node,
            identity.peer,
            lab.world().describe(identity.peer.ip()),
            identity.ttl
        ),
        _ => println!("{}\n", style(call.observed.kind()).red()),
    }
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

/// Where the ways of two proxies part.
pub(super) fn parting((one, first): (&str, &Sample), (other, second): (&str, &Sample)) {
    match part(&first.steps(), &second.steps()) {
        None => println!("{one} and {other}: the same way"),
        Some([with_one, with_other]) => {
            println!("{one} and {other} part here:");
            println!("  {one:20}  {with_one}");
            println!("  {other:20}  {with_other}");
        }
    }
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
