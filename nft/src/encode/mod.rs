//! The attributes of each object.

use std::time::Duration;

use crate::netlink::Builder;
use crate::object::{
    Base, Chain, ChainKind, Data, Element, Hook, MapData, Policy, Rule, Set, Table, Type, Verdict,
};

mod expression;

pub(crate) use attribute::{BATCH_GENERATION, ELEMENTS};

/// Numbers of attributes and flags (`linux/netfilter/nf_tables.h`), as far as more than one place
/// uses them.
pub(crate) mod attribute {
    pub(crate) const BATCH_GENERATION: u16 = 1;

    pub(crate) const LIST_ELEMENT: u16 = 1;

    pub(crate) const TABLE_NAME: u16 = 1;
    pub(crate) const TABLE_FLAGS: u16 = 2;
    pub(crate) const TABLE_DORMANT: u32 = 1;
    pub(crate) const TABLE_HANDLE: u16 = 4;
    pub(crate) const TABLE_USERDATA: u16 = 6;

    pub(crate) const CHAIN_TABLE: u16 = 1;
    pub(crate) const CHAIN_HANDLE: u16 = 2;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_POLICY: u16 = 5;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const CHAIN_USERDATA: u16 = 12;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;

    pub(crate) const RULE_TABLE: u16 = 1;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const RULE_USERDATA: u16 = 7;

    pub(crate) const SET_TABLE: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const SET_FLAGS: u16 = 3;
    pub(crate) const SET_KEY_TYPE: u16 = 4;
    pub(crate) const SET_KEY_LENGTH: u16 = 5;
    pub(crate) const SET_DATA_TYPE: u16 = 6;
    pub(crate) const SET_DATA_LENGTH: u16 = 7;
    pub(crate) const SET_DESCRIPTION: u16 = 9;
    pub(crate) const SET_ID: u16 = 10;
    pub(crate) const SET_TIMEOUT: u16 = 11;
    pub(crate) const SET_USERDATA: u16 = 13;
    pub(crate) const SET_HANDLE: u16 = 16;
    pub(crate) const DESCRIPTION_SIZE: u16 = 1;
    pub(crate) const DESCRIPTION_CONCAT: u16 = 2;
    pub(crate) const FIELD_LENGTH: u16 = 1;

    pub(crate) const ELEMENTS_TABLE: u16 = 1;
    pub(crate) const ELEMENTS_SET: u16 = 2;
    pub(crate) const ELEMENTS: u16 = 3;
    pub(crate) const ELEMENT_KEY: u16 = 1;
    pub(crate) const ELEMENT_DATA: u16 = 2;
    pub(crate) const ELEMENT_FLAGS: u16 = 3;
    pub(crate) const ELEMENT_TIMEOUT: u16 = 4;
    pub(crate) const ELEMENT_EXPIRATION: u16 = 5;
    pub(crate) const ELEMENT_USERDATA: u16 = 6;
    pub(crate) const ELEMENT_KEY_END: u16 = 10;

    pub(crate) const DATA_VALUE: u16 = 1;
    pub(crate) const DATA_VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;

    pub(crate) const EXPRESSION_NAME: u16 = 1;
    pub(crate) const EXPRESSION_DATA: u16 = 2;

    pub(crate) const SET_INTERVAL: u32 = 0x4;
    pub(crate) const SET_MAP: u32 = 0x8;
    pub(crate) const SET_EXPIRING: u32 = 0x10;
    pub(crate) const SET_DYNAMIC: u32 = 0x20;
    pub(crate) const SET_CONCAT: u32 = 0x80;
    /// The data type of a verdict map.
    pub(crate) const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
    pub(crate) const ELEMENT_INTERVAL_END: u32 = 1;

    /// Entries of user data, which the kernel keeps for `nft`, where they hold a comment.
    pub(crate) const COMMENT: u8 = 0;
    pub(crate) const SET_COMMENT: u8 = 7;
    pub(crate) const SET_KEY_BYTE_ORDER: u8 = 0;
    pub(crate) const SET_DATA_BYTE_ORDER: u8 = 1;
}

use attribute as a;

pub(crate) fn table_name(b: &mut Builder, table: &Table) {
    b.text(a::TABLE_NAME, &table.name);
}

