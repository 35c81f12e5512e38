//! Reading what the kernel says about nftables. Pure: any bytes give objects or [`Malformed`], never a
//! panic.

use std::sync::Arc;
use std::time::Duration;

mod describe;
mod expression;
mod set;
#[cfg(test)]
mod tests;

pub(crate) use describe::describe;

use crate::batch::{NFTABLES, operation};
use crate::encode::attribute as a;
use crate::encode::{chain_type, hook_number, policy_number};
use crate::netlink::{
    Acknowledgement, Attribute, Attributes, Malformed, Message, acknowledgement, messages,
};
use crate::object::{
    Base, Chain, ChainKind, Data, Element, Family, Hook, Policy, Rule, Set, Table, Value, Verdict,
};

/// An object as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing<T> {
    /// The family of its table; `None` for one that this crate does not know.
    pub family: Option<Family>,
    /// The name of its table.
    pub table: String,
    /// The kernel's number of it, unique in the table.
    pub handle: u64,
    /// The object.
    pub object: T,
}

/// A rule as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingRule {
    /// Its chain.
    pub chain: String,
    /// The rule. Expressions that this crate does not know are [`Other`](crate::Expression::Other).
    pub rule: Rule,
    /// Its expressions as the kernel encodes them.
    pub raw: Vec<u8>,
}

/// Some elements of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    /// The set.
    pub set: String,
    /// The elements.
    pub elements: Vec<Element>,
}

/// A state of all of nftables in the network namespace: each transaction makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub id: u32,
    /// The port of the socket by which it was made; in an answer, that of the one who asked.
    pub port: u32,
    /// The process that made it, as the initial process namespace numbers it; in an answer, the one
    /// that asked.
    pub process: Option<u32>,
    /// The name of that process.
    pub process_name: Option<String>,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A table.
    Table(Existing<Table>),
    /// A chain.
    Chain(Existing<Chain>),
    /// A rule.
    Rule(Existing<ExistingRule>),
    /// A set or map.
    Set(Existing<Set>),
    /// Elements; they have no handle.
    Elements(Existing<Elements>),
    /// A new generation.
    Generation(Generation),
    /// An acknowledgement, or an error.
    Acknowledgement(Acknowledgement),
    /// Anything else.
    Other,
}

/// Reads all messages of one reception.
///
/// # Errors
///
/// If one is malformed.
pub fn all(bytes: &[u8]) -> Result<Vec<Object>, Malformed> {
    messages(bytes).map(|each| message(&each?)).collect()
}

/// Reads a message.
///
/// # Errors
///
/// If it is malformed.
pub fn message(message: &Message<'_>) -> Result<Object, Malformed> {
    if let Some(answer) = acknowledgement(message)? {
        return Ok(Object::Acknowledgement(answer));
    }
    let Some(number) = message.of_subsystem(NFTABLES) else {
        return Ok(Object::Other);
    };
    let (family, attributes) = message.body()?;
    let family = Family::of(family);
    Ok(match number {
        operation::NEW_TABLE => Object::Table(table(family, attributes)?),
        operation::NEW_CHAIN => Object::Chain(chain(family, attributes)?),
        operation::NEW_RULE => Object::Rule(rule(family, attributes)?),
        operation::NEW_SET => Object::Set(set::set(family, attributes)?),
        operation::NEW_ELEMENT => Object::Elements(elements(family, attributes)?),
        operation::NEW_GENERATION => Object::Generation(generation(message.port, attributes)?),
        _ => Object::Other,
    })
}

/// The table that an object is in, which every kind of object says by the same attribute; `None` for
/// what is in none.
///
/// # Errors
///
/// If it is malformed.
pub(crate) fn table_of(
    message: &Message<'_>,
) -> Result<Option<(Option<Family>, String)>, Malformed> {
    let (family, attributes) = message.body()?;
    for each in attributes {
        let each = each?;
        if each.kind == a::TABLE_NAME {
            return Ok(Some((Family::of(family), each.text()?.to_owned())));
        }
    }
    Ok(None)
}

