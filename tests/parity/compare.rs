//! The same Services under two proxies, flow by flow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use onehop_harness::lab::LabError;
use onehop_harness::world::Protocol;

use crate::draw::Drawn;
use crate::flows::{self, Flow};
use crate::seen::{KINDS, Seen};
use crate::side::{Placed, Side};

/// Connections of each round of a flow. Only flows that are not yet seen to be the same are asked
/// in the next round. All rounds together miss one of four backends with a chance below 1e-9.
const ROUNDS: [usize; 4] = [4, 8, 16, 52];

/// What a comparison has come to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Services compared.
    pub(crate) services: usize,
    /// Flows compared.
    pub(crate) flows: usize,
    /// Connections made, of both sides.
    pub(crate) connections: usize,
    /// Flows by their protocol and by what became of them under the first proxy, see [`Seen::kind`].
    pub(crate) outcomes: BTreeMap<(Protocol, &'static str), usize>,
    /// Flows that differ.
    pub(crate) differences: Vec<Difference>,
}

/// A flow that is not the same under two proxies.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The Service.
    pub(crate) drawn: Drawn,
    /// The flow.
    pub(crate) flow: Flow,
    /// What was seen under each.
    pub(crate) seen: [Seen; 2],
}

/// A flow under comparison.
struct Compared {
    /// The position of its Service in the group.
    service: usize,
    flow: Flow,
    seen: [Seen; 2],
    /// The position of the same flow to the Service's twin without affinity.
    twin: Option<usize>,
}

impl Report {
    /// Takes in what another group has come to.
    pub(crate) fn add(&mut self, other: Self) {
        self.services += other.services;
        self.flows += other.flows;
        self.connections += other.connections;
        for (kind, count) in other.outcomes {
            *self.outcomes.entry(kind).or_default() += count;
        }
        self.differences.extend(other.differences);
    }

    /// The outcomes of which there was none, by protocol: nothing of these was compared.
    pub(crate) fn unseen(&self) -> Vec<(Protocol, &'static str)> {
        let all = [Protocol::Tcp, Protocol::Udp].into_iter();
        let all = all.flat_map(|protocol| KINDS.map(|kind| (protocol, kind)));
        all.filter(|kind| !self.outcomes.contains_key(kind))
            .collect()
    }
}

/// Compares groups of Services that are to be the same on both sides.
pub(crate) async fn group(sides: &[Side; 2], groups: [&[Drawn]; 2]) -> Result<Report, LabError> {
    let (first, second) = tokio::join!(sides[0].place(groups[0]), sides[1].place(groups[1]));
    let placed = [first?, second?];
    let mut compared = flows_of(groups[0], sides);
    let mut pending: BTreeSet<usize> = (0..compared.len()).collect();
    for count in ROUNDS {
        ask(sides, &placed, &mut compared, &pending, count).await?;
        let differing = pending.into_iter().filter(|&at| !is_same(&compared, at));
        // To tell what a flow with affinity may reach, its twin may have to be asked more.
        pending = differing
            .flat_map(|at| [Some(at), compared[at].twin])
            .flatten()
            .collect();
    }
    let (first, second) = tokio::join!(sides[0].remove(groups[0]), sides[1].remove(groups[1]));
    first.and(second)?;
    Ok(report(groups[0], &compared))
}

fn flows_of(group: &[Drawn], sides: &[Side; 2]) -> Vec<Compared> {
    let mut compared: Vec<Compared> = Vec::new();
    let mut starts = BTreeMap::new();
    for (service, drawn) in group.iter().enumerate() {
        starts.insert(drawn.number, compared.len());
        let twin = drawn.twin.map(|twin| starts[&twin]);
        let flows = flows::of(drawn, sides[0].lab.world()).into_iter();
        compared.extend(flows.enumerate().map(|(position, flow)| Compared {
            service,
            flow,
            seen: Default::default(),
            twin: twin.map(|start| start + position),
        }));
    }
    compared
}

async fn ask(
    sides: &[Side; 2],
    placed: &[Vec<Placed>; 2],
    compared: &mut [Compared],
    pending: &BTreeSet<usize>,
    count: usize,
) -> Result<(), LabError> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let asked = compared.iter_mut().enumerate();
    for (_, one) in asked.filter(|(at, _)| pending.contains(at)) {
        let [of_first, of_second] = &mut one.seen;
        first.push((one.service, &one.flow, count, of_first));
        second.push((one.service, &one.flow, count, of_second));
    }
    let (first, second) = tokio::join!(
        sides[0].ask(&placed[0], &mut first),
        sides[1].ask(&placed[1], &mut second)
    );
    first.and(second)
}

fn is_same(compared: &[Compared], at: usize) -> bool {
    let [first, second] = &compared[at].seen;
    match compared[at].twin {
        None => first.is_as(second),
        Some(twin) => first.is_as_sticky(second, &compared[twin].seen[0]),
    }
}

fn report(group: &[Drawn], compared: &[Compared]) -> Report {
    let mut report = Report {
        services: group.len(),
        flows: compared.len(),
        ..Report::default()
    };
    for (at, one) in compared.iter().enumerate() {
        report.connections += one.seen.iter().map(|seen| seen.count).sum::<usize>();
        let kind = (one.flow.protocol, one.seen[0].kind());
        *report.outcomes.entry(kind).or_default() += 1;
        if is_same(compared, at) {
            continue;
        }
        report.differences.push(Difference {
            drawn: group[one.service].clone(),
            flow: one.flow.clone(),
            seen: one.seen.clone(),
        });
    }
    report
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drawn, flow, seen } = self;
        let spec = &drawn.spec;
        writeln!(
            f,
            "{}: {} -> {} port {:?} {}",
            drawn.name(),
            flow.from,
            flow.to,
            flow.port,
            flow.family
        )?;
        writeln!(
            f,
            "  {:?}, external {}, internal {}, affinity {:?}, ranges {:?}, external IPs {}, ipMode {:?}",
            spec.kind,
            spec.external,
            spec.internal,
            spec.affinity,
            spec.source_ranges,
            spec.external_ips,
            drawn.ip_mode
        )?;
        for b in &drawn.backends {
            writeln!(
                f,
                "  {} ready {} serving {} terminating {} stated {:?} zones {:?} nodes {:?} slice {}",
                b.pod, b.ready, b.serving, b.terminating, b.stated, b.zones, b.nodes, b.slice
            )?;
        }
        writeln!(f, "  first  {}", seen[0])?;
        write!(f, "  second {}", seen[1])
    }
}
