//! Real calls through a proxy of three rules, which is right, or wrong in one way. The judge must
//! pass the right one, and say of each wrong one just what is wrong with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use libtest_mimic::Failed;
use onehop_harness::case::{
    Entry, Expectation, FlowCheck, Hops, Place, Reach, Source, Target, Variation, external, pod,
};
use onehop_harness::probe::Outcome;
use onehop_harness::verdict::{Asked, FlowResult, Observed, judge};
use onehop_harness::world::{CLIENT_PUBLIC, Family, Length};
use socket2::{Domain, Socket, Type};

use crate::lab::{Bench, ip};

/// Connections of a flow.
const TIMES: usize = 12;
/// Connections over a path that loses one in fifty. 80 of them are lost, give or take 9.
const LOSSY_TIMES: usize = 4_000;

/// What vm2 makes of one of its ports.
struct Rule {
    node_port: u16,
    /// The pod and the port that it is rewritten to.
    to: (&'static str, u16),
    masquerade: bool,
    /// A further statement, in front of the rewrite.
    also: &'static str,
}

impl Rule {
    const fn new(node_port: u16, to: (&'static str, u16)) -> Self {
        Self {
            node_port,
            to,
            masquerade: false,
            also: "",
        }
    }

    const fn masquerading(self) -> Self {
        Self {
            masquerade: true,
            ..self
        }
    }

    fn apply(&self, bench: &Bench) -> Result<(), Failed> {
        let port = self.node_port;
        let text = |family| {
            let to = bench.at(self.to.0, family, self.to.1);
            let masquerade = if self.masquerade {
                format!("meta l4proto tcp ct original proto-dst {port} masquerade")
            } else {
                String::new()
            };
            format!(
                "table {} judged_{port} {{
                 chain before {{ type filter hook prerouting priority -300
                 {}
                 }}
                 chain arriving {{ type nat hook prerouting priority dstnat
                 tcp dport {port} dnat to {to}
                 }}
                 chain leaving {{ type nat hook postrouting priority srcnat
                 {masquerade}
                 }}
                 }}\n",
                ip(family),
                self.also.replace("$ttl", hop_limit(family))
            )
        };
        bench.rules("vm2", &Family::ALL.map(text).concat())
    }
}

fn hop_limit(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip ttl",
        Family::V6 => "ip6 hoplimit",
    }
}

/// What is expected of calls to a port of vm2.
fn reach(pods: &[&str], source: Source, hops: Hops) -> Reach {
    Reach::pods(pods, source, hops, Entry::Node("vm2".to_owned()))
}

/// Calls a port of a host from outside, and judges.
fn judged(
    bench: &Bench,
    called: (&str, u16),
    family: Family,
    expect: &Expectation,
    case_port: u16,
    count: usize,
) -> Result<(FlowResult, Vec<Observed>), Failed> {
    let from = external(CLIENT_PUBLIC);
    judged_from(bench, from, called, family, expect, case_port, count)
}

fn judged_from(
    bench: &Bench,
    from: Place,
    (host, port): (&str, u16),
    family: Family,
    expect: &Expectation,
    case_port: u16,
    count: usize,
) -> Result<(FlowResult, Vec<Observed>), Failed> {
    let flow = FlowCheck {
        from,
        to: Target::NodePort(host.to_owned()),
        port: "",
        length: Length::Brief,
        expect: expect.clone(),
        family: None,
    };
    let remote = bench.at(host, family, port);
    let calls = bench
        .runtime
        .block_on(bench.lab.call(&flow.from, remote, count))?;
    let observed: Vec<_> = calls.into_iter().map(|call| call.observed).collect();
    let result = judge(
        &flow,
        family,
        &observed,
        &[case_port],
        Asked::Covering,
        1,
        &bench.lab.ground(),
    );
    Ok((result, observed))
}

/// Without this, a judge that finds everything wrong would pass the test of the wrong ones.
pub(crate) fn right(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7600;
    let _backends = bench.listen(&["web-1", "web-3"], PORT)?;
    let rules = [
        (
            Rule::new(31_600, ("web-3", PORT)),
            reach(&["web-3"], Source::Preserved, Hops::Direct),
        ),
        (
            Rule::new(31_601, ("web-1", PORT)).masquerading(),
            reach(&["web-1"], Source::EntryNode, Hops::OneIfRemote),
        ),
    ];
    for (rule, expected) in rules {
        rule.apply(bench)?;
        for family in Family::ALL {
            let called = ("vm2", rule.node_port);
            let expected = expected.clone().into();
            let (result, _) = judged(bench, called, family, &expected, PORT, TIMES)?;
            assert_eq!(result.wrong, [""; 0], "{family} {}", result.got);
        }
    }
    Ok(())
}