pub(crate) fn table(b: &mut Builder, table: &Table) {
    table_name(b, table);
    // Always: an existing table that is dormant wakes by it.
    b.be32(
        a::TABLE_FLAGS,
        if table.dormant { a::TABLE_DORMANT } else { 0 },
    );
    userdata(
        b,
        a::TABLE_USERDATA,
        &comment(a::COMMENT, table.comment.as_deref()),
    );
}

pub(crate) fn chain_name(b: &mut Builder, table: &Table, chain: &str) {
    b.text(a::CHAIN_TABLE, &table.name);
    b.text(a::CHAIN_NAME, chain);
}

pub(crate) fn chain(b: &mut Builder, table: &Table, chain: &Chain) {
    chain_name(b, table, &chain.name);
    if let Some(Base {
        kind,
        hook,
        priority,
        policy,
    }) = chain.base
    {
        b.nest(a::CHAIN_HOOK, |b| {
            b.be32(a::HOOK_NUMBER, hook_number(hook));
            b.bytes(a::HOOK_PRIORITY, &priority.to_be_bytes());
        });
        b.be32(a::CHAIN_POLICY, policy_number(policy));
        b.text(a::CHAIN_TYPE, chain_type(kind));
    }
    userdata(
        b,
        a::CHAIN_USERDATA,
        &comment(a::COMMENT, chain.comment.as_deref()),
    );
}

pub(crate) const fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

pub(crate) const fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

pub(crate) const fn chain_type(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

/// The place of a rule: a whole chain, or one rule of it.
pub(crate) fn rule_place(b: &mut Builder, table: &Table, chain: &str, handle: Option<u64>) {
    b.text(a::RULE_TABLE, &table.name);
    b.text(a::RULE_CHAIN, chain);
    if let Some(handle) = handle {
        b.be64(a::RULE_HANDLE, handle);
    }
}

pub(crate) fn rule(b: &mut Builder, table: &Table, chain: &str, handle: Option<u64>, rule: &Rule) {
    rule_place(b, table, chain, handle);
    b.nest(a::RULE_EXPRESSIONS, |b| {
        for each in &rule.expressions {
            b.nest(a::LIST_ELEMENT, |b| expression::write(b, each));
        }
    });
    userdata(
        b,
        a::RULE_USERDATA,
        &comment(a::COMMENT, rule.comment.as_deref()),
    );
}

pub(crate) fn set_name(b: &mut Builder, table: &Table, set: &str) {
    b.text(a::SET_TABLE, &table.name);
    b.text(a::SET_NAME, set);
}

/// A set. `number` names it within its transaction.
pub(crate) fn set(b: &mut Builder, table: &Table, set: &Set, number: u32) {
    set_name(b, table, &set.name);
    let flags = [
        (set.interval, a::SET_INTERVAL),
        (set.data.is_some(), a::SET_MAP),
        (set.expiring, a::SET_EXPIRING),
        (set.dynamic, a::SET_DYNAMIC),
        (set.interval && set.key.len() > 1, a::SET_CONCAT),
    ];
    let flags = flags.iter().filter(|(on, _)| *on);
    b.be32(a::SET_FLAGS, flags.map(|(_, flag)| flag).sum());
    b.be32(a::SET_KEY_TYPE, type_number(&set.key));
    b.be32(a::SET_KEY_LENGTH, length(&set.key));
    match &set.data {
        None => {}
        Some(MapData::Verdict) => b.be32(a::SET_DATA_TYPE, a::DATA_TYPE_VERDICT),
        Some(MapData::Value(types)) => {
            b.be32(a::SET_DATA_TYPE, type_number(types));
            b.be32(a::SET_DATA_LENGTH, length(types));
        }
    }
    b.be32(a::SET_ID, number);
    b.nest(a::SET_DESCRIPTION, |b| {
        if let Some(size) = set.size {
            b.be32(a::DESCRIPTION_SIZE, size);
        }
        if set.interval && set.key.len() > 1 {
            b.nest(a::DESCRIPTION_CONCAT, |b| {
                for field in &set.key {
                    b.nest(a::LIST_ELEMENT, |b| b.be32(a::FIELD_LENGTH, field.length()));
                }
            });
        }
    });
    if let Some(timeout) = set.timeout {
        b.be64(a::SET_TIMEOUT, milliseconds(timeout));
    }
    userdata(b, a::SET_USERDATA, &set_userdata(set));
}

/// What `nft` needs for printing keys and values. In nft's own order.
fn set_userdata(set: &Set) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut entry = |kind: u8, types: &[Type]| {
        entries.extend([kind, 4]);
        entries.extend(byte_order(types).to_ne_bytes());
    };
    entry(a::SET_KEY_BYTE_ORDER, &set.key);
    match &set.data {
        None => {}
        Some(MapData::Verdict) => entry(a::SET_DATA_BYTE_ORDER, &[]),
        Some(MapData::Value(types)) => entry(a::SET_DATA_BYTE_ORDER, types),
    }
    entries.extend(comment(a::SET_COMMENT, set.comment.as_deref()));
    entries
}

