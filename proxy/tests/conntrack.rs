//! Stale UDP flows are removed from a kernel's real connection tracking, seen by where packets go.
//!
//! Each test has a network namespace of its own, in which `nft` stands in for the proxy's rules.
//! Where namespaces are not allowed, the tests are reported as ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use nix::sched::{CloneFlags, unshare};
use onehop_proxy::conntrack::{Removed, Serving, Table};
use onehop_proxy::dataplane::FrontKey;
use onehop_proxy::model::{Family, Protocol};

type Test = (&'static str, fn(Family));

const TESTS: [Test; 6] = [
    (
        "a_flow_follows_its_service_to_an_endpoint_that_serves",
        follows,
    ),
    (
        "a_flow_from_before_there_was_a_service_is_translated",
        untranslated,
    ),
    (
        "flows_of_a_service_that_is_gone_are_ended_unless_withheld",
        gone,
    ),
    ("a_flow_in_a_zone_is_removed_there", zoned),
    ("flows_of_both_families_are_removed_at_once", both),
    ("a_thousand_stale_flows_go_and_all_others_stay", thousand),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = in_namespace(|| ()).err();
    let trials = TESTS.into_iter().flat_map(|(name, test)| {
        Family::ALL.map(|family| {
            let trial = Trial::test(format!("{name}::{family:?}"), move || {
                Ok(in_namespace(move || test(family))?)
            });
            match &missing {
                None => trial,
                Some(why) => trial
                    .with_kind(format!("ignored: {why}"))
                    .with_ignored_flag(true),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs a test on a thread with a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no namespaces: {errno}"))?;
        run("ip", "link set lo up");
        run("ip", "addr add 10.96.0.10/32 dev lo");
        run("ip", "-6 addr add fd00:96::a/128 dev lo nodad");
        for number in 1..=2 {
            run("ip", &format!("addr add 192.0.2.{number}/32 dev lo"));
            run(
                "ip",
                &format!("-6 addr add 2001:db8::{number}/128 dev lo nodad"),
            );
        }
        test();
        Ok(())
    });
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| "it panicked".to_owned())
    })?
}

fn run(program: &str, arguments: &str) {
    let arguments: Vec<_> = match program {
        "nft" => vec![arguments],
        _ => arguments.split(' ').collect(),
    };
    let output = Command::new(program)
        .args(&arguments)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Makes the kernel send new flows for an address to an endpoint.
fn translate(family: Family, service: SocketAddr, endpoint: SocketAddr) {
    let word = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    run(
        "nft",
        &format!(
            "table {word} t; delete table {word} t; table {word} t {{ chain c {{ type nat hook output \
             priority -100; {word} daddr {} udp dport {} dnat to {endpoint}; }}; }}",
            service.ip(),
            service.port(),
        ),
    );
}

fn service(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "10.96.0.10:53".parse().expect("an address"),
        Family::V6 => "[fd00:96::a]:53".parse().expect("an address"),
    }
}

/// A pod that receives what is sent to it.
struct Pod(UdpSocket);

impl Pod {
    fn new(family: Family, number: u8) -> Self {
        let address: IpAddr = match family {
            Family::V4 => format!("192.0.2.{number}").parse().expect("an address"),
            Family::V6 => format!("2001:db8::{number}").parse().expect("an address"),
        };
        let socket = UdpSocket::bind((address, 5353)).expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("it can be set");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Whether a packet arrives. Loopback delivers before `send` returns.
    fn receives(&self) -> bool {
        self.0.recv(&mut [0; 16]).is_ok()
    }
}

/// A client with one source port.
fn client(called: SocketAddr) -> UdpSocket {
    let any: IpAddr = match called {
        SocketAddr::V4(_) => "0.0.0.0".parse().expect("an address"),
        SocketAddr::V6(_) => "::".parse().expect("an address"),
    };
    let socket = UdpSocket::bind((any, 0)).expect("a free port");
    socket.connect(called).expect("a route");
    socket
}

fn send(client: &UdpSocket) {
    // An ICMP error that came back for the packet before is reported here once.
    client
        .send(b"packet")
        .or_else(|_| client.send(b"packet"))
        .expect("it is sent");
}

fn front(called: SocketAddr) -> FrontKey {
    FrontKey {
        address: called.ip(),
        protocol: Protocol::Udp,
        port: called.port(),
    }
}

/// A front that these endpoints serve; `None`: no Service has it.
fn serving(called: SocketAddr, endpoints: Option<&[SocketAddr]>) -> Serving {
    Serving::of(&BTreeSet::from([front(called)]), &BTreeSet::new(), |_| {
        endpoints
    })
}

fn clean(family: Family, serving: Serving) -> Removed {
    let done: Vec<_> = clean_all(serving).into_iter().collect();
    let [(of, removed)] = done[..] else {
        panic!("it is of one family: {done:?}");
    };
    assert_eq!(of, family);
    removed
}

fn clean_all(serving: Serving) -> BTreeMap<Family, Removed> {
    let mut table = Table::open().expect("a socket");
    let done = table.clean(&Mutex::new(serving), &BTreeSet::new());
    done.expect("it is cleaned")
}

fn follows(family: Family) {
    let (called, old, new) = (service(family), Pod::new(family, 1), Pod::new(family, 2));
    let client = client(called);
    translate(family, called, old.address());
    send(&client);
    assert!(old.receives(), "the first packet decides");
    translate(family, called, new.address());
    send(&client);
    assert!(old.receives(), "the flow is remembered");

    let both = [old.address(), new.address()];
    assert_eq!(clean(family, serving(called, Some(&both))).removed, 0);
    send(&client);
    assert!(
        old.receives() && !new.receives(),
        "an endpoint that serves keeps its flow"
    );

    assert_eq!(
        clean(family, serving(called, Some(&[new.address()]))).removed,
        1
    );
    send(&client);
    assert!(
        new.receives() && !old.receives(),
        "the flow is looked up afresh"
    );
}

fn untranslated(family: Family) {
    let (called, pod) = (service(family), Pod::new(family, 1));
    // Rules for something else, so that the kernel tracks connections at all.
    translate(family, SocketAddr::new(called.ip(), 54), pod.address());
    let client = client(called);
    let listener = UdpSocket::bind(called).expect("local, so that nothing refuses");
    send(&client);
    translate(family, called, pod.address());
    send(&client);
    assert!(
        !pod.receives(),
        "the flow is remembered as one without translation"
    );
    drop(listener);

    assert_eq!(
        clean(family, serving(called, Some(&[pod.address()]))).removed,
        1
    );
    send(&client);
    assert!(pod.receives());
}

fn gone(family: Family) {
    let (called, pod) = (service(family), Pod::new(family, 1));
    let host = SocketAddr::new(called.ip(), 54);
    translate(family, called, pod.address());
    let client = client(called);
    send(&client);
    assert!(pod.receives());
    run("nft", "flush ruleset");
    // Rules for something else, so that the kernel tracks connections at all.
    translate(family, SocketAddr::new(called.ip(), 55), pod.address());
    send(&client);
    assert!(pod.receives(), "the flow outlives the rules");
    let both = || {
        let fronts = BTreeSet::from([front(called), front(host)]);
        Serving::of(&fronts, &BTreeSet::new(), |_| None)
    };
    // Something of the host's own at an address that the Service lost as well.
    let listener = UdpSocket::bind(host).expect("a local address");
    let host_client = self::client(host);
    send(&host_client);
    let mut withheld = both();
    withheld.withhold(front(called));
    assert_eq!(clean(family, withheld).removed, 0);
    assert_eq!(clean(family, both()).removed, 1, "not the host's own");
    send(&client);
    assert!(!pod.receives(), "the packet goes where it is addressed to");
    drop(listener);
}

fn zoned(family: Family) {
    let (called, old, new) = (service(family), Pod::new(family, 1), Pod::new(family, 2));
    run(
        "nft",
        "table inet z { chain c { type filter hook output priority raw; ct zone set 7; }; }",
    );
    let client = client(called);
    translate(family, called, old.address());
    send(&client);
    assert!(old.receives());
    translate(family, called, new.address());
    assert_eq!(
        clean(family, serving(called, Some(&[new.address()]))).removed,
        1
    );
    send(&client);
    assert!(new.receives() && !old.receives());
}

/// Both have flows of a Service; only this one's has lost its endpoint.
fn both(losing: Family) {
    let (pods, clients) = Family::ALL
        .map(|family| {
            let (called, pod) = (service(family), Pod::new(family, 1));
            translate(family, called, pod.address());
            let client = client(called);
            send(&client);
            assert!(pod.receives());
            (pod, client)
        })
        .into_iter()
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let fronts = Family::ALL.map(|family| front(service(family)));
    let endpoints = pods.iter().map(Pod::address).collect::<Vec<_>>();
    let serving = Serving::of(&fronts.into(), &BTreeSet::new(), |front| {
        let is_losing = Family::of(front.address) == losing;
        Some(if is_losing { &[] } else { &endpoints[..] })
    });
    let expected = Family::ALL.map(|family| {
        let removed = usize::from(family == losing);
        (family, Removed { listed: 1, removed })
    });
    assert_eq!(clean_all(serving), expected.into());
    drop(clients);
}

fn thousand(family: Family) {
    let (called, old, new) = (service(family), Pod::new(family, 1), Pod::new(family, 2));
    let other = SocketAddr::new(called.ip(), 5300);
    translate(family, called, old.address());
    let clients: Vec<_> = (0..1000).map(|_| client(called)).collect();
    for client in &clients {
        send(client);
        assert!(old.receives());
    }
    let _other_listens = UdpSocket::bind(other).expect("a local address");
    let others: Vec<_> = (0..100).map(|_| client(other)).collect();
    others.iter().for_each(send);
    // Connections of TCP to the same address and port are not the Service's.
    let listener = TcpListener::bind(called).expect("a local address");
    let _stream = TcpStream::connect(called).expect("it listens");
    drop(listener);

    let now = [new.address()];
    let now = || serving(called, Some(&now));
    let first = clean(family, now());
    assert_eq!(
        first,
        Removed {
            listed: 1100,
            removed: 1000
        }
    );
    assert_eq!(
        clean(family, now()),
        Removed {
            listed: 100,
            removed: 0
        }
    );
}
