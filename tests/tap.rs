//! Taps against a lab of their own: whole journeys, hop by hop, with rules made by hand.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::netns::{self, Namespace, Network};
use onehop_harness::tap::{
    Call, Clocks, Half, Journey, Kind, Sighting, Taps, What, choose_sequence,
};
use onehop_harness::world::{CLIENT_PRIVATE, CLIENT_PUBLIC, Family, World};
use socket2::{Domain, Socket, Type};

/// How long a connection may take that is expected to come about.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a test waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(100);
const PORT: u16 = 8080;
const BURST: usize = 2_000;

struct Lab {
    world: World,
    network: Network,
    taps: Taps,
    /// One burst at a time, so that its cost is its own.
    bursting: Mutex<()>,
    _runtime: tokio::runtime::Runtime,
}

type Check = fn(&Lab, Family) -> Result<(), Failed>;

/// The tests: name, whether it needs `nft`, and what it checks in each family.
const TESTS: &[(&str, bool, Check)] = &[
    ("a_plain_connection_is_seen_at_every_hop", false, plain),
    ("a_refusal_by_the_host_is_joined", false, refused_by_host),
    (
        "a_node_port_is_rewritten_and_undone_on_one_node",
        true,
        node_port,
    ),
    (
        "a_dropped_call_was_last_seen_where_it_was_dropped",
        true,
        dropped,
    ),
    ("an_icmp_rejection_is_joined", true, rejected),
    ("an_answer_that_is_not_undone_shows", true, not_undone),
    (
        "a_nodes_own_call_is_found_by_its_sequence_number",
        true,
        own_call,
    ),
    (
        "a_nodes_own_refused_call_is_seen_on_loopback",
        true,
        own_refusal,
    ),
    ("a_burst_is_captured_whole", false, burst),
];

