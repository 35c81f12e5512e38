//! What proves that a datagram was dropped: backends that are slow, strange, lossy or gone.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use libtest_mimic::Failed;
use onehop_harness::case::external;
use onehop_harness::lab::Calls;
use onehop_harness::probe::{Connection, Outcome, ProbeError, Refusal};
use onehop_harness::tap::{DatagramHeader, Purpose, Sighting};
use onehop_harness::timing::Timing;
use onehop_harness::world::{CLIENT_PUBLIC, Family, Length, Protocol};
use serde_json::json;

use crate::lab::{Bench, ip};

/// The pod of the backends made here.
const POD: &str = "web-3";
const SLOW: u16 = 7701;
const STRANGE: u16 = 7702;
const FOREIGN: u16 = 7703;
const LOSSY: u16 = 7704;
const DROPPED: u16 = 7705;
const NOBODY: u16 = 7706;
const SHORT: u16 = 7707;
/// How long the slow backend takes for each datagram: much longer than the grace after a fence.
const DELAY: Duration = Duration::from_millis(60);

/// Answers every probe at this port for as long as the process lives: with what `say` makes of its
/// nonce.
fn respond(bench: &Bench, port: u16, say: fn(u32) -> Vec<u8>) -> Result<(), Failed> {
    let bound = || UdpSocket::bind(("::", port));
    let socket = bench.lab.netns().namespace(POD).within(bound)??;
    thread::spawn(move || {
        let mut payload = [0; 64];
        while let Ok((length, peer)) = socket.recv_from(&mut payload) {
            if let Some(header) = DatagramHeader::parse(&payload[..length]) {
                let _ = socket.send_to(&say(header.nonce), peer);
            }
        }
    });
    Ok(())
}

/// A whole answer to the question of this number.
fn answer(nonce: u32, lost: u32) -> Vec<u8> {
    let purpose = Purpose::Answer;
    let said = json!({"pod": POD, "node": "vm2", "port": 1, "peer": "[::1]:1", "ttl": 60,
        "lost": lost});
    let header = DatagramHeader { purpose, nonce }.to_bytes();
    [&header[..], said.to_string().as_bytes()].concat()
}

pub(crate) fn proofs(bench: &Bench) -> Result<(), Failed> {
    respond(bench, SLOW, |nonce| {
        thread::sleep(DELAY);
        answer(nonce, 0)
    })?;
    respond(bench, STRANGE, |_| b"hello".to_vec())?;
    respond(bench, FOREIGN, |nonce| answer(nonce ^ 1, 0))?;
    respond(bench, LOSSY, |nonce| answer(nonce, 3))?;
    respond(bench, SHORT, |nonce| answer(nonce, 0))?;
    let rule = |family| {
        let word = ip(family);
        format!(
            "table {word} datagrams {{ chain arriving {{ type filter hook input priority 0
             udp dport {DROPPED} drop
             }}
             }}\n"
        )
    };
    bench.rules(POD, &Family::ALL.map(rule).concat())?;
    for family in Family::ALL {
        slow_backends_are_waited_for(bench, family)?;
        strange_answers_are_told(bench, family)?;
        fences_must_answer(bench, family)?;
        short_answers_are_told(bench, family)?;
    }
    Ok(())
}

/// Calls ports of the pod, with these of its ports as further fences.
fn call(
    bench: &Bench,
    family: Family,
    ports: &[u16],
    fences: &[u16],
) -> Result<Vec<Connection>, ProbeError> {
    call_with(bench, Length::Brief, family, ports, fences)
}

/// The same with datagrams of this length.
fn call_with(
    bench: &Bench,
    length: Length,
    family: Family,
    ports: &[u16],
    fences: &[u16],
) -> Result<Vec<Connection>, ProbeError> {
    let at = |port: &u16| bench.at(POD, family, *port);
    let timing = Timing {
        fence: Duration::from_secs(2),
        ..Timing::default()
    };
    let remotes: Vec<SocketAddr> = ports.iter().map(at).collect();
    let fences: Vec<_> = fences.iter().map(at).collect();
    let how = (Protocol::Udp, length);
    bench.call_by(how, "client-public", &remotes, &fences, &timing)
}

/// A backend that takes its time has dropped nothing, however long it lets wait.
fn slow_backends_are_waited_for(bench: &Bench, family: Family) -> Result<(), Failed> {
    let calls = call(bench, family, &[SLOW; 4], &[SLOW])?;
    assert!(
        calls.iter().all(|call| call.outcome.is_reached()),
        "{calls:?}"
    );
    let both = call(bench, family, &[SLOW, DROPPED], &[SLOW])?;
    assert!(both[0].outcome.is_reached(), "{both:?}");
    assert_eq!(both[1].outcome, Outcome::Dropped);
    Ok(())
}

fn strange_answers_are_told(bench: &Bench, family: Family) -> Result<(), Failed> {
    // None of these can be its own fence: another that takes its time gives their threads some.
    let calls = call(bench, family, &[STRANGE, FOREIGN], &[SLOW])?;
    let strange = Outcome::Broken("answered by something else".to_owned());
    assert_eq!(calls[0].outcome, strange);
    // The answer to a question that was never asked is none.
    assert_eq!(calls[1].outcome, Outcome::Dropped);
    Ok(())
}

