//! What is encoded is decoded to the same, and hostile bytes are refused without a panic. The kernel's
//! answers have the form of requests.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::object::*;

/// The objects in the messages of a transaction.
fn objects(batch: &mut Batch) -> Vec<Object> {
    batch.with_bytes(|bytes| {
        let all = messages(bytes).map(|each| message(&each.expect("a message")));
        all.map(|object| object.expect("an object")).collect()
    })
}

/// The second of the messages of a transaction: the first is its begin.
fn decoded(build: impl FnOnce(&mut Batch)) -> Object {
    let mut batch = Batch::new();
    build(&mut batch);
    objects(&mut batch).swap_remove(1)
}

fn table() -> Table {
    Table::new(Family::Inet, "t")
}

/// A value of one to four fields.
fn any_value() -> impl Strategy<Value = Value> {
    vec(any::<u32>(), 1..=4).prop_map(|fields| {
        let fields = fields.iter();
        fields.fold(Value::new(), |value, field| value.number(*field))
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9/_.-]{0,40}"
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Continue),
        Just(Verdict::Return),
        name().prop_map(Verdict::jump),
        name().prop_map(Verdict::goto),
    ]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (1_u64..1 << 40).prop_map(Duration::from_millis)
}

fn any_element() -> impl Strategy<Value = Element> {
    let data = prop_oneof![
        any_value().prop_map(Data::Value),
        any_verdict().prop_map(Data::Verdict)
    ];
    (
        any_value(),
        option::of(any_value()),
        option::of(data),
        any::<bool>(),
        option::of(any_duration()),
        option::of(name()),
    )
        .prop_map(
            |(key, key_end, data, interval_end, timeout, comment)| Element {
                key,
                key_end,
                data,
                interval_end,
                timeout,
                expires: None,
                comment: comment.map(String::into_boxed_str),
            },
        )
}

fn any_load() -> impl Strategy<Value = Load> {
    let leaf = prop_oneof![
        Just(IP_SADDR),
        Just(IP6_DADDR),
        Just(TH_DPORT),
        Just(L4PROTO),
        Just(IIFNAME),
        Just(CT_STATE),
        Just(CT_ORIGINAL_PROTO_DST),
        Just(FIB_DADDR_TYPE),
        (1_u32..100).prop_map(random),
        (1_u32..100).prop_map(incremental),
        any_value().prop_map(Load::Constant),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), any::<u32>()).prop_map(|(load, bits)| load.and(bits)),
            (vec(inner, 1..3), name(), 1_u32..20)
                .prop_map(|(key, name, length)| map(key, name, length)),
        ]
    })
}

/// Rules within the 16 registers.
fn any_rule() -> impl Strategy<Value = Rule> {
    let rule = prop_oneof![
        (any_load(), any_value()).prop_map(|(load, value)| Rule::new().eq(load, value)),
        (any_load(), any_value()).prop_map(|(load, value)| Rule::new().ne(load, value).accept()),
        (any_load(), any_value(), any_value())
            .prop_map(|(load, from, to)| Rule::new().outside(load, from, to)),
        (vec(any_load(), 1..3), name()).prop_map(|(key, set)| Rule::new().in_set(key, set)),
        (vec(any_load(), 1..3), name()).prop_map(|(key, set)| Rule::new().not_in_set(key, set)),
        (vec(any_load(), 1..3), name()).prop_map(|(key, set)| Rule::new().vmap(key, set)),
        (any_load(), any_load(), option::of(any_duration()), name()).prop_map(
            |(key, data, timeout, set)| Rule::new().update_element(set, key, data, timeout)
        ),
        (any_load(), any::<bool>()).prop_map(|(load, six)| {
            let family = if six { Family::Ip6 } else { Family::Ip };
            Rule::new().dnat(family, load)
        }),
        any_load().prop_map(|load| Rule::new().set_mark(load).set_ct_mark(MARK)),
        (0_u8..20).prop_map(|code| Rule::new().reject(Reject::Icmp(code))),
        Just(Rule::new().reject(Reject::TcpReset)),
        (0_u32..32).prop_map(|flags| Rule::new().counter().masquerade(flags)),
        any_verdict().prop_map(|verdict| Rule::new().verdict(verdict)),
    ];
    (rule, option::of(name())).prop_map(|(mut rule, comment)| {
        rule.comment = comment;
        rule
    })
}

