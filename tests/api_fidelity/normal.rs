//! Answers in a form that two servers can agree on.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::backend::Reply;
use super::rows::Row;

/// What is numbered inside of sentences: a pattern and the name of what it finds.
static NUMBERED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    compiled([
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "uid",
        ),
        (r"\b3[0-9]{4}\b", "port"),
        (r"\b10\.96\.[0-9]+\.[0-9]+\b", "v4"),
        (r"\bfd00:10:96::[0-9a-f]+\b", "v6"),
    ])
});

/// What is masked inside of sentences.
static MASKED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    compiled([
        (r"\b[0-9]{6,}\b", "<number>"),
        (r"row-[0-9]+", "<namespace>"),
        (r"in record \([0-9]+\)", "in record (<number>)"),
        (r"current: [0-9]+", "current: <number>"),
    ])
});

fn compiled<const N: usize>(patterns: [(&str, &'static str); N]) -> Vec<(Regex, &'static str)> {
    patterns
        .into_iter()
        .filter_map(|(pattern, mask)| Some((Regex::new(pattern).ok()?, mask)))
        .collect()
}

/// For each step the code, the headers and the masked body, without its messages where only words may differ.
pub(crate) fn forms(row: &Row, replies: &[Reply], with_messages: bool) -> Vec<String> {
    let mut masker = Masker::new(row);
    replies
        .iter()
        .zip(&row.steps)
        .map(|(reply, step)| {
            // What a dry run picked is free again, and the next one may pick the same or not.
            let mut passing = Masker::new(row);
            let dry_run = step.path.contains("dryRun=All");
            let masker = if dry_run { &mut passing } else { &mut masker };
            form(masker, reply, with_messages)
        })
        .collect()
}

fn form(masker: &mut Masker, reply: &Reply, with_messages: bool) -> String {
    let documents: Vec<String> = reply
        .documents()
        .into_iter()
        // A bookmark that only tells the version may come at any time, or not.
        .filter(|document| {
            document["type"] != "BOOKMARK"
                || document["object"]["metadata"]["annotations"].is_object()
        })
        .map(|mut document| {
            masker.mask("", &mut document);
            if !with_messages {
                drop_messages(&mut document);
            }
            serde_json::to_string_pretty(&document).unwrap_or_default()
        })
        .collect();
    format!(
        "{} {}\n{}\n{}",
        reply.code,
        reply.content_type,
        reply.warnings.join("\n"),
        documents.join("\n")
    )
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

/// Gives each value that a server made up a number, which it keeps through all steps of a row.
struct Masker {
    /// What the row itself asks for, which is compared as it is.
    requested: String,
    seen: HashMap<(&'static str, String), usize>,
    counts: HashMap<&'static str, usize>,
}

impl Masker {
    fn new(row: &Row) -> Self {
        let texts = row.steps.iter().flat_map(|step| [&*step.path, &*step.body]);
        Self {
            requested: texts.collect::<Vec<_>>().join("\n"),
            seen: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    fn number(&mut self, what: &'static str, value: &str) -> String {
        let between = |letter: char| !letter.is_ascii_alphanumeric() && !".:-".contains(letter);
        let mut words = self.requested.split(between);
        // The versions of a young server are as short as ports, but no row asks for one by its number.
        if what != "version" && words.any(|word| word.trim_matches(':') == value) {
            return value.to_string();
        }
        let count = self.counts.entry(what).or_default();
        let number = self
            .seen
            .entry((what, value.to_string()))
            .or_insert_with(|| {
                *count += 1;
                *count
            });
        format!("<{what} {number}>")
    }

    fn mask(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(map) => self.mask_object(map),
            Value::Array(list) => list.iter_mut().for_each(|value| self.mask(key, value)),
            Value::String(text) => self.mask_text(text),
            Value::Number(number) => {
                let allocated = matches!(key, "nodePort" | "healthCheckNodePort");
                if allocated && number.as_u64().is_some_and(|number| number != 0) {
                    *value = self.number("port", &number.to_string()).into();
                }
            }
            _ => {}
        }
    }

    fn mask_text(&mut self, text: &mut String) {
        for (pattern, what) in NUMBERED.iter() {
            let masked =
                pattern.replace_all(text, |found: &Captures<'_>| self.number(what, &found[0]));
            *text = masked.into_owned();
        }
        for (pattern, mask) in MASKED.iter() {
            *text = pattern.replace_all(text, *mask).into_owned();
        }
    }

    fn mask_object(&mut self, map: &mut Map<String, Value>) {
        // The embedded server keeps no managed fields, which its documentation says.
        map.remove("managedFields");
        map.remove("storageVersionHash");
        let generated = map.contains_key("generateName");
        if map.get("kind").is_some_and(|kind| kind == "Table") {
            table(map);
        }
        // Lists and bookmarks have the version of the whole server, which others change, too.
        let is_object = map.contains_key("uid");
        for (key, value) in map {
            let text = value.as_str().map(ToString::to_string);
            match (key.as_str(), text) {
                ("uid", Some(text)) => *value = self.number("uid", &text).into(),
                ("resourceVersion", Some(text)) if is_object => {
                    *value = self.number("version", &text).into();
                }
                (
                    "resourceVersion" | "creationTimestamp" | "deletionTimestamp"
                    | "lastTransitionTime",
                    Some(_),
                ) => *value = format!("<{key}>").into(),
                ("name", Some(_)) if generated => *value = "<generated>".into(),
                _ => self.mask(key, value),
            }
        }
    }
}

/// Of a Table, what kubectl prints: the columns, and the cells as text. Ages pass.
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
