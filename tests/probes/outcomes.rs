//! Thousands of mixed trials: open ports, four kinds of refusal and four places to drop, in random
//! order, from many callers at once, by TCP and by UDP. None may be taken for another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use libtest_mimic::Failed;
use onehop_harness::agent::Kept;
use onehop_harness::probe::{Connection, Outcome, Refusal};
use onehop_harness::world::{Family, Length, Protocol, World};

use crate::lab::{Bench, Dice};

/// Trials of a test, over all threads and both families.
const TRIALS: usize = 4_000;
const THREADS: usize = 4;
/// The most connections of one batch: more than a wave, so that batches of two waves occur.
const BATCH: usize = 80;
const CALLERS: [&str; 5] = ["client-public", "client-private", "web-0", "vm1", "web-3"];

/// What a trial must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    Reach(&'static str),
    Reset,
    /// ICMP codes of IPv4 (type 3) and IPv6 (type 1).
    Icmp(u8, u8),
    Drop,
}

/// Host, port, and what a connection to it must come to. Ports below 7200 are ruled on by vm2
/// where they arrive at itself, those from 7200 on where it forwards to its pod, those from 7300
/// on by the pod.
const TARGETS: [(&str, u16, Must); 11] = [
    ("vm2", 7100, Must::Drop),
    ("vm2", 7101, Must::Icmp(3, 4)),
    ("vm2", 7102, Must::Icmp(13, 1)),
    ("vm2", 7103, Must::Reset),
    // Nothing listens and nothing rules: the kernel's own reset.
    ("vm2", 7104, Must::Reset),
    ("web-3", 7200, Must::Reach("web-3")),
    ("web-3", 7201, Must::Drop),
    ("web-3", 7202, Must::Icmp(3, 4)),
    ("web-3", 7300, Must::Reach("web-3")),
    ("web-3", 7301, Must::Drop),
    ("web-2", 7300, Must::Reach("web-2")),
];

/// Each rule asks for the protocol: what an ICMP message has where others have their ports is its checksum.
const VM2_RULES: &str = "
table inet outcomes {
  chain arriving {
    type filter hook input priority 0
    meta l4proto { tcp, udp } th dport 7101 reject
    meta l4proto { tcp, udp } th dport 7102 reject with icmpx type admin-prohibited
    tcp dport 7103 reject with tcp reset
    meta l4proto { tcp, udp } th dport 7100 drop
  }
  chain passing {
    type filter hook forward priority 0
    meta l4proto { tcp, udp } th dport 7201 drop
    meta l4proto { tcp, udp } th dport 7202 reject
  }
}
";
const POD_RULES: &str = "
table inet outcomes {
  chain arriving {
    type filter hook prerouting priority -300
    meta l4proto { tcp, udp } th dport 7301 drop
  }
}
";

pub(crate) fn mixed(bench: &Bench) -> Result<(), Failed> {
    trials(bench, 0x1dea, false)
}

pub(crate) fn mixed_under_load(bench: &Bench) -> Result<(), Failed> {
    /// Ends the load even when the trials end in a panic.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            });
        }
        let _stop = Stop(&stop);
        trials(bench, 0xbead, true)
    })
}

/// Both tests call the same ports, one after the other.
static TURN: Mutex<bool> = Mutex::new(false);

