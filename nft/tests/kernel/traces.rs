//! The kernel tells which rules a packet meets.

use std::net::UdpSocket;
use std::process::Command;

use libtest_mimic::Failed;
use onehop_nft::*;

use crate::support::same;
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[(
    "a_traced_packet_tells_which_rules_it_meets",
    Needs::Ip,
    rules_met,
)];

/// The ports of a packet that is traced, and of one that is not.
const TRACED: u16 = 9;
const OTHER: u16 = 10;

fn rules_met() -> Result<(), Failed> {
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()?;
    assert!(up.success(), "the loopback interface is up");
    let table = Table::new(Family::Ip, "traced");
    let to = |port: u16| Rule::new().eq(TH_DPORT, Value::new().port(port));
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_chain(&table, &Chain::regular("further"));
    batch.add_chain(
        &table,
        &Chain::base("own", ChainKind::Filter, Hook::Output, 0),
    );
    batch.add_rule(&table, "own", &to(TRACED).set_nftrace());
    batch.add_rule(&table, "own", &to(OTHER).drop());
    batch.add_rule(&table, "own", &to(TRACED).jump("further"));
    batch.add_rule(&table, "further", &to(TRACED).drop());
    let mut traces = Traces::subscribe()?;
    Netfilter::open()?.commit(&mut batch)?;

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for port in [OTHER, TRACED] {
        let sent = socket.send_to(b"one", ("127.0.0.1", port));
        assert!(sent.is_err(), "dropped before it has left: {sent:?}");
    }
    let mut steps = Vec::new();
    while let Some(step) = traces.read()? {
        steps.push(step);
    }
    let met = |step: &Step| {
        assert_eq!((step.family, &*step.table), (Some(Family::Ip), "traced"));
        assert!(matches!(step.met, Met::Rule(_)), "{step:?}");
        (step.chain.clone(), step.verdict.clone())
    };
    let met: Vec<_> = steps.iter().map(met).collect();
    let of = |chain: &str, verdict| (chain.to_owned(), Some(verdict));
    let expected = [
        of("own", Verdict::Continue),
        of("own", Verdict::Jump("further".into())),
        of("further", Verdict::Drop),
    ];
    same("what it met", &met, &expected.to_vec())?;
    assert!(steps.iter().all(|step| step.packet == steps[0].packet));

    // A packet of its own, through the same rules.
    let _ = socket.send_to(b"two", ("127.0.0.1", TRACED));
    let again = traces.read()?.ok_or("another packet is traced as well")?;
    assert_ne!(again.packet, steps[0].packet);
    same("the first rule", &again.met, &steps[0].met)
}
