//! Traffic that goes on while something happens, and what became of it.
//!
//! On every route there are new TCP connections all the time, one long-lived TCP connection, new UDP flows all the
//! time, and one long-lived UDP flow from a port of its own. Every exchange counts.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use onehop_harness::netns::Namespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::echo::{NAME, NUMBER, name};

/// Pause between two exchanges of a kind on a route.
const PAUSE: Duration = Duration::from_millis(15);
/// How long an answer may take. Longer than the first retransmission of a SYN, which counts as a loss by itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a long-lived connection may stand still.
const STILL: Duration = Duration::from_secs(8);
/// How many exchanges of each kind on each route are enough to speak of traffic.
const ENOUGH: usize = 20;
/// How long a machine that has other things to do may take for them.
const SLOW: Duration = Duration::from_secs(20);
/// The port of long-lived UDP flows, beyond those of new ones.
const FIXED_PORT: u16 = 30_000;
/// The ports of new UDP flows, one after the other. The kernel would choose one again within seconds, and connection
/// tracking would take the new flow for the old one, which goes on to its pod whatever the policy is by now.
const NEW_PORTS: std::ops::Range<u16> = 2_000..FIXED_PORT;

sockopt_impl!(
    /// What the kernel knows of a connection.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

/// From where to where.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) from: Namespace,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

/// The kinds of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NewTcp,
    OldTcp,
    NewUdp,
    OldUdp,
}

/// One exchange: when it began, how long after the start of the traffic, and who answered or why nobody did.
pub(crate) struct Exchange {
    pub(crate) at: Duration,
    pub(crate) answer: Result<String, String>,
}

/// All exchanges of a kind on a route.
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    route: String,
    /// How many exchanges have begun.
    begun: AtomicUsize,
    exchanges: Mutex<Vec<Exchange>>,
}

/// Traffic under way.
pub(crate) struct Traffic {
    started: Instant,
    stop: Arc<AtomicBool>,
    lanes: Vec<Arc<Lane>>,
    tasks: JoinSet<()>,
}

/// What became of it.
pub(crate) struct Report {
    lanes: Vec<Arc<Lane>>,
}

/// What a task of one kind on a route needs.
#[derive(Clone)]
struct Course {
    route: Route,
    started: Instant,
    stop: Arc<AtomicBool>,
    lane: Arc<Lane>,
}

impl Traffic {
    /// Starts all kinds on all routes, and returns once the long-lived ones are established.
    pub(crate) async fn start(routes: &[Route]) -> Result<Self, Failed> {
        let mut traffic = Self {
            started: Instant::now(),
            stop: Arc::default(),
            lanes: Vec::new(),
            tasks: JoinSet::new(),
        };
        for route in routes {
            let old_tcp = connect(route).await?;
            let old_udp = Arc::new(flow(route, FIXED_PORT)?);
            ask(&old_udp, 0).await?;
            let course = traffic.course(route, Kind::OldTcp);
            traffic.tasks.spawn(keep_tcp(course, old_tcp));
            let course = traffic.course(route, Kind::OldUdp);
            traffic.tasks.spawn(keep_udp(course, old_udp));
            let course = traffic.course(route, Kind::NewTcp);
            let attempt = |route: Route| async move { connect(&route).await.map(|new| new.1) };
            traffic.tasks.spawn(again_and_again(course, attempt));
            let course = traffic.course(route, Kind::NewUdp);
            let attempt = |route: Route| async move { ask(&new_flow(&route)?, 0).await };
            traffic.tasks.spawn(again_and_again(course, attempt));
        }
        Ok(traffic)
    }

    fn course(&mut self, route: &Route, kind: Kind) -> Course {
        let lane = Arc::new(Lane {
            kind,
            route: format!("{} to {}", route.from.name(), route.tcp.ip()),
            begun: AtomicUsize::default(),
            exchanges: Mutex::default(),
        });
        self.lanes.push(Arc::clone(&lane));
        Course {
            route: route.clone(),
            started: self.started,
            stop: Arc::clone(&self.stop),
            lane,
        }
    }

