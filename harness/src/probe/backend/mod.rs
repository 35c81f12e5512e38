//! The server in a pod: it answers every connection and every datagram with who it is and what it
//! saw.

mod tcp;
mod udp;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use super::outcome::Identity;
use crate::netns::Namespace;
use crate::world::{Pod, Protocol};

pub(crate) use tcp::serve;
pub(super) use udp::Said;

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
    /// Listens in a pod and answers from then on. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the port is taken or the kernel cannot save SYNs.
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
        let tcp = tcp::Listener::open(host, template.clone()).map_err(error(Protocol::Tcp))?;
        let udp = udp::Responder::open(host, template).map_err(error(Protocol::Udp))?;
        Ok(Self {
            _tcp: tcp,
            _udp: udp,
        })
    }
}
