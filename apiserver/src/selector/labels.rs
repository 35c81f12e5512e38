//! Label selectors in their string form (`k8s.io/apimachinery/pkg/labels`).

use serde_json::Value;

use crate::validate::names;

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        split_outside_parentheses(text)?
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(parse_requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `metadata.labels` fulfils every requirement.
    pub(crate) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key).and_then(Value::as_str);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => {
                    value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
                }
                Test::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|wanted| wanted != value))
                }
                Test::Greater(limit) => value
                    .and_then(|value| value.parse().ok())
                    .is_some_and(|value: i64| value > *limit),
                Test::Less(limit) => value
                    .and_then(|value| value.parse().ok())
                    .is_some_and(|value: i64| value < *limit),
            }
        })
    }
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
        if !(0..=1).contains(&depth) {
            return Err(format!("unable to parse requirement: found '{character}'"));
        }
    }
    if depth != 0 {
        return Err("unable to parse requirement: found '', expected: ',' or ')'".into());
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn parse_requirement(part: &str) -> Result<Requirement, String> {
    let number = |text: &str| {
        text.trim().parse::<i64>().map_err(|_| {
            "unable to parse requirement: values[0]: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer".to_string()
        })
    };
    if let Some(key) = part.strip_prefix('!') {
        return requirement(key, Test::Missing);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return requirement(key, Test::NotIn(vec![value.trim().into()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return requirement(key, Test::In(vec![value.trim().into()]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return requirement(key, Test::Greater(number(value)?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return requirement(key, Test::Less(number(value)?));
    }
    if let Some((head, rest)) = part.split_once('(') {
        let values = rest
            .strip_suffix(')')
            .ok_or("unable to parse requirement: expected: ')'")?
            .split(',')
            .map(|value| value.trim().to_string())
            .collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => requirement(key, Test::In(values)),
            (Some(key), Some("notin"), None) => requirement(key, Test::NotIn(values)),
            _ => Err(format!(
                "unable to parse requirement: found '{}', expected: in, notin",
                head.trim()
            )),
        };
    }
    let mut words = part.split_whitespace();
    match (words.next(), words.next()) {
        (Some(_), Some("in" | "notin")) => {
            Err("unable to parse requirement: found '' expected: '('".into())
        }
        (Some(_), Some(other)) => Err(format!(
            "unable to parse requirement: found '{other}', expected: in, notin, =, ==, !=, gt, lt"
        )),
        _ => requirement(part, Test::Exists),
    }
}

fn requirement(key: &str, test: Test) -> Result<Requirement, String> {
    let key = key.trim();
    let problem = names::qualified_name(key).into_iter().next();
    let values = match &test {
        Test::In(values) | Test::NotIn(values) => values.as_slice(),
        _ => &[],
    };
    let problem = problem.or_else(|| {
        values
            .iter()
            .flat_map(|value| names::label_value(value))
            .next()
    });
    match problem {
        Some(problem) => Err(format!(
            "unable to parse requirement: <nil>: Invalid value: \"{key}\": {problem}"
        )),
        None => Ok(Requirement {
            key: key.into(),
            test,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = json!({"app": "web", "tier": "1", "empty": ""});
        LabelSelector::parse(selector)
            .expect("parses")
            .matches(&labels)
    }

    #[test]
    fn requirements_are_all_needed() {
        for yes in [
            "",
            "app",
            "app=web",
            "app==web",
            "!gone",
            "gone!=x",
            "gone notin (x,y)",
            "app in (db, web)",
            "tier>0",
            "tier<2",
            "empty=",
            "app=web,tier notin (2)",
            "!service.kubernetes.io/headless",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "!app",
            "app=db",
            "app!=web",
            "gone",
            "app in (db)",
            "app notin (web)",
            "tier>1",
            "app=web,gone",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["a in (b", "a)", "=b", "a b", "a>x", "a in b", "a=b=c d"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }
}
