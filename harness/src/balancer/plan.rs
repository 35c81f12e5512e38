//! The rules that the load balancer wants, as data and as text for `nft`. Pure.
//!
//! One table a Service, so that a change to one Service touches no packet of another: a packet
//! under way while the kernel replaces a table may be looked up half in the old one and half in
//! the new, and be lost. The table's base chain `prerouting` catches what is addressed to the
//! Service's addresses; all other packets are routed as by any router. `balance` decides:
//! - A packet of a known flow goes where the flow went. In mode `vip` connection tracking
//!   remembers the node's mark; in mode `node-port` it remembers the rewriting.
//! - A new flow is looked up by address, protocol and port. BalancerMode `vip` draws a node's mark, by
//!   which the kernel routes the packet. BalancerMode `node-port` lets it through to chain `rewrite`,
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

use super::wanted::Port;
use crate::case::BalancerMode;
use crate::world::{Dual, Family, Protocol};

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
    pub(super) mode: BalancerMode,
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
    /// The text that makes `nft` turn the tables of an older plan into this one's, in one
    /// transaction. Tables that stay the same are not in it.
    pub(super) fn changes_from(&self, old: &Self) -> String {
        let mut text = String::new();
        for gone in old
            .services
            .iter()
            .filter(|service| !self.services.contains(service))
        {
            writeln!(text, "delete table inet {}", gone.table()).expect("a string takes text");
        }
        for service in self
            .services
            .iter()
            .filter(|service| !old.services.contains(service))
        {
            text.push_str(&service.render());
        }
        text
    }
}

impl Forwarding {
    /// The name of its table, of family `inet`.
    fn table(&self) -> String {
        format!("onehop_balancer_{}", self.number)
    }

    /// The text that makes `nft` add its table.
    fn render(&self) -> String {
        let mut lines = vec![
            format!("# {}", self.service),
            format!("table inet {} {{", self.table()),
        ];
        lines.extend(self.chains());
        lines.extend(self.balance());
        if self.mode == BalancerMode::NodePort {
            lines.extend(self.rewrite());
        }
        lines.extend(self.prerouting());
        lines.push("}\n".to_owned());
        lines.join("\n")
    }

