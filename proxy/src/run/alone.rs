//! One proxy at a time in a network namespace: two would write each other's rules anew for ever.
//!
//! Who comes second waits until the first has ended, so that an update may start the new one early. What tells
//! them is a socket of an abstract name, which is the network namespace's own and goes with its process,
//! however that ends.

use std::io;
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

/// The name of the socket.
const NAME: &str = "onehop-proxy";
/// How often it is looked whether the other one has ended.
const PAUSE: Duration = Duration::from_millis(250);

/// Nobody else begins while this lives.
#[derive(Debug)]
pub(super) struct Alone {
    /// None where a stranger has the name.
    _socket: Option<UnixListener>,
}

/// Waits until no other proxy runs in the network namespace.
pub(super) async fn become_alone() -> io::Result<Alone> {
    wait(NAME).await
}

async fn wait(name: &str) -> io::Result<Alone> {
    let address = SocketAddr::from_abstract_name(name)?;
    let mut other: Option<Other> = None;
    let mut said = false;
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(socket) => {
                return Ok(Alone {
                    _socket: Some(socket),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
        other = match other.filter(Other::lives) {
            Some(other) => Some(other),
            None => Other::connect(name)?,
        };
        if other.as_ref().is_some_and(Other::is_stranger) {
            // Anybody in the namespace can take the name, and must not keep the proxy from its work.
            tracing::warn!(
                name,
                "the socket that tells proxies of each other is not a proxy's"
            );
            return Ok(Alone { _socket: None });
        }
        if !said {
            tracing::warn!("another proxy runs in this network namespace; waiting until it ends");
            said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection to whoever has the name. It is kept while that one lives: nobody accepts, so that each further one
/// would wait in the kernel's queue, until that is full.
struct Other {
    connection: Socket,
}

impl Other {
    /// Connects without waiting. `None` if nobody has the name any more, or if so many wait for whoever has it that the
    /// queue is full: then nobody knows who that is.
    fn connect(name: &str) -> io::Result<Option<Self>> {
        let connection = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        let connected = connection.connect(&SockAddr::unix(format!("\0{name}"))?);
        Ok(connected.is_ok().then_some(Self { connection }))
    }

    /// Whether its process lives still.
    fn lives(&self) -> bool {
        match self.connection.peek(&mut [MaybeUninit::uninit()]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Whether it is a process of another user.
    fn is_stranger(&self) -> bool {
        let owner = getsockopt(&self.connection, PeerCredentials);
        // It may just have ended.
        owner.is_ok_and(|owner| owner.uid() != geteuid().as_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        format!("onehop-{test}-{}", std::process::id())
    }

    #[tokio::test]
    async fn the_second_waits_until_the_first_has_ended() {
        let name = name("second");
        let first = wait(&name).await.expect("it is free");
        let second = tokio::time::timeout(PAUSE * 3, wait(&name));
        assert!(second.await.is_err(), "it waits");
        drop(first);
        wait(&name).await.expect("it is free again");
    }

    #[tokio::test]
    async fn who_waits_connects_once() {
        let name = name("once");
        let first = wait(&name).await.expect("it is free");
        let second = tokio::time::timeout(PAUSE * 4, wait(&name));
        assert!(second.await.is_err(), "it waits");
        let listener = first._socket.expect("it has the name");
        listener.set_nonblocking(true).expect("it can be asked");
        let waiting = std::iter::from_fn(|| listener.accept().ok());
        assert_eq!(waiting.count(), 1);
    }

    /// Were it to wait for room in the queue, the whole thread would, and this test would never end.
    #[tokio::test]
    async fn where_the_queue_is_full_it_waits_without_blocking() {
        let name = name("full");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = SockAddr::unix(format!("\0{name}")).expect("an address");
        listener.bind(&address).expect("it is free");
        listener.listen(0).expect("it listens");
        let others: Vec<_> =
            std::iter::from_fn(|| Other::connect(&name).expect("a socket")).collect();
        assert!(!others.is_empty(), "there is room for one");
        let second = tokio::time::timeout(PAUSE * 3, wait(&name));
        assert!(second.await.is_err(), "it waits");
        drop(listener);
        assert!(!others[0].lives());
        wait(&name).await.expect("it is free again");
    }
}
