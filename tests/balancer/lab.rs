//! A world whose nodes are played by hand, and a load balancer in it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use libtest_mimic::Failed;
use onehop_harness::balancer::{Balancer, View};
use onehop_harness::case::{BalancerMode, IpMode};
use onehop_harness::netns::Network;
use onehop_harness::timing::Timing;
use onehop_harness::world::LOAD_BALANCER;
use onehop_harness::world::{AddressPlan, CLIENT_PUBLIC, Dual, Family, World};
use serde_json::json;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The Service of every test, and its ports.
pub(crate) const WEB: &str = "default/web";
pub(crate) const PORT: u16 = 80;
pub(crate) const NODE_PORT: u16 = 30080;
pub(crate) const HEALTH_PORT: u16 = 32000;

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a packet that must be dropped is given to be answered. A reset takes less than a
/// millisecond. An ICMP error often shows only at the first retransmission, after a second: it
/// comes back while the client is still inside its call of `connect`, and the kernel then does
/// not end the attempt.
const SILENCE: Duration = Duration::from_millis(1500);
/// How many connections are under way at a time.
const AT_ONCE: usize = 16;

pub(crate) type Check = Result<(), Failed>;

/// What the health port of a node answers.
pub(crate) struct Health {
    pub(crate) status: AtomicU16,
    /// The weight that it announces.
    pub(crate) weight: AtomicU16,
}

impl Health {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status: status.into(),
            weight: 1.into(),
        }
    }
}

/// A world whose nodes answer by hand, with a load balancer.
pub(crate) struct Lab {
    pub(crate) mode: BalancerMode,
    pub(crate) world: World,
    pub(crate) network: Network,
    /// What the health port of each node answers.
    pub(crate) health: BTreeMap<String, Arc<Health>>,
    pub(crate) balancer: Balancer,
    pub(crate) servers: JoinSet<()>,
}

impl Lab {
    pub(crate) async fn build(mode: BalancerMode) -> Result<Self, Failed> {
        let world = World::with_nodes(3);
        let network = Network::build(&world).await?;
        let host = network.host(LOAD_BALANCER).expect("exists");
        let balancer = Balancer::start_by_hand(host, &world, &Timing::default()).await?;
        let mut lab = Self {
            mode,
            world,
            network,
            health: BTreeMap::new(),
            balancer,
            servers: JoinSet::new(),
        };
        for node in lab.world.nodes.clone() {
            // A node that is called by the load balancer's address must own it, as a proxy makes it.
            let host = lab.network.host(&node.name).expect("exists");
            for number in (1..=3).filter(|_| mode.ip_mode() == IpMode::Vip) {
                host.address("lo", AddressPlan::vip(number), [32, 128])
                    .await?;
            }
            let health = Arc::new(Health::new(200));
            lab.health.insert(node.name.clone(), health.clone());
            for port in [PORT, NODE_PORT] {
                let listener = lab.listen(&node.name, port)?;
                lab.servers.spawn(play_backend(listener, node.name.clone()));
            }
            let listener = lab.listen(&node.name, HEALTH_PORT)?;
            lab.servers.spawn(play_health(listener, health));
        }
        Ok(lab)
    }