    fn prerouting(&self) -> Vec<String> {
        let mut body =
            vec!["type filter hook prerouting priority mangle; policy accept;".to_owned()];
        for family in Family::ALL {
            let own: Vec<_> = self.addresses_of(family).map(ToString::to_string).collect();
            if !own.is_empty() {
                let own = own.join(", ");
                body.push(format!(
                    "{} daddr {{ {own} }} goto balance",
                    keyword(family)
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
        body.extend(self.lookups("ct state new ", |_, port| self.verdict(port)));
        body.push("drop".to_owned());
        chain("balance", body)
    }

    fn rewrite(&self) -> Vec<String> {
        let mut body = vec!["type nat hook prerouting priority dstnat; policy accept;".to_owned()];
        body.extend(self.lookups("", |family, port| {
            self.rewrites(port)
                .then(|| format!("goto {}", rewrite_chain(family, port)))
        }));
        chain("rewrite", body)
    }

    /// A rule for each family that looks flows up by address, protocol and port.
    fn lookups(
        &self,
        condition: &str,
        verdict: impl Fn(Family, &Port) -> Option<String>,
    ) -> Vec<String> {
        let rule = |family| {
            let mut elements = Vec::new();
            for address in self.addresses_of(family) {
                for port in &self.ports {
                    if let Some(verdict) = verdict(family, port) {
                        let (protocol, port) = (nft_protocol(port.protocol), port.port);
                        elements.push(format!("{address} . {protocol} . {port} : {verdict}"));
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

    fn addresses_of(&self, family: Family) -> impl Iterator<Item = &IpAddr> {
        let of_family = move |address: &&IpAddr| Family::of(**address) == family;
        self.addresses.iter().filter(of_family)
    }

    /// What happens to a new flow; nothing (so that it is dropped) if it has nowhere to go.
    fn verdict(&self, port: &Port) -> Option<String> {
        match self.mode {
            BalancerMode::Vip => (!self.targets.is_empty()).then(|| "goto draw".to_owned()),
            BalancerMode::NodePort => self.rewrites(port).then(|| "accept".to_owned()),
        }
    }

    /// Whether flows to this port can be rewritten.
    fn rewrites(&self, port: &Port) -> bool {
        port.node_port.is_some() && !self.targets.is_empty()
    }

    fn chains(&self) -> Vec<String> {
        if self.targets.is_empty() {
            return vec!["  # no healthy node: new connections are dropped".to_owned()];
        }
        match self.mode {
            BalancerMode::Vip => {
                let marks: Vec<_> = self.targets.iter().map(|t| t.mark.to_string()).collect();
                let body = vec![
                    format!(
                        "ct mark {{ {} }} meta mark set ct mark accept",
                        marks.join(", ")
                    ),
                    format!("ct mark set {}", draw(marks.iter().map(String::as_str))),
                    "meta mark set ct mark accept".to_owned(),
                ];
                chain("draw", body)
            }
            BalancerMode::NodePort => Family::ALL
                .into_iter()
                .filter(|family| self.addresses_of(*family).next().is_some())
                .flat_map(|family| self.rewrite_chains(family))
                .collect(),
        }
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
            Some(chain(&rewrite_chain(family, port), body))
        };
        self.ports.iter().filter_map(chain_of).flatten().collect()
    }
}

fn rewrite_chain(family: Family, port: &Port) -> String {
    let protocol = nft_protocol(port.protocol);
    format!("{}_{protocol}_{}", keyword(family), port.port)
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

    fn forwarding(mode: BalancerMode, nodes: &[u8]) -> Forwarding {
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

    #[test]
    fn a_vip_service_draws_a_mark() {
        let expected = "\
# default/web
table inet onehop_balancer_7 {
  chain draw {
    ct mark { 1001, 1003 } meta mark set ct mark accept
    ct mark set numgen random mod 2 map { 0 : 1001, 1 : 1003 }
    meta mark set ct mark accept
  }
  chain balance {
    ct state established,related ct direction original ct mark != 0 meta mark set ct mark accept
    ct state established,related accept
    ct state new ip daddr . meta l4proto . th dport vmap { 198.51.100.7 . tcp . 80 : goto draw }
    ct state new ip6 daddr . meta l4proto . th dport vmap { 2001:db8:100::7 . tcp . 80 : goto draw }
    drop
  }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    ip daddr { 198.51.100.7 } goto balance
    ip6 daddr { 2001:db8:100::7 } goto balance
  }
}
";
        assert_eq!(forwarding(BalancerMode::Vip, &[1, 3]).render(), expected);
    }

    #[test]
    fn a_node_port_service_rewrites_the_destination() {
        let text = forwarding(BalancerMode::NodePort, &[1, 3]).render();
        for rule in [
            "198.51.100.7 . tcp . 80 : accept",
            "198.51.100.7 . tcp . 80 : goto ip_tcp_80",
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
        for mode in [BalancerMode::Vip, BalancerMode::NodePort] {
            let text = forwarding(mode, &[]).render();
            assert!(!text.contains("vmap") && !text.contains("numgen"), "{text}");
            assert!(text.contains("ip daddr { 198.51.100.7 } goto balance"));
        }
    }

    #[test]
    fn node_port_mode_drops_a_port_that_has_no_node_port() {
        let mut service = forwarding(BalancerMode::NodePort, &[1]);
        service.ports[0].node_port = None;
        let text = service.render();
        assert!(!text.contains("dnat") && !text.contains("vmap"), "{text}");
    }

    #[test]
    fn a_change_names_only_the_tables_that_change() {
        let plan = |services: &[Forwarding]| Plan {
            services: services.to_vec(),
        };
        let (stays, changes) = (
            forwarding(BalancerMode::Vip, &[1]),
            forwarding(BalancerMode::Vip, &[1, 3]),
        );
        let stays = Forwarding { number: 8, ..stays };
        let changed = Forwarding {
            targets: Vec::new(),
            ..changes.clone()
        };
        let old = plan(&[stays.clone(), changes]);
        let text = plan(&[stays.clone(), changed.clone()]).changes_from(&old);
        assert_eq!(
            text,
            format!("delete table inet onehop_balancer_7\n{}", changed.render())
        );
        assert_eq!(
            plan(&[stays]).changes_from(&old),
            "delete table inet onehop_balancer_7\n"
        );
        assert_eq!(old.changes_from(&old), "");
    }
}
