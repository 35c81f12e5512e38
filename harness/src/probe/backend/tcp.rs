//! A backend's listener: it answers each connection at once with a line, and once more for each
//! octet that the caller sends, for as long as both keep the connection open.

#![expect(unsafe_code, reason = "TCP_SAVE_SYN has no safe wrapper")]

use std::io;
use std::mem;
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::netns::Namespace;
use crate::probe::outcome::Identity;

/// A listener that answers until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    /// The same socket as the task's.
    socket: Socket,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens on the template's port, and answers with the template filled in.
    pub(super) fn open(host: &Namespace, template: Identity) -> io::Result<Self> {
        let (socket, listener) = host.within(|| saving_listener(template.port))??;
        let task = tokio::spawn(serve(listener, move |stream, peer| {
            let line = answer(&stream, peer, &template);
            async move {
                if let Some(line) = line {
                    keep_answering(stream, line).await;
                }
            }
        }));
        Ok(Self { socket, task })
    }
}

/// Serves whoever connects. It never ends by itself, and when it is dropped, so are its connections: a
/// caller may have gone without a word.
pub(crate) async fn serve<F>(listener: TcpListener, connected: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(connected(stream, peer));
            }
            Err(error) => tracing::warn!(%error, "a backend failed to accept"),
        }
        while connections.try_join_next().is_some() {}
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        // The task may hold the socket a while longer, and it is to listen no longer than this.
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            tracing::warn!(%error, "a backend stops listening late");
        }
    }
}

/// Answers, with a line that is returned. It fits an empty send buffer, so one write takes all of
/// it; what goes wrong is seen by the caller, which reports a broken connection.
fn answer(stream: &TcpStream, peer: SocketAddr, template: &Identity) -> Option<Vec<u8>> {
    let identity = saved_syn_ttl(stream).map(|ttl| Identity {
        peer,
        ttl,
        ..template.clone()
    });
    let line = identity.and_then(|identity| {
        let mut line = serde_json::to_vec(&identity)?;
        line.push(b'\n');
        Ok(line)
    });
    let said = line.and_then(|line| stream.try_write(&line).map(|_| line));
    said.inspect_err(
        |error| tracing::warn!(%error, pod = template.pod, "a backend failed to answer"),
    )
    .ok()
}

/// Answers every octet of the caller with the same line, until the caller closes.
async fn keep_answering(mut stream: TcpStream, line: Vec<u8>) {
    let mut asked = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut asked).await {
        for _ in 0..length {
            // A caller that goes away while it is answered has asked for nothing more.
            if stream.try_write(&line).is_err() {
                return;
            }
        }
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
