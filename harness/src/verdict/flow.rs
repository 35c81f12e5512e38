//! The judgement of one flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::asked::Asked;
use super::distribution::chi_square_p_value;
use super::kind::{FlowKind, Latency, expected_shares};
use super::tally::{FlowResult, Tally};
use crate::case::{Entry, Expectation, FlowCheck, Hops, Place, Reach, Source};
use crate::probe::{Connection, Identity, Outcome, Refusal};
use crate::profile::Variation;
use crate::timing::Timing;
use crate::world::{Family, LOAD_BALANCER, Pod, World};

/// The TTL with which a connection sent straight to a pod arrives, by calling host, pod and
/// family. Measured before any proxy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(pub BTreeMap<(String, String, Family), u8>);

impl Baseline {
    /// The TTL with which a connection sent straight to this pod arrives. A pod's way to itself is
    /// the one by its node, which is as long as that of a neighbour: what goes by its own loopback
    /// crosses no Service.
    fn ttl(&self, from: &str, to: &Pod, family: Family, world: &World) -> Option<u8> {
        let neighbour = || {
            let mut pods = world.pods.iter().filter(|pod| pod.node == to.node);
            pods.find(|pod| pod.name != to.name)
        };
        let from = if from == to.name {
            &neighbour()?.name
        } else {
            from
        };
        let measured = |pod: &Pod| {
            let way = (from.to_owned(), pod.name.clone(), family);
            self.0.get(&way).copied()
        };
        // A pod that came later is as far away as those that were beside it before.
        let beside = || world.pods.iter().filter(|pod| pod.node == to.node);
        measured(to).or_else(|| beside().find_map(measured))
    }
}

/// The way of one connection, as the taps saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trip {
    /// The node by which it entered: the one that rewrote its destination, or, where none did, the
    /// first that saw it.
    pub entry: Option<String>,
    /// The hosts that rewrote the request's source.
    pub source_rewritten_by: BTreeSet<String>,
    /// The hosts that rewrote the request's destination.
    pub destination_rewritten_by: BTreeSet<String>,
    /// The hosts that the request crossed.
    pub crossed: BTreeSet<String>,
    /// The host that the request was last seen at; none when a node's own call never reached an
    /// interface.
    pub ended_at: Option<String>,
    /// The host that sent the answer, whether or not that ever reached the caller.
    pub answered_by: Option<String>,
    /// The addresses that answers came from, as they arrived at the caller.
    pub answers_from: BTreeSet<SocketAddr>,
    /// Rewrites of the request that were not undone, in the reply, on the same host.
    pub not_undone: Vec<String>,
}

impl Observed {
    /// Its outcome in a word or two, by which connections are told apart.
    pub fn kind(&self) -> String {
        self.connection.outcome.kind()
    }
}

/// One connection with its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The connection.
    pub connection: Connection,
    /// Its way.
    pub trip: Trip,
}

/// What every verdict of a lab stands on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The world.
    pub world: &'a World,
    /// The direct ways in it.
    pub baseline: &'a Baseline,
    /// Timings and tolerances.
    pub timing: &'a Timing,
}

/// The peers of which a backend must see one, given where the connection entered and where it ended. Where all of that
/// is measured, it is exactly the one.
///
/// Under Cluster, some proxies masquerade only what leaves the entry node for another one: the reply of a pod on the
/// entry node comes back through that node in any case. That is [`Variation::LocalBackendSource`], on which no verdict
/// depends; where there are two sources here, which of them was seen is counted.
fn sources(
    from: &Place,
    expected: Source,
    entry: Option<&str>,
    identity: &Identity,
    is_measured: bool,
) -> &'static [Source] {
    let hairpin = from.host() == identity.pod;
    let own = matches!(from, Place::Node(_)) || hairpin;
    let local = !own && entry == Some(&identity.node);
    match expected {
        // A pod that is given to itself could not know its own answer for one.
        Source::Preserved if hairpin && !is_measured => &[Source::EntryNode],
        Source::Preserved => &[Source::Preserved],
        Source::EntryNode if local && !is_measured => &[Source::EntryNode, Source::Preserved],
        Source::EntryNode => &[Source::EntryNode],
        Source::NodeAddress => &[Source::NodeAddress],
        Source::PodGateway => &[Source::PodGateway],
        Source::Balancer => &[Source::Balancer],
    }
}

