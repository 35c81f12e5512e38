//! Backends that say nothing sensible, and fences that say nothing at all.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use onehop_harness::probe::{self, Batch, Outcome, ProbeError, Refusal};
use onehop_harness::timing::Timing;
use onehop_harness::world::{Family, Length, Protocol};
use serde_json::json;
use socket2::SockRef;

use crate::lab::{Bench, ip};

/// What a bad backend does with a connection.
type Handle = fn(TcpStream);

/// Bad backends: the port, and what must be said of it.
const BAD: [(u16, Handle, &str); 6] = [
    (7401, drop, "accepted, then closed"),
    (
        7402,
        |mut stream| say(&mut stream, b"hello"),
        "accepted, then answered by something else",
    ),
    (
        7403,
        // An identity, but not the whole of it.
        |mut stream| say(&mut stream, br#"{"pod":"web-3","node":"vm2"}"#),
        "accepted, then answered by something else",
    ),
    (
        7404,
        |mut stream| say(&mut stream, &vec![b' '; 100_000]),
        "accepted, then an endless answer",
    ),
    (7405, reset, "accepted, then Connection reset by peer"),
    (7406, stay_silent, "accepted, then silent for"),
];
/// Connections to each, in one batch, together with as many good ones.
const TIMES: usize = 5;

pub(crate) fn backends(bench: &Bench) -> Result<(), Failed> {
    for (port, handle, _) in BAD {
        let bound = || TcpListener::bind(("::", port));
        let listener = bench.lab.netns().namespace("web-3").within(bound)??;
        // These threads end with the process.
        thread::spawn(move || serve(&listener, handle));
    }
    let _good = bench.listen(&["web-3"], 7400)?;
    let timing = Timing {
        // How long the silent one is waited for; a good one must answer meanwhile.
        answer: Duration::from_millis(1500),
        ..Timing::default()
    };
    for from in ["client-public", "web-0", "vm2"] {
        for family in Family::ALL {
            let ports = BAD.iter().map(|(port, ..)| *port).chain([7400]);
            let ports: Vec<_> = ports.cycle().take(TIMES * (BAD.len() + 1)).collect();
            let remotes: Vec<_> = ports
                .iter()
                .map(|port| bench.at("web-3", family, *port))
                .collect();
            let calls = bench.call(from, &remotes, &timing)?;
            for (port, call) in ports.iter().zip(calls) {
                let expected = BAD.iter().find(|(bad, ..)| bad == port);
                match (expected, &call.outcome) {
                    (None, Outcome::Reached { identity, .. }) => {
                        assert_eq!((&*identity.pod, identity.port), ("web-3", 7400));
                    }
                    (Some((_, _, text)), Outcome::Broken(how)) => {
                        assert!(how.starts_with(text), "{port} from {from}: {how}");
                    }
                    (_, other) => return Err(format!("{port} from {from}: {other:?}").into()),
                }
            }
        }
    }
    Ok(())
}

fn serve(listener: &TcpListener, handle: Handle) {
    while let Ok((stream, _)) = listener.accept() {
        handle(stream);
    }
}

/// A backend that is kept from running for longer than an answer may take is late, and not broken: its fence is as late. A fence
/// that stays silent itself says nothing of others.
pub(crate) fn late(bench: &Bench) -> Result<(), Failed> {
    const LATE: u16 = 7480;
    const SILENT: u16 = 7481;
    let timing = Timing {
        answer: Duration::from_millis(300),
        fence: Duration::from_secs(3),
        ..Timing::default()
    };
    let answer_late: Handle = |mut stream| {
        thread::sleep(Duration::from_millis(400));
        let identity =
            json!({"pod": "web-3", "node": "vm2", "port": LATE, "peer": "[::1]:1", "ttl": 60});
        say(&mut stream, format!("{identity}\n").as_bytes());
    };
    for (port, handle) in [(LATE, answer_late), (SILENT, stay_silent)] {
        let bound = || TcpListener::bind(("::", port));
        let listener = bench.lab.netns().namespace("web-3").within(bound)??;
        // These threads end with the process.
        thread::spawn(move || serve(&listener, handle));
    }
    let brief = (Protocol::Tcp, Length::Brief);
    for family in Family::ALL {
        let [late, silent] = [LATE, SILENT].map(|port| bench.at("web-3", family, port));
        let calls = bench.call_by(brief, "client-public", &[late; 4], &[late], &timing)?;
        let reached = calls.iter().filter(|call| call.outcome.is_reached());
        assert_eq!(reached.count(), 4, "{calls:?}");
        match bench.call_by(brief, "client-public", &[silent], &[silent], &timing) {
            Err(ProbeError::Fence { fence, source, .. }) => {
                assert_eq!((fence, source.kind()), (silent, io::ErrorKind::TimedOut));
            }
            other => return Err(format!("with a silent fence: {other:?}").into()),
        }
    }
    Ok(())
}

/// Writes and closes. The caller may have closed before: it has its outcome by then.
fn say(stream: &mut TcpStream, text: &[u8]) {
    let _ = stream.write_all(text);
    let _ = stream.shutdown(Shutdown::Both);
}

fn reset(stream: TcpStream) {
    let abort = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    abort.expect("a socket can be aborted");
    drop(stream);
}

fn stay_silent(stream: TcpStream) {
    // Kept open for as long as the process lives.
    std::mem::forget(stream);
}

/// A call ends with a RST, so that nothing on its way remembers it for long.
pub(crate) fn forgotten(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7460;
    let bound = || TcpListener::bind(("::", PORT));
    let listener = bench.lab.netns().namespace("web-3").within(bound)??;
    let (ends, ended) = mpsc::channel();
    // The thread ends with the process.
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let end = stream
                .write_all(b"hello\n")
                .and_then(|()| stream.read(&mut [0]));
            let _ = ends.send(end);
        }
    });
    for family in Family::ALL {
        let remote = bench.at("web-3", family, PORT);
        bench.call("web-0", &[remote], bench.lab.timing())?;
        let end = ended.recv_timeout(Duration::from_secs(5))?;
        assert!(
            matches!(&end, Err(error) if error.kind() == io::ErrorKind::ConnectionReset),
            "{end:?}"
        );
    }
    Ok(())
}

