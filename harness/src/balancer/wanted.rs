//! What a Service asks of the load balancer. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use serde::{Deserialize, Serialize};

use crate::case::{ADDRESSES_ANNOTATION, BalancerMode};
use crate::world::{Family, Protocol};

/// The most addresses of a family that a Service is given.
const MOST_ADDRESSES: usize = 4;

/// What makes a node healthy for one Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthCheck {
    /// HTTP GET is answered with status 200 by the health check node port of the Service.
    HealthCheckNodePort {
        /// The TCP port of the node.
        port: u16,
    },
    /// A TCP connection to a NodePort of the Service is accepted.
    NodePort {
        /// The TCP port of the node.
        port: u16,
    },
    /// HTTP GET is answered with status 200 by the proxy, about the node as a whole.
    ProxyHealth,
}

/// One port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// The NodePort, where the API allocated one.
    pub(super) node_port: Option<u16>,
}

/// A Service that is this load balancer's to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `namespace/name`.
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) mode: BalancerMode,
    /// How many addresses of each family it wants.
    pub(super) addresses: usize,
    /// In the order of the Service's `ipFamilies`.
    pub(super) families: Vec<Family>,
    pub(super) ports: Vec<Port>,
    /// None while the API has not allocated the port that the check needs.
    pub(super) check: Option<HealthCheck>,
    /// What the Service's status says today: (address, host name) of each ingress.
    pub(super) ingress: Vec<String>,
}

impl Wanted {
    /// What `service` asks for; nothing if it is not of this load balancer's classes, not of type
    /// LoadBalancer, or being deleted.
    pub(super) fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() != Some("LoadBalancer")
            || service.metadata.deletion_timestamp.is_some()
        {
            return None;
        }
        let mode = BalancerMode::of_class(spec.load_balancer_class.as_deref()?)?;
        let ports: Vec<Port> = spec.ports.iter().flatten().filter_map(port).collect();
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let check = if local {
            number(spec.health_check_node_port)
                .map(|port| HealthCheck::HealthCheckNodePort { port })
        } else {
            Some(cluster_check(&ports))
        };
        let status = service.status.as_ref();
        Some(Self {
            name: name_of(service),
            uid: service.metadata.uid.clone(),
            mode,
            addresses: addresses(service),
            families: families(spec.ip_families.as_deref()),
            ports,
            check,
            ingress: status
                .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref())
                .map(|ingress| ingress.iter().map(ingress_text).collect())
                .unwrap_or_default(),
        })
    }
}

impl Wanted {
    /// The ports, in each family, at which the load balancer itself accepts connections. It does of TCP alone: there is
    /// nothing to accept of a datagram.
    pub(super) fn accepted(&self) -> BTreeSet<(Family, u16)> {
        if self.mode != BalancerMode::Proxy {
            return BTreeSet::new();
        }
        let tcp = self.ports.iter().filter(|p| p.protocol == Protocol::Tcp);
        let each = |port: &Port| {
            let number = port.port;
            self.families.iter().map(move |family| (*family, number))
        };
        tcp.flat_map(each).collect()
    }

    /// The node port of a TCP port.
    pub(super) fn tcp_node_port(&self, port: u16) -> Option<u16> {
        let mut tcp = self.ports.iter().filter(|p| p.protocol == Protocol::Tcp);
        tcp.find(|p| p.port == port)?.node_port
    }
}

/// `namespace/name`.
pub(super) fn name_of(service: &Service) -> String {
    let metadata = &service.metadata;
    format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// How many addresses of each family a Service asks for: one, unless it says otherwise in a way that can be read.
fn addresses(service: &Service) -> usize {
    let annotations = service.metadata.annotations.as_ref();
    let asked = annotations.and_then(|all| all.get(ADDRESSES_ANNOTATION)?.parse().ok());
    asked.map_or(1, |count: usize| count.clamp(1, MOST_ADDRESSES))
}

/// The check under eTP Cluster: any node forwards to any endpoint, so a node is healthy when its
/// NodePort accepts. A Service without a TCP NodePort has nothing to connect to; clouds then ask
/// the proxy itself (KEP-3836).
fn cluster_check(ports: &[Port]) -> HealthCheck {
    ports
        .iter()
        .filter(|port| port.protocol == Protocol::Tcp)
        .find_map(|port| port.node_port)
        .map_or(HealthCheck::ProxyHealth, |port| HealthCheck::NodePort {
            port,
        })
}

fn port(port: &k8s_openapi::api::core::v1::ServicePort) -> Option<Port> {
    Some(Port {
        protocol: match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        },
        port: number(Some(port.port))?,
        node_port: number(port.node_port),
    })
}

