//! Answers in a form that two servers can agree on.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::backend::Reply;

/// Identities, long numbers such as resource versions, and allocated addresses, inside of sentences.
static MASKED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<uid>",
        ),
        (r"\b[0-9]{6,}\b", "<number>"),
        (r"row-[0-9]+", "<namespace>"),
        (r"in record \([0-9]+\)", "in record (<number>)"),
        (r":3[0-9]{4}/", ":<port>/"),
        (r"current: [0-9]+", "current: <number>"),
        (r"\b10\.96\.[0-9]+\.[0-9]+\b", "<v4>"),
        (r"\bfd00:10:96::[0-9a-f]+\b", "<v6>"),
    ]
    .into_iter()
    .filter_map(|(pattern, mask)| Some((Regex::new(pattern).ok()?, mask)))
    .collect()
});

/// The code and the masked body, without its messages where only words may differ.
pub(crate) fn form(reply: &Reply, with_messages: bool) -> String {
    let documents: Vec<String> = reply
        .documents()
        .into_iter()
        // A bookmark that only tells the version may come at any time, or not.
        .filter(|document| {
            document["type"] != "BOOKMARK"
                || document["object"]["metadata"]["annotations"].is_object()
        })
        .map(|mut document| {
            mask("", &mut document);
            if !with_messages {
                drop_messages(&mut document);
            }
            serde_json::to_string_pretty(&document).unwrap_or_default()
        })
        .collect();
    format!("{}\n{}", reply.code, documents.join("\n"))
}

fn drop_messages(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("message");
            map.values_mut().for_each(drop_messages);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_messages),
        _ => {}
    }
}

fn mask(key: &str, value: &mut Value) {
    match value {
        Value::Object(map) => mask_object(map),
        Value::Array(list) => list.iter_mut().for_each(|value| mask(key, value)),
        Value::String(text) => {
            for (pattern, mask) in MASKED.iter() {
                if let std::borrow::Cow::Owned(masked) = pattern.replace_all(text, *mask) {
                    *text = masked;
                }
            }
        }
        Value::Number(number) => {
            let allocated = matches!(key, "nodePort" | "healthCheckNodePort");
            if allocated && number.as_u64().is_some_and(|number| number != 0) {
                *value = "<port>".into();
            }
        }
        _ => {}
    }
}

/// Of a Table, what kubectl prints: the columns, and the cells as text. Ages pass, and ports are allocated.
fn table(map: &mut Map<String, Value>) {
    for column in map
        .get_mut("columnDefinitions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        *column = serde_json::json!({"name": column["name"], "priority": column["priority"]});
    }
    for row in map
        .get_mut("rows")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for cell in row["cells"].as_array_mut().into_iter().flatten() {
            let text = cell
                .as_str()
                .map_or_else(|| cell.to_string(), ToString::to_string);
            let is_age = text.len() < 4
                && text
                    .strip_suffix('s')
                    .is_some_and(|age| age.parse::<u32>().is_ok());
            *cell = if is_age { "<age>".into() } else { text.into() };
        }
        row["object"] = row["object"]["metadata"]["name"].take();
    }
}

fn mask_object(map: &mut Map<String, Value>) {
    // The embedded server keeps no managed fields, which its documentation says.
    map.remove("managedFields");
    let generated = map.contains_key("generateName");
    if map.get("kind").is_some_and(|kind| kind == "Table") {
        table(map);
    }
    for (key, value) in map {
        match key.as_str() {
            "uid" | "resourceVersion" | "creationTimestamp" | "deletionTimestamp"
            | "lastTransitionTime"
                if value.is_string() =>
            {
                *value = format!("<{key}>").into();
            }
            "name" if generated => *value = "<generated>".into(),
            _ => mask(key, value),
        }
    }
}