/// Whether all registers of a rule are among the 16.
fn fits(rule: &Rule) -> bool {
    let within = |register: &Register| register.number() < 16;
    rule.expressions.iter().all(|expression| match expression {
        Expression::Meta { to, .. }
        | Expression::Payload { to, .. }
        | Expression::Immediate { to, .. }
        | Expression::Numgen { to, .. }
        | Expression::Ct { to, .. }
        | Expression::Fib { to, .. }
        | Expression::Bitwise { to, .. } => within(to),
        Expression::Lookup { from, .. } => within(from),
        Expression::Dynset { key, data, .. } => within(key) && data.iter().all(within),
        Expression::Nat { address, port, .. } => address.iter().chain(port).all(within),
        _ => true,
    })
}

fn any_set() -> impl Strategy<Value = Set> {
    let types = || {
        let one = (0..Type::ALL.len()).prop_map(|index| Type::ALL[index]);
        vec(one, 1..=5)
    };
    let data = prop_oneof![Just(MapData::Verdict), types().prop_map(MapData::Value)];
    (
        name(),
        types(),
        option::of(data),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        option::of(any_duration()),
        option::of(any::<u32>()),
        option::of(name()),
    )
        .prop_map(|(name, key, data, flags, timeout, size, comment)| Set {
            name,
            key,
            data,
            interval: flags.0,
            dynamic: flags.1,
            expiring: flags.2,
            timeout,
            size,
            comment,
        })
}

/// A transaction with some of everything.
fn any_batch() -> impl Strategy<Value = Vec<u8>> {
    let parts = (
        vec(any_rule(), 0..4),
        vec(any_set(), 0..3),
        vec(any_element(), 0..6),
    );
    parts.prop_map(|(rules, sets, elements)| {
        let mut batch = Batch::new();
        let table = table().comment("of a test");
        let base = Chain::base("c", ChainKind::Nat, Hook::Prerouting, priority::DSTNAT);
        batch.add_table(&table);
        batch.add_chain(&table, &base);
        for set in &sets {
            batch.add_set(&table, set);
        }
        for rule in &rules {
            batch.add_rule(&table, "c", rule);
        }
        batch.add_elements(&table, "s", &elements);
        batch.delete_elements(&table, "s", &elements);
        batch.with_bytes(<[u8]>::to_vec)
    })
}

/// Reads all that there is. It must end, and not panic.
fn survives(bytes: &[u8]) {
    for each in messages(bytes) {
        let Ok(each) = each else { return };
        // What comes out does not matter.
        let _ = message(&each);
    }
    describe(bytes, Some(40));
}

