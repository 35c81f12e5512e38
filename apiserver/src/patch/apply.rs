//! Server-side apply as a keyed three-way merge: what this manager applied before and no longer names is removed.
//!
//! Not a full one: there are no managed fields, so a value that another manager set is overwritten, never a conflict.

use serde_json::{Map, Value};

/// Merges what a manager applies; `before` is what the same manager applied last.
pub(crate) fn apply(
    target: &mut Value,
    applied: &Value,
    before: Option<&Value>,
    keys: &[(&'static str, &'static [&'static str])],
) {
    if let Some(before) = before {
        remove_dropped(target, before, applied, "", keys);
    }
    merge(target, applied, "", keys);
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}

fn keys_of(
    path: &str,
    keys: &[(&'static str, &'static [&'static str])],
) -> Option<&'static [&'static str]> {
    keys.iter()
        .find(|(list, _)| *list == path)
        .map(|(_, keys)| *keys)
}

/// Whether two elements of a list are the same one; the protocol of a port defaults to TCP.
fn same_element(one: &Value, other: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| {
        let value = |element: &Value| match element.get(*key) {
            None if *key == "protocol" => Value::from("TCP"),
            None => Value::Null,
            Some(value) => value.clone(),
        };
        value(one) == value(other)
    })
}

fn merge(
    target: &mut Value,
    applied: &Value,
    path: &str,
    keys: &[(&'static str, &'static [&'static str])],
) {
    match (target, applied) {
        (Value::Object(target), Value::Object(applied)) => {
            for (key, value) in applied {
                merge(
                    target.entry(key).or_insert(Value::Null),
                    value,
                    &child(path, key),
                    keys,
                );
            }
        }
        (target, Value::Object(applied)) => {
            *target = Value::Object(Map::new());
            merge(target, &Value::Object(applied.clone()), path, keys);
        }
        (target, Value::Array(applied)) => match (keys_of(path, keys), target) {
            (Some(element_keys), Value::Array(target)) => {
                for element in applied {
                    match target
                        .iter_mut()
                        .find(|existing| same_element(existing, element, element_keys))
                    {
                        Some(existing) => merge(existing, element, path, keys),
                        None => target.push(element.clone()),
                    }
                }
            }
            (_, target) => *target = Value::Array(applied.clone()),
        },
        (target, plain) => *target = plain.clone(),
    }
}

fn remove_dropped(
    target: &mut Value,
    before: &Value,
    applied: &Value,
    path: &str,
    keys: &[(&'static str, &'static [&'static str])],
) {
    match (target, before) {
        (Value::Object(target), Value::Object(before)) => {
            for (key, before) in before {
                match (applied.get(key), target.get_mut(key)) {
                    (Some(applied), Some(target)) => {
                        remove_dropped(target, before, applied, &child(path, key), keys);
                    }
                    (None, Some(value)) => {
                        // Only what this manager named goes: others may own the rest of an object.
                        remove_dropped(value, before, &Value::Null, &child(path, key), keys);
                        let emptied = value.as_object().is_some_and(Map::is_empty)
                            || value.as_array().is_some_and(Vec::is_empty);
                        if emptied || !(before.is_object() || before.is_array() && value.is_array())
                        {
                            target.remove(key);
                        }
                    }
                    _ => {}
                }
            }
        }
        (Value::Array(target), Value::Array(before)) => match keys_of(path, keys) {
            Some(element_keys) => {
                let kept = |element: &Value| {
                    applied.as_array().is_some_and(|list| {
                        list.iter()
                            .any(|kept| same_element(kept, element, element_keys))
                    })
                };
                target.retain(|element| {
                    kept(element)
                        || !before
                            .iter()
                            .any(|before| same_element(before, element, element_keys))
                });
                for element in target {
                    let find = |list: &[Value]| {
                        list.iter()
                            .find(|found| same_element(found, element, element_keys))
                            .cloned()
                    };
                    let pair = (find(before), applied.as_array().and_then(|list| find(list)));
                    if let (Some(before), Some(applied)) = pair {
                        remove_dropped(element, &before, &applied, path, keys);
                    }
                }
            }
            None if applied.is_null() => target.clear(),
            None => {}
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[(&str, &[&str])] = &[("spec.ports", &["port", "protocol"])];

    #[test]
    fn a_field_that_its_manager_drops_is_removed() {
        let mut target = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}, {"port": 81, "protocol": "TCP"}]}});
        let before = json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80}, {"port": 81}]}});
        let now = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "name": "a"}]}});
        apply(&mut target, &now, Some(&before), KEYS);
        let expected = json!({"type": "NodePort", "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000, "name": "a"}]});
        assert_eq!(target["spec"], expected);
    }

    #[test]
    fn tcp_and_udp_of_one_port_are_two_elements() {
        let mut target = json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}]}});
        apply(
            &mut target,
            &json!({"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}),
            None,
            KEYS,
        );
        assert_eq!(target["spec"]["ports"].as_array().map(Vec::len), Some(2));
    }
}