    /// A listener of both families on a node.
    pub(crate) fn listen(&self, node: &str, port: u16) -> io::Result<TcpListener> {
        self.listen_at(node, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// A listener at an address of a node.
    pub(crate) fn listen_at(&self, node: &str, address: SocketAddr) -> io::Result<TcpListener> {
        let namespace = self.network.host(node).expect("exists").namespace();
        let listener = namespace.within(|| StdListener::bind(address))??;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Makes the Service, and waits until exactly these nodes are healthy. Its address.
    pub(crate) async fn serve(&self, policy: &str, nodes: &[&str]) -> Result<Dual, Failed> {
        self.balancer.apply(service(self.mode, policy));
        let ready = |view: &View| view.settled() && are_healthy(view, nodes);
        Ok(self.view(ready).await?.vip.ok_or("no address")?)
    }

    /// Has a node answer its health checks with another status.
    pub(crate) fn set_status(&self, node: &str, status: u16) {
        self.health[node].status.store(status, Ordering::Relaxed);
    }

    /// Has nodes announce these weights.
    pub(crate) fn nodes_announce(&self, weights: [(&str, u16); 3]) {
        for (node, weight) in weights {
            self.health[node].weight.store(weight, Ordering::Relaxed);
        }
    }

    /// Waits until the load balancer goes by these weights.
    pub(crate) async fn nodes_weigh(&self, weights: [(&str, u16); 3]) -> Check {
        let weights = weights.map(|(node, weight)| (node.to_owned(), weight.into()));
        let weights = BTreeMap::from(weights);
        self.view(|view| {
            Family::ALL
                .iter()
                .all(|family| view.weights(*family).as_ref() == Some(&weights))
        })
        .await?;
        Ok(())
    }

    pub(crate) async fn nodes_become(&self, nodes: &[&str]) -> Check {
        self.view(|view| are_healthy(view, nodes)).await?;
        Ok(())
    }

    pub(crate) async fn service_is_gone(&self) -> Check {
        let gone = |view: Option<View>| view.is_none().then_some(());
        self.until(gone).await
    }

    pub(crate) async fn view(
        &self,
        mut condition: impl FnMut(&View) -> bool,
    ) -> Result<View, Failed> {
        let view = self.until(|view| view.filter(&mut condition)).await?;
        let problems = self.balancer.problems();
        ensure(problems.is_empty(), || format!("problems: {problems:?}"))?;
        Ok(view)
    }

    /// Looks at the view of the Service again and again, until something is found in it.
    async fn until<T>(&self, mut find: impl FnMut(Option<View>) -> Option<T>) -> Result<T, Failed> {
        let looking = async {
            loop {
                if let Some(found) = find(self.balancer.view(WEB)) {
                    return found;
                }
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, looking).await.map_err(|_| {
            let (view, problems) = (self.balancer.view(WEB), self.balancer.problems());
            format!("the view stays {view:?}, problems {problems:?}").into()
        })
    }

    pub(crate) async fn call(&self, client: &str, to: SocketAddr) -> io::Result<Flow> {
        let namespace = self.network.host(client).expect("exists").namespace();
        let socket = namespace.within(|| match to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        })??;
        let stream = timeout(PATIENCE, socket.connect(to)).await??;
        let own = stream.local_addr()?;
        let stream = BufReader::new(stream);
        Ok(Flow { own, stream })
    }

    /// How a call fails; nothing if it is not answered at all.
    pub(crate) async fn refusal(&self, to: SocketAddr) -> Result<Option<io::ErrorKind>, Failed> {
        match timeout(SILENCE, self.call(CLIENT_PUBLIC, to)).await {
            Err(_) => Ok(None),
            Ok(Err(error)) => Ok(Some(error.kind())),
            Ok(Ok(flow)) => Err(format!("{to} answered {}", flow.own).into()),
        }
    }

    /// Which nodes so many new connections reach.
    pub(crate) async fn shares(
        &self,
        to: IpAddr,
        count: usize,
    ) -> io::Result<BTreeMap<String, usize>> {
        let calls = stream::iter(0..count).map(|_| async {
            let mut flow = self.call(CLIENT_PUBLIC, SocketAddr::new(to, PORT)).await?;
            flow.ask().await
        });
        let mut calls = calls.buffer_unordered(AT_ONCE);
        let mut shares = BTreeMap::new();
        while let Some(answer) = calls.next().await {
            *shares.entry(answer?.node).or_default() += 1;
        }
        Ok(shares)
    }
}

/// Whether these nodes are the healthy ones in both families, in order.
pub(crate) fn are_healthy(view: &View, nodes: &[&str]) -> bool {
    let are = |family| view.weights(family).is_some_and(|of| of.keys().eq(nodes));
    Family::ALL.into_iter().all(are)
}

/// A connection of a client.
pub(crate) struct Flow {
    pub(crate) own: SocketAddr,
    pub(crate) stream: BufReader<TcpStream>,
}

/// What a node says of a connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) node: String,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Flow {
    /// Asks the node at the other end who it is. May be repeated.
    pub(crate) async fn ask(&mut self) -> io::Result<Answer> {
        let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        self.stream.get_mut().write_all(b"\n").await?;
        let mut line = String::new();
        timeout(PATIENCE, self.stream.read_line(&mut line)).await??;
        let mut words = line.split_whitespace();
        let mut word = || words.next().ok_or_else(|| broken(&line));
        Ok(Answer {
            node: word()?.to_owned(),
            peer: word()?.parse().map_err(|_| broken(&line))?,
            local: word()?.parse().map_err(|_| broken(&line))?,
        })
    }
}

/// Answers each line of each connection with the node's name and both ends as the node sees them.
pub(crate) async fn play_backend(listener: TcpListener, node: String) {
    while let Ok((stream, peer)) = listener.accept().await {
        let node = node.clone();
        tokio::spawn(async move {
            let local = plain(stream.local_addr()?);
            let peer = plain(peer);
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await? > 0 {
                let answer = format!("{node} {peer} {local}\n");
                stream.get_mut().write_all(answer.as_bytes()).await?;
            }
            io::Result::Ok(())
        });
    }
}

/// Answers each request with the status and the weight of the moment.
pub(crate) async fn play_health(listener: TcpListener, health: Arc<Health>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let status = health.status.load(Ordering::Relaxed);
        let weight = health.weight.load(Ordering::Relaxed);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await?;
            let known = request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n");
            let status = if known { status } else { 404 };
            let answer = format!(
                "HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\
                 X-Load-Balancing-Endpoint-Weight: {weight}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await
        });
    }
}

/// An IPv4 address as such, where a listener of both families sees it mapped into IPv6.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn service(mode: BalancerMode, policy: &str) -> Service {
    let local = policy == "Local";
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": mode.load_balancer_class(),
            "externalTrafficPolicy": policy,
            "healthCheckNodePort": local.then_some(HEALTH_PORT),
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"port": PORT, "nodePort": NODE_PORT}],
        },
    }))
    .expect("a valid Service")
}

/// The probability of counts this far from these weights, or farther, if shares go by the weights (χ²).
pub(crate) fn p_value(counts: &[usize], weights: &[u16]) -> f64 {
    assert_eq!(counts.len(), weights.len(), "a weight for each count");
    let total = counts.iter().sum::<usize>() as f64;
    let sum = weights.iter().copied().map(f64::from).sum::<f64>();
    let distances = counts.iter().zip(weights).map(|(count, weight)| {
        let expected = total * f64::from(*weight) / sum;
        (*count as f64 - expected).powi(2) / expected
    });
    let freedom = (counts.len() - 1).max(1) as f64;
    let distribution = ChiSquared::new(freedom).expect("a positive number of degrees");
    distribution.sf(distances.sum())
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}