proptest! {
    #[test]
    fn elements_come_back(elements in vec(any_element(), 1..50)) {
        let object = decoded(|batch| batch.add_elements(&table(), "s", &elements));
        let Object::Elements(read) = object else { panic!("{object:?}") };
        prop_assert_eq!(read.object.elements, elements);
        prop_assert_eq!(read.object.set, "s");
    }

    #[test]
    fn rules_come_back(rule in any_rule()) {
        prop_assume!(fits(&rule));
        let object = decoded(|batch| batch.add_rule(&table(), "c", &rule));
        let Object::Rule(mut read) = object else { panic!("{object:?}") };
        // The kernel implies the two lowest of these flags, so that reading leaves them out.
        let mut rule = rule;
        for each in rule.expressions.iter_mut().chain(&mut read.object.rule.expressions) {
            if let Expression::Nat { flags, .. } = each {
                *flags &= !3;
            }
        }
        prop_assert_eq!(read.object.rule, rule);
        prop_assert_eq!((&*read.table, read.family), ("t", Some(Family::Inet)));
    }

    #[test]
    fn sets_come_back(set in any_set()) {
        let object = decoded(|batch| batch.add_set(&table(), &set));
        let Object::Set(read) = object else { panic!("{object:?}") };
        prop_assert_eq!(read.object, set);
    }

    #[test]
    fn truncated_answers_are_survived(bytes in any_batch(), at in any::<prop::sample::Index>()) {
        survives(&bytes[..at.index(bytes.len())]);
    }

    #[test]
    fn corrupted_answers_are_survived(
        bytes in any_batch(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }
}

#[test]
fn elements_are_split_where_an_attribute_is_full() {
    let elements: Vec<_> = (0..30_000)
        .map(|number| Element::new(Value::new().number(number)).comment("twelve bytes"))
        .collect();
    let mut batch = Batch::new();
    batch.add_elements(&table(), "s", &elements);
    let parts: Vec<_> = objects(&mut batch)
        .into_iter()
        .filter_map(|object| match object {
            Object::Elements(part) => Some(part.object.elements),
            _ => None,
        })
        .collect();
    assert!(parts.len() > 10, "{} parts", parts.len());
    assert_eq!(parts.concat(), elements);
}

#[test]
fn an_acknowledgement_with_its_explanation() {
    // As the kernel sends it: the error, the header of the request, then attributes.
    let mut bytes = Vec::new();
    let text = b"no such thing\0\0\0";
    let length = 16 + 4 + 16 + 8 + 4 + u32::try_from(text.len()).unwrap();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend(0x300_u16.to_ne_bytes());
    bytes.extend(7_u32.to_ne_bytes());
    bytes.extend(99_u32.to_ne_bytes());
    bytes.extend((-2_i32).to_ne_bytes());
    bytes.extend(4000_u32.to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(8_u16.to_ne_bytes());
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend(52_u32.to_ne_bytes());
    bytes.extend(18_u16.to_ne_bytes());
    bytes.extend(1_u16.to_ne_bytes());
    bytes.extend(text);
    let parsed = messages(&bytes).next().expect("a message").expect("whole");
    assert_eq!(
        message(&parsed),
        Ok(Object::Acknowledgement(Acknowledgement {
            sequence: 7,
            errno: 2,
            text: Some("no such thing".to_owned()),
            offset: Some(52),
        }))
    );
}

#[test]
fn a_generation_and_its_writer() {
    let mut b = crate::netlink::Builder::new();
    let kind = crate::netlink::kind::of(NFTABLES, operation::NEW_GENERATION);
    b.message(kind, 0, 3, (0, 0), |b| {
        b.be32(1, 41);
        b.be32(2, 1234);
        b.bytes(3, b"odd \xff name\0\0\0");
    });
    let parsed = messages(b.as_bytes())
        .next()
        .expect("a message")
        .expect("whole");
    assert_eq!(
        message(&parsed),
        Ok(Object::Generation(Generation {
            id: 41,
            port: 0,
            process: Some(1234),
            process_name: Some("odd \u{fffd} name".to_owned()),
        }))
    );
}

#[test]
fn what_failed_is_said_in_words() {
    let table = Table::new(Family::Ip, "t");
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.flush_chain(&table, "c");
    batch.delete_set(&table, "s");
    batch.flush_set(&table, "s");
    let said: Vec<_> = (2..=6)
        .map(|sequence| describe(batch.message_of(sequence).unwrap_or_default(), None))
        .collect();
    assert_eq!(
        said,
        [
            "add table ip t",
            "delete rules of chain ip t c",
            "delete set ip t s",
            "delete elements of set ip t s",
            "commit the transaction",
        ]
    );
}