pub(crate) fn wrong(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7610;
    const OTHER: u16 = 7611;
    let _backends = bench.listen(&["web-1", "web-3", "client-vm2"], PORT)?;
    let _others = bench.listen(&["web-3"], OTHER)?;
    let local = || reach(&["web-3"], Source::Preserved, Hops::Direct);
    let right = |port| Rule::new(port, ("web-3", PORT));
    let wrong: Vec<(Rule, Reach, &[&str])> = vec![
        (
            Rule::new(31_610, ("client-vm2", PORT)),
            local(),
            &[
                "reached client-vm2, which may not answer",
                "never reached web-3",
            ],
        ),
        (
            right(31_611),
            reach(&["web-3", "client-vm2"], Source::Preserved, Hops::Direct),
            &["never reached client-vm2"],
        ),
        (
            Rule::new(31_612, ("web-3", OTHER)),
            local(),
            &["reached a backend of another Service or port"],
        ),
        (
            right(31_613).masquerading(),
            local(),
            &["source rewritten by", "source vm2 instead of"],
        ),
        (
            right(31_614),
            reach(&["web-3"], Source::NodeAddress, Hops::Direct),
            &["source client-public instead of", "source rewritten by"],
        ),
        (
            Rule::new(31_615, ("web-1", PORT)).masquerading(),
            reach(&["web-1"], Source::EntryNode, Hops::Direct),
            &["+1 hops instead of +0"],
        ),
        (
            // As if there were a router more in front of the pod: only the TTL tells.
            Rule {
                also: "tcp dport 31616 $ttl set 61",
                ..right(31_616)
            },
            local(),
            &["+1 hops instead of +0"],
        ),
        (
            right(31_617),
            Reach {
                entry: Entry::Node("vm1".to_owned()),
                ..local()
            },
            &["entered by vm2"],
        ),
    ];
    for (rule, expected, texts) in wrong {
        rule.apply(bench)?;
        let expected = expected.into();
        for family in Family::ALL {
            let called = ("vm2", rule.node_port);
            let (result, _) = judged(bench, called, family, &expected, PORT, TIMES)?;
            assert_wrong(&result, texts);
        }
    }
    // Straight to the pod, past every proxy: nobody rewrote the destination.
    for family in Family::ALL {
        let (result, _) = judged(bench, ("web-3", PORT), family, &local().into(), PORT, TIMES)?;
        assert_wrong(&result, &["destination rewritten by"]);
    }
    Ok(())
}

/// These things are wrong and nothing else is.
#[track_caller]
fn assert_wrong(result: &FlowResult, texts: &[&str]) {
    let of = |text: &&str| result.wrong.iter().filter(|w| w.starts_with(text)).count();
    let found: Vec<_> = texts.iter().map(of).collect();
    assert_eq!(found, vec![1; texts.len()], "{texts:?}, {result:?}");
    assert_eq!(result.wrong.len(), texts.len(), "{texts:?}, {result:?}");
}

/// A client calls the same backend by two ports of a node, from the same ports of its own.
/// Connection tracking then changes the client's port; its address is kept.
pub(crate) fn clashing_ports(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7640;
    const CLIENT: &str = "web-6";
    const NODE_PORTS: [u16; 2] = [31_640, 31_641];
    let _backends = bench.listen(&["web-3"], PORT)?;
    for node_port in NODE_PORTS {
        Rule::new(node_port, ("web-3", PORT)).apply(bench)?;
    }
    let expected = reach(&["web-3"], Source::Preserved, Hops::Direct).into();
    for family in Family::ALL {
        let [first, second] = NODE_PORTS.map(|port| bench.at("vm2", family, port));
        // One probe tells from which ports the next ones will come: these are taken before.
        let probe = bench
            .runtime
            .block_on(bench.lab.call(&pod(CLIENT), second, 1))?;
        let last = probe[0].observed.connection.local.port();
        for port in (1..).map(|n| last + n).take(TIMES) {
            call_from(bench, CLIENT, port, first)?;
        }
        let called = ("vm2", NODE_PORTS[1]);
        let from = pod(CLIENT);
        let (result, observed) = judged_from(bench, from, called, family, &expected, PORT, TIMES)?;
        assert_eq!(result.wrong, [""; 0], "{family} {}", result.got);
        for one in observed {
            let Outcome::Reached { identity, .. } = &one.connection.outcome else {
                return Err(one.kind().into());
            };
            let (seen, own) = (identity.peer.port(), one.connection.local.port());
            assert_ne!(seen, own, "{family}: the port was not changed");
        }
    }
    Ok(())
}

