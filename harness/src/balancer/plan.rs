//! The rules that the load balancer wants, as data. Pure.
//!
//! One table a Service, so that a change to one Service touches no packet of another. The table's
//! base chain `prerouting` catches what is addressed to the Service's addresses; all other packets
//! are routed as by any router. `balance` decides:
//! - A packet of a known flow goes where the flow went. In modes `vip` and `weighted` connection
//!   tracking remembers the node's mark; in the others it remembers the rewriting.
//! - A new flow is looked up by address, protocol and port. Modes `vip` and `weighted` draw a
//!   node's mark, by which the kernel routes the packet. Mode `node-port` lets it through to chain
//!   `rewrite`, which draws a node and rewrites the destination. Mode `proxy` does the same with
//!   what the load balancer itself listens on: `relay` chooses the node then.
//! - A draw is a random number that a map turns into a node: each is in it as often as it weighs.
//! - What is left is dropped, without an answer: a port that the Service does not have, or no
//!   healthy node. Clouds differ in the latter (Azure drops, an AWS NLB and Google's load balancer
//!   by default try every node). Dropping is chosen, because it shows in a result that the load
//!   balancer had nowhere to go, instead of hiding it behind what some node answered.
//!
//! Nor does a change lose a packet of the Service itself. Every version of its rules has chains and
//! maps of its own, which never change; a transaction adds the next version, and exchanges the rules
//! of the base chains, which lead to it. See [`super::installed`]. Modes `node-port` and `proxy` have two base chains: a packet
//! that `balance` lets through just when its port or the last node goes may find `rewrite` without it, and is told that
//! the address is unreachable.
//!
//! A mark that was drawn is drawn again while nobody answered and it has become unhealthy:
//! the client's retransmission is then its second chance, as with a cloud's consistent hash.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, SocketAddr};

use onehop_nft::{
    Batch, CT_DIRECTION, CT_MARK, CT_STATE, Chain, ChainKind, Element, Family as TableFamily, Hook,
    L4PROTO, Load, NFPROTO, Rule, Set, TH_DPORT, Table, Type, Value, Verdict, ct_state, daddr, map,
    priority, random,
};

use super::wanted::Port;
use crate::case::BalancerMode;
use crate::world::{Family, Protocol};

/// A node that may receive new flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The mark whose routing table leads to it.
    pub(super) mark: u32,
    pub(super) address: IpAddr,
    /// Its share is this of the sum of all. Never zero.
    pub(super) weight: u32,
}

/// The rules of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarding {
    /// `namespace/name`, for whoever lists the rules.
    pub(super) service: String,
    /// The number of its address, which names its table.
    pub(super) number: u8,
    pub(super) mode: BalancerMode,
    /// Its addresses, of the families it has.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<Port>,
    /// The healthy nodes of each of its families.
    pub(super) targets: BTreeMap<Family, Vec<Target>>,
    /// What the load balancer listens on for each TCP port, in mode `proxy`.
    pub(super) listeners: BTreeMap<(Family, u16), SocketAddr>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) services: Vec<Forwarding>,
}

/// A version of the rules of one Service, as data: what the kernel is given, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    table: Table,
    /// The end of the names of all that is this version's alone.
    version: u32,
    chains: Vec<(Chain, Vec<Rule>)>,
    sets: Vec<(Set, Vec<Element>)>,
}

impl Rules {
    /// Adds this version to the table, which is made if there is none. The base chains lead to it and to no other from then
    /// on.
    pub(super) fn add_to(&self, batch: &mut Batch) {
        let table = &self.table;
        batch.add_table(table);
        for (chain, _) in &self.chains {
            batch.add_chain(table, chain);
            if chain.base.is_some() {
                batch.flush_chain(table, &chain.name);
            }
        }
        for (set, elements) in &self.sets {
            batch.add_set(table, set);
            batch.add_elements(table, &set.name, elements);
        }
        for (chain, rules) in &self.chains {
            for rule in rules {
                batch.add_rule(table, &chain.name, rule);
            }
        }
    }

    /// Deletes this version, once no base chain leads to it any more.
    pub(super) fn remove_from(&self, batch: &mut Batch) {
        let table = &self.table;
        let own = || self.chains.iter().filter(|(chain, _)| chain.base.is_none());
        own().for_each(|(chain, _)| batch.flush_chain(table, &chain.name));
        // With their elements goes what refers to chains.
        self.sets.iter().for_each(|(set, _)| {
            batch.flush_set(table, &set.name);
            batch.delete_set(table, &set.name);
        });
        own().for_each(|(chain, _)| batch.delete_chain(table, &chain.name));
    }

    /// The name of something that is this version's alone.
    fn name(&self, what: &str) -> String {
        format!("{what}_{}", self.version)
    }

    fn chain(&mut self, chain: Chain, rules: Vec<Rule>) {
        self.chains.push((chain, rules));
    }
}

