//! The kernel holds the same bytes, whether `nft` loads a text or this crate commits what the text means.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use onehop_nft::netlink::{Socket, kind};
use onehop_nft::*;

use crate::ruleset::{Ruleset, V4, V6, Words, ruleset};
use crate::support::{nft, same};
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "the_kernel_holds_the_same_ipv4_bytes_as_from_nft",
        Needs::Nft,
        || ruleset_bytes(&V4),
    ),
    (
        "the_kernel_holds_the_same_ipv6_bytes_as_from_nft",
        Needs::Nft,
        || ruleset_bytes(&V6),
    ),
    (
        "each_expression_has_the_same_bytes_as_from_nft",
        Needs::Nft,
        expression_bytes,
    ),
];

/// The attributes of each set, by its name.
type RawSets = BTreeMap<String, Vec<(u16, Vec<u8>)>>;

/// All of a table that is bytes: rules by chain, sets by name without their handles, elements.
#[derive(Debug, PartialEq)]
struct Held {
    rules: Vec<(String, Rule, Vec<u8>, Option<String>)>,
    sets: RawSets,
    elements: BTreeMap<String, Vec<Element>>,
}

impl Held {
    fn read(table: &Table) -> Result<Self, Failed> {
        let mut netfilter = Netfilter::open()?;
        let rules = netfilter.rules(table)?.into_iter();
        let rules = rules.map(|Existing { object, .. }| {
            let comment = object.rule.comment.clone();
            (object.chain, object.rule, object.raw, comment)
        });
        let mut rules: Vec<_> = rules.collect();
        // Chains are in the order in which they were made; rules keep theirs.
        rules.sort_by(|one, other| one.0.cmp(&other.0));
        let mut elements = BTreeMap::new();
        for set in netfilter.sets(table)? {
            let mut all = netfilter.elements(table, &set.object.name)?;
            // nft says besides that no interval begins at zero, which does not change the set.
            let is_zero = |key: &Value| key.as_slice().iter().all(|byte| *byte == 0);
            all.retain(|element| !(element.interval_end && is_zero(&element.key)));
            all.sort();
            elements.insert(set.object.name, all);
        }
        let sets = raw_sets(table)?;
        Ok(Self {
            rules,
            sets,
            elements,
        })
    }
}

/// The attributes of each set, as the kernel gives them.
fn raw_sets(table: &Table) -> Result<RawSets, Failed> {
    const NFTABLES: u8 = 10;
    const GET_SET: u8 = 10;
    const NAME: u16 = 2;
    const HANDLE: u16 = 16;
    const USERDATA: u16 = 13;
    let sets = Socket::open()?.dump(
        kind::of(NFTABLES, GET_SET),
        table.family.number(),
        |b| b.text(1, &table.name),
        |message| {
            let (_, attributes) = message.body()?;
            let mut name = String::new();
            let mut rest = Vec::new();
            for each in attributes {
                let each = each?;
                if each.kind == NAME {
                    each.text()?.clone_into(&mut name);
                }
                match each.kind {
                    HANDLE => {}
                    USERDATA => rest.push((USERDATA, essential(each.value))),
                    _ => rest.push((each.kind, each.value.to_vec())),
                }
            }
            Ok(Some((name, rest)))
        },
    )?;
    Ok(sets.into_iter().collect())
}

/// User data less what nft writes about how a set was declared, and does not need for listing it: the
/// expressions of `typeof`, empty for `type`, and whether its data are intervals.
fn essential(userdata: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*length));
        if ![3, 4, 6].contains(kind) {
            kept.extend([*kind, *length]);
            kept.extend(value);
        }
        rest = tail;
    }
    kept
}

fn ruleset_bytes(words: &Words) -> Result<(), Failed> {
    let Ruleset { text, .. } = ruleset(words);
    let ruleset = ruleset(words).without_what_nft_refuses();
    let text = words.without_what_nft_refuses(&text);
    nft(&["-f", "-"], &text)?;
    let theirs = Held::read(&ruleset.table)?;
    let mut netfilter = Netfilter::open()?;
    let mut batch = Batch::new();
    batch.delete_table(&ruleset.table);
    netfilter.commit(&mut batch)?;
    netfilter.commit(&mut ruleset.batch())?;
    let ours = Held::read(&ruleset.table)?;
    compare(&ours, &theirs)
}

