//! Strategic merge patch (`k8s.io/apimachinery/pkg/util/strategicpatch`), driven by the resource's merge keys.
//!
//! Known directives: `$patch: replace|merge|delete`, `$retainKeys`, `$deleteFromPrimitiveList/f`, `$setElementOrder/f`.

use serde_json::{Map, Value};

const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Lists that every object has.
const METADATA_KEYS: &[(&str, &str)] = &[
    ("metadata.ownerReferences", "uid"),
    ("metadata.finalizers", ""),
];

/// Merges `patch` into `target`. `keys` are (path of a list, merge key); other lists are replaced.
///
/// # Errors
/// When an element of a keyed list lacks its key, or a directive is unknown.
pub(crate) fn strategic_merge(
    target: &mut Value,
    patch: &Value,
    keys: &[(&'static str, &'static str)],
) -> Result<(), String> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else {
        return Err("a strategic merge patch must be an object".into());
    };
    merge_object(target, patch, "", keys)
}

fn key_of(path: &str, keys: &[(&'static str, &'static str)]) -> Option<&'static str> {
    keys.iter()
        .chain(METADATA_KEYS)
        .find(|(list, _)| *list == path)
        .map(|(_, key)| *key)
}

fn merge_object(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
    keys: &[(&'static str, &'static str)],
) -> Result<(), String> {
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("Unknown patch type found: {other}")),
    }
    if let Some(retain) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| retain.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let unwanted = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(list)) = target.get_mut(list) {
                list.retain(|element| !unwanted.contains(element));
            }
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let path = child(path, key);
        match value {
            Value::Null => {
                target.remove(key);
            }
            // Upstream loses what replaces a field that is not there.
            Value::Object(inner) if inner.contains_key("$patch") && !target.contains_key(key) => {}
            Value::Object(patch) => {
                let slot = target
                    .entry(key)
                    .or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    merge_object(slot, patch, &path, keys)?;
                }
            }
            Value::Array(list) => match key_of(&path, keys) {
                Some(merge_key) => {
                    let slot = target
                        .entry(key)
                        .or_insert_with(|| Value::Array(Vec::new()));
                    if !slot.is_array() {
                        *slot = Value::Array(Vec::new());
                    }
                    if let Value::Array(slot) = slot {
                        let before = slot.clone();
                        merge_list(slot, list, merge_key, &path, keys)?;
                        let order = patch
                            .get(&format!("{ORDER}{key}"))
                            .and_then(Value::as_array)
                            .unwrap_or(list);
                        reorder(slot, &before, order, merge_key);
                    }
                }
                None => {
                    let plain = list.iter().map(without_directives_in).collect();
                    target.insert(key.clone(), Value::Array(plain));
                }
            },
            plain => {
                target.insert(key.clone(), plain.clone());
            }
        }
    }
    for (key, order) in patch {
        // Where the list itself is in the patch, it was ordered when it was merged.
        if let (Some(list), Some(order)) = (key.strip_prefix(ORDER), order.as_array())
            && !patch.contains_key(list)
        {
            let merge_key = key_of(&child(path, list), keys).unwrap_or_default();
            if let Some(Value::Array(list)) = target.get_mut(list) {
                let before = list.clone();
                reorder(list, &before, order, merge_key);
            }
        }
    }
    Ok(())
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}

