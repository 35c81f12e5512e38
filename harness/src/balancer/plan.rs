//! The rules that the load balancer wants, as data and as text for `nft`. Pure.
//!
//! One table. Its base chain `prerouting` catches what is addressed to an address in use; all
//! other packets are routed as by any router. `balance` decides:
//! - A packet of a known flow goes where the flow went. In mode `vip` connection tracking
//!   remembers the node's mark; in mode `node-port` it remembers the rewriting.
//! - A new flow is looked up by address, protocol and port. Mode `vip` draws a node's mark, by
//!   which the kernel routes the packet. Mode `node-port` lets it through to chain `rewrite`,
//!   which draws a node and rewrites the destination.
//! - What is left is dropped, without an answer: a port that the Service does not have, or no
//!   healthy node. Clouds differ in the latter (Azure drops, an AWS NLB and Google's load balancer
//!   by default try every node). Dropping is chosen, because it shows in a result that the load
//!   balancer had nowhere to go, instead of hiding it behind what some node answered.
//!
//! A node drawn in mode `vip` is drawn again while nobody answered and it has become unhealthy:
//! the client's retransmission is then its second chance, as with a cloud's consistent hash.

use std::fmt::Write;
use std::net::IpAddr;

use super::wanted::{Mode, Port};
use crate::world::{Dual, Family, Protocol};

/// The name of the only table that the load balancer owns, of family `inet`.
pub(super) const TABLE: &str = "onehop_balancer";

/// A node that may receive new flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The mark whose routing table leads to it.
    pub(super) mark: u32,
    pub(super) address: Dual,
}

/// The rules of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarding {
    /// `namespace/name`, for whoever reads the text.
    pub(super) service: String,
    /// The number of its address, which names its chains.
    pub(super) number: u8,
    pub(super) mode: Mode,
    /// Its addresses, of the families it has.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<Port>,
    /// The healthy nodes.
    pub(super) targets: Vec<Target>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) services: Vec<Forwarding>,
}

impl Plan {
    /// The text that makes `nft` replace the old table by this one, in one transaction.
    pub(super) fn render(&self) -> String {
        let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
        let mut line = |text_line: String| {
            text.push_str(&text_line);
            text.push('\n');
        };
        line(format!("table inet {TABLE} {{"));
        for service in &self.services {
            service.chains().into_iter().for_each(&mut line);
        }
        self.balance().into_iter().for_each(&mut line);
        self.rewrite().into_iter().for_each(&mut line);
        self.prerouting().into_iter().for_each(&mut line);
        line("}".to_owned());
        text
    }

    fn prerouting(&self) -> Vec<String> {
        let mut body =
            vec!["type filter hook prerouting priority mangle; policy accept;".to_owned()];
        for family in Family::ALL {
            let all = self.services.iter().flat_map(|service| &service.addresses);
            let own = all.filter(|address| Family::of(**address) == family);
            let own: Vec<_> = own.map(ToString::to_string).collect();
            if !own.is_empty() {
                body.push(format!(
                    "{} daddr {{ {} }} goto balance",
                    keyword(family),
                    own.join(", ")
                ));
            }
        }
        chain("prerouting", body)
    }

    fn balance(&self) -> Vec<String> {
        let mut body = vec![
            "ct state established,related ct direction original ct mark != 0 \
             meta mark set ct mark accept"
                .to_owned(),
            "ct state established,related accept".to_owned(),
        ];
        body.extend(self.lookups("ct state new ", |service, _, port| service.verdict(port)));
        body.push("drop".to_owned());
        chain("balance", body)
    }

    fn rewrite(&self) -> Vec<String> {
        let mut body = vec!["type nat hook prerouting priority dstnat; policy accept;".to_owned()];
        body.extend(self.lookups("", |service, family, port| {
            (service.mode == Mode::NodePort && service.rewrites(port))
                .then(|| format!("goto {}", service.rewrite_chain(family, port)))
        }));
        chain("rewrite", body)
    }

