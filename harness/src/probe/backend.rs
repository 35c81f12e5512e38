//! The server in a pod: it answers every connection with who it is and what it saw.

#![expect(unsafe_code, reason = "TCP_SAVE_SYN has no safe wrapper")]

use std::io;
use std::mem;
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::outcome::Identity;
use crate::netns::Namespace;
use crate::world::Pod;

/// A backend that could not listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on port {port} in {pod}")]
pub struct BackendError {
    /// The pod.
    pod: String,
    /// The port.
    port: u16,
    /// What the kernel answered.
    #[source]
    source: io::Error,
}

/// A listener in a pod, for both families. It stops listening when dropped.
#[derive(Debug)]
pub struct Backend {
    /// The same socket as the task's.
    socket: Socket,
    task: JoinHandle<()>,
}

impl Backend {
    /// Listens in a pod and answers from then on. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the port is taken or the kernel cannot save SYNs.
    pub fn listen(host: &Namespace, pod: &Pod, port: u16) -> Result<Self, BackendError> {
        let error = |source| BackendError {
            pod: pod.name.clone(),
            port,
            source,
        };
        let (socket, listener) = host
            .within(|| saving_listener(port))
            .and_then(|made| made)
            .map_err(error)?;
        let identity = |peer, ttl| Identity {
            pod: pod.name.clone(),
            node: pod.node.clone(),
            port,
            peer,
            ttl,
        };
        let template = identity(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 0);
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => answer(&stream, peer, &template),
                    Err(error) => tracing::warn!(%error, "a backend failed to accept"),
                }
            }
        });
        Ok(Self { socket, task })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
        // The task may hold the socket a while longer, and it is to listen no longer than this.
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            tracing::warn!(%error, "a backend stops listening late");
        }
    }
}

/// Answers and closes. The answer fits an empty send buffer, so one write takes all of it; what
/// goes wrong is seen by the caller, which reports a broken connection.
fn answer(stream: &TcpStream, peer: SocketAddr, template: &Identity) {
    let identity = saved_syn_ttl(stream).map(|ttl| Identity {
        peer,
        ttl,
        ..template.clone()
    });
    let line = identity.and_then(|identity| Ok(serde_json::to_vec(&identity)?));
    if let Err(error) = line.and_then(|line| stream.try_write(&line)) {
        tracing::warn!(%error, pod = template.pod, "a backend failed to answer");
    }
}

fn saving_listener(port: u16) -> io::Result<(Socket, TcpListener)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from_std(socket.try_clone()?.into())?;
    Ok((socket, listener))
}

/// The TTL or hop limit in the IP header of the SYN that opened this connection.
fn saved_syn_ttl(stream: &TcpStream) -> io::Result<u8> {
    let mut headers = [0_u8; 128];
    let mut length = headers.len() as libc::socklen_t;
    // SAFETY: the buffer and its length outlive the call.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_SAVED_SYN,
            headers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    match (headers[0] >> 4, length) {
        (4, 20..) => Ok(headers[8]),
        (6, 40..) => Ok(headers[7]),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the saved SYN has no IP header",
        )),
    }
}
