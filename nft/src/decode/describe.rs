//! Saying in words what a message of a transaction was to do, so that an error can name it.

use super::{element, lossy};
use crate::batch::operation;
use crate::encode::attribute as a;
use crate::netlink::{Attributes, HEADER, NETFILTER_HEADER, messages};
use crate::object::Family;

/// What a message was to do. `offset` is where the kernel says that the culprit is.
pub(crate) fn describe(message: &[u8], offset: Option<usize>) -> String {
    let Some(Ok(parsed)) = messages(message).next() else {
        return "commit the transaction".to_owned();
    };
    let [_, number] = parsed.kind.to_be_bytes();
    let Ok((family, attributes)) = parsed.body() else {
        return "commit the transaction".to_owned();
    };
    let family = Family::of(family).map_or("?", Family::keyword);
    let name = |wanted: u16| text(attributes.clone(), wanted);
    let table = format!("{family} {}", name(a::TABLE_NAME));
    match number {
        operation::NEW_TABLE => format!("add table {table}"),
        operation::DELETE_TABLE => format!("delete table {table}"),
        operation::NEW_CHAIN => format!("add chain {table} {}", name(a::CHAIN_NAME)),
        operation::DELETE_CHAIN => format!("delete chain {table} {}", name(a::CHAIN_NAME)),
        operation::NEW_RULE => format!("add a rule to chain {table} {}", name(a::RULE_CHAIN)),
        operation::DELETE_RULE => {
            format!("delete rules of chain {table} {}", name(a::RULE_CHAIN))
        }
        operation::NEW_SET => format!("add set {table} {}", name(a::SET_NAME)),
        operation::DELETE_SET => format!("delete set {table} {}", name(a::SET_NAME)),
        operation::NEW_ELEMENT | operation::DELETE_ELEMENT => {
            let verb = if number == operation::NEW_ELEMENT {
                "add"
            } else {
                "delete"
            };
            let culprit = culprit(message, attributes.clone(), offset);
            let culprit = culprit.unwrap_or_else(|| "elements".to_owned());
            format!("{verb} {culprit} of set {table} {}", name(a::ELEMENTS_SET))
        }
        _ => "commit the transaction".to_owned(),
    }
}

fn text(all: Attributes<'_>, wanted: u16) -> String {
    let found = all.flatten().find(|each| each.kind == wanted);
    found.map_or_else(|| "?".to_owned(), lossy)
}

/// The element that is at an offset, or the only one.
fn culprit(message: &[u8], all: Attributes<'_>, offset: Option<usize>) -> Option<String> {
    let list = all.flatten().find(|each| each.kind == a::ELEMENTS)?;
    let mut position = HEADER + NETFILTER_HEADER;
    debug_assert!(position <= message.len(), "the message was parsed");
    // Where the list's value is in the message: slices of one buffer.
    position += list.value.as_ptr().addr() - message[position..].as_ptr().addr();
    let elements: Vec<_> = list.nested().flatten().collect();
    let single = elements.len() == 1;
    for each in elements {
        let length = (each.value.len() + 4).next_multiple_of(4);
        let here = offset.is_some_and(|offset| (position..position + length).contains(&offset));
        if here || single {
            let element = element(each.nested()).ok()??;
            return Some(format!("element {:?}", element.key));
        }
        position += length;
    }
    None
}