fn main() -> ExitCode {
    onehop_harness::prepare::complete_path();
    let sandbox = netns::enter(false);
    let arguments = Arguments::from_args();
    let lab = match sandbox {
        Ok(_) => Some(Arc::new(Lab::build())),
        Err(error) => {
            eprintln!("ignored: no sandbox here: {error}");
            None
        }
    };
    let has_nft = Command::new("nft")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_nft {
        eprintln!("ignored, where rules are made by hand: nft is not installed");
    }
    let mut trials = Vec::new();
    for &(name, needs_nft, check) in TESTS {
        for family in Family::ALL {
            let lab = lab.clone();
            let ignored = lab.is_none() || (needs_nft && !has_nft);
            let trial = Trial::test(format!("{name}::{family}"), move || match &lab {
                Some(lab) => check(lab, family),
                None => Err("no sandbox here".into()),
            });
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Lab {
    fn build() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let world = World::story();
        let network = runtime.block_on(Network::build(&world));
        let network = network.expect("the lab's network");
        let started = Instant::now();
        let taps = Taps::start(&network).expect("taps on every interface");
        let opened = taps.statistics().taps;
        eprintln!("{opened} taps opened in {:?}", started.elapsed());
        let lab = Self {
            world,
            network,
            taps,
            bursting: Mutex::new(()),
            _runtime: runtime,
        };
        lab.warm_up();
        eprintln!("the network carries packets after {:?}", started.elapsed());
        lab
    }

    /// Calls every node from every other and from outside, where nobody listens. Only then do all
    /// neighbours know each other, and no call is held back until they do.
    fn warm_up(&self) {
        let nodes = || self.world.nodes.iter().map(|node| &*node.name);
        let callers = || nodes().chain([CLIENT_PUBLIC, CLIENT_PRIVATE]);
        for family in Family::ALL {
            for (from, to) in callers().flat_map(|from| nodes().map(move |to| (from, to))) {
                let (socket, _) = self.socket(from, family).expect("a socket");
                let remote = SocketAddr::new(self.address(to, family), 9);
                let refused = socket.connect_timeout(&remote.into(), PATIENCE);
                refused.expect_err("nobody listens on the discard port");
            }
        }
    }

    fn host(&self, name: &str) -> &Namespace {
        self.network.host(name).expect("a host").namespace()
    }

    fn address(&self, name: &str, family: Family) -> IpAddr {
        let world = &self.world;
        let dual = world.node(name).map(|node| node.address);
        let dual = dual.or_else(|| world.pod(name).map(|pod| pod.address));
        let dual = dual.or_else(|| world.client(name).map(|client| client.address));
        dual.expect("a host with an address").of(family)
    }

    fn listen(&self, host: &str, family: Family, port: u16) -> Result<TcpListener, Failed> {
        let address = SocketAddr::new(self.address(host, family), port);
        Ok(self.host(host).within(|| TcpListener::bind(address))??)
    }

    /// A socket of a host, bound to a free port of its own address.
    fn socket(&self, host: &str, family: Family) -> Result<(Socket, SocketAddr), Failed> {
        let domain = Domain::for_address(SocketAddr::new(self.address(host, family), 0));
        let made = self
            .host(host)
            .within(|| Socket::new(domain, Type::STREAM, None));
        let socket = made??;
        socket.bind(&SocketAddr::new(self.address(host, family), 0).into())?;
        let local = socket.local_addr()?.as_socket().expect("an IP address");
        Ok((socket, local))
    }

    /// Calls from a host, and reads the journey. The error of the call comes beside it.
    fn call(
        &self,
        from: &str,
        remote: SocketAddr,
        patience: Duration,
    ) -> Result<(Journey, io::Result<()>), Failed> {
        let (socket, local) = self.socket(from, Family::of(remote.ip()))?;
        let (sequence, since) = (next_sequence(), self.taps.now());
        choose_sequence(&socket, sequence)?;
        let result = socket.connect_timeout(&remote.into(), patience);
        let journey = self.journey(since, Call::new(from, local, remote), sequence)?;
        Ok((journey, result))
    }

    /// The journey of one call, which a tap must have seen.
    fn journey(&self, since: Duration, call: Call, sequence: u32) -> Result<Journey, Failed> {
        let journey = self
            .taps
            .seen(&[sequence])?
            .journeys(since, [call], Clocks::One)?
            .remove(0);
        let journey = journey.ok_or("no tap saw the call")?;
        self.show(&journey);
        Ok(journey)
    }

    fn show(&self, journey: &Journey) {
        let text = journey.display(|ip| self.world.describe(ip)).to_string();
        if std::env::var_os("SHOW_JOURNEYS").is_some() {
            eprintln!("{text}");
        }
    }

    /// Adds an nftables table of this name and of this body to a host, for both families.
    fn rules(&self, host: &str, table: &str, body: &str) -> Result<(), Failed> {
        let child = self.host(host).within(|| {
            Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
        });
        let mut child = child??;
        let mut input = child.stdin.take().expect("a pipe");
        // The closing braces of a table and of a chain want a line of their own.
        let body = body.replace('}', "}\n");
        write!(input, "table inet {table} {{\n{body}}}\n")?;
        drop(input);
        assert!(child.wait()?.success(), "nft refused the rules of {table}");
        Ok(())
    }
}

/// A sequence number that no other call of these tests has, nor reaches: a reset that ends one
/// call acknowledges what it sent, and must not look like the answer to the next.
fn next_sequence() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 20);
    NEXT.fetch_add(4099, Ordering::Relaxed)
}

/// The word of the nftables language for a family's addresses.
fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A table name or a port of a test's own in each family, because all tests share the lab.
fn port(base: u16, family: Family) -> u16 {
    base + u16::from(family == Family::V6)
}

fn table(name: &str, family: Family) -> String {
    format!("{name}_{}", ip(family))
}

