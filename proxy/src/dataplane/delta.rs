//! The changes of one transaction to the elements of one table.

use std::collections::HashMap;

use super::classes::Class;
use super::element::{Key, Value};

/// What changes. However often an element is removed and added on the way, its net change is what counts.
#[derive(Debug, Default)]
pub(super) struct Delta {
    elements: HashMap<Key, Change>,
    /// Classes that are new, with chains that the kernel may not have.
    pub(super) classes: Vec<Class>,
}

#[derive(Debug)]
struct Change {
    before: Option<Value>,
    after: Option<Value>,
}

impl Delta {
    pub(super) fn remove(&mut self, key: Key, value: Value) {
        let change = self.elements.entry(key).or_insert(Change {
            before: Some(value),
            after: None,
        });
        change.after = None;
    }

    pub(super) fn add(&mut self, key: Key, value: Value) {
        let change = self.elements.entry(key).or_insert(Change {
            before: None,
            after: None,
        });
        change.after = Some(value);
    }

    fn changes(&self) -> impl Iterator<Item = (&Key, &Change)> {
        self.elements
            .iter()
            .filter(|(_, change)| change.before != change.after)
    }

    /// Elements that go, those with a new value included.
    pub(super) fn removed(&self) -> impl Iterator<Item = Key> {
        self.changes()
            .filter(|(_, change)| change.before.is_some())
            .map(|(key, _)| *key)
    }

    /// Elements that come, after the others went.
    pub(super) fn added(&self) -> impl Iterator<Item = (Key, Value)> {
        self.changes()
            .filter_map(|(key, change)| Some((*key, change.after?)))
    }
}
