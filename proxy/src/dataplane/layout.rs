//! The fixed parts of a table: its sets and maps, its base chains and their rules. Pure.
//!
//! Everything that a Service brings is an element of a set or map, so that churn changes elements and the
//! kernel does not check chains. A packet's destination is looked up in `services`, which gives a class;
//! `classes` gives the class's chain, which counts endpoints but names none. That chain looks the destination
//! up in `service-ids`, and an endpoint of that id in `endpoints`.

use onehop_nft::{
    Base, CT_STATE, CT_STATUS, Chain, ChainKind, FIB_DADDR_TYPE, Hook, LookupTo, MARK, Policy,
    Reject, Rule, Set, Type, Value, Verdict, ct_state, ct_status, nat_flags, priority, reject_code,
};

use super::options::{NodePorts, Options};
use super::steps::{Registers, find, in_network, lookup, outside_network};
use crate::model::Family;

/// The name of the tables, one a family.
pub const TABLE: &str = "onehop-proxy";

/// Destination → class.
pub(super) const SERVICES: &str = "services";
/// Destination → id of a Service port.
pub(super) const SERVICE_IDS: &str = "service-ids";
/// Destination → id of a Service port, where its sources are restricted.
pub(super) const SOURCE_CHECKED: &str = "source-checked";
/// Class → its chain.
pub(super) const CLASSES: &str = "classes";
/// Class → what becomes of packets that were not translated.
pub(crate) const REFUSALS: &str = "refusals";
/// Id . number → endpoint; id . slot → endpoint for Service ports with session affinity.
pub(super) const ENDPOINTS: &str = "endpoints";
/// Id . number → slot, of Service ports with session affinity.
pub(super) const SLOTS: &str = "slots";
/// Id . client → slot. Written by the rules alone.
pub(super) const AFFINITY: &str = "affinity";
/// Id . sources that may use its VIPs.
pub(super) const SOURCE_RANGES: &str = "source-ranges";
/// Cluster addresses.
pub(crate) const CLUSTER_IPS: &str = "cluster-ips";
/// Client . endpoint that are the same pod.
pub(super) const HAIRPINS: &str = "hairpins";
/// Addresses with node ports, under [`NodePorts::Listed`].
pub(super) const NODE_PORT_ADDRESSES: &str = "node-port-addresses";

/// The chain that refuses with an answer.
pub(super) const REJECT: &str = "refuse";
/// The chain that drops what goes to a service address that no Service has.
pub(super) const UNALLOCATED: &str = "unallocated";

/// How many clients session affinity remembers in a family. Beyond that, a new client's connections are
/// spread as if there were no affinity. The kernel sizes its hash table by it: 2 MiB.
const AFFINITY_SIZE: u32 = 1 << 17;

/// Upstream's filters that go by the untranslated destination run just before translation.
const BEFORE_DSTNAT: i32 = priority::DSTNAT - 10;

/// `RTN_LOCAL`: the type of the node's own addresses.
pub(super) const LOCAL: u32 = 2;

/// The family as the kernel's tables have it.
pub(crate) fn table_family(family: Family) -> onehop_nft::Family {
    match family {
        Family::V4 => onehop_nft::Family::Ip,
        Family::V6 => onehop_nft::Family::Ip6,
    }
}

/// The sets and maps of a family's table.
pub(super) fn sets(family: Family) -> Vec<Set> {
    use Type::{InetProto, InetService, Mark};
    let address = match family {
        Family::V4 => Type::Ipv4Addr,
        Family::V6 => Type::Ipv6Addr,
    };
    let front = [address, InetProto, InetService];
    vec![
        Set::map(SERVICES, &front, &[Mark]),
        Set::map(SERVICE_IDS, &front, &[Mark]),
        Set::map(SOURCE_CHECKED, &front, &[Mark]),
        Set::verdict_map(CLASSES, &[Mark]),
        Set::verdict_map(REFUSALS, &[Mark]),
        Set::map(ENDPOINTS, &[Mark, Mark], &[address, InetService]),
        Set::map(SLOTS, &[Mark, Mark], &[Mark]),
        Set::map(AFFINITY, &[Mark, address], &[Mark])
            .dynamic()
            .expiring()
            .size(AFFINITY_SIZE),
        Set::new(SOURCE_RANGES, &[Mark, address]).interval(),
        Set::new(CLUSTER_IPS, &[address]),
        Set::new(HAIRPINS, &[address, address]),
        Set::new(NODE_PORT_ADDRESSES, &[address]),
    ]
}

/// A chain with its rules.
pub(crate) struct Ruled {
    pub(crate) chain: Chain,
    pub(crate) rules: Vec<Rule>,
}

/// The chains that every table has, those that others name first.
pub(super) fn chains(family: Family, options: &Options) -> Vec<Ruled> {
    let base = |name: &str, kind, hook, priority, rules| Ruled {
        chain: Chain {
            name: name.into(),
            base: Some(Base {
                kind,
                hook,
                priority,
                policy: Policy::Accept,
            }),
            comment: None,
        },
        rules,
    };
    let fixed = |name: &str, rules| Ruled {
        chain: Chain::regular(name),
        rules,
    };
    let (filter, nat) = (ChainKind::Filter, ChainKind::Nat);
    let sources = || vec![not_established(), source_check(family)];
    let dispatch = || vec![dispatch(family), node_port_dispatch(family, options)];
    let chains = vec![
        fixed(REJECT, vec![Rule::new().reject(unreachable(family))]),
        fixed(UNALLOCATED, Vec::new()),
        base(
            "filter-prerouting",
            filter,
            Hook::Prerouting,
            BEFORE_DSTNAT,
            sources(),
        ),
        base(
            "filter-output-early",
            filter,
            Hook::Output,
            BEFORE_DSTNAT,
            sources(),
        ),
        base(
            "nat-prerouting",
            nat,
            Hook::Prerouting,
            priority::DSTNAT,
            dispatch(),
        ),
        base(
            "nat-output",
            nat,
            Hook::Output,
            priority::DSTNAT,
            dispatch(),
        ),
        base(
            "filter-input",
            filter,
            Hook::Input,
            priority::FILTER,
            input(family, options),
        ),
        base(
            "filter-forward",
            filter,
            Hook::Forward,
            priority::FILTER,
            forward(family, options),
        ),
        base(
            "filter-output",
            filter,
            Hook::Output,
            priority::FILTER,
            output(family),
        ),
        base(
            "nat-postrouting",
            nat,
            Hook::Postrouting,
            priority::SRCNAT,
            postrouting(family, options),
        ),
    ];
    #[cfg(feature = "faults")]
    let chains = crate::faults::rules(chains, family);
    chains
}

