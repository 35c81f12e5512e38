//! The chains of classes, and those that pick an endpoint. Pure.

use std::time::Duration;

use ipnet::IpNet;
use onehop_nft::{
    CmpOp, DynsetOp, Expression, FIB_SADDR_TYPE, IIFNAME, Load, LookupTo, MARK, MetaKey, NatKind,
    NumgenKind, Register, Rule, Value, saddr,
};

use super::classes::{Class, Pick};
use super::layout::{AFFINITY, ENDPOINTS, LOCAL, SERVICE_IDS, SLOTS, table_family};
use super::options::{Detector, Options};
use super::steps::{Registers, copy, find, in_network, lookup, outside_network, usable};
use crate::model::Family;
use crate::plan::Handling;

/// The rules of a class: which list of endpoints, and whether the client's address is kept
/// (`behaviour.md`, 2; upstream's order of things in `pkg/proxy/nftables/proxier.go`).
pub(super) fn class_rules(class: &Class, family: Family, options: &Options) -> Vec<Rule> {
    let cluster = class.cluster_pick().map(|pick| pick.chain());
    let local = class.local_pick().map(|pick| pick.chain());
    let goto = |rule: Rule, chain: &Option<String>| chain.as_ref().map(|to| rule.goto(&**to));
    let mut rules = Vec::new();
    match class.handling {
        Handling::InternalCluster | Handling::InternalLocal => {
            rules.extend(mark_unless_pod(family, options));
            rules.extend(goto(Rule::new(), &cluster.or(local)));
        }
        Handling::ExternalCluster => rules.extend(goto(mark(Rule::new(), options), &cluster)),
        Handling::ExternalLocal => {
            let pods = from_pods(family, &options.detector);
            rules.extend(pods.into_iter().filter_map(|pod| goto(pod, &cluster)));
            let node = Rule::new().eq(FIB_SADDR_TYPE, Value::new().number(LOCAL));
            rules.extend(goto(mark(node, options), &cluster));
            rules.extend(goto(Rule::new(), &local));
        }
        Handling::Drop | Handling::Reject => {}
    }
    rules
}

fn mark(rule: Rule, options: &Options) -> Rule {
    rule.set_mark(MARK.or(options.masquerade_mark))
}

fn mark_unless_pod(family: Family, options: &Options) -> Option<Rule> {
    if options.masquerade_all {
        return Some(mark(Rule::new(), options));
    }
    let rule = match &options.detector {
        Detector::None => return None,
        Detector::Sources(ranges) => {
            let mut ranges = of_family(ranges, family).peekable();
            ranges.peek()?;
            ranges.fold(Rule::new(), |rule, range| {
                outside_network(rule, saddr(table_family(family)), range)
            })
        }
        Detector::Interface(name) => Rule::new().ne(IIFNAME, Value::new().interface(name)),
        Detector::InterfacePrefix(prefix) => interface_prefix(CmpOp::Ne, prefix),
    };
    Some(mark(rule, options))
}

/// The beginnings of rules that pods alone pass, one for each way to be a pod.
fn from_pods(family: Family, detector: &Detector) -> Vec<Rule> {
    match detector {
        Detector::None => Vec::new(),
        Detector::Sources(ranges) => of_family(ranges, family)
            .map(|range| in_network(Rule::new(), saddr(table_family(family)), range))
            .collect(),
        Detector::Interface(name) => {
            vec![Rule::new().eq(IIFNAME, Value::new().interface(name))]
        }
        Detector::InterfacePrefix(prefix) => vec![interface_prefix(CmpOp::Eq, prefix)],
    }
}

fn of_family(ranges: &[IpNet], family: Family) -> impl Iterator<Item = IpNet> {
    let ranges = ranges.iter().copied();
    ranges.filter(move |range| Family::of(range.addr()) == family)
}

fn interface_prefix(op: CmpOp, prefix: &str) -> Rule {
    Rule::new()
        .push(Expression::Meta {
            key: MetaKey::IifName,
            to: Register::FIRST,
        })
        .push(Expression::Cmp {
            from: Register::FIRST,
            op,
            value: Value::interface_prefix(prefix),
        })
}

