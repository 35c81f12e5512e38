use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::clock::tests::Hands;
use crate::server::tests::get;

const PERIOD: Duration = Duration::from_secs(30);

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn wanted(services: &[(&str, u16, u32)]) -> BTreeMap<ObjectName, HealthPlan> {
    let services = services.iter().map(|(service, port, local_endpoints)| {
        let plan = HealthPlan {
            port: *port,
            local_endpoints: Family::ALL.map(|family| (family, *local_endpoints)).into(),
        };
        (name(service), plan)
    });
    services.collect()
}

/// Health check ports on loopback addresses that no other test uses, so that their ports are free.
struct Node {
    hands: Hands,
    state: Arc<HealthState>,
    health: ServiceHealth,
}

impl Node {
    fn at(hosts: &[&str]) -> Self {
        let hands = Hands::at("2026-01-01T00:00:00Z");
        let state = Arc::new(HealthState::new(hands.clock(), PERIOD));
        state.started();
        let health = ServiceHealth::new("vm1", Arc::clone(&state), addresses(hosts));
        Self {
            hands,
            state,
            health,
        }
    }

    async fn sync(&mut self, services: &[(&str, u16, u32)]) -> Vec<String> {
        let failures = self.health.sync(&wanted(services)).await;
        failures.iter().map(ToString::to_string).collect()
    }
}

fn addresses(hosts: &[&str]) -> HealthAddresses {
    let addresses = hosts.iter().map(|host| address(host, 0));
    HealthAddresses {
        addresses: addresses.collect(),
    }
}

fn address(host: &str, port: u16) -> SocketAddr {
    (host.parse::<IpAddr>().unwrap(), port).into()
}

/// The status and the body, or `None` where nobody listens.
async fn ask(host: &str, port: u16) -> Option<(String, String)> {
    let address = address(host, port);
    drop(tokio::net::TcpStream::connect(address).await.ok()?);
    let (head, body) = get(address, "/").await;
    let status = head.split(' ').nth(1).unwrap();
    Some((status.to_owned(), body))
}

/// The service that a port answers for, and how many endpoints it says.
async fn answers_for(host: &str, port: u16) -> Option<(String, u64)> {
    let (_, body) = ask(host, port).await?;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let service = body["service"]["name"].as_str().unwrap();
    Some((service.to_owned(), body["localEndpoints"].as_u64().unwrap()))
}

#[test]
fn the_body_is_kube_proxys_to_the_byte() {
    let owner = Owner {
        service: name("web"),
        local_endpoints: 2,
    };
    assert_eq!(
        body(&owner, true),
        "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}"
    );
}

