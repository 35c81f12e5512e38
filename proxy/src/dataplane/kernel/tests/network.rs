//! A node with two pods and a client outside, each a network namespace, and connections between them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use socket2::{Domain, Socket, Type};

use crate::model::Family;

/// How long nobody may answer before a connection counts as dropped, where that is what is expected. Linux heeds
/// the refusal of an IPv6 SYN only when it has sent it again, after a second.
const SILENCE: Duration = Duration::from_millis(1600);

/// How long an answer may take where one is expected: a machine may stand still for longer than `SILENCE`.
const PATIENCE: Duration = Duration::from_secs(20);

/// The port that pods listen on, TCP and UDP.
pub(super) const PORT: u16 = 8080;

/// A network namespace.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) name: &'static str,
    namespace: Arc<File>,
}

impl Host {
    fn new(name: &'static str) -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs CAP_SYS_ADMIN");
            for (path, value) in [
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
                ("net/ipv6/conf/default/accept_dad", "0"),
                ("net/ipv6/conf/all/accept_dad", "0"),
                // The kernel tells a client of few refusals a second, and tests ask for many.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ] {
                std::fs::write(format!("/proc/sys/{path}"), value).expect("a setting");
            }
            File::open("/proc/thread-self/ns/net").expect("a namespace")
        });
        Self {
            name,
            namespace: Arc::new(made.join().expect("a namespace")),
        }
    }

    /// Runs something on a thread inside.
    pub(super) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&*self.namespace, CloneFlags::CLONE_NEWNET).expect("the namespace");
                inside()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn handle(&self) -> Handle {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = self.run(move || {
            let _entered = runtime.enter();
            rtnetlink::new_connection().expect("rtnetlink")
        });
        tokio::spawn(connection);
        handle
    }

    /// Answers at these addresses with its name and the address that it sees.
    fn serve(&self, addresses: &[IpAddr]) {
        for address in addresses {
            let (name, place) = (self.name, SocketAddr::new(*address, PORT));
            let (tcp, udp) = self.run(|| {
                // An IPv6 address is usable only a moment after it was given.
                let mut tries = (0..100).filter_map(|_| {
                    let tcp = TcpListener::bind(place).ok();
                    std::thread::sleep(Duration::from_millis(if tcp.is_none() { 10 } else { 0 }));
                    tcp
                });
                let tcp = tries.next().expect("a listener");
                (tcp, UdpSocket::bind(place).expect("a socket"))
            });
            std::thread::spawn(move || {
                for stream in tcp.incoming().flatten() {
                    std::thread::spawn(move || answer(stream, name));
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 16];
                while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                    let text = format!("{name} {}\n", peer.ip());
                    let _ = udp.send_to(text.as_bytes(), peer);
                }
            });
        }
    }
}

/// A line for each byte received, so that a connection can be seen to live.
fn answer(mut stream: TcpStream, name: &str) {
    let Ok(peer) = stream.peer_addr() else { return };
    let text = format!("{name} {}\n", peer.ip());
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// This pod answered, and saw this source.
    Reached(String, IpAddr),
    /// It was refused.
    Refused,
    /// Nobody answered.
    Dropped,
}

impl Outcome {
    /// How long to wait where this is expected.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Self::Reached(..) | Self::Refused => PATIENCE,
            Self::Dropped => SILENCE,
        }
    }
}

/// Sends a byte and reads who answers.
///
/// Panics if nobody does, because the connection is open.
pub(super) fn ask(stream: &mut TcpStream) -> Outcome {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"?").expect("an open connection");
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\n") {
        stream.read_exact(&mut byte).expect("an answer");
        text.push(byte[0]);
    }
    reached(&text)
}

fn reached(text: &[u8]) -> Outcome {
    let text = str::from_utf8(text).expect("text");
    let (pod, source) = text.trim_end().split_once(' ').expect("two words");
    Outcome::Reached(pod.to_owned(), source.parse().expect("an address"))
}

/// Connects once by TCP, where an answer is expected.
pub(super) fn connect(from: &Host, to: SocketAddr) -> Outcome {
    connect_within(PATIENCE, from, to)
}

/// Connects once by TCP. Who has not answered by then never does.
pub(super) fn connect_within(wait: Duration, from: &Host, to: SocketAddr) -> Outcome {
    from.run(|| match TcpStream::connect_timeout(&to, wait) {
        Ok(mut stream) => ask(&mut stream),
        Err(error) => failure(&error),
    })
}

/// Sends a datagram. Who has not answered by then never does.
pub(super) fn datagram_within(wait: Duration, from: &Host, to: SocketAddr) -> Outcome {
    from.run(|| {
        let any: IpAddr = match Family::of(to.ip()) {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        socket.connect(to).expect("a route");
        let mut buffer = [0; 128];
        // One that the output hook refuses or drops is not permitted; whether an error comes as well, the
        // socket says after.
        match socket.send(b"?").err().map(|error| error.kind()) {
            None | Some(ErrorKind::PermissionDenied) => {}
            Some(error) => panic!("a datagram that could not be sent: {error}"),
        }
        match socket.recv(&mut buffer) {
            Ok(length) => reached(&buffer[..length]),
            Err(error) => failure(&error),
        }
    })
}

fn failure(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::Dropped,
        _ => panic!("a connection that could not be tried: {error}"),
    }
}

/// The network.
pub(super) struct Network {
    pub(super) node: Host,
    pub(super) client: Host,
    pub(super) pods: [Host; 2],
    _uplink: Host,
    runtime: tokio::runtime::Runtime,
    /// The last byte of the client's next address.
    addresses: AtomicU8,
}

