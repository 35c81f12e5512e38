//! JSON patch (RFC 6902), with bounds on what a short patch can build.

use std::io::{self, Write};

use json_patch::{Patch, PatchOperation, patch_unsafe};
use serde_json::Value;

/// How deep a result may nest. Everything that walks a value does so recursively, and objects are much flatter.
const DEPTH_LIMIT: usize = 100;
/// How many bytes of JSON the `copy` operations of one patch may add: upstream's `JSONPatchMaxCopyBytes`.
const COPY_LIMIT: usize = 3 * 1024 * 1024;

/// A patch that cannot be applied; upstream does not say why, either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inapplicable;

/// Applies one operation after the other and stops before one whose result would be too deep or too large. After an
/// error the value is in a state between.
pub(crate) fn json_patch(target: &mut Value, patch: &Patch) -> Result<(), Inapplicable> {
    let mut copied = 0;
    for operation in &patch.0 {
        let (path, depth) = match operation {
            PatchOperation::Add(add) => (add.path.as_str(), depth(&add.value)),
            PatchOperation::Replace(replace) => (replace.path.as_str(), depth(&replace.value)),
            PatchOperation::Move(moved) => (
                moved.path.as_str(),
                target.pointer(moved.from.as_str()).map_or(0, depth),
            ),
            PatchOperation::Copy(copy) => {
                let source = target.pointer(copy.from.as_str()).ok_or(Inapplicable)?;
                copied += size(source, COPY_LIMIT - copied).ok_or(Inapplicable)?;
                (copy.path.as_str(), depth(source))
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => ("", 0),
        };
        if path.matches('/').count() + depth > DEPTH_LIMIT {
            return Err(Inapplicable);
        }
        patch_unsafe(target, std::slice::from_ref(operation)).map_err(|_| Inapplicable)?;
    }
    Ok(())
}

/// How many objects and lists are inside of each other; the limit holds for the value already.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The bytes of its JSON; None beyond the limit.
fn size(value: &Value, limit: usize) -> Option<usize> {
    let mut counter = Counter { written: 0, limit };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.written)
}

struct Counter {
    written: usize,
    limit: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        if self.written > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(operations: Value) -> (Result<(), Inapplicable>, usize) {
        let mut value = json!({"a": {}});
        let patch: Patch = serde_json::from_value(operations).expect("a patch");
        let result = json_patch(&mut value, &patch);
        (result, value.to_string().len())
    }

    #[test]
    fn moves_cannot_nest_without_bound() {
        let nest = |times: usize| {
            let mut operations = Vec::new();
            for _ in 0..times {
                operations.push(json!({"op": "move", "from": "/a", "path": "/b"}));
                operations.push(json!({"op": "add", "path": "/a", "value": {}}));
                operations.push(json!({"op": "move", "from": "/b", "path": "/a/b"}));
            }
            apply(Value::Array(operations)).0
        };
        assert_eq!(nest(90), Ok(()));
        assert_eq!(nest(110), Err(Inapplicable));
    }

    #[test]
    fn copies_cannot_grow_without_bound() {
        let copies = |times: usize| {
            let mut operations = vec![json!({"op": "add", "path": "/a/x", "value": "xxxxxxxx"})];
            for index in 0..times {
                let path = format!("/a/c{index}");
                operations.push(json!({"op": "copy", "from": "/a", "path": path}));
            }
            apply(Value::Array(operations))
        };
        assert_eq!(copies(10).0, Ok(()));
        let (result, size) = copies(40);
        assert_eq!(result, Err(Inapplicable));
        assert!(size < 2 * COPY_LIMIT, "{size}");
    }

    #[test]
    fn a_failed_test_or_a_missing_source_is_refused() {
        for operation in [
            json!({"op": "test", "path": "/a", "value": 1}),
            json!({"op": "copy", "from": "/z", "path": "/a"}),
            json!({"op": "move", "from": "/z", "path": "/a"}),
            json!({"op": "move", "from": "/a", "path": "/a/b"}),
        ] {
            assert_eq!(apply(json!([operation])).0, Err(Inapplicable));
        }
    }
}