    /// A rule for each family that looks flows up by address, protocol and port.
    fn lookups(
        &self,
        condition: &str,
        verdict: impl Fn(&Forwarding, Family, &Port) -> Option<String>,
    ) -> Vec<String> {
        let rule = |family| {
            let mut elements = Vec::new();
            for service in &self.services {
                for address in service.addresses_of(family) {
                    for port in &service.ports {
                        if let Some(verdict) = verdict(service, family, port) {
                            let (protocol, port) = (nft_protocol(port.protocol), port.port);
                            elements.push(format!("{address} . {protocol} . {port} : {verdict}"));
                        }
                    }
                }
            }
            (!elements.is_empty()).then(|| {
                format!(
                    "{condition}{} daddr . meta l4proto . th dport vmap {{ {} }}",
                    keyword(family),
                    elements.join(", ")
                )
            })
        };
        Family::ALL.into_iter().filter_map(rule).collect()
    }
}

impl Forwarding {
    fn addresses_of(&self, family: Family) -> impl Iterator<Item = &IpAddr> {
        let of_family = move |address: &&IpAddr| Family::of(**address) == family;
        self.addresses.iter().filter(of_family)
    }

    /// What happens to a new flow; nothing (so that it is dropped) if it has nowhere to go.
    fn verdict(&self, port: &Port) -> Option<String> {
        match self.mode {
            Mode::Vip => (!self.targets.is_empty()).then(|| format!("goto {}", self.mark_chain())),
            Mode::NodePort => self.rewrites(port).then(|| "accept".to_owned()),
        }
    }

    /// Whether flows to this port can be rewritten.
    fn rewrites(&self, port: &Port) -> bool {
        port.node_port.is_some() && !self.targets.is_empty()
    }

    fn mark_chain(&self) -> String {
        format!("vip_{}", self.number)
    }

    fn rewrite_chain(&self, family: Family, port: &Port) -> String {
        let protocol = nft_protocol(port.protocol);
        format!(
            "vip_{}_{}_{protocol}_{}",
            self.number,
            keyword(family),
            port.port
        )
    }

    fn chains(&self) -> Vec<String> {
        let mut lines = vec![format!("  # {}", self.service)];
        if self.targets.is_empty() {
            lines.push("  # no healthy node: new connections are dropped".to_owned());
            return lines;
        }
        match self.mode {
            Mode::Vip => {
                let marks: Vec<_> = self.targets.iter().map(|t| t.mark.to_string()).collect();
                let body = vec![
                    format!(
                        "ct mark {{ {} }} meta mark set ct mark accept",
                        marks.join(", ")
                    ),
                    format!("ct mark set {}", draw(marks.iter().map(String::as_str))),
                    "meta mark set ct mark accept".to_owned(),
                ];
                lines.extend(chain(&self.mark_chain(), body));
            }
            Mode::NodePort => {
                for family in Family::ALL {
                    if self.addresses_of(family).next().is_some() {
                        lines.extend(self.rewrite_chains(family));
                    }
                }
            }
        }
        lines
    }

    fn rewrite_chains(&self, family: Family) -> Vec<String> {
        let chain_of = |port: &Port| {
            let node_port = port.node_port?;
            let nodes = self.targets.iter();
            let nodes = nodes.map(|t| format!("{} . {node_port}", t.address.of(family)));
            let body = vec![format!(
                "meta l4proto {} dnat {} to {}",
                nft_protocol(port.protocol),
                keyword(family),
                draw(nodes)
            )];
            Some(chain(&self.rewrite_chain(family, port), body))
        };
        self.ports.iter().filter_map(chain_of).flatten().collect()
    }
}

/// Draws one of the values, each with the same probability.
fn draw(values: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut elements = String::new();
    let mut count = 0;
    for value in values {
        let comma = if count == 0 { "" } else { ", " };
        write!(elements, "{comma}{count} : {}", value.as_ref()).expect("a string takes text");
        count += 1;
    }
    format!("numgen random mod {count} map {{ {elements} }}")
}

