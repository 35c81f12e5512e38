//! Defaults and validation of every kind but Service, which has a layer of its own.

mod endpoint_slice;
pub(crate) mod meta;
pub(crate) mod names;
mod node;
mod pod;
mod simple;

use serde_json::Value;

use crate::field::FieldError;
use crate::resource::Kind;

/// Fills in what the API fills in; idempotent.
pub(crate) fn default(kind: Kind, value: &mut Value) {
    match kind {
        Kind::EndpointSlice => endpoint_slice::default(value),
        Kind::Pod => pod::default(value),
        Kind::Node => node::default(value),
        Kind::Namespace => simple::default_namespace(value),
        Kind::Event => simple::default_event(value),
        Kind::Lease => simple::default_lease(value),
        _ => {}
    }
}

/// Checks an object, and its change from `old` on an update.
pub(crate) fn validate(kind: Kind, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match kind {
        Kind::EndpointSlice => endpoint_slice::validate(value, old),
        Kind::Pod => pod::validate(value, old),
        Kind::Node => node::validate(value, old),
        Kind::Lease => simple::validate_lease(value),
        Kind::ConfigMap => simple::validate_config_map(value, old),
        Kind::ServiceCidr => simple::validate_service_cidr(value, old),
        Kind::Event => simple::validate_event(value),
        Kind::Namespace | Kind::Service => Vec::new(),
    }
}

/// Times of conditions, which Go shows as null until they are set.
fn default_condition_times(status: &mut Value, times: [&str; 2]) {
    for condition in status
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(condition) = condition.as_object_mut() {
            for time in times {
                condition.entry(time).or_insert(Value::Null);
            }
        }
    }
}

/// The error of a field that may not change.
pub(crate) fn immutable(path: &str, value: &Value, old: &Value) -> Option<FieldError> {
    (value != old).then(|| FieldError::invalid(path, value.clone(), "field is immutable"))
}
