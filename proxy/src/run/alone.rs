//! One proxy at a time in a network namespace: two would write each other's rules anew for ever.
//!
//! Who comes second waits until the first has ended, so that an update may start the new one early. What tells
//! them is a socket of an abstract name, which is the network namespace's own and goes with its process,
//! however that ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

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
        if is_strangers(&address) {
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

/// Whether a process of another user has the name.
fn is_strangers(address: &SocketAddr) -> bool {
    let owner = UnixStream::connect_addr(address)
        .ok()
        .and_then(|stream| getsockopt(&stream, PeerCredentials).ok());
    // It may just have ended.
    owner.is_some_and(|owner| owner.uid() != geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_until_the_first_has_ended() {
        let name = format!("onehop-test-{}", std::process::id());
        let first = wait(&name).await.expect("it is free");
        let second = tokio::time::timeout(PAUSE * 3, wait(&name));
        assert!(second.await.is_err(), "it waits");
        drop(first);
        wait(&name).await.expect("it is free again");
    }
}