    /// How long it has been going on.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Goes on for a while, and longer where the machine is so busy that hardly any traffic flowed.
    pub(crate) async fn flow_for(&self, time: Duration) {
        sleep(time).await;
        let enough = |lane: &Arc<Lane>| {
            lane.begun.load(Ordering::Relaxed) >= ENOUGH || !lane.failures().is_empty()
        };
        let flows = async {
            while !self.lanes.iter().all(enough) {
                sleep(PAUSE).await;
            }
        };
        // Where that is in vain, there was too little traffic, and what is judged in the end says so.
        let _ = timeout(SLOW, flows).await;
    }

    /// Ends it, and waits for the last answers.
    pub(crate) async fn end(mut self) -> Result<Report, Failed> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(Report { lanes: self.lanes })
    }
}

impl Lane {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn add(&self, at: Duration, answer: Result<String, String>) {
        let mut exchanges = self.exchanges.lock().expect("no holder panics");
        exchanges.push(Exchange { at, answer });
    }

    /// Looks at all exchanges.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Exchange]) -> T) -> T {
        look(&self.exchanges.lock().expect("no holder panics"))
    }

    /// When exchanges failed, and why.
    pub(crate) fn failures(&self) -> Vec<(Duration, String)> {
        let failure = |exchange: &Exchange| Some((exchange.at, exchange.answer.clone().err()?));
        self.read(|exchanges| exchanges.iter().filter_map(failure).collect())
    }
}

impl Report {
    /// The lanes of one kind.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Lane> {
        let lanes = self.lanes.iter().map(AsRef::as_ref);
        lanes.filter(move |lane: &&Lane| lane.kind == kind)
    }

    /// Every pod that answered.
    pub(crate) fn answered_by(&self) -> BTreeSet<String> {
        let answers = |lane: &Arc<Lane>| {
            lane.read(|exchanges| {
                let answers = exchanges.iter();
                answers
                    .filter_map(|exchange| exchange.answer.clone().ok())
                    .collect::<Vec<_>>()
            })
        };
        self.lanes.iter().flat_map(answers).collect()
    }

    /// All failures of these kinds.
    pub(crate) fn failures(&self, kinds: &[Kind]) -> Vec<Duration> {
        let lanes = self.lanes.iter().filter(|lane| kinds.contains(&lane.kind));
        let failures = lanes.flat_map(|lane| lane.failures());
        let mut times: Vec<_> = failures.map(|failure| failure.0).collect();
        times.sort_unstable();
        times
    }

    /// Every kind was there on every route the whole time, and nothing failed.
    pub(crate) fn is_lossless(&self) -> Result<(), Failed> {
        self.is_lossless_but(&[])
    }

    /// The same, whatever became of these kinds.
    pub(crate) fn is_lossless_but(&self, but: &[Kind]) -> Result<(), Failed> {
        let judged = || self.lanes.iter().filter(|lane| !but.contains(&lane.kind));
        if judged().any(|lane| lane.read(<[_]>::len) < ENOUGH) {
            return Err(format!("there was too little traffic:\n{self}").into());
        }
        if judged().any(|lane| !lane.failures().is_empty()) {
            return Err(format!("exchanges failed:\n{self}").into());
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lane in &self.lanes {
            let (all, failures) = (lane.read(<[_]>::len), lane.failures());
            let (kind, route, failed) = (lane.kind, &lane.route, failures.len());
            writeln!(f, "{kind:?} from {route}: {all} exchanges, {failed} failed")?;
            let some = failures.iter().take(4);
            for (at, why) in some.chain(failures.iter().skip(4).last()) {
                writeln!(f, "  at {at:?}: {why}")?;
            }
        }
        Ok(())
    }
}

/// One exchange of each protocol on a route, to find out whether it works.
pub(crate) async fn try_once(route: &Route) -> Result<(), String> {
    connect(route).await?;
    ask(&new_flow(route)?, 0).await?;
    Ok(())
}

/// Makes attempts, each in a task of its own, so that one that takes long holds up no other.
async fn again_and_again<F>(course: Course, attempt: impl Fn(Route) -> F)
where
    F: Future<Output = Result<String, String>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut ticks = ticks();
    while !course.stopped() {
        ticks.tick().await;
        let (attempt, course) = (attempt(course.route.clone()), course.clone());
        attempts.spawn(async move {
            let at = course.started.elapsed();
            course.lane.begin();
            course.lane.add(at, attempt.await);
        });
        while attempts.try_join_next().is_some() {}
    }
    while attempts.join_next().await.is_some() {}
}

