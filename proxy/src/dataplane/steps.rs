//! The pieces that rules are made of, and which register holds what.

use ipnet::IpNet;
use onehop_nft::{
    CmpOp, Expression, L4PROTO, Load, LookupTo, MARK, MetaKey, Register, Rule, TH_DPORT, Value,
    daddr,
};

use super::element::unspecified;
use super::layout::table_family;
use crate::model::Family;

/// Where things are while a rule runs, so that every key lies in one piece:
///
/// ```text
/// address . protocol . port                    key of services, service-ids, source-checked
/// address . port                               value of endpoints: where to
///                  number                      value of services, service-ids, source-checked
///                  number . number             key of endpoints, slots
///                  number . client             key of affinity, source-ranges
///                                   id . key   key of endpoints, under affinity
///                                       slot   value of affinity, slots
/// ```
#[derive(Clone, Copy)]
pub(super) struct Registers {
    /// The address of the chosen endpoint; before that, the packet's destination.
    pub(super) endpoint: Register,
    /// The port of the chosen endpoint.
    pub(super) port: Register,
    /// The class, or the id of the Service port.
    pub(super) number: Register,
    /// What follows it: the number of an endpoint, or the client's address.
    pub(super) after: Register,
    /// A copy of the id.
    pub(super) id: Register,
    /// What follows it: the slot of an endpoint in its list.
    pub(super) after_id: Register,
    /// The slot of an endpoint.
    pub(super) slot: Register,
    /// The packet's own mark.
    mark: Register,
}

impl Registers {
    pub(super) fn of(family: Family) -> Self {
        let words = address_words(family);
        let first = Register::FIRST;
        let number = first.after(words + 1);
        let id = number.after(1 + words);
        Self {
            endpoint: first,
            port: first.after(words),
            number,
            after: number.after(1),
            id,
            after_id: id.after(1),
            slot: id.after(2),
            mark: id.after(3),
        }
    }
}

fn address_words(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
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

/// Looks the packet's destination up in a map to numbers, or its port alone under the node ports. The rule
/// ends here if it is not there; else the number is in its register.
pub(super) fn find(rule: Rule, map: &str, family: Family, node_port: bool) -> Rule {
    let registers = Registers::of(family);
    let words = address_words(family);
    let address = if node_port {
        Load::Constant(unspecified(family).into())
    } else {
        daddr(table_family(family))
    };
    let first = registers.endpoint;
    let rule = rule
        .load(address, first)
        .load(L4PROTO, first.after(words))
        .load(TH_DPORT, first.after(words + 1))
        .push(lookup(map, first, LookupTo::Register(registers.number)));
    usable(rule, family, registers.number)
}

/// Makes what a map gave, a number, good for keys.
///
/// The kernel needs no such step. nft does: it has no length for the value of a map, and ends with a failed
/// assertion when it lists a rule that makes a key of one (1.0.6). What it knows the length of is the mark; so
/// the number goes through there, and the packet has its own mark back when the rule goes on.
pub(super) fn usable(rule: Rule, family: Family, number: Register) -> Rule {
    let own = Registers::of(family).mark;
    let set = |from| Expression::MetaSet {
        key: MetaKey::Mark,
        from,
    };
    rule.load(MARK, own)
        .push(set(number))
        .load(MARK, number)
        .push(set(own))
}

/// Copies a number below 2^31, and puts `bits` to it.
pub(super) fn copy(from: Register, to: Register, bits: u32) -> Expression {
    Expression::Bitwise {
        from,
        to,
        mask: Value::new().number(u32::MAX >> 1),
        xor: Value::new().number(bits),
    }
}

/// An address is in a network.
pub(super) fn in_network(rule: Rule, address: Load, network: IpNet) -> Rule {
    compare_network(rule, address, CmpOp::Eq, network)
}

/// An address is not in a network.
pub(crate) fn outside_network(rule: Rule, address: Load, network: IpNet) -> Rule {
    compare_network(rule, address, CmpOp::Ne, network)
}

fn compare_network(rule: Rule, address: Load, op: CmpOp, network: IpNet) -> Rule {
    let mask = Value::from(network.netmask());
    let nothing = Value::from(unspecified(Family::of(network.addr())));
    rule.compare(address.bitwise(mask, nothing), op, network.network())
}