fn compare(ours: &Held, theirs: &Held) -> Result<(), Failed> {
    for (ours, theirs) in std::iter::zip(&ours.rules, &theirs.rules) {
        same("a rule", ours, theirs)?;
    }
    same("number of rules", &ours.rules.len(), &theirs.rules.len())?;
    for (name, theirs) in &theirs.sets {
        let ours = ours
            .sets
            .get(name)
            .ok_or_else(|| format!("no set {name}"))?;
        same("a set", ours, theirs)?;
    }
    same("sets", &ours.sets, &theirs.sets)?;
    same("elements", &ours.elements, &theirs.elements)
}

/// Single rules, in a table of family `inet` with maps that nft names by `typeof`.
fn expression_bytes() -> Result<(), Failed> {
    let table = Table::new(Family::Inet, "single");
    let text = single_text();
    nft(&["-f", "-"], &text)?;
    let mut netfilter = Netfilter::open()?;
    let theirs = netfilter.rules(&table)?;
    let mut batch = Batch::new();
    batch.flush_chain(&table, "c");
    for (_, rule) in singles() {
        batch.add_rule(&table, "c", &rule);
    }
    netfilter.commit(&mut batch)?;
    let ours = netfilter.rules(&table)?;
    same("number of rules", &ours.len(), &theirs.len())?;
    for ((text, built), (ours, theirs)) in std::iter::zip(singles(), std::iter::zip(&ours, &theirs))
    {
        same(
            text,
            &ours.object.rule.expressions,
            &theirs.object.rule.expressions,
        )?;
        same(text, &ours.object.raw, &theirs.object.raw)?;
        same(text, &ours.object.rule, &built)?;
    }
    Ok(())
}

fn single_text() -> String {
    let rules: Vec<_> = singles().iter().map(|(text, _)| *text).collect();
    format!(
        "table inet single {{
           map endpoints4 {{ typeof ip daddr . th dport . numgen random mod 9 : ip daddr . th dport; }}
           map endpoints6 {{ typeof ip6 daddr . th dport . numgen random mod 9 : ip6 daddr . th dport; }}
           map addresses {{ type mark : ipv4_addr; }}
           map verdicts {{ type ifname . ipv4_addr : verdict; }}
           map affinity {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 3h; }}
           set seen {{ type ipv4_addr; flags dynamic,timeout; timeout 1h; }}
           chain t {{ }}
           chain c {{ type nat hook prerouting priority dstnat; {}
}}
         }}",
        rules.join("\n")
    )
}