fn trials(bench: &Bench, seed: u64, load: bool) -> Result<(), Failed> {
    let mut prepared = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !*prepared {
        bench.rules("vm2", VM2_RULES)?;
        bench.rules("web-3", POD_RULES)?;
        *prepared = true;
    }
    let _backends = listeners(bench)?;
    let started = Instant::now();
    let done = thread::scope(|scope| {
        let thread = |number| scope.spawn(move || one_thread(bench, seed + number));
        let threads: Vec<_> = (1..=THREADS as u64).map(thread).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut mix_ups = Vec::new();
    for (trial_counts, wrong) in done {
        for (kind, count) in trial_counts {
            *counts.entry(kind).or_default() += count;
        }
        mix_ups.extend(wrong);
    }
    let total: usize = counts.values().sum();
    eprintln!(
        "{total} trials{}, {} mixed up, in {:.1?}: {counts:?}",
        if load { " under load" } else { "" },
        mix_ups.len(),
        started.elapsed()
    );
    assert!(mix_ups.is_empty(), "mixed up: {mix_ups:#?}");
    assert!(total >= TRIALS, "only {total} trials");
    // Each of the targets was called in each family often enough to mean something.
    assert_eq!(counts.len(), 2 * TARGETS.len() * Family::ALL.len());
    assert!(counts.values().all(|&count| count >= 20), "{counts:?}");
    Ok(())
}

fn listeners(bench: &Bench) -> Result<Vec<Kept>, Failed> {
    let open = TARGETS
        .iter()
        .filter(|(_, _, must)| matches!(must, Must::Reach(_)));
    let backends = open.map(|(pod, port, _)| bench.listen(&[pod], *port));
    let backends = backends.collect::<Result<Vec<_>, _>>()?;
    Ok(backends.into_iter().flatten().collect())
}

/// How often each target was called, and every trial that came to something else than it must.
type Trials = (BTreeMap<String, usize>, Vec<String>);

fn one_thread(bench: &Bench, seed: u64) -> Result<Trials, String> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (mut counts, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut made = 0;
    while made < TRIALS.div_ceil(THREADS) {
        let from = CALLERS[dice.below(CALLERS.len())];
        let family = Family::ALL[dice.below(2)];
        let protocol = [Protocol::Tcp, Protocol::Udp][dice.below(2)];
        // A pod that calls itself meets none of the rules of its node.
        let own = |host: &str| host == from;
        let batch: Vec<_> = (0..=dice.below(BATCH))
            .map(|_| TARGETS[dice.below(TARGETS.len())])
            .filter(|(host, ..)| !own(host))
            .collect();
        if batch.is_empty() {
            continue;
        }
        let remote = |(host, port, _): &(&str, u16, Must)| bench.at(host, family, *port);
        let remotes: Vec<SocketAddr> = batch.iter().map(remote).collect();
        let backends: Vec<_> = TARGETS
            .iter()
            .filter(|(_, _, must)| matches!(must, Must::Reach(_)))
            .map(remote)
            .collect();
        let calls = bench.call_by(
            (protocol, Length::Brief),
            from,
            &remotes,
            &backends,
            bench.lab.timing(),
        );
        let calls = calls.map_err(|error| format!("from {from}: {error}"))?;
        assert_eq!(calls.len(), batch.len());
        for ((host, port, must), call) in batch.iter().zip(&calls) {
            let target = format!("{host}:{port} {protocol} {family}");
            *counts.entry(target).or_insert(0) += 1;
            if !agrees(bench.world(), call, *must, *port, family) {
                wrong.push(format!(
                    "{from} to {host}:{port} ({protocol}, {family}) must {must:?}, and was {:?}",
                    call.outcome
                ));
            }
        }
        made += batch.len();
    }
    Ok((counts, wrong))
}

fn agrees(world: &World, call: &Connection, must: Must, port: u16, family: Family) -> bool {
    match (must, &call.outcome) {
        (Must::Reach(pod), Outcome::Reached { identity, .. }) => {
            identity.pod == pod && identity.port == port && identity.peer == call.local
        }
        (Must::Drop, Outcome::Dropped) => true,
        (Must::Reset, Outcome::Refused(Refusal::Reset)) => call.protocol == Protocol::Tcp,
        // Where a connection is reset, a datagram is answered that its port is unreachable.
        (Must::Reset, outcome) if call.protocol == Protocol::Udp => {
            is_icmp(world, outcome, (3, 4), family)
        }
        (Must::Icmp(v4, v6), outcome) => is_icmp(world, outcome, (v4, v6), family),
        _ => false,
    }
}

/// Whether vm2 refused by the ICMP code of this family.
fn is_icmp(world: &World, outcome: &Outcome, (v4, v6): (u8, u8), family: Family) -> bool {
    match outcome {
        Outcome::Refused(Refusal::Icmp { kind, code, from }) => {
            let expected = match family {
                Family::V4 => (3, v4),
                Family::V6 => (1, v6),
            };
            let vm2 = world.node("vm2").expect("a node of the story");
            (*kind, *code) == expected && vm2.owns(*from)
        }
        _ => false,
    }
}