/// The connections of a backend end with it: their callers may have gone without a word.
pub(crate) fn connections_end(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7470;
    let backends = bench.listen(&["web-3"], PORT)?;
    let remote = bench.at("web-3", Family::V4, PORT);
    let connect = || TcpStream::connect(remote);
    let mut stream = bench.lab.netns().namespace("web-0").within(connect)??;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = [0; 1024];
    assert!(stream.read(&mut answer)? > 0, "it answers");
    drop(backends);
    let end = stream.read(&mut answer);
    assert!(matches!(end, Ok(0)), "{end:?}");
    Ok(())
}

/// A backend that was dropped listens no longer: the next connection is refused, and the port can
/// be had again.
pub(crate) fn ended(bench: &Bench) -> Result<(), Failed> {
    const PORT: u16 = 7450;
    for _ in 0..50 {
        let backends = bench.listen(&["web-3"], PORT)?;
        drop(backends);
        let remotes = Family::ALL.map(|family| bench.at("web-3", family, PORT));
        for remote in remotes {
            let call = bench
                .call("web-0", &[remote], bench.lab.timing())?
                .remove(0);
            assert_eq!(call.outcome, Outcome::Refused(Refusal::Reset));
        }
    }
    Ok(())
}

/// Without a fence nothing can be said about a SYN that got no answer: neither that it was
/// dropped, nor anything else.
pub(crate) fn fences(bench: &Bench) -> Result<(), Failed> {
    let rule = |family| {
        let word = ip(family);
        format!(
            "table {word} fences {{ chain arriving {{ type filter hook input priority 0
             tcp dport {{ 7501, 7502 }} drop
             }}
             }}\n"
        )
    };
    bench.rules("web-5", &Family::ALL.map(rule).concat())?;
    let timing = Timing {
        fence: Duration::from_millis(1500),
        ..Timing::default()
    };
    let client = bench.lab.netns().namespace("client-public");
    for family in Family::ALL {
        let at = |port| bench.at("web-5", family, port);
        let good = bench.fences("client-public", family);
        let call = |fences: &[SocketAddr]| {
            let batch = Batch {
                protocol: Protocol::Tcp,
                remotes: vec![at(7501)],
                length: Length::Brief,
                mark: None,
                fences: fences.to_vec(),
            };
            probe::call(client, &batch, &timing)
        };

        let dropped = call(&good)?;
        assert_eq!(dropped[0].outcome, Outcome::Dropped);
        // One that is dropped itself, behind good ones; and one that nobody listens on.
        let bad = [
            (at(7502), io::ErrorKind::TimedOut),
            (at(7503), io::ErrorKind::ConnectionRefused),
        ];
        for (bad, kind) in bad {
            let fences = [&good[..], &[bad]].concat();
            match call(&fences) {
                Err(ProbeError::Fence {
                    host,
                    fence,
                    source,
                }) => {
                    assert_eq!((&*host, fence), ("client-public", bad));
                    assert_eq!(source.kind(), kind);
                }
                other => return Err(format!("with the fence {bad}: {other:?}").into()),
            }
        }
    }
    Ok(())
}