fn chain(name: &str, body: Vec<String>) -> Vec<String> {
    let body = body.into_iter().map(|rule| format!("    {rule}"));
    std::iter::once(format!("  chain {name} {{"))
        .chain(body)
        .chain(["  }".to_owned()])
        .collect()
}

fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn nft_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::AddressPlan;

    fn forwarding(mode: Mode, nodes: &[u8]) -> Forwarding {
        Forwarding {
            service: "default/web".to_owned(),
            number: 7,
            mode,
            addresses: AddressPlan::vip(7).both().to_vec(),
            ports: vec![Port {
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30080),
            }],
            targets: nodes
                .iter()
                .map(|number| Target {
                    mark: 1000 + u32::from(*number),
                    address: AddressPlan::node_host(10 + number),
                })
                .collect(),
        }
    }

    fn render(service: Forwarding) -> String {
        Plan {
            services: vec![service],
        }
        .render()
    }

    #[test]
    fn a_vip_service_draws_a_mark() {
        let expected = "\
table inet onehop_balancer
delete table inet onehop_balancer
table inet onehop_balancer {
  # default/web
  chain vip_7 {
    ct mark { 1001, 1003 } meta mark set ct mark accept
    ct mark set numgen random mod 2 map { 0 : 1001, 1 : 1003 }
    meta mark set ct mark accept
  }
  chain balance {
    ct state established,related ct direction original ct mark != 0 meta mark set ct mark accept
    ct state established,related accept
    ct state new ip daddr . meta l4proto . th dport vmap { 198.51.100.7 . tcp . 80 : goto vip_7 }
    ct state new ip6 daddr . meta l4proto . th dport vmap { 2001:db8:100::7 . tcp . 80 : goto vip_7 }
    drop
  }
  chain rewrite {
    type nat hook prerouting priority dstnat; policy accept;
  }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    ip daddr { 198.51.100.7 } goto balance
    ip6 daddr { 2001:db8:100::7 } goto balance
  }
}
";
        assert_eq!(render(forwarding(Mode::Vip, &[1, 3])), expected);
    }

    #[test]
    fn a_node_port_service_rewrites_the_destination() {
        let text = render(forwarding(Mode::NodePort, &[1, 3]));
        for rule in [
            "198.51.100.7 . tcp . 80 : accept",
            "198.51.100.7 . tcp . 80 : goto vip_7_ip_tcp_80",
            "meta l4proto tcp dnat ip to numgen random mod 2 map \
             { 0 : 172.18.0.11 . 30080, 1 : 172.18.0.13 . 30080 }",
            "meta l4proto tcp dnat ip6 to numgen random mod 2 map \
             { 0 : fd00:18::b . 30080, 1 : fd00:18::d . 30080 }",
        ] {
            assert!(text.contains(rule), "{rule}\nis missing in\n{text}");
        }
        assert!(!text.contains("mark set numgen"), "{text}");
    }

    #[test]
    fn without_a_healthy_node_the_address_is_known_and_new_flows_are_dropped() {
        for mode in [Mode::Vip, Mode::NodePort] {
            let text = render(forwarding(mode, &[]));
            assert!(!text.contains("vmap") && !text.contains("numgen"), "{text}");
            assert!(text.contains("ip daddr { 198.51.100.7 } goto balance"));
        }
    }

    #[test]
    fn node_port_mode_drops_a_port_that_has_no_node_port() {
        let mut service = forwarding(Mode::NodePort, &[1]);
        service.ports[0].node_port = None;
        let text = render(service);
        assert!(!text.contains("dnat") && !text.contains("vmap"), "{text}");
    }

    #[test]
    fn an_empty_plan_still_replaces_the_table() {
        let text = Plan::default().render();
        assert!(text.contains("delete table inet onehop_balancer"));
        assert!(!text.contains("daddr"), "{text}");
    }
}
