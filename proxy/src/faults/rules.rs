//! What faults do to the rules that every table has, and to what those depend on.

use std::time::Duration;

use ipnet::IpNet;
use onehop_nft::{
    CT_STATE, CT_STATUS, CmpOp, L4PROTO, Load, PayloadBase, Rule, Value, ct_original_daddr,
    ct_state, ct_status, nat_flags, saddr,
};

use crate::config::Conntrack;
use crate::dataplane::{
    CLUSTER_IPS, Detector, NodePorts, Options, REFUSALS, Ruled, by_class, outside_network,
    table_family,
};
use crate::model::Family;

/// The number of UDP (RFC 768).
const UDP: u8 = 17;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    let parse = |text: &&str| text.parse().expect("a network");
    texts.iter().map(parse).collect()
}

pub(super) fn masquerade_all(options: &mut Options) {
    options.masquerade_all = true;
}

/// A mark of no bits is never seen.
pub(super) fn masquerade_nothing(options: &mut Options) {
    options.masquerade_mark = 0;
}

pub(super) fn no_detector(options: &mut Options) {
    options.detector = Detector::None;
}

pub(super) fn all_are_pods(options: &mut Options) {
    let halves = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"];
    options.detector = Detector::Sources(networks(&halves));
}

pub(super) fn no_v6(options: &mut Options) {
    options.families = vec![Family::V4];
}

pub(super) fn node_ports_everywhere(options: &mut Options) {
    options.node_ports = NodePorts::AnyLocal;
}

pub(super) fn invalid_passes(options: &mut Options) {
    options.drop_invalid = false;
}

fn chain<'a>(chains: &'a mut [Ruled], name: &str) -> &'a mut Ruled {
    let named = chains.iter_mut().find(|ruled| ruled.chain.name == name);
    named.expect("every table has it")
}

fn translated() -> Rule {
    Rule::new().any(CT_STATUS, ct_status::DNAT)
}

pub(super) fn masquerade_whatever(chains: &mut [Ruled], _: Family) {
    let rule = translated().masquerade(nat_flags::FULLY_RANDOM);
    chain(chains, "nat-postrouting").rules.push(rule);
}

/// Neither what external addresses are called for, nor a hairpin.
pub(super) fn masquerade_nothing_at_all(chains: &mut [Ruled], _: Family) {
    chain(chains, "nat-postrouting").rules.clear();
}

/// Clients outside private address space are masqueraded.
pub(super) fn masquerade_public(chains: &mut [Ruled], family: Family) {
    let private = match family {
        Family::V4 => networks(&["10.0.0.0/8", "172.16.0.0/12"]),
        Family::V6 => networks(&["fd00::/8"]),
    };
    let from = saddr(table_family(family));
    let public = private.into_iter().fold(translated(), |rule, network| {
        outside_network(rule, from.clone(), network)
    });
    let rule = public.masquerade(nat_flags::FULLY_RANDOM);
    chain(chains, "nat-postrouting").rules.push(rule);
}

/// What the node itself sends is not held to source ranges.
pub(super) fn node_is_not_held(chains: &mut [Ruled], _: Family) {
    chain(chains, "filter-output-early").rules.clear();
}

/// What the node itself sends is not translated.
pub(super) fn node_is_not_served(chains: &mut [Ruled], _: Family) {
    chain(chains, "nat-output").rules.clear();
}

/// What the node itself sends is not refused by it.
pub(super) fn node_is_not_refused(chains: &mut [Ruled], _: Family) {
    chain(chains, "filter-output").rules.clear();
}

/// What a Service drops or refuses, it does to connections that are established as well.
pub(super) fn established_are_refused(chains: &mut [Ruled], family: Family) {
    let established = || Rule::new().any(CT_STATE, ct_state::ESTABLISHED);
    let refuse = |node_port| by_class(established(), family, node_port, REFUSALS);
    let rules = &mut chain(chains, "filter-prerouting").rules;
    rules.splice(..0, [refuse(false), refuse(true)]);
}

/// A pod that reaches itself by a ClusterIP is its own peer, unlike by other addresses.
pub(super) fn cluster_ip_hairpins_keep_their_source(chains: &mut [Ruled], family: Family) {
    let called = ct_original_daddr(table_family(family));
    let rule = translated().in_set(called, CLUSTER_IPS).accept();
    chain(chains, "nat-postrouting").rules.insert(0, rule);
}

/// Datagrams on their way to a pod or back are lost where an option of eight octets would make them longer than 1500, as
/// most links take no more.
pub(super) fn long_datagrams_are_lost(chains: &mut [Ruled], family: Family) {
    // The length of an IPv6 packet does not count its first header.
    let (offset, room) = match family {
        Family::V4 => (2, 1500 - 8_u16),
        Family::V6 => (4, 1500 - 8 - 40),
    };
    let room = Value::raw(&room.to_be_bytes()).expect("two bytes");
    let length = Load::Payload {
        base: PayloadBase::Network,
        offset,
        length: 2,
    };
    let rule = translated()
        .eq(L4PROTO, Value::new().byte(UDP))
        .compare(length, CmpOp::Gt, room)
        .drop();
    chain(chains, "filter-forward").rules.insert(0, rule);
}

/// Connections are forgotten that nobody uses for two seconds.
pub(super) fn rest_is_short(conntrack: &mut Conntrack) {
    conntrack.tcp_established_timeout = Some(Duration::from_secs(2));
}