fn merge_list(
    target: &mut Vec<Value>,
    patch: &[Value],
    merge_key: &str,
    path: &str,
    keys: &[(&'static str, &'static str)],
) -> Result<(), String> {
    if merge_key.is_empty() {
        for element in patch {
            if !target.contains(element) {
                target.push(element.clone());
            }
        }
        return Ok(());
    }
    if patch.iter().any(|element| element["$patch"] == "replace") {
        *target = patch
            .iter()
            .filter(|element| element["$patch"].is_null())
            .map(without_directives_in)
            .collect();
        return Ok(());
    }
    for element in patch {
        let Value::Object(element) = element else {
            return Err(format!(
                "{path}: an element of a merged list must be an object"
            ));
        };
        let Some(value) = element.get(merge_key) else {
            let shown: Vec<String> = element
                .iter()
                .map(|(key, value)| format!("{key}:{}", plain_text(value)))
                .collect();
            return Err(format!(
                "map: map[{}] does not contain declared merge key: {merge_key}",
                shown.join(" ")
            ));
        };
        if element
            .get("$patch")
            .is_some_and(|directive| directive == "delete")
        {
            target.retain(|existing| existing.get(merge_key) != Some(value));
            continue;
        }
        match target
            .iter_mut()
            .find(|existing| existing.get(merge_key) == Some(value))
        {
            Some(Value::Object(existing)) => merge_object(existing, element, path, keys)?,
            _ => {
                let mut new = Map::new();
                merge_object(&mut new, element, path, keys)?;
                target.push(Value::Object(new));
            }
        }
    }
    Ok(())
}

/// Upstream's order of a merged list: what the patch names comes in the order of the patch, the rest in its old order,
/// and one of the rest goes before one of the patch only where it was before it already.
fn reorder(list: &mut Vec<Value>, before: &[Value], order: &[Value], merge_key: &str) {
    let position = |list: &[Value], element: &Value| {
        list.iter().position(|found| {
            if merge_key.is_empty() {
                found == element
            } else {
                found.get(merge_key) == element.get(merge_key)
            }
        })
    };
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) = list
        .drain(..)
        .partition(|element| position(order, element).is_some());
    named.sort_by_key(|element| position(order, element));
    rest.sort_by_key(|element| position(before, element));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    loop {
        let rest_first = match (rest.peek(), named.peek()) {
            (None, None) => return,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => match (position(before, left), position(before, right)) {
                (Some(left), Some(right)) => left < right,
                _ => false,
            },
        };
        list.extend(if rest_first {
            rest.next()
        } else {
            named.next()
        });
    }
}

/// A value as Go prints it.
fn plain_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToString::to_string)
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
        .map(|(key, value)| (key.clone(), without_directives_in(value)))
        .collect()
}

fn without_directives_in(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(list) => Value::Array(list.iter().map(without_directives_in).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[(&str, &str)] = &[("spec.ports", "port"), ("spec.podCIDRs", "")];

    fn patched(mut target: Value, patch: &Value) -> Value {
        strategic_merge(&mut target, patch, KEYS).expect("merges");
        target
    }

    #[test]
    fn keyed_lists_merge_by_element() {
        let target =
            json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
        let patch = json!({"spec": {"ports": [{"port": 80, "nodePort": 1}, {"port": 82}]}});
        let expected = json!([{"port": 80, "name": "a", "nodePort": 1}, {"port": 82}, {"port": 81, "name": "b"}]);
        assert_eq!(patched(target, &patch)["spec"]["ports"], expected);
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let target =
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "podCIDRs": ["a", "b"]}});
        let patch = json!({"spec": {
            "$setElementOrder/ports": [{"port": 82}, {"port": 80}],
            "ports": [{"port": 81, "$patch": "delete"}, {"port": 82}],
            "$deleteFromPrimitiveList/podCIDRs": ["a"],
            "podCIDRs": ["c"],
        }});
        let result = patched(target.clone(), &patch);
        assert_eq!(
            result["spec"],
            json!({"ports": [{"port": 82}, {"port": 80}], "podCIDRs": ["c", "b"]})
        );
        let patch = json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 9}]}});
        assert_eq!(
            patched(target.clone(), &patch)["spec"]["ports"],
            json!([{"port": 9}])
        );
        let patch = json!({"spec": {"$patch": "replace", "x": 1}});
        assert_eq!(patched(target.clone(), &patch)["spec"], json!({"x": 1}));
        let patch = json!({"spec": {"$retainKeys": ["x"], "x": 1}});
        assert_eq!(patched(target, &patch)["spec"], json!({"x": 1}));
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let mut target = json!({"spec": {}});
        let patch = json!({"spec": {"ports": [{"name": "a"}]}});
        assert!(strategic_merge(&mut target, &patch, KEYS).is_err());
    }
}
