//! The pieces that rules are made of, and which register holds what.

use ipnet::IpNet;
use onehop_nft::{
    CmpOp, Expression, L4PROTO, Load, LookupTo, Register, Rule, TH_DPORT, Value, daddr,
};

use super::element::unspecified;
use super::layout::{SERVICES, table_family};
use crate::model::Family;

/// Where things are while a rule runs. The id of the Service port follows right after an endpoint's place,
/// and what forms a key with it right after that, so that every key lies in one piece:
///
/// ```text
/// address . protocol . port            key of services, from `endpoint` on
/// address . port . id                  key of cluster-members, local-members
///                  id . class          value of services
///                  id . number         key of endpoints
///                  id . client         key of affinity, source-ranges
/// ```
#[derive(Clone, Copy)]
pub(super) struct Registers {
    /// The address of the chosen endpoint; before that, the packet's destination.
    pub(super) endpoint: Register,
    /// The port of the chosen endpoint.
    pub(super) port: Register,
    /// The id of the Service port.
    pub(super) id: Register,
    /// The class.
    pub(super) class: Register,
    /// The number of an endpoint.
    pub(super) number: Register,
    /// The client's address.
    pub(super) client: Register,
}

impl Registers {
    pub(super) fn of(family: Family) -> Self {
        let words = address_words(family);
        let first = Register::FIRST;
        let id = first.after(words + 1);
        let after_id = id.after(1);
        Self {
            endpoint: first,
            port: first.after(words),
            id,
            class: after_id,
            number: after_id,
            client: after_id,
        }
    }
}

fn address_words(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
    }
}

/// A part of the packet, into a register.
///
/// # Panics
///
/// If it is not a part of the packet.
pub(super) fn load(load: Load, to: Register) -> Expression {
    match load {
        Load::Payload {
            base,
            offset,
            length,
        } => Expression::Payload {
            base,
            offset,
            length,
            to,
        },
        Load::Meta(key) => Expression::Meta { key, to },
        Load::Constant(value) => Expression::Immediate { value, to },
        other => panic!("{other:?} is no part of a packet"),
    }
}

/// A look-up.
pub(super) fn lookup(set: &str, from: Register, to: LookupTo) -> Expression {
    Expression::Lookup {
        set: set.into(),
        from,
        to,
    }
}

/// Looks the packet's destination up in `services`, or its port alone under the node ports. The rule ends
/// here if it is no Service's; else id and class are in their registers.
pub(super) fn packet_key(rule: Rule, family: Family, node_port: bool) -> Rule {
    let registers = Registers::of(family);
    let words = address_words(family);
    let address = if node_port {
        Load::Constant(unspecified(family).into())
    } else {
        daddr(table_family(family))
    };
    let first = registers.endpoint;
    rule.push(load(address, first))
        .push(load(L4PROTO, first.after(words)))
        .push(load(TH_DPORT, first.after(words + 1)))
        .push(lookup(SERVICES, first, LookupTo::Register(registers.id)))
}

/// An address is in a network.
pub(super) fn in_network(rule: Rule, address: Load, network: IpNet) -> Rule {
    compare_network(rule, address, CmpOp::Eq, network)
}

/// An address is not in a network.
pub(super) fn outside_network(rule: Rule, address: Load, network: IpNet) -> Rule {
    compare_network(rule, address, CmpOp::Ne, network)
}

fn compare_network(rule: Rule, address: Load, op: CmpOp, network: IpNet) -> Rule {
    let mask = Value::from(network.netmask());
    let nothing = Value::from(unspecified(Family::of(network.addr())));
    rule.compare(address.bitwise(mask, nothing), op, network.network())
}
