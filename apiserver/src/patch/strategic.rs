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
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match value {
            Value::Null => {
                target.remove(key);
            }
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
            Value::Array(patch) => match key_of(&path, keys) {
                Some(merge_key) => {
                    let slot = target
                        .entry(key)
                        .or_insert_with(|| Value::Array(Vec::new()));
                    if !slot.is_array() {
                        *slot = Value::Array(Vec::new());
                    }
                    if let Value::Array(slot) = slot {
                        merge_list(slot, patch, merge_key, &path, keys)?;
                    }
                }
                None => {
                    let plain = patch.iter().map(without_directives_in).collect();
                    target.insert(key.clone(), Value::Array(plain));
                }
            },
            plain => {
                target.insert(key.clone(), plain.clone());
            }
        }
    }
    for (key, order) in patch {
        if let (Some(list), Some(order)) = (key.strip_prefix(ORDER), order.as_array()) {
            let path = if path.is_empty() {
                list.to_string()
            } else {
                format!("{path}.{list}")
            };
            if let Some(Value::Array(list)) = target.get_mut(list) {
                reorder(list, order, key_of(&path, keys).unwrap_or_default());
            }
        }
    }
    Ok(())
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
            return Err(format!(
                "map: {} does not contain declared merge key: {merge_key}",
                Value::Object(element.clone())
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

/// Puts the elements that the order names in that order; others keep their place after their predecessors.
fn reorder(list: &mut Vec<Value>, order: &[Value], merge_key: &str) {
    let rank = |element: &Value| {
        order.iter().position(|wanted| {
            if merge_key.is_empty() {
                wanted == element
            } else {
                wanted.get(merge_key) == element.get(merge_key)
            }
        })
    };
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(list.len());
    for element in list.drain(..) {
        last = rank(&element).unwrap_or(last);
        ranked.push((last, element));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    list.extend(ranked.into_iter().map(|(_, element)| element));
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
        let expected = json!([{"port": 80, "name": "a", "nodePort": 1}, {"port": 81, "name": "b"}, {"port": 82}]);
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
            json!({"ports": [{"port": 82}, {"port": 80}], "podCIDRs": ["b", "c"]})
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