/// One connection from this port of a host, by a plain socket.
fn call_from(bench: &Bench, host: &str, port: u16, to: SocketAddr) -> Result<(), Failed> {
    let call = || -> std::io::Result<()> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let mut own: SocketAddr = any.parse().expect("an address");
        own.set_port(port);
        socket.bind(&own.into())?;
        socket.connect(&to.into())
    };
    Ok(bench.lab.netns().namespace(host).within(call)??)
}

/// Every outcome against every expectation: only the same agree.
pub(crate) fn wrong_outcomes(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7620;
    let _backends = bench.listen(&["web-3"], PORT)?;
    Rule::new(31_620, ("web-3", PORT)).apply(bench)?;
    bench.rules(
        "vm2",
        "table inet judged { chain arriving { type filter hook input priority 0
         tcp dport 31621 reject
         tcp dport 31622 reject with tcp reset
         tcp dport 31623 drop
         }
         }\n",
    )?;
    let seen = [
        (31_620, "reached web-3"),
        (31_621, "refused"),
        (31_622, "refused"),
        (31_623, "dropped"),
    ];
    let expectations = [
        (
            reach(&["web-3"], Source::Preserved, Hops::Direct).into(),
            "reached web-3",
        ),
        (Expectation::Refused, "refused"),
        (Expectation::Dropped, "dropped"),
    ];
    for family in Family::ALL {
        for (port, saw) in seen {
            for (expected, text) in &expectations {
                let (result, observed) =
                    judged(bench, ("vm2", port), family, expected, PORT, TIMES)?;
                for one in &observed {
                    assert!(one.kind().starts_with(saw), "{port}: {}", one.kind());
                }
                assert_eq!(result.passed(), saw == *text, "{saw}, {text} expected");
                if !result.passed() {
                    assert!(result.wrong[0].starts_with(saw), "{:?}", result.wrong);
                    assert!(result.wrong[0].ends_with(&format!("({TIMES} of {TIMES})")));
                }
            }
        }
    }
    Ok(())
}

/// What no node serves: the same packets are right or wrong by what was done to them.
pub(crate) fn unserved(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7660;
    const DEAF: u16 = 7661;
    let _backends = bench.listen(&["web-3"], PORT)?;
    Rule::new(31_660, ("web-3", PORT)).apply(bench)?;
    // Rewritten, and then nobody listens.
    Rule::new(31_661, ("web-3", DEAF)).apply(bench)?;
    bench.rules(
        "vm2",
        "table inet unserved { chain arriving { type filter hook input priority 0
         tcp dport 31662 drop
         }
         }\n",
    )?;
    let wrong: [(u16, &[&str]); 4] = [
        (31_660, &["reached web-3, not unserved"]),
        (31_661, &["destination rewritten by vm2"]),
        // Dropped, or refused by a closed port: neither is a service.
        (31_662, &[]),
        (31_663, &[]),
    ];
    for family in Family::ALL {
        for (port, texts) in wrong {
            let expected = Expectation::Unserved;
            let (result, _) = judged(bench, ("vm2", port), family, &expected, PORT, TIMES)?;
            assert_wrong(&result, texts);
        }
        // A neighbour's call comes by no load balancer.
        let (from, called) = (pod("client-vm2"), ("vm2", 31_663));
        let expected = Expectation::LeftToBalancer;
        let (result, _) = judged_from(bench, from, called, family, &expected, PORT, TIMES)?;
        assert_wrong(&result, &["never came to the load balancer"]);
        // A client's call does.
        let (result, _) = judged(bench, ("vm2", 31_662), family, &expected, PORT, TIMES)?;
        assert_wrong(&result, &[]);
    }
    Ok(())
}

