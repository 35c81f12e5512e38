//! A YAML document as a tree that knows its places, and reading sections of it field by field.
//!
//! A derived `Deserialize` stops at the first mistake. This collects them all, and each with its place.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::{Place, Problem};

/// A value with its place.
pub(super) type Node = Spanned<Value>;

/// A value of YAML.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Value {
    /// Whether Go would read it as its type's zero, which kube-proxy takes for a field that is not set.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Integer(value) => *value == 0,
            Self::Float(value) => *value == 0.0,
            Self::Text(text) => matches!(text.as_str(), "" | "0" | "0s"),
            Self::List(items) => items.is_empty(),
            Self::Map(fields) => fields.iter().all(|(_, node)| node.value.is_zero()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

/// A value that was read, with the field that it was read from.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) field: String,
    pub(super) place: Place,
}

impl<T> Found<T> {
    /// What is wrong with it.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem {
            field: self.field.clone(),
            place: Some(self.place),
            what: what.into(),
        }
    }
}

/// A section that is being read: what was taken is gone, and what is left in the end nobody knows.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    fields: BTreeMap<String, (Place, Node)>,
    /// All fields that were asked for, to guess what a misspelt one was meant to be.
    known: Vec<&'static str>,
}

impl Section {
    /// The whole document.
    pub(super) fn document(node: Node, problems: &mut Vec<Problem>) -> Self {
        let place = place(&node.referenced);
        let found = Found {
            value: node.value,
            field: String::new(),
            place,
        };
        Self::of(found, problems)
    }

    /// A section of this one; empty where there is none.
    pub(super) fn section(&mut self, name: &'static str, problems: &mut Vec<Problem>) -> Self {
        match self.take(name) {
            Some(found) => Self::of(found, problems),
            None => Self {
                path: self.field(name),
                fields: BTreeMap::new(),
                known: Vec::new(),
            },
        }
    }

    fn of(found: Found<Value>, problems: &mut Vec<Problem>) -> Self {
        let mut section = Self {
            path: found.field.clone(),
            fields: BTreeMap::new(),
            known: Vec::new(),
        };
        match found.value {
            Value::Null => {}
            Value::Map(fields) => {
                for (name, node) in fields {
                    let place = place(&name.referenced);
                    section.fields.insert(name.value, (place, node));
                }
            }
            ref other => {
                let what = format!("must be a section, and is {}", other.kind());
                problems.push(found.problem(what));
            }
        }
        section
    }

    /// Takes a field whatever it holds. `null` is no field.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Found<Value>> {
        self.known.push(name);
        let (place, node) = self.fields.remove(name)?;
        let field = self.field(name);
        (!matches!(node.value, Value::Null)).then_some(Found {
            value: node.value,
            field,
            place,
        })
    }

    /// Takes all that is left, as it is.
    pub(super) fn rest(&mut self) -> Vec<Found<Value>> {
        let fields = std::mem::take(&mut self.fields);
        let found = fields.into_iter().map(|(name, (place, node))| Found {
            field: self.field(&name),
            value: node.value,
            place,
        });
        found.collect()
    }

    /// Takes text. Empty text is no field.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Found<String>> {
        let found = self.typed(name, "text", problems, |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })?;
        (!found.value.is_empty()).then_some(found)
    }

    /// Takes a boolean.
    pub(super) fn boolean(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Found<bool>> {
        self.typed(name, "true or false", problems, |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// Takes a whole number.
    pub(super) fn integer(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Found<i128>> {
        self.typed(name, "a whole number", problems, |value| match value {
            Value::Integer(value) => Some(value),
            _ => None,
        })
    }

    /// Takes a list of texts.
    pub(super) fn texts(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Vec<Found<String>> {
        let Some(list) = self.typed(name, "a list", problems, |value| match value {
            Value::List(items) => Some(items),
            _ => None,
        }) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in list.value.into_iter().enumerate() {
            let field = format!("{}[{index}]", list.field);
            let place = place(&item.referenced);
            let found = Found {
                value: item.value,
                field,
                place,
            };
            match found.value {
                Value::Text(value) => texts.push(Found {
                    value,
                    field: found.field,
                    place,
                }),
                ref other => {
                    let what = format!("must be text, and is {}", other.kind());
                    problems.push(found.problem(what));
                }
            }
        }
        texts
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        problems: &mut Vec<Problem>,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<Found<T>> {
        let Found {
            value,
            field,
            place,
        } = self.take(name)?;
        let kind = value.kind();
        if let Some(value) = read(value) {
            return Some(Found {
                value,
                field,
                place,
            });
        }
        let what = format!("must be {wanted}, and is {kind}");
        problems.push(Problem {
            field,
            place: Some(place),
            what,
        });
        None
    }

    /// Nothing else may be in this section.
    pub(super) fn finish(mut self, problems: &mut Vec<Problem>) {
        let known = std::mem::take(&mut self.known);
        for found in self.rest() {
            let name = found.field.rsplit('.').next().unwrap_or_default();
            let meant = known.iter().find(|known| known.eq_ignore_ascii_case(name));
            problems.push(found.problem(match meant {
                Some(meant) => {
                    format!("is not a field that this proxy knows; did you mean {meant}?")
                }
                None => "is not a field that this proxy knows; remove it".to_owned(),
            }));
        }
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

fn place(location: &Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}
