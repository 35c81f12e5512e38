//! A pod that serves by itself, as the pods of a cluster's own controllers must: nobody can open
//! backends in a pod that is not known to exist yet.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::pods::pause;
use crate::netns::Namespace;
use crate::probe::{Backend, BackendError};
use crate::world::{Dual, Pod};

/// The port on which a pod says whether it is ready, and is told what to say.
pub const CONTROL_PORT: u16 = 8001;
/// What the kubelet asks. It is 200 or 503.
pub const READY_PATH: &str = "/ready";
/// What has a pod say that it is ready, or that it is not. Both answer 200.
pub const BECOME_PATHS: [(bool, &str); 2] = [(true, "/become/ready"), (false, "/become/unready")];

/// How a pod serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingPod {
    /// Its name.
    pub name: String,
    /// The name that the world has for its node.
    pub node: String,
    /// The ports that its backends listen on.
    pub ports: Vec<u16>,
    /// How long it serves on once it is asked to end.
    pub lingers: Duration,
}

/// A pod that could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServingPodError {
    /// Its backends.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Something of its own.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// Serves in the pod that this process runs in, until it is asked to end and has lingered.
///
/// # Errors
/// When a port is taken, or signals cannot be waited for.
pub async fn serve_pod(pod: ServingPod) -> Result<(), ServingPodError> {
    let io = |what| move |source| ServingPodError::Io { what, source };
    let host = Namespace::own(&pod.name).map_err(io("open the pod's own network"))?;
    let world = Pod {
        name: pod.name,
        node: pod.node,
        // A backend listens on all addresses.
        address: Dual {
            v4: std::net::Ipv4Addr::UNSPECIFIED,
            v6: Ipv6Addr::UNSPECIFIED,
        },
    };
    let listen = |port: &u16| Backend::listen(&host, &world, *port);
    let _backends: Vec<_> = pod.ports.iter().map(listen).collect::<Result<_, _>>()?;
    let control = SocketAddr::from((Ipv6Addr::UNSPECIFIED, CONTROL_PORT));
    let control = TcpListener::bind(control)
        .await
        .map_err(io("listen for the kubelet"))?;
    let control = tokio::spawn(say_ready(control));
    pause().await.map_err(io("wait for a signal"))?;
    tracing::info!(seconds = pod.lingers.as_secs(), "asked to end");
    tokio::time::sleep(pod.lingers).await;
    control.abort();
    Ok(())
}

async fn say_ready(listener: TcpListener) {
    let ready = Arc::new(AtomicBool::new(true));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let ready = Arc::clone(&ready);
        let answer = service_fn(move |request: Request<Incoming>| {
            let status = status(request.uri().path(), &ready);
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            async { Ok::<_, Infallible>(response) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // What goes wrong is seen by whoever asks.
        tokio::spawn(async move { drop(serving.await) });
    }
}

fn status(path: &str, ready: &AtomicBool) -> StatusCode {
    if let Some((becomes, _)) = BECOME_PATHS.iter().find(|(_, known)| *known == path) {
        ready.store(*becomes, Ordering::Relaxed);
        return StatusCode::OK;
    }
    match (path, ready.load(Ordering::Relaxed)) {
        (READY_PATH, true) => StatusCode::OK,
        (READY_PATH, false) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_says_what_it_was_told_to_say() {
        let ready = AtomicBool::new(true);
        assert_eq!(status(READY_PATH, &ready), 200);
        assert_eq!(status("/become/unready", &ready), 200);
        assert_eq!(status(READY_PATH, &ready), 503);
        assert_eq!(status("/else", &ready), 404);
        assert_eq!(status("/become/ready", &ready), 200);
        assert_eq!(status(READY_PATH, &ready), 200);
    }
}
