//! Mode `proxy`: connections that the load balancer accepts itself, and joins with others of its own to nodes.
//!
//! The rules bring what is called at a Service's address to a listener at the load balancer's own. Each connection that it
//! accepts goes on over a new one to the node port of a node, drawn from those that may get new connections then. Either
//! ends as the other does, and a caller for whom there is no node, or whose node does not answer, sees a RST.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::netns::Namespace;

/// Connections that may wait to be accepted: more than probes have under way at a time.
const BACKLOG: u32 = 1024;

/// Pause after a connection that could not be accepted: for want of file descriptors, the next one could not either.
const PAUSE: Duration = Duration::from_millis(20);

/// One port of a Service in one family. Dropped, it ends, and its connections with it.
#[derive(Debug)]
pub(super) struct Relay {
    listener: SocketAddr,
    nodes: watch::Sender<Vec<SocketAddr>>,
    _accepting: JoinSet<()>,
}

impl Relay {
    /// Listens on a free port of this address of the load balancer's host.
    pub(super) fn start(host: &Namespace, own: IpAddr) -> io::Result<Self> {
        let listener = host.within(|| listen(own))??;
        let (nodes, chosen) = watch::channel(Vec::new());
        let mut accepting = JoinSet::new();
        let address = listener.local_addr()?;
        accepting.spawn(accept(host.clone(), listener, chosen));
        Ok(Self {
            listener: address,
            nodes,
            _accepting: accepting,
        })
    }

    /// What it listens on.
    pub(super) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// From now on, new connections go to these.
    pub(super) fn send_to(&self, nodes: Vec<SocketAddr>) {
        self.nodes.send_replace(nodes);
    }
}

fn listen(own: IpAddr) -> io::Result<TcpListener> {
    let socket = match own {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // An IPv6 address cannot be bound to for a moment after it was given.
    if own.is_ipv6() {
        SockRef::from(&socket).set_freebind_v6(true)?;
    }
    socket.bind(SocketAddr::new(own, 0))?;
    socket.listen(BACKLOG)
}

async fn accept(host: Namespace, listener: TcpListener, nodes: watch::Receiver<Vec<SocketAddr>>) {
    let mut relayed = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else {
                    sleep(PAUSE).await;
                    continue;
                };
                let node = fastrand::choice(nodes.borrow().iter()).copied();
                relayed.spawn(relay(host.clone(), client, node));
            }
            Some(_) = relayed.join_next() => {}
        }
    }
}

/// Joins a caller's connection with one to a node, until both have ended.
async fn relay(host: Namespace, mut client: TcpStream, node: Option<SocketAddr>) {
    let joined = async {
        let node = node.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut server = connect(&host, node).await?;
        let ended = copy_bidirectional(&mut client, &mut server).await;
        if ended.is_err() {
            reset(&server);
        }
        ended
    };
    if joined.await.is_err() {
        reset(&client);
    }
}

async fn connect(host: &Namespace, node: SocketAddr) -> io::Result<TcpStream> {
    let socket = host.within(|| match node {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })??;
    socket.connect(node).await
}

/// Has a connection end with a RST when it is dropped.
fn reset(stream: &TcpStream) {
    // A socket that takes no option is none any more.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
