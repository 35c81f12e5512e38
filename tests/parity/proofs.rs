//! That the comparison can fail, and that there is something to compare.

use libtest_mimic::Failed;
use onehop_harness::case::Policy::{self, Cluster, Local};
use onehop_harness::case::{Backend, IpMode, Service, ServiceType, Target};
use onehop_harness::error::chain;
use onehop_harness::world::Protocol;

use crate::compare::{self, Difference, Report};
use crate::draw::{self, Drawn};
use crate::seen::Seen;
use crate::{SEED, runtime, start};

/// Services of which each of [`CHANGES`] has a part to choose from.
const DRAWN: usize = 64 * CHANGES.len();

/// How often, at least, everything is among 1000 drawn Services.
const OFTEN: usize = 10;

/// Something in which the Services of the second proxy are made unlike those of the first.
struct Change {
    what: &'static str,
    make: fn(&mut Drawn),
    /// The flows that it makes a difference to, if to any.
    may: fn(&Difference) -> bool,
}

/// What `difference_is_seen` changes.
const CHANGES: [Change; 4] = [
    Change {
        what: "the internal policy",
        make: |drawn| drawn.spec.internal = other(drawn.spec.internal),
        may: |one| one.flow.to == Target::ClusterIp,
    },
    Change {
        what: "the external policy",
        make: |drawn| {
            if drawn.spec.kind != ServiceType::ClusterIp {
                drawn.spec.external = other(drawn.spec.external);
            }
        },
        may: |one| one.flow.to != Target::ClusterIp,
    },
    Change {
        what: "the affinity",
        make: |drawn| drawn.spec.affinity = None,
        may: |one| one.drawn.twin.is_some(),
    },
    Change {
        what: "the endpoints",
        make: |drawn| drop(drawn.backends.pop()),
        may: |one| !one.drawn.backends.is_empty(),
    },
];

fn other(policy: Policy) -> Policy {
    match policy {
        Policy::Cluster => Policy::Local,
        Policy::Local => Policy::Cluster,
    }
}

/// A comparison that could not fail would prove nothing: Services that are unlike each other in one
/// respect are told apart, by the flows that it concerns and by no others.
pub(crate) fn difference_is_seen() -> Result<(), Failed> {
    runtime()?.block_on(async {
        let sides = start("difference").await?;
        let groups = draw::services(SEED, DRAWN);
        for (change, part) in CHANGES
            .iter()
            .zip(groups.chunks(groups.len() / CHANGES.len()))
        {
            let drawn = chosen(&part.concat());
            let mut changed = drawn.clone();
            changed.iter_mut().for_each(change.make);
            let report = compare::group(&sides, [&drawn, &changed]).await;
            let differences = report.map_err(|error| chain(&error))?.differences;
            if differences.is_empty() {
                return Err(format!("{} made no difference", change.what).into());
            }
            if let Some(one) = differences.iter().find(|one| !(change.may)(one)) {
                return Err(format!("{} made a difference to {one}", change.what).into());
            }
        }
        Ok(())
    })
}

/// That two proxies show nothing is no agreement, nor is an outcome that no flow had.
pub(crate) fn unseen_is_not_the_same() -> Result<(), Failed> {
    for seen in [Seen::default(), Seen::without_address()] {
        if seen.is_as(&seen) || seen.is_as_sticky(&seen, &seen) {
            return Err(format!("taken for the same: {seen}").into());
        }
    }
    let mut report = Report::default();
    report.outcomes.insert((Protocol::Tcp, "reached"), 1);
    let unseen = report.unseen();
    if unseen.len() != 5 || unseen.contains(&(Protocol::Tcp, "reached")) {
        return Err(format!("not seen: {unseen:?}").into());
    }
    Ok(())
}

/// Two of these Services with affinity, with their twins, and four others.
fn chosen(drawn: &[Drawn]) -> Vec<Drawn> {
    // Affinity shows where there is more than one pod to choose.
    let ready = |one: &Drawn| one.backends.iter().filter(|b| b.ready).count();
    let sticky = drawn
        .iter()
        .filter(|one| one.twin.is_some() && ready(one) > 1);
    let sticky: Vec<_> = sticky.take(2).collect();
    let twins: Vec<_> = sticky.iter().filter_map(|one| one.twin).collect();
    let twins = drawn.iter().filter(|one| twins.contains(&one.number));
    let others = drawn
        .iter()
        .filter(|one| one.spec.affinity.is_none())
        .take(4);
    let mut chosen: Vec<_> = twins.chain(others).chain(sticky).cloned().collect();
    chosen.sort_by_key(|one| one.number);
    chosen.dedup_by_key(|one| one.number);
    chosen
}

/// Every kind of Service, endpoint and modifier is drawn, many times, and the same by the same seed.
pub(crate) fn everything_is_drawn() -> Result<(), Failed> {
    let drawn = || -> Vec<Drawn> { draw::services(SEED, 1000).concat() };
    let all = drawn();
    let spec = |is: fn(&Service) -> bool| all.iter().filter(|one| is(&one.spec)).count();
    let backend = |is: fn(&Backend) -> bool| {
        let has = |one: &&Drawn| one.backends.iter().any(is);
        all.iter().filter(has).count()
    };
    let counts = [
        ("headless", spec(|s| s.kind == ServiceType::Headless)),
        ("ClusterIP", spec(|s| s.kind == ServiceType::ClusterIp)),
        ("NodePort", spec(|s| s.kind == ServiceType::NodePort)),
        ("LoadBalancer", spec(balanced)),
        (
            "both Cluster",
            spec(|s| (s.external, s.internal) == (Cluster, Cluster)),
        ),
        (
            "internal Local",
            spec(|s| (s.external, s.internal) == (Cluster, Local)),
        ),
        (
            "external Local",
            spec(|s| (s.external, s.internal) == (Local, Cluster)),
        ),
        (
            "both Local",
            spec(|s| (s.external, s.internal) == (Local, Local)),
        ),
        ("affinity", spec(|s| s.affinity.is_some())),
        ("source ranges", spec(|s| !s.source_ranges.is_empty())),
        ("external addresses", spec(|s| s.external_ips)),
        (
            "no node ports",
            spec(|s| balanced(s) && !s.allocate_node_ports),
        ),
        (
            "ipMode Proxy",
            all.iter()
                .filter(|one| one.ip_mode == IpMode::Proxy)
                .count(),
        ),
        ("several ports", spec(|s| s.ports.len() > 1)),
        (
            "no endpoints",
            all.iter().filter(|one| one.backends.is_empty()).count(),
        ),
        ("ready", backend(|b| b.ready && !b.terminating)),
        ("published", backend(|b| b.ready && b.terminating)),
        (
            "terminating",
            backend(|b| !b.ready && b.serving && b.terminating),
        ),
        ("finished", backend(|b| !b.serving && b.terminating)),
        ("unready", backend(|b| !b.ready && !b.terminating)),
        ("zone hints", backend(|b| !b.zones.is_empty())),
        ("node hints", backend(|b| !b.nodes.is_empty())),
        ("a second slice", backend(|b| b.slice > 0)),
    ];
    for (what, count) in counts {
        if count < OFTEN {
            return Err(format!("only {count} of {} have {what}", all.len()).into());
        }
    }
    if all != drawn() {
        return Err("one seed drew different Services".into());
    }
    Ok(())
}

fn balanced(spec: &Service) -> bool {
    matches!(spec.kind, ServiceType::LoadBalancer(_))
}
