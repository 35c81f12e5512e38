//! What was seen of a flow under one proxy, and whether it is the same under another. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use onehop_harness::lab::Call;
use onehop_harness::probe::Outcome;
use onehop_harness::verdict::Trip;
use onehop_harness::world::World;

/// What became of the connections of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The ways by which each backend was reached, by its pod and the port that it listens on.
    pub(crate) reached: BTreeMap<(String, u16), BTreeSet<Way>>,
    /// How connections ended that reached nobody.
    pub(crate) ended: BTreeSet<String>,
    /// Why a connection says nothing of the proxy, where one was not carried out.
    failed: BTreeSet<String>,
    /// Connections made.
    pub(crate) count: usize,
}

/// The outcomes by which proxies are told from each other, as [`Seen::kind`] names them. Where none of the flows drawn
/// has one of these, nothing of it was compared.
pub(crate) const KINDS: [&str; 3] = ["reached", "refused", "dropped"];

/// How a connection came to a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Whose address the backend saw; `caller` where it was kept.
    pub(crate) source: String,
    /// The TTL that was left: hops.
    pub(crate) ttl: u8,
    /// The node by which it entered.
    pub(crate) entry: String,
    /// Who rewrote its source.
    pub(crate) masqueraded_by: BTreeSet<String>,
    /// Who rewrote its destination.
    pub(crate) translated_by: BTreeSet<String>,
    /// Whether every answer came from the address called and every rewrite was undone.
    pub(crate) undone: bool,
}

impl Seen {
    /// Takes in a connection.
    pub(crate) fn add(&mut self, call: &Call, world: &World) {
        let (connection, trip) = (&call.observed.connection, &call.observed.trip);
        self.count += 1;
        match &connection.outcome {
            Outcome::Reached { identity, .. } => {
                let peer = identity.peer.ip();
                let source = if peer == connection.local.ip() {
                    "caller".to_owned()
                } else {
                    world.describe(peer)
                };
                let only_called = trip.answers_from == BTreeSet::from([connection.remote]);
                let way = Way {
                    source,
                    ttl: identity.ttl,
                    entry: trip.entry.clone().unwrap_or_default(),
                    masqueraded_by: trip.source_rewritten_by.clone(),
                    translated_by: trip.destination_rewritten_by.clone(),
                    undone: trip.not_undone.is_empty() && only_called,
                };
                let backend = (identity.pod.clone(), identity.port);
                self.reached.entry(backend).or_default().insert(way);
            }
            Outcome::Refused(refusal) => {
                self.ended
                    .insert(format!("refused ({refusal}){}", by(trip)));
            }
            Outcome::Dropped => {
                self.ended.insert(format!("dropped{}", by(trip)));
            }
            Outcome::Broken(how) => {
                self.failed.insert(format!("broken: {how}"));
            }
        }
    }

    /// Takes in a connection to a load-balancer address that nodes are to leave alone, and did.
    pub(crate) fn add_left_alone(&mut self) {
        self.count += 1;
        self.ended.insert("left to the load balancer".to_owned());
    }

    /// That the Service does not have the address called.
    pub(crate) fn without_address() -> Self {
        Self {
            failed: BTreeSet::from(["no such address".to_owned()]),
            ..Self::default()
        }
    }

    /// Whether something was seen, and every connection says something.
    fn is_telling(&self) -> bool {
        self.failed.is_empty() && !(self.reached.is_empty() && self.ended.is_empty())
    }

    /// Whether two proxies did the same, as far as was seen. What was not seen is the same as nothing.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.is_telling()
            && other.is_telling()
            && self.reached == other.reached
            && self.ended == other.ended
    }

    /// What became of its connections, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        let first = self.ended.first().map_or("", String::as_str);
        match () {
            () if !self.is_telling() => "failed",
            () if !self.reached.is_empty() && self.ended.is_empty() => "reached",
            () if !self.reached.is_empty() || self.ended.len() > 1 => "mixed",
            () if first.starts_with("refused") => "refused",
            () if first.starts_with("dropped") => "dropped",
            () => "left alone",
        }
    }

    /// Whether two proxies did the same with a flow of a Service with affinity, when the same
    /// Service without it was seen to do `free`: each kept to one backend of those, and reached it
    /// as the flow without affinity did.
    ///
    /// Which backend it is, is left to chance, once a proxy.
    pub(crate) fn is_as_sticky(&self, other: &Self, free: &Self) -> bool {
        let sticks = |seen: &Self| {
            seen.reached.len() == free.reached.len().min(1)
                && seen
                    .reached
                    .iter()
                    .all(|((pod, _), ways)| free.ways_to(pod) == Some(ways))
        };
        let all_tell = [self, other, free].iter().all(|seen| seen.is_telling());
        all_tell
            && sticks(self)
            && sticks(other)
            && self.ended == other.ended
            && self.ended == free.ended
    }

    /// The ways to this pod, by whatever port: a twin's backends listen on others.
    fn ways_to(&self, pod: &str) -> Option<&BTreeSet<Way>> {
        let mut reached = self.reached.iter();
        reached
            .find(|((own, _), _)| own == pod)
            .map(|(_, ways)| ways)
    }
}

/// Where a connection that reached nobody was seen last, and who answered it.
fn by(trip: &Trip) -> String {
    let mut text = String::new();
    if let Some(host) = &trip.ended_at {
        text += &format!(", last at {host}");
    }
    if let Some(host) = &trip.answered_by {
        text += &format!(", answered by {host}");
    }
    if !trip.destination_rewritten_by.is_empty() {
        text += &format!(", forwarded by {:?}", trip.destination_rewritten_by);
    }
    text
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}:", self.count)?;
        for ((pod, port), ways) in &self.reached {
            for way in ways {
                let Way {
                    source,
                    ttl,
                    entry,
                    masqueraded_by,
                    translated_by,
                    undone,
                } = way;
                write!(
                    f,
                    " [{pod}:{port} by {entry}, source {source}, ttl {ttl}, source rewritten by \
                     {masqueraded_by:?}, destination by {translated_by:?}{}]",
                    if *undone { "" } else { ", NOT UNDONE" }
                )?;
            }
        }
        for how in self.ended.iter().chain(&self.failed) {
            write!(f, " [{how}]")?;
        }
        Ok(())
    }
}
