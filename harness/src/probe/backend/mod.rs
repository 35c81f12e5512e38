//! The server in a pod: it answers every connection and every datagram with who it is and what it
//! saw.

mod tcp;
mod udp;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use tokio::runtime::{Builder, EnterGuard, Runtime};

use super::outcome::Identity;
use crate::netns::Namespace;
use crate::world::{Pod, Protocol};

pub(crate) use tcp::serve;
pub(super) use udp::Said;

/// Has what is opened while this is held be answered by the thread of the backends. It is their own: on a busy machine they
/// waited behind whatever else a lab does, such as the API of three proxies, and were silent for seconds.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn answering() -> io::Result<EnterGuard<'static>> {
    static BACKENDS: OnceLock<Runtime> = OnceLock::new();
    if BACKENDS.get().is_none() {
        let mut thread = Builder::new_multi_thread();
        let thread = thread.worker_threads(1).thread_name("backends");
        // Where another was as fast, one of the two ends here; it has nothing to do.
        if let Err(spare) = BACKENDS.set(thread.enable_io().build()?) {
            spare.shutdown_background();
        }
    }
    Ok(BACKENDS.get().expect("set above").enter())
}

/// A backend that could not listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {protocol} port {port} in {pod}")]
pub struct BackendError {
    /// The pod.
    pod: String,
    /// The protocol.
    protocol: Protocol,
    /// The port.
    port: u16,
    /// What the kernel answered.
    #[source]
    source: io::Error,
}

/// A server in a pod, of both families, by TCP and by UDP. When dropped, it stops listening, and ends the
/// connections that it has accepted; until then they stay open for as long as their callers want.
#[derive(Debug)]
pub struct Backend {
    _tcp: tcp::Listener,
    _udp: udp::Responder,
}

impl Backend {
    /// Listens in a pod and answers from then on, on a thread that all backends share.
    ///
    /// # Errors
    /// When the port is taken, the kernel cannot save SYNs, or the thread cannot be started.
    pub fn listen(host: &Namespace, pod: &Pod, port: u16) -> Result<Self, BackendError> {
        let error = |protocol| {
            move |source| BackendError {
                pod: pod.name.clone(),
                protocol,
                port,
                source,
            }
        };
        let template = Identity {
            pod: pod.name.clone(),
            node: pod.node.clone(),
            port,
            peer: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            ttl: 0,
        };
        let _answering = answering().map_err(error(Protocol::Tcp))?;
        let tcp = tcp::Listener::open(host, template.clone()).map_err(error(Protocol::Tcp))?;
        let udp = udp::Responder::open(host, template).map_err(error(Protocol::Udp))?;
        Ok(Self {
            _tcp: tcp,
            _udp: udp,
        })
    }
}