/// A port number that is set: the API writes 0 for "none".
fn number(port: Option<i32>) -> Option<u16> {
    port.and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

fn families(names: Option<&[String]>) -> Vec<Family> {
    let known = |name: &String| Family::ALL.into_iter().find(|f| f.api_name() == name);
    match names {
        None | Some([]) => vec![Family::V4],
        Some(names) => names.iter().filter_map(known).collect(),
    }
}

fn ingress_text(ingress: &LoadBalancerIngress) -> String {
    let text = ingress.ip.as_ref().or(ingress.hostname.as_ref());
    text.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wanted(spec: &Value) -> Option<Wanted> {
        let object = json!({"metadata": {"namespace": "a", "name": "web"}, "spec": spec});
        Wanted::of(&serde_json::from_value(object).expect("a valid Service"))
    }

    fn spec(changes: &Value) -> Value {
        let mut spec = json!({
            "type": "LoadBalancer",
            "loadBalancerClass": "onehop.dev/vip",
            "externalTrafficPolicy": "Cluster",
            "ports": [
                {"port": 53, "protocol": "UDP", "nodePort": 30053},
                {"port": 80, "nodePort": 30080},
            ],
        });
        for (key, value) in changes.as_object().expect("an object") {
            spec[key] = value.clone();
        }
        spec
    }

    fn check(changes: &Value) -> Option<HealthCheck> {
        wanted(&spec(changes)).expect("a Service of ours").check
    }

    #[test]
    fn only_load_balancers_of_our_classes_are_served() {
        let mode = |changes: &Value| wanted(&spec(changes)).map(|wanted| wanted.mode);
        assert_eq!(mode(&json!({})), Some(BalancerMode::Vip));
        for of_class in BalancerMode::ALL {
            let class = format!("onehop.dev/{}", of_class.name());
            assert_eq!(mode(&json!({"loadBalancerClass": class})), Some(of_class));
        }
        assert_eq!(mode(&json!({"loadBalancerClass": "other.example/x"})), None);
        assert_eq!(mode(&json!({"loadBalancerClass": null})), None);
        assert_eq!(mode(&json!({"type": "NodePort"})), None);
    }

    #[test]
    fn cluster_is_checked_by_connecting_to_the_first_tcp_node_port() {
        assert_eq!(
            check(&json!({})),
            Some(HealthCheck::NodePort { port: 30080 })
        );
    }

    #[test]
    fn cluster_without_a_tcp_node_port_asks_the_proxy() {
        let proxy = Some(HealthCheck::ProxyHealth);
        let udp = json!({"ports": [{"port": 53, "protocol": "UDP", "nodePort": 30053}]});
        assert_eq!(check(&udp), proxy);
        assert_eq!(check(&json!({"ports": [{"port": 80}]})), proxy);
    }

    #[test]
    fn local_is_checked_on_the_health_check_node_port_once_there_is_one() {
        let local = |port: Value| {
            check(&json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": port}))
        };
        assert_eq!(
            local(json!(32000)),
            Some(HealthCheck::HealthCheckNodePort { port: 32000 })
        );
        assert_eq!(local(json!(0)), None);
        assert_eq!(local(Value::Null), None);
    }

    #[test]
    fn only_mode_proxy_accepts_and_only_tcp() {
        let accepted = |mode: BalancerMode| {
            let changes = json!({
                "loadBalancerClass": mode.load_balancer_class(), "ipFamilies": ["IPv6", "IPv4"],
            });
            wanted(&spec(&changes)).expect("ours").accepted()
        };
        let tcp = BTreeSet::from(Family::ALL.map(|family| (family, 80)));
        assert_eq!(accepted(BalancerMode::Proxy), tcp);
        assert_eq!(accepted(BalancerMode::NodePort), BTreeSet::new());
    }

    #[test]
    fn a_service_has_one_address_unless_it_asks_for_more() {
        let asked = |annotations: Value| {
            let service = json!({"metadata": {"name": "web", "annotations": annotations}, "spec": spec(&json!({}))});
            addresses(&serde_json::from_value(service).expect("a Service"))
        };
        assert_eq!(asked(Value::Null), 1);
        for (said, addresses) in [("2", 2), ("0", 1), ("200", 4), ("many", 1), ("-1", 1)] {
            assert_eq!(
                asked(json!({ADDRESSES_ANNOTATION: said})),
                addresses,
                "{said}"
            );
        }
    }

    #[test]
    fn families_keep_the_services_order() {
        let families = |names: Value| {
            wanted(&spec(&json!({"ipFamilies": names})))
                .expect("ours")
                .families
        };
        assert_eq!(families(json!(["IPv6", "IPv4"])), [Family::V6, Family::V4]);
        assert_eq!(families(Value::Null), [Family::V4]);
    }
}