type Hop = (&'static str, &'static str, &'static str, u8);

/// Host, interface, direction and TTL of each sighting.
fn hops(journey: &Journey, half: Half) -> Vec<(&str, &str, String, u8)> {
    let sightings = match half {
        Half::Request => &journey.request,
        Half::Reply => &journey.reply,
    };
    let way = |s: &Sighting| s.direction.to_string();
    let rows = sightings.iter();
    rows.map(|s| (&*s.host, &*s.interface, way(s), s.ttl))
        .collect()
}

#[track_caller]
fn assert_hops(journey: &Journey, half: Half, expected: &[Hop]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(host, interface, direction, ttl)| (host, interface, direction.to_owned(), ttl))
        .collect();
    assert_eq!(hops(journey, half), expected, "{half:?}");
}

fn plain(lab: &Lab, family: Family) -> Result<(), Failed> {
    let _listener = lab.listen("web-1", family, PORT)?;
    let remote = SocketAddr::new(lab.address("web-1", family), PORT);
    let (journey, connected) = lab.call(CLIENT_PUBLIC, remote, PATIENCE)?;
    connected?;
    let request = [
        ("client-public", "eth0", "out", 64),
        ("router", "client-public", "in", 64),
        ("router", "lb", "out", 63),
        ("lb", "router", "in", 63),
        ("lb", "eth0", "out", 62),
        ("vm3", "eth0", "in", 62),
        ("vm3", "web-1", "out", 61),
        ("web-1", "eth0", "in", 61),
    ];
    let reply = [
        ("web-1", "eth0", "out", 64),
        ("vm3", "web-1", "in", 64),
        ("vm3", "eth0", "out", 63),
        ("lb", "eth0", "in", 63),
        ("lb", "router", "out", 62),
        ("router", "lb", "in", 62),
        ("router", "client-public", "out", 61),
        ("client-public", "eth0", "in", 61),
    ];
    assert_hops(&journey, Half::Request, &request);
    assert_hops(&journey, Half::Reply, &reply);
    assert!(journey.reply.iter().all(|s| s.kind == Kind::SynAck));
    assert_eq!(journey.rewrites(), []);
    assert_eq!(journey.nodes(&lab.world), ["vm3"]);
    assert_eq!(journey.attempts, 1);
    assert_eq!(journey.last_seen(), None);
    Ok(())
}

fn refused_by_host(lab: &Lab, family: Family) -> Result<(), Failed> {
    let remote = SocketAddr::new(lab.address("web-1", family), 9);
    let (journey, refused) = lab.call(CLIENT_PRIVATE, remote, PATIENCE)?;
    assert_eq!(
        refused.expect_err("nobody listens").kind(),
        io::ErrorKind::ConnectionRefused
    );
    assert_eq!((journey.request.len(), journey.reply.len()), (8, 8));
    assert!(journey.reply.iter().all(|s| s.kind == Kind::Rst));
    assert_eq!(journey.answers_from(), [remote].into());
    Ok(())
}

/// What a node port does by hand: DNAT of one port of vm2 to web-1 on vm3, and masquerade.
fn translate(lab: &Lab, family: Family, name: &str, node_port: u16) -> Result<(), Failed> {
    let (word, node) = (ip(family), lab.address("vm2", family));
    let pod = SocketAddr::new(lab.address("web-1", family), PORT + 10);
    lab.rules(
        "vm2",
        &table(name, family),
        &format!(
            "chain arriving {{ type nat hook prerouting priority dstnat; \
               {word} daddr {node} tcp dport {node_port} dnat {word} to {pod}; }}
             chain leaving {{ type nat hook postrouting priority srcnat; \
               {word} daddr {} tcp dport {} masquerade; }}",
            pod.ip(),
            pod.port()
        ),
    )
}