/// A client that must stay with one pod, and one whose source a pod on the entry node sees or not: that is measured, and
/// left open elsewhere.
pub(crate) fn one_pod_and_either_source(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7650;
    let _backends = bench.listen(&["web-3", "client-vm2"], PORT)?;
    let pods = ["web-3", "client-vm2"];
    for (port, masquerading) in [(31_650, false), (31_651, true)] {
        let rule = Rule::new(port, ("web-3", PORT));
        let rule = if masquerading {
            rule.masquerading()
        } else {
            rule
        };
        rule.apply(bench)?;
    }
    for family in Family::ALL {
        let [one, other] = pods.map(|pod| bench.address(pod, family));
        let rules = format!(
            "table {} judged_31652 {{ chain arriving {{ type nat hook prerouting priority dstnat
             tcp dport 31652 dnat to numgen inc mod 2 map {{ 0 : {one}, 1 : {other} }} : {PORT}
             }}
             }}\n",
            ip(family)
        );
        bench.rules("vm2", &rules)?;
        let sticky = reach(&pods, Source::Preserved, Hops::Direct).sticky();
        let either = reach(&["web-3"], Source::EntryNode, Hops::Direct);
        let asked: [(u16, Reach, &[&str]); 4] = [
            (31_650, sticky.clone(), &[]),
            (31_652, sticky, &["reached 2 pods: client-vm2 web-3"]),
            (31_650, either.clone(), &[]),
            (31_651, either.clone(), &[]),
        ];
        for (port, expected, texts) in asked {
            let called = ("vm2", port);
            let (result, _) = judged(bench, called, family, &expected.into(), PORT, TIMES)?;
            assert_wrong(&result, texts);
        }
        let measured = Expectation::varies(Variation::LocalBackendSource, Some(&either));
        for (port, value) in [(31_650, "client"), (31_651, "node")] {
            let (result, _) = judged(bench, ("vm2", port), family, &measured, PORT, TIMES)?;
            assert_wrong(&result, &[]);
            let values = result.tally.map(|tally| tally.values).unwrap_or_default();
            assert_eq!(values, BTreeMap::from([(value.to_owned(), TIMES as u64)]));
        }
        let elsewhere = reach(&["client-vm2"], Source::EntryNode, Hops::Direct);
        let nobody = Expectation::varies(Variation::LocalBackendSource, Some(&elsewhere));
        let (result, _) = judged(bench, ("vm2", 31_650), family, &nobody, PORT, TIMES)?;
        assert_wrong(
            &result,
            &["by no value of local-backend-source: reached web-3"],
        );
    }
    Ok(())
}

/// One SYN in fifty is lost on its way: each loss is seen as a drop, and one is enough to fail.
pub(crate) fn lossy(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7630;
    let _backends = bench.listen(&["web-3"], PORT)?;
    Rule::new(31_630, ("web-3", PORT)).apply(bench)?;
    let rules = format!(
        "table inet lossy {{ chain arriving {{ type filter hook prerouting priority -300
         tcp dport {PORT} tcp flags & (syn | ack) == syn numgen random mod 50 == 0 drop
         }}
         }}\n"
    );
    bench.rules("web-3", &rules)?;
    let expected = reach(&["web-3"], Source::Preserved, Hops::Direct).into();
    for family in Family::ALL {
        let called = ("vm2", 31_630);
        let (result, observed) = judged(bench, called, family, &expected, PORT, LOSSY_TIMES)?;
        let lost = observed
            .iter()
            .filter(|one| one.connection.outcome == Outcome::Dropped)
            .count();
        eprintln!("{family}: {lost} of {LOSSY_TIMES} were dropped");
        // Six standard deviations, √(n p (1 − p)), to either side: one run in a billion.
        let (n, p) = (LOSSY_TIMES as f64, 1.0 / 50.0);
        let distance = (lost as f64 - n * p).abs() / (n * p * (1.0 - p)).sqrt();
        assert!(distance < 6.0, "{lost} of {LOSSY_TIMES} were dropped");
        assert_eq!(result.wrong, [format!("dropped ({lost} of {LOSSY_TIMES})")]);
    }
    Ok(())
}
