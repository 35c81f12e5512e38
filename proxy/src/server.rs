//! HTTP for a few small answers: the health check ports, `/healthz`, and `/metrics`.
//!
//! hyper itself and no framework, since there may be thousands of listeners. One current-thread runtime is enough.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How many connections one listener serves at once. One more ends the oldest: whoever holds many open keeps no load
/// balancer from asking.
const CONNECTIONS: usize = 512;
/// How long a client may take over the headers of a request, and how long it may keep an idle connection.
const HEADERS: Duration = Duration::from_secs(60);
/// The kernel's queue of connections that were not accepted yet.
const BACKLOG: i32 = 128;
/// After what time accepting is tried again once it failed, which is when the process has no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// After what time listening is tried again once it failed, as kube-proxy does it
/// (kubernetes/cmd/kube-proxy/app/server.go).
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// What answers requests.
pub(crate) type Handler = Arc<dyn Fn(&Request<Incoming>) -> Response<String> + Send + Sync>;

/// An address could not be listened on. Reads as Go's error does, which users know from kube-proxy's events.
#[derive(Debug, thiserror::Error)]
#[error("listen {} {address}: bind: {}", network(*address), in_words(source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

fn network(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "tcp4" } else { "tcp6" }
}

fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Listens on an address of one family and no other: `[::]` takes nothing of IPv4.
///
/// # Errors
/// The address is in use, is not one of this machine's, or needs a privilege.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address, true).map_err(|source| ListenError { address, source })
}

/// Listens as Go does for `tcp`: a wildcard of either family means both families, where the machine has IPv6.
///
/// # Errors
/// The address is in use, is not one of this machine's, or needs a privilege.
pub(crate) fn listen_on_both(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_unspecified() {
        return listen(address);
    }
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    match bind(both, false) {
        Err(error) if lacks_ipv6(&error) => {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result.map_err(|source| ListenError { address, source }),
    }
}

/// Whether binding failed because the machine has no IPv6 at all.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
}

fn bind(address: SocketAddr, only_its_family: bool) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(only_its_family)?;
    }
    // Connections of a listener before this one may still be closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers every connection of a listener, for ever. Dropping the future closes the listener and its connections.
pub(crate) async fn answer(listener: TcpListener, handler: Handler) {
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let spawned = connections.spawn(connection(stream, Arc::clone(&handler)));
                    by_age.push_back(spawned);
                    if by_age.len() > CONNECTIONS {
                        by_age.retain(|connection| !connection.is_finished());
                    }
                    if by_age.len() > CONNECTIONS && let Some(oldest) = by_age.pop_front() {
                        oldest.abort();
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, handler: Handler) {
    let service = service_fn(move |request| {
        let response = handler(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(16 * 1024)
        // As Go writes them. There are load balancers that compare without regard to RFC 9110.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        // A client that sends rubbish or goes away is none of the proxy's business.
        tracing::trace!(%error, "a connection ended early");
    }
}

/// Serves an address for ever: where it cannot be listened on, that is logged and tried again every 5 s.
///
/// # Errors
/// Returns only under `hard_fail` (`bindAddressHardFail`), when the address cannot be listened on.
pub(crate) async fn serve(
    name: &'static str,
    address: SocketAddr,
    hard_fail: bool,
    handler: Handler,
) -> ListenError {
    loop {
        match listen_on_both(address) {
            Ok(listener) => answer(listener, Arc::clone(&handler)).await,
            Err(error) if hard_fail => return error,
            Err(error) => tracing::error!(%error, "the {name} server did not start; trying again"),
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// An answer of a type that no browser may take for another.
pub(crate) fn respond(status: StatusCode, content_type: &str, body: String) -> Response<String> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
        .body(body)
        .expect("the header values are constants")
}

/// The answer to a path that is not served, as Go's mux gives it.
pub(crate) fn not_found() -> Response<String> {
    let body = "404 page not found\n".to_owned();
    respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", body)
}

/// Raises the number of files that the process may open to what it may have at most, as Go programs do for themselves:
/// each health check port takes two. Returns the number in force.
///
/// # Errors
/// The limits can be neither read nor set.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
pub(crate) mod tests;
