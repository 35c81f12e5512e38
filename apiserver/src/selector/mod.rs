//! Label and field selectors, parsed once for each request.

mod fields;
mod labels;

use serde_json::Value;

pub(crate) use fields::FieldSelector;
pub(crate) use labels::LabelSelector;

/// Both selectors of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selector {
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(&object["metadata"]["labels"]) && self.fields.matches(object)
    }
}