async fn keep_tcp(course: Course, (mut stream, pod): (TcpStream, String)) {
    let mut ticks = ticks();
    while !course.stopped() {
        ticks.tick().await;
        let at = course.started.elapsed();
        course.lane.begin();
        let exchange = async {
            stream.write_all(b"1234").await?;
            stream.read_exact(&mut [0; NUMBER]).await
        };
        let answer = match timeout(STILL, exchange).await {
            Ok(Ok(_)) => Ok(pod.clone()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("stood still for {STILL:?}")),
        };
        let broken = answer.is_err();
        course.lane.add(at, answer);
        if broken {
            return;
        }
    }
}

async fn keep_udp(course: Course, socket: Arc<UdpSocket>) {
    let answers: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let receiver = tokio::spawn({
        let (socket, answers) = (Arc::clone(&socket), Arc::clone(&answers));
        async move {
            let mut buffer = [0; NAME + NUMBER];
            loop {
                // Errors are those of earlier packets: what has no answer is counted at the end.
                if let Ok(length) = socket.recv(&mut buffer).await
                    && let Some(number) = buffer[NAME..length].first_chunk()
                {
                    let number = u32::from_be_bytes(*number) as usize;
                    answers.lock().expect("no holder panics")[number] = Some(name(&buffer));
                }
            }
        }
    });
    let (mut ticks, mut sent) = (ticks(), Vec::new());
    while !course.stopped() {
        ticks.tick().await;
        let number = u32::try_from(sent.len()).expect("a test is short");
        answers.lock().expect("no holder panics").push(None);
        sent.push(course.started.elapsed());
        course.lane.begin();
        // An error may be that of an earlier packet, and this one was not sent then.
        for _ in 0..2 {
            if socket.send(&number.to_be_bytes()).await.is_ok() {
                break;
            }
        }
    }
    sleep(PATIENCE / 6).await;
    receiver.abort();
    let answers = std::mem::take(&mut *answers.lock().expect("no holder panics"));
    for (at, answer) in sent.into_iter().zip(answers) {
        course.lane.add(at, answer.ok_or("no answer".to_owned()));
    }
}

impl Course {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Connects, and says to whom. A SYN that was lost is a failure though another one succeeded.
async fn connect(route: &Route) -> Result<(TcpStream, String), String> {
    let text = |error: io::Error| error.to_string();
    let socket = route.from.within(|| match route.tcp {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    });
    let socket = socket.and_then(|made| made).map_err(text)?;
    let exchange = async {
        let mut stream = socket.connect(route.tcp).await?;
        let mut pod = [0; NAME];
        stream.read_exact(&mut pod).await?;
        Ok((stream, name(&pod)))
    };
    let answered = timeout(PATIENCE, exchange).await;
    let (stream, pod) = answered.map_err(|_| "no answer")?.map_err(text)?;
    let info = getsockopt(&stream, TcpInfo).map_err(|error| error.to_string())?;
    match info.tcpi_total_retrans {
        0 => Ok((stream, pod)),
        lost => Err(format!("{lost} packets were lost before {pod} answered")),
    }
}

/// The port of the next new UDP flow.
fn new_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEW_PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (NEW_PORTS.end - NEW_PORTS.start)
}

/// A UDP socket that talks to a route's end, from a port that no flow had before.
fn new_flow(route: &Route) -> Result<UdpSocket, String> {
    loop {
        match flow(route, new_port()) {
            // Something else has the port, such as a probe of readiness.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            opened => return opened.map_err(|error| error.to_string()),
        }
    }
}

/// A UDP socket of a port that talks to a route's end.
fn flow(route: &Route, port: u16) -> io::Result<UdpSocket> {
    let open = || {
        let own: SocketAddr = match route.udp {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        };
        let socket = std::net::UdpSocket::bind(own)?;
        socket.connect(route.udp)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let opened: io::Result<_> = route.from.within(open).and_then(|opened| opened);
    UdpSocket::from_std(opened?)
}

async fn ask(socket: &UdpSocket, number: u32) -> Result<String, String> {
    let mut buffer = [0; NAME + NUMBER];
    let exchange = async {
        socket.send(&number.to_be_bytes()).await?;
        socket.recv(&mut buffer).await
    };
    let answered = timeout(PATIENCE, exchange).await.map_err(|_| "no answer")?;
    answered.map_err(|error| error.to_string())?;
    Ok(name(&buffer))
}