fn table(family: Option<Family>, all: Attributes<'_>) -> Result<Existing<Table>, Malformed> {
    // A family that is not known is not told apart from any other in the object itself.
    let mut table = Table::new(family.unwrap_or(Family::Inet), "");
    let mut handle = 0;
    for each in all {
        let each = each?;
        match each.kind {
            a::TABLE_NAME => each.text()?.clone_into(&mut table.name),
            a::TABLE_FLAGS => table.dormant = each.be32()? & a::TABLE_DORMANT != 0,
            a::TABLE_HANDLE => handle = each.be64()?,
            a::TABLE_USERDATA => table.comment = comment(each.value, a::COMMENT),
            _ => {}
        }
    }
    Ok(Existing {
        family,
        table: table.name.clone(),
        handle,
        object: table,
    })
}

fn chain(family: Option<Family>, all: Attributes<'_>) -> Result<Existing<Chain>, Malformed> {
    let mut chain = Chain::regular("");
    let (mut table, mut handle) = (String::new(), 0);
    let (mut hook, mut kind, mut policy) = (None, None, Policy::Accept);
    for each in all {
        let each = each?;
        match each.kind {
            a::CHAIN_TABLE => each.text()?.clone_into(&mut table),
            a::CHAIN_HANDLE => handle = each.be64()?,
            a::CHAIN_NAME => each.text()?.clone_into(&mut chain.name),
            a::CHAIN_HOOK => hook = hook_of(each.nested())?,
            a::CHAIN_POLICY => {
                let number = each.be32()?;
                policy = [Policy::Accept, Policy::Drop]
                    .into_iter()
                    .find(|policy| policy_number(*policy) == number)
                    .ok_or(Malformed("a chain's policy"))?;
            }
            a::CHAIN_TYPE => {
                let name = each.text()?;
                kind = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route]
                    .into_iter()
                    .find(|kind| chain_type(*kind) == name);
            }
            a::CHAIN_USERDATA => chain.comment = comment(each.value, a::COMMENT),
            _ => {}
        }
    }
    if let (Some((hook, priority)), Some(kind)) = (hook, kind) {
        chain.base = Some(Base {
            kind,
            hook,
            priority,
            policy,
        });
    }
    Ok(Existing {
        family,
        table,
        handle,
        object: chain,
    })
}

/// A hook and a priority; nothing if the hook is one that this crate does not know.
fn hook_of(all: Attributes<'_>) -> Result<Option<(Hook, i32)>, Malformed> {
    let (mut hook, mut priority) = (None, 0);
    for each in all {
        let each = each?;
        match each.kind {
            a::HOOK_NUMBER => {
                let number = each.be32()?;
                hook = [
                    Hook::Prerouting,
                    Hook::Input,
                    Hook::Forward,
                    Hook::Output,
                    Hook::Postrouting,
                ]
                .into_iter()
                .find(|hook| hook_number(*hook) == number);
            }
            a::HOOK_PRIORITY => priority = each.be32()?.cast_signed(),
            _ => {}
        }
    }
    Ok(hook.map(|hook| (hook, priority)))
}

fn rule(family: Option<Family>, all: Attributes<'_>) -> Result<Existing<ExistingRule>, Malformed> {
    let mut rule = Rule::new();
    let (mut table, mut chain, mut handle) = (String::new(), String::new(), 0);
    let mut raw = Vec::new();
    for each in all {
        let each = each?;
        match each.kind {
            a::RULE_TABLE => each.text()?.clone_into(&mut table),
            a::RULE_CHAIN => each.text()?.clone_into(&mut chain),
            a::RULE_HANDLE => handle = each.be64()?,
            a::RULE_EXPRESSIONS => {
                each.value.clone_into(&mut raw);
                for one in each.nested() {
                    rule.expressions.push(expression::read(one?.nested())?);
                }
            }
            a::RULE_USERDATA => rule.comment = comment(each.value, a::COMMENT),
            _ => {}
        }
    }
    Ok(Existing {
        family,
        table,
        handle,
        object: ExistingRule { chain, rule, raw },
    })
}

fn elements(family: Option<Family>, all: Attributes<'_>) -> Result<Existing<Elements>, Malformed> {
    let (mut table, mut set, mut elements) = (String::new(), String::new(), Vec::new());
    for each in all {
        let each = each?;
        match each.kind {
            a::ELEMENTS_TABLE => each.text()?.clone_into(&mut table),
            a::ELEMENTS_SET => each.text()?.clone_into(&mut set),
            a::ELEMENTS => {
                for one in each.nested() {
                    elements.extend(element(one?.nested())?);
                }
            }
            _ => {}
        }
    }
    Ok(Existing {
        family,
        table,
        handle: 0,
        object: Elements { set, elements },
    })
}

