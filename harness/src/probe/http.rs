//! One HTTP GET, from a host of the lab or from here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::choose_own_sequence;
use crate::netns::Namespace;

/// The largest body that is read. What is asked here answers in a few lines.
const MOST_BYTES: usize = 1 << 20;

/// The answer to a GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// What became of a GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpOutcome {
    /// The server answered.
    Answered(HttpAnswer),
    /// The connection was refused.
    Refused,
    /// No answer in time.
    Silent,
    /// Connected, and then something that is not HTTP.
    Broken(String),
}

/// Gets `path` from a server, from a host of the lab, within the time given.
///
/// # Errors
/// When no socket can be made in the host's namespace.
pub async fn get(
    host: &Namespace,
    server: SocketAddr,
    path: &str,
    time: Duration,
) -> io::Result<HttpOutcome> {
    let socket = host.within(|| match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })??;
    choose_own_sequence(&socket)?;
    Ok(exchange(socket, server, path, time).await)
}

/// Gets `path` from a server, from where this process is, within the time given.
///
/// # Errors
/// When no socket can be made.
pub async fn get_from_here(
    server: SocketAddr,
    path: &str,
    time: Duration,
) -> io::Result<HttpOutcome> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    Ok(exchange(socket, server, path, time).await)
}

async fn exchange(
    socket: TcpSocket,
    server: SocketAddr,
    path: &str,
    time: Duration,
) -> HttpOutcome {
    let exchange = async {
        match socket.connect(server).await {
            Ok(stream) => match request(stream, server, path).await {
                Ok(answer) => HttpOutcome::Answered(answer),
                Err(error) => HttpOutcome::Broken(error.to_string()),
            },
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => HttpOutcome::Refused,
            Err(error) => HttpOutcome::Broken(error.to_string()),
        }
    };
    timeout(time, exchange).await.unwrap_or(HttpOutcome::Silent)
}

async fn request(
    stream: TcpStream,
    server: SocketAddr,
    path: &str,
) -> Result<HttpAnswer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("host", server.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await?
        .to_bytes();
    connection.abort();
    Ok(HttpAnswer {
        status,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