/// The node's address on the link of a neighbour (0 the client, 1 and 2 the pods, 3 the uplink), which is its gateway.
pub(super) fn gateway(family: Family, link: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 0, link, 1].into(),
        Family::V6 => [0xfd00, 0, 0, link.into(), 0, 0, 0, 1].into(),
    }
}

/// A neighbour's own address.
pub(super) fn neighbour(family: Family, link: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 0, link, 2].into(),
        Family::V6 => [0xfd00, 0, 0, link.into(), 0, 0, 0, 2].into(),
    }
}

impl Network {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let node = Host::new("node");
        let (client, uplink) = (Host::new("client"), Host::new("uplink"));
        let pods = [Host::new("pod-1"), Host::new("pod-2")];
        runtime.block_on(async {
            let handle = node.handle();
            up(&handle, "lo").await;
            for (link, host) in (0..).zip([&client, &pods[0], &pods[1], &uplink]) {
                join(&handle, host, link).await;
            }
            // The node's own connections to services have to have a route before they are translated.
            default_routes(
                &handle,
                "link3",
                Family::ALL.map(|family| neighbour(family, 3)),
            )
            .await;
        });
        for (link, pod) in (1..).zip(&pods) {
            pod.serve(&Family::ALL.map(|family| neighbour(family, link)));
        }
        let network = Self {
            node,
            client,
            pods,
            _uplink: uplink,
            runtime,
            addresses: AtomicU8::new(100),
        };
        network.warm_up();
        network
    }

    /// Gives the node one more address.
    pub(super) fn give_node(&self, added: IpAddr, prefix: u8) {
        let given = async { address(&self.node.handle(), "lo", added, prefix).await };
        self.runtime.block_on(given);
    }

    /// The pod that answers a client outside that has an address of its own.
    pub(super) fn pod_of_another_client(&self, family: Family, called: SocketAddr) -> String {
        let last = self.addresses.fetch_add(1, Ordering::Relaxed);
        let (own, prefix) = match family {
            Family::V4 => (IpAddr::from([10, 0, 0, last]), 24),
            Family::V6 => (IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()]), 64),
        };
        let given = async { address(&self.client.handle(), "eth0", own, prefix).await };
        self.runtime.block_on(given);
        self.client.run(|| {
            let socket =
                Socket::new(Domain::for_address(called), Type::STREAM, None).expect("a socket");
            let from = SocketAddr::new(own, 0).into();
            let mut tries = (0..100).map(|_| {
                let bound = socket.bind(&from);
                std::thread::sleep(Duration::from_millis(if bound.is_err() { 10 } else { 0 }));
                bound
            });
            assert!(tries.any(|bound| bound.is_ok()), "{own} is not usable");
            socket
                .connect_timeout(&called.into(), PATIENCE)
                .expect("a connection");
            match ask(&mut socket.into()) {
                Outcome::Reached(pod, _) => pod,
                other => panic!("{own} to {called}: {other:?}"),
            }
        })
    }

    /// Connects straight to each pod from everywhere until that works: a link is not usable the moment that
    /// it is up, and a lost first packet would be taken for a dropped one.
    fn warm_up(&self) {
        for family in Family::ALL {
            for host in [&self.node, &self.client, &self.pods[0], &self.pods[1]] {
                for pod in [1, 2] {
                    let place = SocketAddr::new(neighbour(family, pod), PORT);
                    let mut tries = (0..20).map(|_| connect_within(SILENCE, host, place));
                    let works = tries.any(|outcome| matches!(outcome, Outcome::Reached(..)));
                    assert!(
                        works,
                        "{} does not reach {place} without any proxy",
                        host.name
                    );
                }
            }
        }
    }
}

/// The node's end of a link, by whose name it can tell pods.
pub(super) fn near_end(link: u8) -> String {
    match link {
        1 | 2 => format!("veth{link}"),
        _ => format!("link{link}"),
    }
}

async fn join(node: &Handle, host: &Host, link: u8) {
    let near = near_end(link);
    let far = LinkMessageBuilder::<LinkUnspec>::new()
        .name("eth0")
        .setns_by_fd(host.namespace.as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(&near)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .build();
    node.link().add(pair).execute().await.expect("a link");
    let handle = host.handle();
    up(&handle, "lo").await;
    up(&handle, "eth0").await;
    up(node, &near).await;
    for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
        address(node, &near, gateway(family, link), prefix).await;
        address(&handle, "eth0", neighbour(family, link), prefix).await;
    }
    default_routes(
        &handle,
        "eth0",
        Family::ALL.map(|family| gateway(family, link)),
    )
    .await;
}

async fn index(handle: &Handle, interface: &str) -> u32 {
    use futures::TryStreamExt;
    let mut links = handle
        .link()
        .get()
        .match_name(interface.to_owned())
        .execute();
    let link = links.try_next().await.expect("rtnetlink").expect("a link");
    link.header.index
}

async fn up(handle: &Handle, interface: &str) {
    let link = LinkUnspec::new_with_index(index(handle, interface).await).up();
    handle
        .link()
        .set(link.build())
        .execute()
        .await
        .expect("a link");
}

async fn address(handle: &Handle, interface: &str, address: IpAddr, prefix: u8) {
    let index = index(handle, interface).await;
    let add = handle.address().add(index, address, prefix);
    add.execute().await.expect("an address");
}

async fn default_routes(handle: &Handle, interface: &str, gateways: [IpAddr; 2]) {
    let index = index(handle, interface).await;
    for gateway in gateways {
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .build(),
        };
        handle.route().add(route).execute().await.expect("a route");
    }
}
