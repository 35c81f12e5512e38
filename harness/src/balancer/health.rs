//! Health checks of nodes: the packets, and nothing about what they mean for a Service.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::tally::{Finding, Outcome};
use super::wanted::HealthCheck;
use crate::netns::Namespace;
use crate::probe::{self, HttpOutcome};
use crate::world::{Dual, Family};

/// Checks one node once, over IPv4, from the load balancer's namespace.
pub(super) async fn check(
    namespace: &Namespace,
    node: Dual,
    check: &HealthCheck,
    patience: Duration,
) -> Outcome {
    let address = |port: u16| SocketAddr::new(node.of(Family::V4), port);
    match check {
        HealthCheck::Http { port, path } => {
            of_http(probe::get(namespace, address(*port), path, patience).await)
        }
        HealthCheck::NodePort { port } => {
            let connected = timeout(patience, connect(namespace, address(*port))).await;
            of_connection(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
        }
    }
}

async fn connect(namespace: &Namespace, address: SocketAddr) -> io::Result<()> {
    let socket = namespace.within(TcpSocket::new_v4)??;
    probe::choose_own_sequence(&socket)?;
    socket.connect(address).await.map(drop)
}

fn of_connection(connected: io::Result<()>) -> Outcome {
    match connected {
        Ok(()) => outcome(Finding::Passed, &"connected"),
        Err(error) => outcome(Finding::Unanswered, &error.kind()),
    }
}

fn of_http(got: io::Result<HttpOutcome>) -> Outcome {
    match got {
        Ok(HttpOutcome::Answered(answer)) if answer.status == 200 => outcome(Finding::Passed, &200),
        Ok(HttpOutcome::Answered(answer)) => outcome(Finding::Denied, &answer.status),
        Ok(HttpOutcome::Refused) => outcome(Finding::Unanswered, &io::ErrorKind::ConnectionRefused),
        Ok(HttpOutcome::Silent) => outcome(Finding::Unanswered, &io::ErrorKind::TimedOut),
        Ok(HttpOutcome::Broken(how)) => outcome(Finding::Unanswered, &how),
        Err(error) => outcome(Finding::Unanswered, &error),
    }
}

fn outcome(finding: Finding, text: &impl ToString) -> Outcome {
    let text = text.to_string();
    Outcome { finding, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::HttpAnswer;

    #[test]
    fn only_200_passes_and_only_an_answer_denies() {
        let answered = |status: u16| {
            of_http(Ok(HttpOutcome::Answered(HttpAnswer {
                status,
                headers: std::collections::BTreeMap::new(),
                body: String::new(),
            })))
        };
        assert_eq!(answered(200), outcome(Finding::Passed, &"200"));
        assert_eq!(answered(204), outcome(Finding::Denied, &"204"));
        assert_eq!(answered(503), outcome(Finding::Denied, &"503"));
        for (got, text) in [
            (Ok(HttpOutcome::Refused), "connection refused"),
            (Ok(HttpOutcome::Silent), "timed out"),
            (Ok(HttpOutcome::Broken("no HTTP".to_owned())), "no HTTP"),
            (Err(io::Error::other("no socket")), "no socket"),
        ] {
            assert_eq!(of_http(got), outcome(Finding::Unanswered, &text));
        }
    }

    #[test]
    fn a_connection_passes_and_anything_else_is_no_answer() {
        assert_eq!(of_connection(Ok(())).finding, Finding::Passed);
        let refused = of_connection(Err(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(refused, outcome(Finding::Unanswered, &"connection refused"));
    }
}
