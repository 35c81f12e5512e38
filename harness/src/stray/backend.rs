//! A backend that says back what it is told.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::netns::Namespace;
use crate::probe::serve;

/// It could not listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on port {port} in {pod}")]
pub struct EchoError {
    pod: String,
    port: u16,
    #[source]
    source: io::Error,
}

/// A listener in a pod, for both families, whose connections last as long as it does. Each begins with a line that
/// says whom it sees, and then says back what it is told.
#[derive(Debug)]
pub struct EchoBackend {
    task: JoinHandle<()>,
}

impl EchoBackend {
    /// Listens in a pod from then on. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn listen(pod: &Namespace, port: u16) -> Result<Self, EchoError> {
        let bind = || -> io::Result<TcpListener> {
            let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = pod.within(bind).and_then(|bound| bound);
        let listener = listener.map_err(|source| EchoError {
            pod: pod.name().to_owned(),
            port,
            source,
        })?;
        Ok(Self {
            task: tokio::spawn(serve(listener, echo)),
        })
    }
}

impl Drop for EchoBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends with the caller, who notices whatever goes wrong.
async fn echo(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    stream.set_nodelay(true)?;
    stream.write_all(format!("{peer}\n").as_bytes()).await?;
    let mut buffer = [0; 64];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