/// Judges the connections of one flow in one family.
///
/// `ports` are those that the case's backends listen on for what is called: an answer from any
/// other port came through some other Service or another port of this one. `judged` is the number of distributions that share the
/// false-alarm rate of the case.
pub fn judge(
    flow: &FlowCheck,
    family: Family,
    observed: &[Observed],
    ports: &[u16],
    asked: Asked,
    judged: usize,
    ground: &Ground<'_>,
) -> FlowResult {
    let protocol = observed
        .first()
        .map(|one| one.connection.protocol)
        .unwrap_or_default();
    let judge = Judge {
        flow,
        family,
        ports,
        ground,
    };
    let mut tally = Tally::default();
    let mut wrong = BTreeMap::<String, u64>::new();
    let mut failed = 0;
    for one in observed {
        let texts = judge.connection(one, &mut tally);
        failed += u64::from(!texts.is_empty());
        for text in texts {
            *wrong.entry(text).or_default() += 1;
        }
    }
    let total = observed.len();
    let sent = lengths(observed);
    let mut wrong: Vec<String> = wrong
        .into_iter()
        .map(|(text, n)| format!("{sent}{text} ({n} of {total})"))
        .collect();
    let mut result = FlowResult {
        check: String::new(),
        from: flow.from.to_string(),
        to: flow.target(),
        family: Some(family),
        protocol,
        count: total as u64,
        failed,
        lost: None,
        expected: flow.expect.to_string(),
        got: format!("{sent}{}", tally.text()),
        hops: tally.hops.clone(),
        shares: tally.shares(),
        expected_shares: flow.expect.reach().map(expected_shares).unwrap_or_default(),
        kind: Some(FlowKind::of(flow, ground.world)),
        latency: latency(observed),
        journeys: Vec::new(),
        p_value: None,
        false_alarm: None,
        imbalance: None,
        varies: match &flow.expect {
            Expectation::Varies(variation, _) => Some(*variation),
            _ if tally.values.is_empty() => None,
            _ => Some(Variation::LocalBackendSource),
        },
        tally: None,
        wrong: Vec::new(),
    };
    if let Some(reach) = judge.reach(&tally)
        && asked != Asked::Briefly
    {
        wrong.extend(coverage(reach, &tally));
        if asked == Asked::Fully {
            wrong.extend(judge_shares(
                reach,
                &tally,
                judged,
                ground.timing,
                &mut result,
            ));
        }
    }
    if tally.values.len() > 1 {
        // Implementations differ, and each of them may treat nodes, addresses and families in its own way; one flow gets one.
        let values: Vec<_> = tally.values.keys().map(String::as_str).collect();
        wrong.push(format!("now {}", values.join(", now ")));
    }
    if observed.is_empty() {
        wrong.push("no connection was made".to_owned());
    }
    result.wrong = wrong;
    result.tally = Some(tally);
    result
}

/// How long those took that were answered.
fn latency(observed: &[Observed]) -> Option<Latency> {
    let answered = observed
        .iter()
        .filter_map(|one| match &one.connection.outcome {
            Outcome::Reached { latency, .. } => Some(latency.as_secs_f64()),
            _ => None,
        });
    Latency::of(&answered.collect::<Vec<_>>())
}

/// How long the datagrams were that were to have a certain length, as the beginning of what became of them.
fn lengths(observed: &[Observed]) -> String {
    let octets: BTreeSet<_> = observed
        .iter()
        .filter_map(|one| one.connection.octets)
        .collect();
    if octets.is_empty() {
        return String::new();
    }
    let octets: Vec<_> = octets.iter().map(ToString::to_string).collect();
    format!("datagrams of {} octets: ", octets.join(" or "))
}

/// What every connection of a flow is held against.
struct Judge<'a> {
    flow: &'a FlowCheck,
    family: Family,
    ports: &'a [u16],
    ground: &'a Ground<'a>,
}