/// The rules that pick an endpoint out of a list of known length and send the connection there.
///
/// The last one takes the list's first endpoint. It is reached by a packet that is under way while the list
/// becomes shorter: the kernel changes all at once, but a packet may have begun with the old rules and look
/// up the new elements.
pub(super) fn pick_rules(pick: &Pick, family: Family) -> Vec<Rule> {
    let chain = PickChain { pick, family };
    let mut rules = Vec::new();
    if let Some(seconds) = pick.affinity {
        let timeout = Duration::from_secs(seconds.into());
        rules.extend([chain.stick(timeout), chain.pick_and_remember(timeout)]);
    }
    rules.push(chain.translate(chain.choose(pick.count)));
    if pick.count > 1 {
        rules.push(chain.translate(chain.choose(1)));
    }
    rules
}

struct PickChain<'a> {
    pick: &'a Pick,
    family: Family,
}

impl PickChain<'_> {
    fn registers(&self) -> Registers {
        Registers::of(self.family)
    }

    /// Finds the Service port.
    fn service(&self) -> Rule {
        find(Rule::new(), SERVICE_IDS, self.family, self.pick.node_port)
    }

    /// Finds the Service port, and one of the first `count` endpoints of the list.
    fn choose(&self, count: u32) -> Rule {
        let registers = self.registers();
        let offset = self.pick.list.offset();
        let number = if count == 1 {
            Load::number(offset)
        } else {
            Load::Numgen {
                kind: NumgenKind::Random,
                modulus: count,
                offset,
            }
        };
        let rule = self.service().load(number, registers.after);
        if self.pick.affinity.is_none() {
            return rule.push(self.endpoint_at(registers.number));
        }
        self.endpoint_of_slot(rule.push(lookup(
            SLOTS,
            registers.number,
            LookupTo::Register(registers.slot),
        )))
    }

    /// The endpoint of a key of `endpoints`.
    fn endpoint_at(&self, key: Register) -> Expression {
        lookup(
            ENDPOINTS,
            key,
            LookupTo::Register(self.registers().endpoint),
        )
    }

    /// The endpoint of a slot, if it is in the list.
    fn endpoint_of_slot(&self, rule: Rule) -> Rule {
        let registers = self.registers();
        let offset = self.pick.list.offset();
        usable(rule, self.family, registers.slot)
            .push(copy(registers.number, registers.id, 0))
            .push(copy(registers.slot, registers.after_id, offset))
            .push(self.endpoint_at(registers.id))
    }

    fn load_client(&self, rule: Rule) -> Rule {
        let client = saddr(table_family(self.family));
        rule.load(client, self.registers().after)
    }

    fn affinity(&self, op: DynsetOp, timeout: Option<Duration>) -> Expression {
        Expression::Dynset {
            set: AFFINITY.into(),
            op,
            key: self.registers().number,
            data: Some(self.registers().slot),
            timeout,
        }
    }

    /// To the endpoint of before, if the list still has it. The time counts from this connection on.
    fn stick(&self, timeout: Duration) -> Rule {
        let registers = self.registers();
        let rule = self.load_client(self.service()).push(lookup(
            AFFINITY,
            registers.number,
            LookupTo::Register(registers.slot),
        ));
        let rule = self.endpoint_of_slot(rule);
        self.translate(rule.push(self.affinity(DynsetOp::Update, Some(timeout))))
    }

    /// To any endpoint, which is remembered in place of a former one that the list has not any more: the
    /// kernel replaces no element's value. If the map is full, the rule ends before it translates.
    fn pick_and_remember(&self, timeout: Duration) -> Rule {
        let rule = self
            .load_client(self.choose(self.pick.count))
            .push(self.affinity(DynsetOp::Delete, None))
            .push(self.affinity(DynsetOp::Add, Some(timeout)));
        self.translate(rule)
    }

    fn translate(&self, rule: Rule) -> Rule {
        rule.push(Expression::Nat {
            kind: NatKind::Dnat,
            family: table_family(self.family),
            address: Some(self.registers().endpoint),
            port: Some(self.registers().port),
            flags: 0,
        })
    }
}
