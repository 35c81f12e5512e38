//! Good objects, and good objects with one thing wrong: what is left out, and what is reported.

mod service;
mod slice;
mod small;

use std::net::IpAddr;

use serde_json::Value;

use super::{Problem, Reading};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An object with some of its fields set: JSON pointers and values.
fn edited(mut object: Value, edits: &[(&str, Value)]) -> Value {
    for (pointer, value) in edits {
        let Some(field) = object.pointer_mut(pointer) else {
            panic!("the object has no {pointer}")
        };
        *field = value.clone();
    }
    object
}

/// The fields of the problems.
fn fields<T>(reading: &Reading<T>) -> Vec<&str> {
    reading
        .problems
        .iter()
        .map(|problem: &Problem| problem.field.as_str())
        .collect()
}