impl Judge<'_> {
    /// Counts one connection; says what is wrong with it. Where implementations differ, nothing is that is so by one of
    /// the values, and that one is counted.
    fn connection(&self, one: &Observed, tally: &mut Tally) -> Vec<String> {
        self.count(one, tally);
        let Expectation::Varies(variation, by_value) = &self.flow.expect else {
            let wrong = self.wrong(&self.flow.expect, one, false);
            if wrong.is_empty()
                && let Some(value) = self.local_backend_source(one)
            {
                *tally.values.entry(value.to_owned()).or_default() += 1;
            }
            return wrong;
        };
        let mut least = None::<Vec<String>>;
        for (value, expect) in by_value {
            let wrong = self.wrong(expect, one, true);
            if wrong.is_empty() {
                *tally.values.entry((*value).to_owned()).or_default() += 1;
                return wrong;
            }
            if least.as_ref().is_none_or(|least| wrong.len() < least.len()) {
                least = Some(wrong);
            }
        }
        let least = least.unwrap_or_default().into_iter();
        least
            .map(|text| format!("by no value of {variation}: {text}"))
            .collect()
    }

    /// Who is to answer. Where implementations differ, that is so by the value that was measured.
    fn reach(&self, tally: &Tally) -> Option<&Reach> {
        let expect = match &self.flow.expect {
            Expectation::Varies(_, by_value) => {
                let mut measured = by_value.iter();
                &measured
                    .find(|(value, _)| tally.values.contains_key(*value))?
                    .1
            }
            other => other,
        };
        match expect {
            Expectation::Reaches(reach) => Some(reach),
            _ => None,
        }
    }

    /// The value of [`Variation::LocalBackendSource`] by which a connection is right, where it is right by either.
    fn local_backend_source(&self, one: &Observed) -> Option<&'static str> {
        let (Outcome::Reached { identity, .. }, Expectation::Reaches(reach)) =
            (&one.connection.outcome, &self.flow.expect)
        else {
            return None;
        };
        let entry = self.entry(one);
        let sources = sources(self.opener(), reach.source, entry, identity, false);
        let node = self.wrong_source(Source::EntryNode, identity.peer.ip(), one);
        (sources.len() > 1).then(|| if node.is_none() { "node" } else { "client" })
    }

    fn count(&self, one: &Observed, tally: &mut Tally) {
        if let Some(entry) = self.entry(one) {
            *tally.entries.entry(entry.to_owned()).or_default() += 1;
        }
        match &one.connection.outcome {
            Outcome::Reached { identity, .. } => {
                *tally.reached.entry(identity.pod.clone()).or_default() += 1;
                let peer = identity.peer.ip();
                *tally
                    .sources
                    .entry(self.ground.world.describe(peer))
                    .or_default() += 1;
                if let Some(extra) = self.extra_hops(identity) {
                    *tally.hops.entry(extra).or_default() += 1;
                }
            }
            Outcome::Refused(refusal) => {
                *tally.refused.entry(refusal.to_string()).or_default() += 1;
            }
            Outcome::Dropped => tally.dropped += 1,
            Outcome::Broken(how) => *tally.broken.entry(how.clone()).or_default() += 1,
        }
    }

    /// What is wrong with one connection.
    fn wrong(&self, expect: &Expectation, one: &Observed, is_measured: bool) -> Vec<String> {
        let trip = &one.trip;
        match (&one.connection.outcome, expect) {
            (Outcome::Reached { identity, .. }, Expectation::Reaches(reach)) => {
                self.reached(reach, one, identity, is_measured)
            }
            (Outcome::Reached { identity, .. }, other) => {
                vec![format!("reached {}, not {other}", identity.pod)]
            }
            (Outcome::Broken(how), _) => vec![format!("broken: {how}")],
            (_, Expectation::Unserved) => Self::unserved(trip),
            (_, Expectation::LeftToBalancer) => Self::left_to_balancer(trip),
            (Outcome::Refused(refusal), Expectation::Refused) => self.refused(*refusal, trip),
            (Outcome::Refused(refusal), _) => vec![format!("refused ({refusal})")],
            (Outcome::Dropped, Expectation::Dropped) => self.dropped(trip),
            (Outcome::Dropped, _) => {
                vec![Self::lost_answer(trip).unwrap_or_else(|| "dropped".to_owned())]
            }
        }
    }

    /// Whether a load balancer is to answer the caller itself.
    fn is_proxied(&self) -> bool {
        matches!(&self.flow.expect, Expectation::Reaches(reach) if reach.is_proxied())
    }

    /// Who opened the connection that the pod has answered.
    fn opener(&self) -> &Place {
        if self.is_proxied() {
            &Place::LoadBalancer
        } else {
            &self.flow.from
        }
    }

    /// The node by which the connection entered the cluster.
    ///
    /// That of a load balancer which opened it itself is not in the caller's journey. The pod tells: it has seen an address
    /// of that node, or it is on that node, because another one that kept the source would have cost a hop.
    fn entry<'b>(&'b self, one: &'b Observed) -> Option<&'b str> {
        match &one.connection.outcome {
            Outcome::Reached { identity, .. } if self.is_proxied() => {
                let masquerading = self.ground.world.node_owning(identity.peer.ip());
                Some(masquerading.map_or(&identity.node, |node| &node.name))
            }
            _ => one.trip.entry.as_deref(),
        }
    }

    /// What no node serves has both its addresses as they were, wherever it has come to.
    fn unserved(trip: &Trip) -> Vec<String> {
        let nodes = |hosts: &BTreeSet<String>| {
            let nodes = hosts.iter().filter(|host| *host != LOAD_BALANCER);
            nodes.cloned().collect::<BTreeSet<_>>()
        };
        let rewritten = [
            ("destination", nodes(&trip.destination_rewritten_by)),
            ("source", nodes(&trip.source_rewritten_by)),
        ];
        let wrong = rewritten.iter().filter(|(_, by)| !by.is_empty());
        wrong
            .map(|(what, by)| format!("{what} rewritten by {}", names(by)))
            .collect()
    }

    fn left_to_balancer(trip: &Trip) -> Vec<String> {
        let mut wrong = Self::unserved(trip);
        if !trip.crossed.contains(LOAD_BALANCER) {
            wrong.push("never came to the load balancer".to_owned());
        }
        wrong
    }

    /// What a load balancer answers itself comes to it with both addresses as they were.
    fn proxied(trip: &Trip) -> Vec<String> {
        let mut wrong = Self::unserved(trip);
        let answered = trip.answered_by.as_deref();
        if answered != Some(LOAD_BALANCER) {
            wrong.push(format!(
                "answered by {}, not by the load balancer",
                answered.unwrap_or("nobody")
            ));
        }
        wrong
    }

    /// A drop is the deciding node's own: it lets nothing out, and nobody answers.
    ///
    /// A connection that was forwarded, answered, and lost on the way back hangs half open
    /// (k#74383); one that leaked past the node with its address as it was may vanish anywhere.
    fn dropped(&self, trip: &Trip) -> Vec<String> {
        let mut wrong = self.forwarded(trip);
        wrong.extend(Self::lost_answer(trip));
        if let (Some(host), decider) = (&trip.ended_at, self.decider(trip))
            && Some(host.as_str()) != decider
        {
            wrong.push(format!("went on to {host}, and was lost there"));
        }
        wrong
    }

    /// That somebody has answered, of which the caller has seen nothing.
    fn lost_answer(trip: &Trip) -> Option<String> {
        let host = trip.answered_by.as_ref()?;
        Some(format!("answered by {host}, and the answer was lost"))
    }

    /// A refusal is the deciding node's own too, by RST or by an ICMP message that says so: not by
    /// a router that has no route, nor by a pod that does not listen.
    fn refused(&self, refusal: Refusal, trip: &Trip) -> Vec<String> {
        let mut wrong = self.forwarded(trip);
        if let (Some(host), decider) = (&trip.answered_by, self.decider(trip))
            && Some(host.as_str()) != decider
        {
            wrong.push(format!("refused by {host}"));
        }
        if !refusal.is_deliberate() {
            wrong.push(format!("refused for want of a way ({refusal})"));
        }
        wrong
    }

    /// The node whose decision it was; where any node may decide, the one that was entered.
    fn decider<'b>(&'b self, trip: &'b Trip) -> Option<&'b str> {
        self.flow
            .deciding_node(self.ground.world)
            .or(trip.entry.as_deref())
    }

    /// Whether any node rewrote the destination of what it should have ended.
    fn forwarded(&self, trip: &Trip) -> Vec<String> {
        let nodes = trip
            .destination_rewritten_by
            .iter()
            .filter(|host| *host != LOAD_BALANCER);
        nodes.map(|node| format!("forwarded by {node}")).collect()
    }

    /// Everything that a reached connection must satisfy, the negative space included.
    fn reached(
        &self,
        reach: &Reach,
        one: &Observed,
        identity: &Identity,
        is_measured: bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let remote = one.connection.remote;
        if !reach.pods.contains(&identity.pod) {
            wrong.push(format!("reached {}, which may not answer", identity.pod));
        }
        if !self.ports.contains(&identity.port) {
            wrong.push("reached a backend of another Service or port".to_owned());
        }
        let entry = self.entry(one);
        let sources = sources(self.opener(), reach.source, entry, identity, is_measured);
        let allowed = entry.is_some_and(|entry| reach.entries().iter().any(|n| n == entry));
        if !allowed {
            wrong.push(format!("entered by {}", entry.unwrap_or("no node")));
        }
        let mut by_source = sources.iter().map(|source| {
            let peer = self.wrong_source(*source, identity.peer.ip(), one);
            let rewritten = self.wrong_source_rewrite(reach, *source, &one.trip);
            peer.into_iter().chain(rewritten).collect::<Vec<_>>()
        });
        let first = by_source.next().unwrap_or_default();
        if !first.is_empty() && by_source.all(|wrong| !wrong.is_empty()) {
            wrong.extend(first);
        }
        if reach.is_proxied() {
            wrong.extend(Self::proxied(&one.trip));
        } else {
            wrong.extend(Self::wrong_destination_rewrite(reach, &one.trip));
        }
        let expected = match reach.hops {
            Hops::OneIfRemote if entry.is_some_and(|entry| entry != identity.node) => 1,
            Hops::Direct | Hops::OneIfRemote => 0,
        };
        match self.extra_hops(identity) {
            Some(extra) if extra == expected => {}
            Some(extra) => wrong.push(format!("{extra:+} hops instead of {expected:+}")),
            None => wrong.push(format!("no direct way to {} is known", identity.pod)),
        }
        if one.trip.answers_from != BTreeSet::from([remote]) {
            let from: Vec<_> = one
                .trip
                .answers_from
                .iter()
                .map(ToString::to_string)
                .collect();
            wrong.push(format!(
                "answers came from {}, not {remote}",
                from.join(" and ")
            ));
        }
        wrong.extend(
            one.trip
                .not_undone
                .iter()
                .map(|what| format!("never undone: {what}")),
        );
        wrong
    }

    /// Only the entry node rewrites the destination. In front of it, the load balancer may have done it.
    fn wrong_destination_rewrite(reach: &Reach, trip: &Trip) -> Option<String> {
        let mut nodes = trip.destination_rewritten_by.clone();
        if matches!(reach.entry, Entry::Balanced(_)) {
            nodes.remove(LOAD_BALANCER);
        }
        let right = nodes == trip.entry.iter().cloned().collect();
        (!right).then(|| format!("destination rewritten by {}", names(&nodes)))
    }

    /// Only the entry node rewrites the source, where it is to be lost. What a load balancer opened itself, no journey
    /// tells.
    fn wrong_source_rewrite(&self, reach: &Reach, source: Source, trip: &Trip) -> Option<String> {
        if reach.is_proxied() {
            return None;
        }
        let entry = trip.entry.iter().cloned().collect::<BTreeSet<_>>();
        // A node's own packets have its address already, unless they leave by another interface.
        let may = matches!(self.flow.from, Place::Node(_)) && trip.source_rewritten_by.is_empty();
        let right = match source {
            Source::Preserved | Source::Balancer => trip.source_rewritten_by.is_empty(),
            Source::EntryNode | Source::NodeAddress | Source::PodGateway => {
                may || trip.source_rewritten_by == entry
            }
        };
        (!right).then(|| format!("source rewritten by {}", names(&trip.source_rewritten_by)))
    }

    fn wrong_source(&self, source: Source, peer: IpAddr, one: &Observed) -> Option<String> {
        let preserved = if self.is_proxied() {
            self.ground.world.balancer.contains(peer)
        } else {
            peer == one.connection.local.ip()
        };
        let node = self
            .entry(one)
            .and_then(|name| self.ground.world.node(name));
        let entry_node = node.is_some_and(|node| node.owns(peer));
        let gateway =
            node.is_some_and(|node| node.pod_cidrs.iter().any(|range| range.contains(&peer)));
        let right = match source {
            Source::Preserved | Source::Balancer => preserved,
            Source::EntryNode => entry_node,
            Source::NodeAddress => entry_node && !gateway,
            Source::PodGateway => entry_node && gateway,
        };
        let text = || {
            format!(
                "source {} instead of {}",
                self.ground.world.describe(peer),
                source
            )
        };
        (!right).then(text)
    }

    /// Hops more than the direct way takes. Below zero when it is shorter.
    fn extra_hops(&self, identity: &Identity) -> Option<i16> {
        let Ground {
            world, baseline, ..
        } = self.ground;
        let (from, pod) = (self.opener().host(), world.pod(&identity.pod)?);
        let direct = baseline.ttl(from, pod, self.family, world)?;
        Some(i16::from(direct) - i16::from(identity.ttl))
    }
}

