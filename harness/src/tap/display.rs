//! A journey as text, one line per sighting.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::journey::{Half, Journey, Rewrite, What};
use super::packet::{Direction, Sighting};

/// A journey to print, with the names that people use for addresses. Made by
/// [`Journey::display`].
pub struct JourneyDisplay<'a, N> {
    journey: &'a Journey,
    name: N,
}

impl Journey {
    /// The journey as text: per sighting the time since the first one, host, interface,
    /// direction, addresses, TTL, and what the host did to it before.
    ///
    /// `name` gives what people call an address, as [`crate::world::World::describe`] does.
    pub fn display<N: Fn(IpAddr) -> String>(&self, name: N) -> JourneyDisplay<'_, N> {
        JourneyDisplay {
            journey: self,
            name,
        }
    }
}

impl<N: Fn(IpAddr) -> String> JourneyDisplay<'_, N> {
    fn address(&self, address: SocketAddr) -> String {
        let name = (self.name)(address.ip());
        if name.parse::<IpAddr>().is_ok() {
            return address.to_string();
        }
        format!("{name}:{}", address.port())
    }

    fn row(&self, half: Half, sighting: &Sighting, notes: &str) -> [String; 6] {
        let arrow = match half {
            Half::Request => "→",
            Half::Reply => "←",
        };
        let began = self.journey.request.first().map_or(sighting.at, |s| s.at);
        let since = sighting.at.saturating_sub(began).as_nanos();
        [
            format!("{arrow} {:>8}.{} µs", since / 1_000, since % 1_000 / 100),
            format!("{}/{}", sighting.host, sighting.interface),
            sighting.direction.to_string(),
            format!(
                "{} → {}",
                self.address(sighting.source),
                self.address(sighting.destination)
            ),
            format!("ttl {}", sighting.ttl),
            notes.to_owned(),
        ]
    }

    /// What a host did between the sighting before and this one, in the field's short words.
    fn note(&self, rewrite: &Rewrite, all: &[Rewrite]) -> String {
        if all.iter().any(|request| rewrite.undoes(request)) {
            return match rewrite.what {
                What::Source => format!("DNAT undone: {}", self.address(rewrite.to)),
                What::Destination => format!("SNAT undone: {}", self.address(rewrite.to)),
            };
        }
        let word = match rewrite.what {
            What::Source => "SNAT",
            What::Destination => "DNAT",
        };
        let (from, to) = (self.address(rewrite.from), self.address(rewrite.to));
        format!("{word} {from} → {to}")
    }

    /// The notes that belong to one sighting: to the one that shows a rewrite first, or to the
    /// arrival at a caller that takes its own rewrites back.
    fn notes(&self, half: Half, index: usize, all: &[Rewrite]) -> String {
        let sightings = self.sightings(half);
        let sighting = &sightings[index];
        let shows = |rewrite: &&Rewrite| {
            if rewrite.half != half || rewrite.host != sighting.host {
                return false;
            }
            let end = |s: &Sighting| match rewrite.what {
                What::Source => s.source,
                What::Destination => s.destination,
            };
            match sighting.direction {
                Direction::Out => {
                    let before = index.checked_sub(1).map(|i| end(&sightings[i]));
                    end(sighting) == rewrite.to && before.is_none_or(|b| b == rewrite.from)
                }
                Direction::In => {
                    index + 1 == sightings.len()
                        && half == Half::Reply
                        && end(sighting) == rewrite.from
                }
            }
        };
        let notes: Vec<_> = all
            .iter()
            .filter(shows)
            .map(|rewrite| self.note(rewrite, all))
            .collect();
        notes.join(", ")
    }

    fn sightings(&self, half: Half) -> &[Sighting] {
        match half {
            Half::Request => &self.journey.request,
            Half::Reply => &self.journey.reply,
        }
    }
}

impl<N: Fn(IpAddr) -> String> fmt::Display for JourneyDisplay<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rewrites = self.journey.rewrites();
        let rows = |half| -> Vec<[String; 6]> {
            let sightings = self.sightings(half).iter().enumerate();
            let row = |(index, sighting)| {
                let notes = self.notes(half, index, &rewrites);
                self.row(half, sighting, &notes)
            };
            sightings.map(row).collect()
        };
        let (request, reply) = (rows(Half::Request), rows(Half::Reply));
        let widths: [usize; 6] = std::array::from_fn(|column| {
            let cells = request.iter().chain(&reply).map(|row| &row[column]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let print = |f: &mut fmt::Formatter<'_>, rows: &[[String; 6]]| {
            rows.iter().try_for_each(|row| {
                let cells = row.iter().zip(widths);
                let line: Vec<_> = cells.map(|(cell, w)| format!("{cell:<w$}")).collect();
                writeln!(f, "{}", line.join("  ").trim_end())
            })
        };

        let call = &self.journey.call;
        let (local, remote) = (self.address(call.local), self.address(call.remote));
        write!(f, "{} calls {remote} from {local}", call.from)?;
        match self.journey.attempts {
            1 => writeln!(f)?,
            attempts => writeln!(f, " (attempt {attempts})")?,
        }
        print(f, &request)?;
        if let Some(answer) = self.journey.reply.first() {
            writeln!(f, "answer: {}", answer.kind)?;
            print(f, &reply)?;
        }
        if let Some(last) = self.journey.last_seen() {
            let (host, interface) = (&last.host, &last.interface);
            let how = match last.direction {
                Direction::In => "arriving at",
                Direction::Out => "leaving",
            };
            writeln!(f, "no answer came back; last seen {how} {host}/{interface}")?;
        }
        Ok(())
    }
}