/// Rules as text, and the same built. All of a chain of kind `nat` in table `inet single`.
fn singles() -> Vec<(&'static str, Rule)> {
    let is = |family: Family| Rule::new().eq(NFPROTO, Value::new().byte(family.number()));
    let number = |number: u32| Value::new().number(number);
    let port = |port: u16| Value::new().port(port);
    let (tcp, udp) = (Value::new().proto(6), Value::new().proto(17));
    let v4 = |text: &str| crate::ruleset::ip(text);
    let service = [IP_SADDR, L4PROTO, TH_DPORT];
    vec![
        (
            "meta l4proto tcp dnat ip to ip daddr . th dport . numgen random mod 3 map @endpoints4",
            Rule::new()
                .eq(L4PROTO, tcp)
                .eq(NFPROTO, Value::new().byte(2))
                .dnat(
                    Family::Ip,
                    map([IP_DADDR, TH_DPORT, random(3)], "endpoints4", 8),
                ),
        ),
        (
            "meta l4proto udp dnat ip6 to ip6 daddr . th dport . numgen inc mod 5 map @endpoints6",
            Rule::new()
                .eq(L4PROTO, udp)
                .eq(NFPROTO, Value::new().byte(10))
                .dnat(
                    Family::Ip6,
                    map([IP6_DADDR, TH_DPORT, incremental(5)], "endpoints6", 20),
                ),
        ),
        (
            "dnat ip to 10.0.0.1",
            Rule::new().dnat(Family::Ip, Load::Constant(v4("10.0.0.1"))),
        ),
        (
            "meta nfproto ipv4 meta l4proto tcp dnat ip to meta mark map @addresses",
            is(Family::Ip)
                .eq(L4PROTO, tcp)
                .dnat(Family::Ip, map(MARK, "addresses", 4)),
        ),
        (
            "iifname . ip saddr vmap @verdicts",
            is(Family::Ip).vmap([IIFNAME, IP_SADDR], "verdicts"),
        ),
        (
            "add @seen { ip saddr }",
            is(Family::Ip).add_element("seen", IP_SADDR, [], None),
        ),
        (
            "update @seen { ip saddr timeout 90s }",
            is(Family::Ip).update_element(
                "seen",
                IP_SADDR,
                [],
                Some(std::time::Duration::from_secs(90)),
            ),
        ),
        (
            "delete @seen { ip saddr }",
            is(Family::Ip).delete_element("seen", IP_SADDR),
        ),
        (
            "update @affinity { ip saddr . meta l4proto . th dport : ip daddr . th dport }",
            is(Family::Ip).update_element("affinity", service, [IP_DADDR, TH_DPORT], None),
        ),
        (
            "meta l4proto 132 counter return",
            Rule::new()
                .eq(L4PROTO, Value::new().proto(132))
                .counter()
                .ret(),
        ),
        (
            "iiftype loopback accept",
            Rule::new()
                .eq(
                    Load::Meta(MetaKey::IifType),
                    Value::new().field(&772_u16.to_ne_bytes()),
                )
                .accept(),
        ),
        (
            "meta mark set 0x10",
            Rule::new().set_mark(Load::number(0x10)),
        ),
        (
            "meta mark & 0xff != 0x12 goto t",
            Rule::new().ne(MARK.and(0xff), number(0x12)).goto("t"),
        ),
        (
            "ct mark set ct mark | 0x1",
            Rule::new().set_ct_mark(CT_MARK.or(1)),
        ),
        (
            "ct status snat jump t",
            Rule::new().any(CT_STATUS, ct_status::SNAT).jump("t"),
        ),
        (
            "fib saddr type != local continue",
            Rule::new()
                .ne(FIB_SADDR_TYPE, number(2))
                .verdict(Verdict::Continue),
        ),
        (
            "fib saddr . iif oif exists accept",
            Rule::new()
                .eq(
                    fib(
                        fib_flags::SADDR | fib_flags::IIF | fib_flags::PRESENT,
                        FibResult::Oif,
                    ),
                    number(1),
                )
                .accept(),
        ),
        (
            "tcp dport != 10-20 drop",
            Rule::new()
                .eq(L4PROTO, tcp)
                .outside(TH_DPORT, port(10), port(20))
                .drop(),
        ),
        (
            "ip saddr & 255.0.0.0 == 10.0.0.0 accept",
            is(Family::Ip)
                .eq(
                    IP_SADDR.bitwise(v4("255.0.0.0"), v4("0.0.0.0")),
                    v4("10.0.0.0"),
                )
                .accept(),
        ),
        (
            "meta mark > 0x1000 accept",
            Rule::new()
                .push(Expression::Meta {
                    key: MetaKey::Mark,
                    to: Register::FIRST,
                })
                .push(Expression::Byteorder {
                    from: Register::FIRST,
                    to: Register::FIRST,
                    op: ByteorderOp::HostToNetwork,
                    length: 4,
                    size: 4,
                })
                .push(Expression::Cmp {
                    from: Register::FIRST,
                    op: CmpOp::Gt,
                    value: Value::new().field(&0x1000_u32.to_be_bytes()),
                })
                .accept(),
        ),
    ]
}