/// An answer that is not as long as its question tells that one of them did not come whole.
fn short_answers_are_told(bench: &Bench, family: Family) -> Result<(), Failed> {
    let brief = call(bench, family, &[SHORT], &[SHORT])?;
    assert!(brief[0].outcome.is_reached(), "{brief:?}");
    let long = call_with(bench, Length::Mtu(0), family, &[SHORT], &[SHORT])?;
    let asked = Length::Mtu(0)
        .payload(1500, family)
        .expect("a certain length");
    let octets = answer(0, 0).len();
    let short = format!("{POD} answered {octets} octets to {asked}");
    assert_eq!(long[0].outcome, Outcome::Broken(short));
    Ok(())
}

/// Where a fence is silent, gone or has lost datagrams, nothing is said of the others.
fn fences_must_answer(bench: &Bench, family: Family) -> Result<(), Failed> {
    for (fence, kind) in [
        (DROPPED, io::ErrorKind::TimedOut),
        (NOBODY, io::ErrorKind::ConnectionRefused),
    ] {
        match call(bench, family, &[DROPPED], &[fence]) {
            Err(ProbeError::Fence { source, .. }) => assert_eq!(source.kind(), kind),
            other => return Err(format!("with the fence {fence}: {other:?}").into()),
        }
    }
    match call(bench, family, &[DROPPED], &[LOSSY]) {
        Err(ProbeError::Overflow { lost: 3, .. }) => Ok(()),
        other => Err(format!("with a lossy fence: {other:?}").into()),
    }
}

/// Datagrams are as long as they are asked to be, and so are their answers; those in fragments go the same way as others,
/// and the taps see each of them once.
pub(crate) fn long(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7760;
    let from = external(CLIENT_PUBLIC);
    let _backends = bench.listen(&[POD], PORT)?;
    for family in Family::ALL {
        let at = bench.at(POD, family, PORT);
        let journey = |length| {
            let calls = Calls {
                from: &from,
                by: None,
                protocol: Protocol::Udp,
                length,
                remotes: &[at],
                backends: &[at],
            };
            let made = bench.runtime.block_on(bench.lab.call_each(calls));
            let call = made
                .map_err(|error| format!("{length}: {error}"))?
                .remove(0);
            assert!(call.is_reached(), "{length}: {:?}", call.observed);
            let journey = call.journey.expect("it left the caller");
            let way = |half: &[Sighting]| {
                let of = |s: &Sighting| (s.host.clone(), s.interface.clone(), s.direction);
                half.iter().map(of).collect::<Vec<_>>()
            };
            let ways = (way(&journey.request), way(&journey.reply));
            Ok::<_, Failed>((call.observed.connection.octets, ways))
        };
        let (octets, ways) = journey(Length::Brief)?;
        assert_eq!(octets, None);
        for (length, octets) in [
            (Length::Mtu(-40), 1460),
            (Length::Mtu(0), 1500),
            (Length::Mtu(1), 1501),
            (Length::Mtus(2), 3000),
        ] {
            let before = put_together(bench, family)?;
            assert_eq!(journey(length)?, (Some(octets), ways.clone()), "{length}");
            let fragmented = put_together(bench, family)? - before;
            assert_eq!(fragmented, u64::from(octets > 1500), "{length}");
        }
    }
    Ok(())
}

/// How many datagrams the kernel of the pod has put together of fragments so far: `ReasmOKs` of RFC 4293.
fn put_together(bench: &Bench, family: Family) -> Result<u64, Failed> {
    let read = |path| {
        bench
            .lab
            .netns()
            .namespace(POD)
            .within(|| fs::read_to_string(path))
    };
    let count = match family {
        Family::V4 => {
            let text = read("/proc/thread-self/net/snmp")??;
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
            let (names, values) = (lines.next(), lines.next());
            let columns = names.unwrap_or_default().split(' ');
            let mut columns = columns.zip(values.unwrap_or_default().split(' '));
            columns.find_map(|(name, value)| (name == "ReasmOKs").then(|| value.to_owned()))
        }
        Family::V6 => {
            let text = read("/proc/thread-self/net/snmp6")??;
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix("Ip6ReasmOKs")?.trim().to_owned()))
        }
    };
    Ok(count.ok_or("the kernel does not count")?.parse()?)
}

/// A backend that was dropped answers no longer, and the port can be had again at once.
pub(crate) fn ended(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7750;
    for _ in 0..20 {
        for family in Family::ALL {
            let backends = bench.listen(&[POD], PORT)?;
            let reached = call(bench, family, &[PORT], &[PORT])?.remove(0);
            assert!(reached.outcome.is_reached(), "{reached:?}");
            drop(backends);
            let refused = call(bench, family, &[PORT], &[])?.remove(0);
            let by = bench.address(POD, family);
            let is_right = matches!(refused.outcome,
                Outcome::Refused(Refusal::Icmp { from, .. }) if from == by);
            assert!(is_right, "{refused:?}");
        }
    }
    Ok(())
}
