//! What is wrong with an object, in words for whoever wrote it.

use std::fmt;

use crate::model::ObjectName;

/// A part of an object that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the object.
    pub kind: &'static str,
    /// The object.
    pub object: ObjectName,
    /// The field, such as `spec.externalIPs[2]`.
    pub field: String,
    /// What is wrong with it, and what follows. Strings of the object are quoted, escaped and cut short.
    pub why: String,
}

impl fmt::Display for Problem {
    /// One line, whatever characters the object's name has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectName { namespace, name } = &self.object;
        write!(f, "{} ", self.kind)?;
        if !namespace.is_empty() {
            write!(f, "{}/", namespace.escape_debug())?;
        }
        write!(f, "{}: {}: {}", name.escape_debug(), self.field, self.why)
    }
}

/// The problems of one object. An object with thousands of bad parts is worth a few lines, not thousands.
#[derive(Debug)]
pub(crate) struct Problems {
    kind: &'static str,
    object: ObjectName,
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// How many problems of one object are told apart.
    const MOST: usize = 16;

    /// None yet.
    pub(crate) fn new(kind: &'static str, object: &ObjectName) -> Self {
        Self {
            kind,
            object: object.clone(),
            list: Vec::new(),
            more: 0,
        }
    }

    /// Adds one.
    pub(crate) fn add(&mut self, field: impl fmt::Display, why: impl fmt::Display) {
        if self.list.len() == Self::MOST {
            self.more += 1;
            return;
        }
        self.list
            .push(self.problem(field.to_string(), why.to_string()));
    }

    /// All of them; those beyond the most are one that says how many they are.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.more > 0 {
            let last = self.problem(
                "(others)".to_owned(),
                format!("{} more problems like these", self.more),
            );
            self.list.push(last);
        }
        self.list
    }

    fn problem(&self, field: String, why: String) -> Problem {
        Problem {
            kind: self.kind,
            object: self.object.clone(),
            field,
            why,
        }
    }
}

/// A string of an object as it may stand in a message: quoted, escaped, and at most 64 of its characters.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