fn unreachable(family: Family) -> Reject {
    Reject::Icmp(match family {
        Family::V4 => reject_code::ICMP_PORT_UNREACHABLE,
        Family::V6 => reject_code::ICMPV6_PORT_UNREACHABLE,
    })
}

/// No filter concerns connections that are established: a change of policy never cuts one.
fn not_established() -> Rule {
    Rule::new()
        .any(CT_STATE, ct_state::ESTABLISHED | ct_state::RELATED)
        .accept()
}

fn new_connection() -> Rule {
    Rule::new().any(CT_STATE, ct_state::NEW)
}

/// `DESTINATION map @services vmap @map`.
pub(crate) fn by_class(rule: Rule, family: Family, node_port: bool, map: &str) -> Rule {
    let number = Registers::of(family).number;
    find(rule, SERVICES, family, node_port).push(lookup(map, number, LookupTo::Verdict))
}

fn dispatch(family: Family) -> Rule {
    by_class(Rule::new(), family, false, CLASSES)
}

fn node_port_dispatch(family: Family, options: &Options) -> Rule {
    let rule = match options.node_ports {
        NodePorts::AnyLocal => not_loopback(
            Rule::new().eq(FIB_DADDR_TYPE, Value::new().number(LOCAL)),
            family,
        ),
        NodePorts::Listed => listed(Rule::new(), family),
    };
    by_class(rule, family, true, CLASSES)
}

fn not_loopback(rule: Rule, family: Family) -> Rule {
    let loopback = match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    };
    let loopback = loopback.parse().expect("a network");
    outside_network(rule, onehop_nft::daddr(table_family(family)), loopback)
}

fn listed(rule: Rule, family: Family) -> Rule {
    let destination = onehop_nft::daddr(table_family(family));
    rule.in_set(destination, NODE_PORT_ADDRESSES)
}

/// Drops new connections to VIPs from sources that are not in the Service's ranges.
fn source_check(family: Family) -> Rule {
    let registers = Registers::of(family);
    let client = onehop_nft::saddr(table_family(family));
    find(new_connection(), SOURCE_CHECKED, family, false)
        .load(client, registers.after)
        .push(lookup(SOURCE_RANGES, registers.number, LookupTo::NoMatch))
        .drop()
}

/// What comes to the node itself was not translated: it is refused if its class says so.
fn input(family: Family, options: &Options) -> Vec<Rule> {
    let node_port = match options.node_ports {
        NodePorts::AnyLocal => not_loopback(new_connection(), family),
        NodePorts::Listed => listed(new_connection(), family),
    };
    vec![
        not_established(),
        by_class(node_port, family, true, REFUSALS),
        by_class(new_connection(), family, false, REFUSALS),
    ]
}

fn forward(family: Family, options: &Options) -> Vec<Rule> {
    let mut rules = vec![not_established()];
    if options.drop_invalid {
        // A packet that conntrack cannot place would leave untranslated, and its receiver would reset a
        // connection that it never had.
        rules.push(Rule::new().any(CT_STATE, ct_state::INVALID).drop());
    }
    rules.extend(refuse_untranslated(family));
    rules
}

fn output(family: Family) -> Vec<Rule> {
    let mut rules = vec![not_established()];
    rules.extend(refuse_untranslated(family));
    rules
}

/// What still has a service address as its destination when it is routed on.
fn refuse_untranslated(family: Family) -> [Rule; 3] {
    let destination = onehop_nft::daddr(table_family(family));
    [
        by_class(new_connection(), family, false, REFUSALS),
        new_connection()
            .in_set(destination, CLUSTER_IPS)
            .verdict(Verdict::goto(REJECT)),
        new_connection().verdict(Verdict::goto(UNALLOCATED)),
    ]
}

/// The rules of [`UNALLOCATED`], by the ranges of cluster addresses.
pub(super) fn unallocated(family: Family, service_cidrs: &[ipnet::IpNet]) -> Vec<Rule> {
    let destination = onehop_nft::daddr(table_family(family));
    service_cidrs
        .iter()
        .filter(|range| Family::of(range.addr()) == family)
        .map(|range| in_network(Rule::new(), destination.clone(), *range).drop())
        .collect()
}

fn postrouting(family: Family, options: &Options) -> Vec<Rule> {
    let family = table_family(family);
    let mark = options.masquerade_mark;
    vec![
        Rule::new()
            .any(MARK, mark)
            .set_mark(MARK.and(!mark))
            .masquerade(nat_flags::FULLY_RANDOM),
        Rule::new()
            .any(CT_STATUS, ct_status::DNAT)
            .in_set(
                [onehop_nft::saddr(family), onehop_nft::daddr(family)],
                HAIRPINS,
            )
            .masquerade(nat_flags::FULLY_RANDOM),
    ]
}