/// nft's number for the byte order of a type: none (of a concatenation or a verdict), host's, big-endian.
fn byte_order(types: &[Type]) -> u32 {
    match types {
        [single] if single.host_order() => 1,
        [_] => 2,
        _ => 0,
    }
}

/// nft's number of a type or a concatenation: 6 bits a field.
fn type_number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, next| number << 6 | next.id())
}

/// The length of a key or value, in bytes: in a concatenation each field fills whole registers.
fn length(types: &[Type]) -> u32 {
    match types {
        [single] => single.length(),
        fields => fields
            .iter()
            .map(|field| field.length().next_multiple_of(4))
            .sum(),
    }
}

pub(crate) fn elements_place(b: &mut Builder, table: &Table, set: &str) {
    b.text(a::ELEMENTS_TABLE, &table.name);
    b.text(a::ELEMENTS_SET, set);
}

pub(crate) fn element(b: &mut Builder, element: &Element) {
    b.nest(a::LIST_ELEMENT, |b| {
        if element.interval_end {
            b.be32(a::ELEMENT_FLAGS, a::ELEMENT_INTERVAL_END);
        }
        if let Some(timeout) = element.timeout {
            b.be64(a::ELEMENT_TIMEOUT, milliseconds(timeout));
        }
        value(b, a::ELEMENT_KEY, element.key.as_slice());
        if let Some(last) = &element.key_end {
            value(b, a::ELEMENT_KEY_END, last.as_slice());
        }
        match &element.data {
            None => {}
            Some(Data::Value(data)) => value(b, a::ELEMENT_DATA, data.as_slice()),
            Some(Data::Verdict(verdict)) => verdict_data(b, a::ELEMENT_DATA, verdict),
        }
        userdata(
            b,
            a::ELEMENT_USERDATA,
            &comment(a::COMMENT, element.comment.as_deref()),
        );
    });
}

/// A value, as an attribute of this kind.
fn value(b: &mut Builder, kind: u16, bytes: &[u8]) {
    b.nest(kind, |b| b.bytes(a::DATA_VALUE, bytes));
}

/// A verdict, as an attribute of this kind.
fn verdict_data(b: &mut Builder, kind: u16, verdict: &Verdict) {
    b.nest(kind, |b| {
        b.nest(a::DATA_VERDICT, |b| {
            let (code, chain): (i32, _) = match verdict {
                Verdict::Drop => (0, None),
                Verdict::Accept => (1, None),
                Verdict::Continue => (-1, None),
                Verdict::Jump(chain) => (-3, Some(chain)),
                Verdict::Goto(chain) => (-4, Some(chain)),
                Verdict::Return => (-5, None),
            };
            b.bytes(a::VERDICT_CODE, &code.to_be_bytes());
            if let Some(chain) = chain {
                b.text(a::VERDICT_CHAIN, chain);
            }
        });
    });
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An entry of user data that holds a comment. Longer ones than nft's limit of 128 bytes are cut.
fn comment(kind: u8, text: Option<&str>) -> Vec<u8> {
    const LIMIT: usize = 128;
    let Some(text) = text else { return Vec::new() };
    let text = &text[..text.floor_char_boundary(LIMIT)];
    let length = u8::try_from(text.len() + 1).expect("a short text");
    [&[kind, length], text.as_bytes(), &[0]].concat()
}

fn userdata(b: &mut Builder, kind: u16, entries: &[u8]) {
    if !entries.is_empty() {
        b.bytes(kind, entries);
    }
}