#[tokio::test]
async fn an_answer_has_status_headers_and_weight_on_every_path() {
    let host = "127.77.0.1";
    let mut node = Node::at(&[host]);
    assert_eq!(
        node.sync(&[("web", 30000, 3), ("none", 30001, 0)]).await,
        [""; 0]
    );
    for path in ["/", "/healthz", "/anything?at=all"] {
        let (head, _) = get(address(host, 30000), path).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains("\r\nContent-Type: application/json\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nX-Content-Type-Options: nosniff\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nX-Load-Balancing-Endpoint-Weight: 3\r\n"),
            "{head}"
        );
    }
    let (head, body) = get(address(host, 30001), "/healthz").await;
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nX-Load-Balancing-Endpoint-Weight: 0\r\n"),
        "{head}"
    );
    assert!(
        body.ends_with("\t\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true\n}"),
        "{body}"
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_sync_says_503_with_its_weight() {
    let host = "127.77.0.2";
    let mut node = Node::at(&[host]);
    node.sync(&[("web", 30000, 3)]).await;
    node.state.queued(Family::V4);
    node.hands.advance(PERIOD * 2);
    let (head, body) = get(address(host, 30000), "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(
        head.contains("\r\nX-Load-Balancing-Endpoint-Weight: 3\r\n"),
        "{head}"
    );
    assert!(
        body.contains("\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": false"),
        "{body}"
    );
    node.state.synced(Family::V4);
    assert_eq!(ask(host, 30000).await.unwrap().0, "200");
}

#[tokio::test]
async fn ports_open_change_close_and_open_again() {
    let host = "127.77.0.3";
    let mut node = Node::at(&[host]);
    assert_eq!(ask(host, 30000).await, None);
    node.sync(&[("web", 30000, 1)]).await;
    assert_eq!(answers_for(host, 30000).await, Some(("web".into(), 1)));
    node.sync(&[("web", 30000, 2)]).await;
    assert_eq!(answers_for(host, 30000).await, Some(("web".into(), 2)));
    node.sync(&[("web", 30001, 2)]).await;
    assert_eq!(ask(host, 30000).await, None);
    assert_eq!(answers_for(host, 30001).await, Some(("web".into(), 2)));
    node.sync(&[]).await;
    assert_eq!(ask(host, 30001).await, None);
    assert_eq!(node.health.open_ports(), 0);
    // Back again at once, before anything else ran on the runtime.
    node.sync(&[("web", 30001, 4)]).await;
    node.sync(&[]).await;
    assert_eq!(node.sync(&[("web", 30001, 4)]).await, [""; 0]);
    assert_eq!(answers_for(host, 30001).await, Some(("web".into(), 4)));
    drop(node);
    tokio::task::yield_now().await;
    assert_eq!(ask(host, 30001).await, None);
}

#[tokio::test]
async fn ports_pass_from_service_to_service_in_one_sync() {
    let host = "127.77.0.4";
    let mut node = Node::at(&[host]);
    node.sync(&[("a", 30000, 1), ("b", 30001, 2)]).await;
    assert_eq!(
        node.sync(&[("a", 30001, 1), ("b", 30000, 2)]).await,
        [""; 0]
    );
    assert_eq!(answers_for(host, 30000).await, Some(("b".into(), 2)));
    assert_eq!(answers_for(host, 30001).await, Some(("a".into(), 1)));
    assert_eq!(node.sync(&[("c", 30000, 3)]).await, [""; 0]);
    assert_eq!(answers_for(host, 30000).await, Some(("c".into(), 3)));
    assert_eq!(ask(host, 30001).await, None);
}

#[tokio::test]
async fn of_two_services_with_one_port_the_one_that_has_it_keeps_it() {
    let host = "127.77.0.5";
    let mut node = Node::at(&[host]);
    node.sync(&[("b", 30000, 2)]).await;
    for _ in 0..2 {
        let failures = node
            .sync(&[("a", 30000, 1), ("b", 30000, 2), ("c", 30000, 3)])
            .await;
        assert_eq!(
            failures,
            ["a", "c"].map(|loser| format!(
                "node vm1 failed to start healthcheck \"shop/{loser}\" on port 30000: \
                 listen tcp4 127.77.0.5:30000: bind: address already in use"
            ))
        );
        assert_eq!(answers_for(host, 30000).await, Some(("b".into(), 2)));
    }
    assert_eq!(node.sync(&[("a", 30000, 1)]).await, [""; 0]);
    assert_eq!(answers_for(host, 30000).await, Some(("a".into(), 1)));
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_reported_and_tried_again() {
    let (free, taken) = ("127.77.0.6", "127.77.0.7");
    let mut node = Node::at(&[free, taken]);
    let somebody = std::net::TcpListener::bind(address(taken, 30000)).unwrap();
    let failures = node
        .health
        .sync(&wanted(&[("web", 30000, 1), ("other", 30001, 1)]))
        .await;
    let [failure] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert_eq!(
        failure.event(),
        Event {
            regarding: Regarding::Service(name("web")),
            warning: true,
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            note: "node vm1 failed to start healthcheck \"shop/web\" on port 30000: \
                   listen tcp4 127.77.0.7:30000: bind: address already in use"
                .into(),
        }
    );
    assert_eq!(
        answers_for(free, 30000).await,
        Some(("web".into(), 1)),
        "the other address is served"
    );
    assert_eq!(
        answers_for(taken, 30001).await,
        Some(("other".into(), 1)),
        "the other Service as well"
    );
    assert_eq!(
        node.sync(&[("web", 30000, 1)]).await.len(),
        1,
        "still taken"
    );
    drop(somebody);
    assert_eq!(node.sync(&[("web", 30000, 1)]).await, [""; 0]);
    assert_eq!(answers_for(taken, 30000).await, Some(("web".into(), 1)));
}

#[tokio::test]
async fn addresses_may_change() {
    let (old, new) = ("127.77.0.8", "127.77.0.9");
    let mut node = Node::at(&[old]);
    node.sync(&[("web", 30000, 1)]).await;
    node.health.set_addresses(addresses(&[new]));
    node.sync(&[("web", 30000, 1)]).await;
    assert_eq!(ask(old, 30000).await, None);
    assert_eq!(answers_for(new, 30000).await, Some(("web".into(), 1)));
    // An address that is not the node's is a failure, and not the end of the others.
    node.health.set_addresses(addresses(&[new, "203.0.113.1"]));
    let failures = node.sync(&[("web", 30000, 2)]).await;
    assert!(
        failures[0]
            .ends_with("listen tcp4 203.0.113.1:30000: bind: cannot assign requested address"),
        "{failures:?}"
    );
    assert_eq!(answers_for(new, 30000).await, Some(("web".into(), 2)));
}

#[tokio::test]
async fn all_addresses_are_those_of_both_families() {
    let mut node = Node::at(&[]);
    node.health.set_addresses(HealthAddresses::all());
    let free = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    assert_eq!(node.sync(&[("web", port, 1)]).await, [""; 0]);
    for host in ["127.0.0.1", "::1"] {
        assert_eq!(
            answers_for(host, port).await,
            Some(("web".into(), 1)),
            "{host}"
        );
    }
}

#[tokio::test]
async fn each_family_has_its_own_count_and_its_own_owner() {
    let mut node = Node::at(&["127.77.0.10", "::1"]);
    let free = std::net::TcpListener::bind("[::1]:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let plan = |counts: &[(Family, u32)]| HealthPlan {
        port,
        local_endpoints: counts.iter().copied().collect(),
    };
    let both = plan(&[(Family::V4, 1), (Family::V6, 0)]);
    let failures = node.health.sync(&[(name("web"), both)].into()).await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(ask("127.77.0.10", port).await.unwrap().0, "200");
    assert_eq!(ask("::1", port).await.unwrap().0, "503");

    // A Service of one family has no port in the other.
    let v4 = plan(&[(Family::V4, 1)]);
    node.health.sync(&[(name("web"), v4.clone())].into()).await;
    assert_eq!(ask("127.77.0.10", port).await.unwrap().0, "200");
    assert_eq!(ask("::1", port).await, None);

    let v6 = plan(&[(Family::V6, 2)]);
    let failures = node
        .health
        .sync(&[(name("web"), v4), (name("xeb"), v6)].into())
        .await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(
        answers_for("127.77.0.10", port).await,
        Some(("web".into(), 1))
    );
    assert_eq!(answers_for("::1", port).await, Some(("xeb".into(), 2)));
}

#[tokio::test]
async fn thousands_of_ports_are_served_by_one_thread() {
    let host = "127.77.1.1";
    server::raise_open_files().unwrap();
    let mut node = Node::at(&[host]);
    let names: Vec<_> = (0..3000).map(|n| format!("web-{n}")).collect();
    let services: Vec<_> = (20_000..)
        .zip(&names)
        .map(|(port, name)| (name.as_str(), port, 1))
        .collect();
    assert_eq!(node.sync(&services).await, [""; 0]);
    assert_eq!(node.health.open_ports(), 3000);
    for n in [0, 1499, 2999] {
        let expected = Some((format!("web-{n}"), 1));
        assert_eq!(answers_for(host, 20_000 + n).await, expected);
    }
    node.sync(&services[1..]).await;
    assert_eq!(ask(host, 20_000).await, None);
}