fn node_port(lab: &Lab, family: Family) -> Result<(), Failed> {
    let node_port = port(30_080, family);
    translate(lab, family, "node_port", node_port)?;
    let _listener = lab.listen("web-1", family, PORT + 10)?;
    let remote = SocketAddr::new(lab.address("vm2", family), node_port);
    let (journey, connected) = lab.call(CLIENT_PUBLIC, remote, PATIENCE)?;
    connected?;
    let request = [
        ("client-public", "eth0", "out", 64),
        ("router", "client-public", "in", 64),
        ("router", "lb", "out", 63),
        ("lb", "router", "in", 63),
        ("lb", "eth0", "out", 62),
        ("vm2", "eth0", "in", 62),
        ("vm2", "eth0", "out", 61),
        ("vm3", "eth0", "in", 61),
        ("vm3", "web-1", "out", 60),
        ("web-1", "eth0", "in", 60),
    ];
    let reply = [
        ("web-1", "eth0", "out", 64),
        ("vm3", "web-1", "in", 64),
        ("vm3", "eth0", "out", 63),
        ("vm2", "eth0", "in", 63),
        ("vm2", "eth0", "out", 62),
        ("lb", "eth0", "in", 62),
        ("lb", "router", "out", 61),
        ("router", "lb", "in", 61),
        ("router", "client-public", "out", 60),
        ("client-public", "eth0", "in", 60),
    ];
    assert_hops(&journey, Half::Request, &request);
    assert_hops(&journey, Half::Reply, &reply);
    assert_eq!(journey.entry_node(&lab.world), Some("vm2"));
    assert_eq!(journey.nodes(&lab.world), ["vm2", "vm3"]);

    let rewrites = journey.rewrites();
    let done: Vec<_> = rewrites
        .iter()
        .map(|r| (&*r.host, r.half, r.what))
        .collect();
    let expected = [
        ("vm2", Half::Request, What::Source),
        ("vm2", Half::Request, What::Destination),
        ("vm2", Half::Reply, What::Source),
        ("vm2", Half::Reply, What::Destination),
    ];
    assert_eq!(done, expected);
    let pod = SocketAddr::new(lab.address("web-1", family), PORT + 10);
    assert_eq!((rewrites[1].from, rewrites[1].to), (remote, pod));
    assert_eq!(rewrites[0].to.ip(), lab.address("vm2", family));
    assert_eq!(journey.not_undone(), []);
    assert_eq!(journey.answers_from(), [remote].into());
    let text = journey.display(|ip| lab.world.describe(ip)).to_string();
    assert!(text.contains("DNAT vm2:"), "{text}");
    assert!(text.contains("SNAT undone: client-public:"), "{text}");
    Ok(())
}

fn dropped(lab: &Lab, family: Family) -> Result<(), Failed> {
    let dead = port(30_100, family);
    lab.rules(
        "vm2",
        &table("dropped", family),
        &format!(
            "chain arriving {{ type filter hook prerouting priority -300; {} daddr {} tcp dport {dead} drop; }}",
            ip(family),
            lab.address("vm2", family)
        ),
    )?;
    let remote = SocketAddr::new(lab.address("vm2", family), dead);
    let (journey, silent) = lab.call(CLIENT_PUBLIC, remote, SILENCE)?;
    assert_eq!(silent.expect_err("dropped").kind(), io::ErrorKind::TimedOut);
    let last = journey.last_seen().expect("nothing came back");
    assert_eq!((&*last.host, &*last.interface), ("vm2", "eth0"));
    assert_eq!(
        (last.direction.to_string(), last.ttl),
        ("in".to_owned(), 62)
    );
    assert!(journey.reply.is_empty() && journey.answers_from().is_empty());

    // The kernel sends the call again after a second; the journey is then the second attempt's.
    let (_, silent) = lab.call(CLIENT_PUBLIC, remote, Duration::from_millis(1_300))?;
    silent.expect_err("dropped");
    let again = lab
        .call(CLIENT_PUBLIC, remote, Duration::from_millis(1_300))?
        .0;
    // Of a machine that stands still meanwhile, it may be the third.
    assert!(again.attempts >= 2, "{} attempts", again.attempts);
    assert_eq!(again.request.len(), 6);
    Ok(())
}