/// The names of these hosts.
fn names(hosts: &BTreeSet<String>) -> String {
    if hosts.is_empty() {
        return "nobody".to_owned();
    }
    hosts
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" and ")
}

/// A client with an affinity has reached one pod. Of another, every pod that may answer has, and the load balancer has chosen every node that it may.
fn coverage(reach: &Reach, tally: &Tally) -> Vec<String> {
    if reach.sticky {
        let many = tally.reached.len() > 1;
        let pods = tally.reached.keys().map(String::as_str);
        let text = || {
            format!(
                "reached {} pods: {}",
                tally.reached.len(),
                pods.collect::<Vec<_>>().join(" ")
            )
        };
        return many.then(text).into_iter().collect();
    }
    let pods = reach
        .pods
        .iter()
        .filter(|pod| !tally.reached.contains_key(*pod));
    let nodes = reach
        .entries()
        .iter()
        .filter(|node| reach.entries().len() > 1 && !tally.entries.contains_key(*node));
    pods.map(|pod| format!("never reached {pod}"))
        .chain(nodes.map(|node| format!("never entered by {node}")))
        .collect()
}

fn judge_shares(
    reach: &Reach,
    tally: &Tally,
    judged: usize,
    timing: &Timing,
    result: &mut FlowResult,
) -> Vec<String> {
    result.imbalance = reach
        .imbalance
        .and_then(|_| tally.imbalance(reach.pods.len()));
    if !reach.judged {
        return Vec::new();
    }
    let counts: Vec<u64> = reach
        .pods
        .iter()
        .map(|pod| tally.reached.get(pod).copied().unwrap_or(0))
        .collect();
    let mut wrong = Vec::new();
    let (p_value, false_alarm) = (
        chi_square_p_value(&counts, &reach.shares),
        timing.false_alarm / judged as f64,
    );
    (result.p_value, result.false_alarm) = (Some(p_value), Some(false_alarm));
    if p_value < false_alarm {
        let percent = |share: &f64| format!("{:.1}", share * 100.0);
        let expected: Vec<_> = reach.shares.iter().map(percent).collect();
        let total: u64 = counts.iter().sum();
        let got: Vec<_> = counts
            .iter()
            .map(|&n| percent(&(n as f64 / total as f64)))
            .collect();
        wrong.push(format!(
            "shares {} instead of {} % (p = {p_value:.1e})",
            got.join("/"),
            expected.join("/")
        ));
    }
    wrong
}

#[cfg(test)]
mod tests;
