//! Health checks of nodes: the packets, and nothing about what they mean for a Service.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::tally::{Finding, Outcome};
use super::wanted::HealthCheck;
use crate::netns::Namespace;
use crate::world::Family;

/// The longest status line that is read; a real one has less than 40 bytes.
const LONGEST_STATUS_LINE: usize = 256;

/// Checks one node once, over IPv4, from the load balancer's namespace.
pub(super) async fn check(
    namespace: &Namespace,
    node: crate::world::Dual,
    check: &HealthCheck,
    patience: Duration,
) -> Outcome {
    let node = node.of(Family::V4);
    let found = match check {
        HealthCheck::Http { port, path } => {
            let address = SocketAddr::new(node, *port);
            timeout(patience, http_status(namespace, address, path)).await
        }
        HealthCheck::NodePort { port } => {
            let address = SocketAddr::new(node, *port);
            let connected = async { connect(namespace, address).await.map(|_| None) };
            timeout(patience, connected).await
        }
    };
    outcome(found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
}

/// What an HTTP status, a connection without one, or an error means.
fn outcome(found: io::Result<Option<u16>>) -> Outcome {
    let (finding, text) = match found {
        Ok(None) => (Finding::Passed, "connected".to_owned()),
        Ok(Some(200)) => (Finding::Passed, "200".to_owned()),
        Ok(Some(status)) => (Finding::Denied, status.to_string()),
        Err(error) => (Finding::Unanswered, error.kind().to_string()),
    };
    Outcome { finding, text }
}

async fn connect(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = namespace.within(TcpSocket::new_v4)??;
    socket.connect(address).await
}

/// The status of an HTTP GET. As a cloud's load balancer does, only the status line is read.
async fn http_status(
    namespace: &Namespace,
    address: SocketAddr,
    path: &str,
) -> io::Result<Option<u16>> {
    let mut stream = connect(namespace, address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: onehop-balancer\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(LONGEST_STATUS_LINE as u64);
    while !answer.contains(&b'\n') {
        if limited.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    status(&answer).map(Some)
}

/// The status in the first line of an answer.
fn status(answer: &[u8]) -> io::Result<u16> {
    let parse = || {
        let end = answer.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&answer[..end]).ok()?;
        let (version, rest) = line.split_once(' ')?;
        let code = rest.get(..3)?;
        (version.starts_with("HTTP/1.") && code.bytes().all(|b| b.is_ascii_digit()))
            .then(|| code.parse().ok())?
    };
    parse().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_and_anything_else_is_no_answer() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nContent-").ok(), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n").ok(), Some(503));
        for broken in ["", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n", "HTTP/1.1 2x0\n"] {
            assert!(status(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn only_200_passes_and_only_an_answer_denies() {
        assert_eq!(outcome(Ok(None)).finding, Finding::Passed);
        assert_eq!(outcome(Ok(Some(200))).finding, Finding::Passed);
        assert_eq!(outcome(Ok(Some(204))).finding, Finding::Denied);
        let refused = outcome(Err(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(refused.finding, Finding::Unanswered);
        assert_eq!(refused.text, "connection refused");
    }
}