impl Forwarding {
    pub(super) fn table(&self) -> Table {
        let name = format!("onehop_balancer_{}", self.number);
        Table::new(TableFamily::Inet, name).comment(&*self.service)
    }

    /// Its rules, as a version that has no other's number.
    pub(super) fn rules(&self, version: u32) -> Rules {
        let mut rules = Rules {
            table: self.table(),
            version,
            chains: Vec::new(),
            sets: Vec::new(),
        };
        match self.mode {
            BalancerMode::Vip | BalancerMode::Weighted => self.draws(&mut rules),
            BalancerMode::NodePort | BalancerMode::Proxy => self.rewrite_chains(&mut rules),
        }
        self.balance(&mut rules);
        if matches!(self.mode, BalancerMode::NodePort | BalancerMode::Proxy) {
            self.rewrite(&mut rules);
        }
        self.prerouting(&mut rules);
        rules
    }

    fn prerouting(&self, rules: &mut Rules) {
        let balance = rules.name("balance");
        let own = |address: &IpAddr| {
            let family = Family::of(*address);
            of(family)
                .eq(daddr(table_family(family)), *address)
                .goto(&*balance)
        };
        let hook = Hook::Prerouting;
        rules.chain(
            Chain::base("prerouting", ChainKind::Filter, hook, priority::MANGLE),
            self.addresses.iter().map(own).collect(),
        );
    }

    fn balance(&self, rules: &mut Rules) {
        let known = || Rule::new().any(CT_STATE, ct_state::ESTABLISHED | ct_state::RELATED);
        let mut body = vec![
            known()
                .eq(CT_DIRECTION, Value::new().byte(0))
                .ne(CT_MARK, Value::new().number(0))
                .set_mark(CT_MARK)
                .accept(),
            known().accept(),
        ];
        let new = || Rule::new().any(CT_STATE, ct_state::NEW);
        let version = rules.version;
        let verdict = |family, port: &Port| self.verdict(family, port, version);
        body.extend(self.lookups(rules, "services", new, verdict));
        body.push(Rule::new().drop());
        rules.chain(Chain::regular(rules.name("balance")), body);
    }

    fn rewrite(&self, rules: &mut Rules) {
        let version = rules.version;
        let verdict = |family, port: &Port| {
            let rewritten = !self.destinations(family, port).is_empty();
            rewritten.then(|| Verdict::goto(format!("{}_{version}", rewrite_chain(family, port))))
        };
        let body = self.lookups(rules, "rewrites", Rule::new, verdict);
        let hook = Hook::Prerouting;
        rules.chain(
            Chain::base("rewrite", ChainKind::Nat, hook, priority::DSTNAT),
            body,
        );
    }

    /// A rule for each family that looks flows up by address, protocol and port, and its map, whose
    /// name begins thus.
    fn lookups(
        &self,
        rules: &mut Rules,
        name: &str,
        condition: impl Fn() -> Rule,
        verdict: impl Fn(Family, &Port) -> Option<Verdict>,
    ) -> Vec<Rule> {
        let mut body = Vec::new();
        for family in Family::ALL {
            let mut elements = Vec::new();
            for address in self.addresses_of(family) {
                for port in &self.ports {
                    if let Some(verdict) = verdict(family, port) {
                        let key = Value::new().ip(*address);
                        let key = key.proto(protocol(port.protocol).0).port(port.port);
                        elements.push(Element::verdict(key, verdict));
                    }
                }
            }
            if elements.is_empty() {
                continue;
            }
            let name = rules.name(&format!("{name}_{}", keyword(family)));
            let key = [address_type(family), Type::InetProto, Type::InetService];
            let set = Set::verdict_map(&*name, &key);
            rules.sets.push((set, elements));
            let destination = daddr(table_family(family));
            let mut rule = of(family);
            rule.expressions.extend(condition().expressions);
            body.push(rule.vmap([destination, L4PROTO, TH_DPORT], name));
        }
        body
    }

    fn addresses_of(&self, family: Family) -> impl Iterator<Item = &IpAddr> {
        let of_family = move |address: &&IpAddr| Family::of(**address) == family;
        self.addresses.iter().filter(of_family)
    }

    /// The healthy nodes of a family.
    fn targets(&self, family: Family) -> &[Target] {
        self.targets.get(&family).map_or(&[], Vec::as_slice)
    }

    /// What happens to a new flow; nothing (so that it is dropped) if it has nowhere to go.
    fn verdict(&self, family: Family, port: &Port, version: u32) -> Option<Verdict> {
        match self.mode {
            BalancerMode::Vip | BalancerMode::Weighted => {
                let draw = || Verdict::goto(format!("{}_{version}", draw_chain(family)));
                (!self.targets(family).is_empty()).then(draw)
            }
            BalancerMode::NodePort | BalancerMode::Proxy => {
                (!self.destinations(family, port).is_empty()).then_some(Verdict::Accept)
            }
        }
    }