fn rejected(lab: &Lab, family: Family) -> Result<(), Failed> {
    let (icmp, tcp) = (port(30_200, family), port(30_210, family));
    let (word, node) = (ip(family), lab.address("vm2", family));
    lab.rules(
        "vm2",
        &table("rejected", family),
        &format!(
            "chain arriving {{ type filter hook input priority 0; \
               {word} daddr {node} tcp dport {icmp} reject;
               {word} daddr {node} tcp dport {tcp} reject with tcp reset; }}"
        ),
    )?;
    for (port, by_icmp) in [(icmp, true), (tcp, false)] {
        let remote = SocketAddr::new(node, port);
        let (journey, refused) = lab.call(CLIENT_PUBLIC, remote, PATIENCE)?;
        refused.expect_err("rejected");
        let reply = [
            ("vm2", "eth0", "out", 64),
            ("lb", "eth0", "in", 64),
            ("lb", "router", "out", 63),
            ("router", "lb", "in", 63),
            ("router", "client-public", "out", 62),
            ("client-public", "eth0", "in", 62),
        ];
        assert_hops(&journey, Half::Reply, &reply);
        assert_eq!(journey.answers_from(), [remote].into());
        let (type_, code, from) = match family {
            Family::V4 => (3, 3, node),
            Family::V6 => (1, 4, node),
        };
        let kind = if by_icmp {
            Kind::Icmp { type_, code, from }
        } else {
            Kind::Rst
        };
        assert!(journey.reply.iter().all(|s| s.kind == kind));
    }
    Ok(())
}

/// DNAT without connection tracking in reverse: stateless rewriting, which nothing undoes.
fn not_undone(lab: &Lab, family: Family) -> Result<(), Failed> {
    let node_port = port(30_300, family);
    let (word, node) = (ip(family), lab.address("vm2", family));
    let pod = SocketAddr::new(lab.address("web-2", family), PORT);
    lab.rules(
        "vm2",
        &table("not_undone", family),
        &format!(
            "chain arriving {{ type filter hook prerouting priority -310; \
               {word} daddr {node} tcp dport {node_port} notrack {word} daddr set {} tcp dport set {PORT}; }}",
            pod.ip()
        ),
    )?;
    let _listener = lab.listen("web-2", family, PORT)?;
    let remote = SocketAddr::new(node, node_port);
    let (journey, silent) = lab.call(CLIENT_PUBLIC, remote, SILENCE)?;
    silent.expect_err("an answer from a stranger is none");
    assert_eq!(journey.entry_node(&lab.world), Some("vm2"));
    let not_undone = journey.not_undone();
    let not_undone: Vec<_> = not_undone.iter().map(|r| (&*r.host, r.what)).collect();
    assert_eq!(not_undone, [("vm2", What::Destination)]);
    assert_eq!(journey.answers_from(), [pod].into());
    Ok(())
}

/// A node that calls itself by a node port: rewritten in the output hook, masqueraded to a random
/// port, as kube-proxy does it. Neither end of the call is at the interface.
fn own_call(lab: &Lab, family: Family) -> Result<(), Failed> {
    let node_port = port(30_400, family);
    let (word, node) = (ip(family), lab.address("vm1", family));
    let pod = SocketAddr::new(lab.address("web-1", family), port(PORT + 20, family));
    lab.rules(
        "vm1",
        &table("own_call", family),
        &format!(
            "chain leaving {{ type nat hook output priority -100; \
               {word} daddr {node} tcp dport {node_port} dnat {word} to {pod}; }}
             chain after {{ type nat hook postrouting priority srcnat; \
               {word} daddr {} tcp dport {} masquerade fully-random; }}",
            pod.ip(),
            pod.port()
        ),
    )?;
    let _listener = lab.listen("web-1", family, pod.port())?;
    let remote = SocketAddr::new(node, node_port);
    for sequence in (u32::MAX - 3..=u32::MAX).chain(1..4) {
        let sequence = sequence ^ (u32::from(family == Family::V6) << 30);
        let (socket, local) = lab.socket("vm1", family)?;
        choose_sequence(&socket, sequence)?;
        let since = lab.taps.now();
        socket.connect_timeout(&remote.into(), PATIENCE)?;
        let journey = lab.journey(since, Call::new("vm1", local, remote), sequence)?;
        let request = [
            ("vm1", "eth0", "out", 64),
            ("vm3", "eth0", "in", 64),
            ("vm3", "web-1", "out", 63),
            ("web-1", "eth0", "in", 63),
        ];
        assert_hops(&journey, Half::Request, &request);
        assert_eq!(journey.request[0].destination, pod);
        assert_ne!(journey.request[0].source.port(), local.port());
        assert_eq!(journey.rewrites().len(), 4);
        assert_eq!(journey.not_undone(), []);
        assert_eq!(journey.answers_from(), [remote].into());
    }
    Ok(())
}

