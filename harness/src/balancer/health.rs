//! Health checks of nodes: the packets, and nothing about what they mean for a Service.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::tally::{Finding, Outcome};
use super::wanted::HealthCheck;
use crate::case::HEALTH_PATH;
use crate::netns::Namespace;
use crate::probe::{self, HttpAnswer, HttpOutcome};

/// The header by which a node announces its weight: of kube-proxy, the number of its ready endpoints (k#118999).
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// The largest weight that counts, as with Google's load balancers, whose header it is. A broken node must not have the
/// kernel keep a map of billions.
const MOST_WEIGHT: u32 = 1000;

/// Where kube-proxy, and every proxy that can replace it, serves its own health.
const PROXY_HEALTH_PORT: u16 = 10256;

/// Checks one node once, by this address, from the load balancer's namespace.
pub(super) async fn check(
    namespace: &Namespace,
    node: IpAddr,
    check: HealthCheck,
    patience: Duration,
) -> Outcome {
    let port = match check {
        HealthCheck::HealthCheckNodePort { port } => port,
        HealthCheck::ProxyHealth => PROXY_HEALTH_PORT,
        HealthCheck::NodePort { port } => {
            let connected = connect(namespace, SocketAddr::new(node, port));
            let connected = timeout(patience, connected).await;
            let silent = |_| Err(io::ErrorKind::TimedOut.into());
            return of_connection(connected.unwrap_or_else(silent));
        }
    };
    of_http(
        probe::get(
            namespace,
            SocketAddr::new(node, port),
            HEALTH_PATH,
            patience,
        )
        .await,
    )
}

async fn connect(namespace: &Namespace, address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() {
        namespace.within(TcpSocket::new_v4)??
    } else {
        namespace.within(TcpSocket::new_v6)??
    };
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
        Ok(HttpOutcome::Answered(answer)) if answer.status == 200 => Outcome {
            weight: weight(&answer),
            ..outcome(Finding::Passed, &200)
        },
        Ok(HttpOutcome::Answered(answer)) => outcome(Finding::Denied, &answer.status),
        Ok(HttpOutcome::Refused) => outcome(Finding::Unanswered, &io::ErrorKind::ConnectionRefused),
        Ok(HttpOutcome::Silent) => outcome(Finding::Unanswered, &io::ErrorKind::TimedOut),
        Ok(HttpOutcome::Broken(how)) => outcome(Finding::Unanswered, &how),
        Err(error) => outcome(Finding::Unanswered, &error),
    }
}

fn outcome(finding: Finding, text: &impl ToString) -> Outcome {
    Outcome {
        finding,
        text: text.to_string(),
        weight: None,
    }
}

/// The weight that an answer announces; none where there is no number.
fn weight(answer: &HttpAnswer) -> Option<u32> {
    let number = answer.headers.get(WEIGHT)?.parse::<u32>().ok()?;
    Some(number.min(MOST_WEIGHT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
        let headers = headers.iter();
        HttpAnswer {
            status,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: String::new(),
        }
    }

    #[test]
    fn a_weight_is_a_number_in_bounds_or_none() {
        for (said, weight) in [
            ("3", Some(3)),
            ("0", Some(0)),
            ("4294967295", Some(1000)),
            ("99999999999", None),
            ("-1", None),
            ("many", None),
        ] {
            let answer = answer(200, &[("x-load-balancing-endpoint-weight", said)]);
            let found = of_http(Ok(HttpOutcome::Answered(answer)));
            assert_eq!((found.finding, found.weight), (Finding::Passed, weight));
        }
    }

    #[test]
    fn only_200_passes_and_only_an_answer_denies() {
        let answered = |status: u16| of_http(Ok(HttpOutcome::Answered(answer(status, &[]))));
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