    /// What the destination of a flow to this port may become, modes `node-port` and `proxy`.
    fn destinations(&self, family: Family, port: &Port) -> Vec<Value> {
        let Some(node_port) = port.node_port else {
            return Vec::new();
        };
        if self.mode == BalancerMode::NodePort {
            let rewritten = |node: &Target| Value::new().ip(node.address).port(node_port);
            return by_weight(self.targets(family), rewritten);
        }
        // A connection that no node could be found for is not accepted either.
        let tcp = port.protocol == Protocol::Tcp && !self.targets(family).is_empty();
        let listener = self.listeners.get(&(family, port.port)).filter(|_| tcp);
        let listener = listener.map(|own| Value::new().ip(own.ip()).port(own.port()));
        listener.into_iter().collect()
    }

    /// Modes `vip` and `weighted`: a chain for each family, in which a flow gets a node's mark, that it keeps while the node is
    /// healthy.
    fn draws(&self, rules: &mut Rules) {
        for (family, targets) in &self.targets {
            if targets.is_empty() {
                continue;
            }
            let mark = |target: &Target| Value::new().number(target.mark);
            let marks = targets.iter().map(mark).map(Element::new).collect();
            let healthy = rules.name(&format!("healthy_{}", keyword(*family)));
            rules.sets.push((Set::new(&*healthy, &[Type::Mark]), marks));
            let name = rules.name(&draw_chain(*family));
            let drawn = draw(rules, &name, &[Type::Mark], &by_weight(targets, mark));
            rules.chain(
                Chain::regular(name),
                vec![
                    Rule::new()
                        .in_set(CT_MARK, healthy)
                        .set_mark(CT_MARK)
                        .accept(),
                    Rule::new().set_ct_mark(drawn),
                    Rule::new().set_mark(CT_MARK).accept(),
                ],
            );
        }
    }

    /// Modes `node-port` and `proxy`: a chain for each family and port, which draws a destination.
    fn rewrite_chains(&self, rules: &mut Rules) {
        for family in Family::ALL {
            if self.addresses_of(family).next().is_none() {
                continue;
            }
            for port in &self.ports {
                let destinations = self.destinations(family, port);
                if destinations.is_empty() {
                    continue;
                }
                let name = rules.name(&rewrite_chain(family, port));
                let types = [address_type(family), Type::InetService];
                let drawn = draw(rules, &name, &types, &destinations);
                let rewrite = Rule::new().dnat(table_family(family), drawn);
                rules.chain(Chain::regular(name), vec![rewrite]);
            }
        }
    }
}

/// What stands for each node in a draw, as often as it weighs.
fn by_weight(targets: &[Target], value: impl Fn(&Target) -> Value) -> Vec<Value> {
    let often = |target: &Target| iter::repeat_n(value(target), target.weight as usize);
    targets.iter().flat_map(often).collect()
}

/// A new rule for packets of one family, as the table sees both.
fn of(family: Family) -> Rule {
    Rule::new().eq(NFPROTO, Value::new().byte(table_family(family).number()))
}

fn draw_chain(family: Family) -> String {
    format!("draw_{}", keyword(family))
}

fn rewrite_chain(family: Family, port: &Port) -> String {
    let (_, protocol) = protocol(port.protocol);
    format!("{}_{protocol}_{}", keyword(family), port.port)
}

/// Draws one of the values, each with the same probability, from a map of this name.
fn draw(rules: &mut Rules, name: &str, types: &[Type], values: &[Value]) -> Load {
    let count = u32::try_from(values.len()).expect("a world has few nodes, of bounded weights");
    let length = values.iter().map(Value::len).max().unwrap_or_default();
    let length = u32::try_from(length).expect("at most 64");
    let elements = std::iter::zip(0.., values);
    let elements =
        elements.map(|(number, value)| Element::value(Value::new().number(number), *value));
    let set = Set::map(name, &[Type::Mark], types);
    rules.sets.push((set, elements.collect()));
    map(random(count), name, length)
}

fn keyword(family: Family) -> &'static str {
    table_family(family).keyword()
}

pub(crate) fn table_family(family: Family) -> TableFamily {
    match family {
        Family::V4 => TableFamily::Ip,
        Family::V6 => TableFamily::Ip6,
    }
}

fn address_type(family: Family) -> Type {
    match family {
        Family::V4 => Type::Ipv4Addr,
        Family::V6 => Type::Ipv6Addr,
    }
}

/// The protocol's number in an IP header, and its word in nft's language.
fn protocol(protocol: Protocol) -> (u8, &'static str) {
    match protocol {
        Protocol::Tcp => (6, "tcp"),
        Protocol::Udp => (17, "udp"),
        Protocol::Sctp => (132, "sctp"),
    }
}

#[cfg(test)]
pub(super) mod tests;
