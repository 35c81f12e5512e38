//! Field selectors (`k8s.io/apimachinery/pkg/fields`), over the fields that each resource declares.

use serde_json::Value;

use crate::resource::{Resource, Served};

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Parses `a=b,c!=d` and checks that the resource can be selected by these fields.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub(crate) fn parse(resource: &Resource, served: &Served, text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (path, value, true)
            } else {
                return Err(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ));
            };
            let stored = served
                .renamed
                .iter()
                .find_map(|(name, stored)| Some(format!("{stored}{}", path.strip_prefix(name)?)))
                .unwrap_or_else(|| path.to_string());
            let known = ["metadata.name", "metadata.namespace"].contains(&path)
                || resource.selectable.contains(&stored.as_str());
            if !known {
                return Err(if resource.selectable.is_empty() {
                    format!(
                        "\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                } else {
                    format!("field label not supported: {path}")
                });
            }
            requirements.push(Requirement {
                path: stored,
                value: value.into(),
                equal,
            });
        }
        Ok(Self(requirements))
    }

    /// Whether all requirements hold.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| {
            (text_at(object, &requirement.path) == requirement.value) == requirement.equal
        })
    }
}

/// The field as text; an absent one is empty, or false where the field is a boolean.
fn text_at(object: &Value, path: &str) -> String {
    if path == "source" {
        let component = &object["source"]["component"];
        let component = if component.is_null() {
            &object["reportingComponent"]
        } else {
            component
        };
        return component.as_str().unwrap_or_default().to_string();
    }
    if path == "status.podIPs" {
        return text_at(object, "status.podIP");
    }
    match path.split('.').fold(object, |value, key| &value[key]) {
        Value::Null if matches!(path, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Kind, by_kind};

    #[test]
    fn only_declared_fields_select() {
        let services = by_kind(Kind::Service);
        let parse = |text| FieldSelector::parse(services, services.stored(), text);
        let headless =
            json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None", "type": "ClusterIP"}});
        assert!(
            !parse("spec.clusterIP!=None")
                .expect("parses")
                .matches(&headless)
        );
        assert!(
            parse("spec.clusterIP=None,metadata.name=a")
                .expect("parses")
                .matches(&headless)
        );
        assert!(
            !parse("spec.type==NodePort")
                .expect("parses")
                .matches(&headless)
        );
        assert!(parse("spec.ports=1").is_err());
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn absent_booleans_are_false() {
        let nodes = by_kind(Kind::Node);
        let selector = FieldSelector::parse(nodes, nodes.stored(), "spec.unschedulable=false")
            .expect("parses");
        assert!(selector.matches(&json!({"spec": {}})));
    }
}