/// An element; nothing for the one that stands for all keys that are not there.
fn element(all: Attributes<'_>) -> Result<Option<Element>, Malformed> {
    let mut element = Element::new(Value::new());
    let mut has_key = false;
    for each in all {
        let each = each?;
        match each.kind {
            a::ELEMENT_KEY => {
                element.key = value(each.nested())?;
                has_key = true;
            }
            a::ELEMENT_KEY_END => element.key_end = Some(value(each.nested())?),
            a::ELEMENT_DATA => element.data = Some(data(each.nested())?),
            a::ELEMENT_FLAGS => {
                element.interval_end = each.be32()? & a::ELEMENT_INTERVAL_END != 0;
            }
            a::ELEMENT_TIMEOUT => element.timeout = Some(Duration::from_millis(each.be64()?)),
            a::ELEMENT_EXPIRATION => element.expires = Some(Duration::from_millis(each.be64()?)),
            a::ELEMENT_USERDATA => {
                element.comment = comment(each.value, a::COMMENT).map(String::into_boxed_str);
            }
            _ => {}
        }
    }
    Ok(has_key.then_some(element))
}

fn generation(port: u32, all: Attributes<'_>) -> Result<Generation, Malformed> {
    let mut id = None;
    let (mut process, mut process_name) = (None, None);
    for each in all {
        let each = each?;
        match each.kind {
            1 => id = Some(each.be32()?),
            2 => process = Some(each.be32()?),
            // A process may name itself by any bytes.
            3 => process_name = Some(lossy(each)),
            _ => {}
        }
    }
    Ok(Generation {
        id: id.ok_or(Malformed("a generation without its number"))?,
        port,
        process,
        process_name,
    })
}

fn lossy(attribute: Attribute<'_>) -> String {
    let end = attribute.value.iter().position(|byte| *byte == 0);
    let bytes = &attribute.value[..end.unwrap_or(attribute.value.len())];
    String::from_utf8_lossy(bytes).into_owned()
}

/// A value or a verdict.
fn data(all: Attributes<'_>) -> Result<Data, Malformed> {
    for each in all {
        let each = each?;
        match each.kind {
            a::DATA_VALUE => return Ok(Data::Value(raw_value(each)?)),
            a::DATA_VERDICT => return verdict(each.nested()).map(Data::Verdict),
            _ => {}
        }
    }
    Err(Malformed("data that are neither a value nor a verdict"))
}

/// A value.
fn value(all: Attributes<'_>) -> Result<Value, Malformed> {
    match data(all)? {
        Data::Value(value) => Ok(value),
        Data::Verdict(_) => Err(Malformed("a verdict in place of a value")),
    }
}

fn raw_value(attribute: Attribute<'_>) -> Result<Value, Malformed> {
    Value::raw(attribute.value).ok_or(Malformed("a value of more than 64 bytes"))
}

pub(crate) fn verdict(all: Attributes<'_>) -> Result<Verdict, Malformed> {
    let (mut code, mut chain) = (None, None);
    for each in all {
        let each = each?;
        match each.kind {
            a::VERDICT_CODE => code = Some(each.be32()?.cast_signed()),
            a::VERDICT_CHAIN => chain = Some(Arc::from(each.text()?)),
            _ => {}
        }
    }
    let chain = chain.ok_or(Malformed("a jump without its chain"));
    match code.ok_or(Malformed("a verdict without its code"))? {
        0 => Ok(Verdict::Drop),
        1 => Ok(Verdict::Accept),
        -1 => Ok(Verdict::Continue),
        -3 => chain.map(Verdict::Jump),
        -4 => chain.map(Verdict::Goto),
        -5 => Ok(Verdict::Return),
        _ => Err(Malformed("an unknown verdict")),
    }
}

/// The comment in user data, which anybody may have written: what is malformed is no comment.
fn comment(userdata: &[u8], kind: u8) -> Option<String> {
    let mut rest = userdata;
    while let [each, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *each == kind {
            let text = std::str::from_utf8(value).ok()?;
            return Some(text.trim_end_matches('\0').to_owned());
        }
        rest = &tail[value.len()..];
    }
    None
}