fn own_refusal(lab: &Lab, family: Family) -> Result<(), Failed> {
    let node = lab.address("vm1", family);
    let remote = SocketAddr::new(node, port(30_500, family));
    let (journey, refused) = lab.call("vm1", remote, PATIENCE)?;
    refused.expect_err("nobody listens");
    let expected = [("vm1", "lo", "out", 64), ("vm1", "lo", "in", 64)];
    assert_hops(&journey, Half::Request, &expected);
    assert_hops(&journey, Half::Reply, &expected);
    assert_eq!(journey.hosts(), ["vm1"]);
    assert!(journey.came_back());
    Ok(())
}

fn burst(lab: &Lab, family: Family) -> Result<(), Failed> {
    let bursting = lab.bursting.lock();
    let _bursting = bursting.unwrap_or_else(PoisonError::into_inner);
    let port = PORT + 30;
    let remote = SocketAddr::new(lab.address("web-0", family), port);
    let listener = lab.host("web-0").within(|| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
        socket.bind(&remote.into())?;
        // With the standard library's backlog of 128, calls are dropped and sent again.
        socket.listen(4_096)?;
        Ok(socket.into())
    })??;
    let accepting = thread::spawn(move || {
        // Accepted connections stay open until all are made.
        let accepted: io::Result<Vec<TcpStream>> =
            (0..BURST).map(|_| Ok(listener.accept()?.0)).collect();
        accepted
    });
    let (before, since) = (lab.taps.statistics(), lab.taps.now());
    let started = Instant::now();
    let connected = lab.host(CLIENT_PUBLIC).within(|| {
        let connect = |_| -> io::Result<(Socket, u32)> {
            let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
            let sequence = next_sequence();
            choose_sequence(&socket, sequence).map_err(io::Error::other)?;
            socket.connect_timeout(&remote.into(), PATIENCE)?;
            Ok((socket, sequence))
        };
        (0..BURST).map(connect).collect::<io::Result<Vec<_>>>()
    });
    let connected = connected??;
    let connecting = started.elapsed();
    let accepted = accepting.join().expect("the listener does not panic")?;
    assert_eq!(accepted.len(), BURST);

    let started = Instant::now();
    for (socket, sequence) in &connected {
        let local = socket.local_addr()?.as_socket().expect("an IP address");
        let call = Call::new(CLIENT_PUBLIC, local, remote);
        let journey = lab.journey(since, call, *sequence)?;
        assert_eq!((journey.request.len(), journey.reply.len()), (8, 8));
        assert_eq!(journey.attempts, 1);
    }
    let reading = started.elapsed();
    let after = lab.taps.statistics();
    assert_eq!(after.lost, 0);
    let each = |time: Duration| time / u32::try_from(BURST).expect("a small number");
    eprintln!(
        "{family}: {BURST} connections in {connecting:?}, {:?} each, of which the taps' thread took \
         {:?}; a journey was read in {:?}; {} sightings kept",
        each(connecting),
        each(after.thread_time.saturating_sub(before.thread_time)),
        each(reading),
        after.kept
    );
    Ok(())
}
