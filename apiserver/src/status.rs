//! Errors as a Kubernetes API reports them: a `Status` object and an HTTP code.
//!
//! Messages follow `k8s.io/apimachinery/pkg/api/errors/errors.go`, because clients and people read them.

use serde_json::{Map, Value, json};

use crate::field::FieldError;
use crate::resource::Resource;

/// A refusal: the HTTP code and the parts of the `Status` body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Status {
    /// The HTTP status code, repeated in the body.
    pub(crate) code: u16,
    /// The machine-readable reason, such as `NotFound`; empty where upstream sets none.
    pub(crate) reason: &'static str,
    /// The sentence for people.
    pub(crate) message: String,
    /// `details` of the body, where upstream sends any.
    pub(crate) details: Option<Map<String, Value>>,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut details = Map::new();
        for (key, value) in [("group", group), ("kind", kind), ("name", name)] {
            if !value.is_empty() {
                details.insert(key.into(), value.into());
            }
        }
        self.details = Some(details);
        self
    }

    fn of(self, resource: &Resource, name: &str) -> Self {
        self.about(resource.group, resource.plural, name)
    }

    /// 404 for an object.
    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).of(resource, name)
    }

    /// 404 for a path that serves nothing but is inside a served group version.
    pub(crate) fn no_such_resource() -> Self {
        let mut status = Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        status.details = Some(Map::new());
        status
    }

    /// 409 for a name that is taken.
    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).of(resource, name)
    }

    /// 409 for a write that does not fit the stored object.
    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).of(resource, name)
    }

    /// 409 for an outdated `resourceVersion`.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403 for what admission forbids.
    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).of(resource, name)
    }

    /// 403 for a namespace that is going away.
    pub(crate) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let mut status = Self::forbidden(
            resource,
            name,
            &format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            ),
        );
        let cause = json!([{"reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"}]);
        status
            .details
            .get_or_insert_default()
            .insert("causes".into(), cause);
        status
    }

    /// 409 for a precondition of a DELETE, which upstream words by kind.
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(resource.kind_name, resource.group)
        );
        Self::new(409, "Conflict", message).about(resource.group, resource.kind_name, name)
    }

    /// 422 with one cause for each wrong field.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let message = match errors {
            [one] => format!(
                "{kind_name} \"{name}\" is invalid: {one}",
                kind_name = qualified(kind, group)
            ),
            many => {
                let mut shown = Vec::new();
                for error in many.iter().map(ToString::to_string) {
                    if !shown.contains(&error) {
                        shown.push(error);
                    }
                }
                let shown = if shown.len() == 1 {
                    shown.remove(0)
                } else {
                    format!("[{}]", shown.join(", "))
                };
                format!("{} \"{name}\" is invalid: {shown}", qualified(kind, group))
            }
        };
        let mut status = Self::new(422, "Invalid", message).about(group, kind, name);
        let causes = errors.iter().map(FieldError::cause).collect();
        status
            .details
            .get_or_insert_default()
            .insert("causes".into(), Value::Array(causes));
        status
    }

    /// 422 for the options of a request.
    pub(crate) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid("meta.k8s.io", kind, "", errors)
    }

    /// 422 for a patch that is well-formed but cannot be applied.
    pub(crate) fn unprocessable_patch(message: impl Into<String>) -> Self {
        let mut status = Self::new(422, "Invalid", message);
        status.details = Some(Map::new());
        status
    }

    /// 422 for a patch whose result is not an object of its kind.
    pub(crate) fn invalid_patch_result(result: &str, why: &str) -> Self {
        let error = FieldError::invalid("patch", result, why);
        let mut status = Self::invalid("", "", "", &[error]);
        status.message = format!(" {}", status.message.trim_start());
        status
    }

    /// An error without a reason, as errors become that upstream does not classify.
    pub(crate) fn unclassified(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let mut status = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = Some(Map::new());
        status
    }

    /// 406.
    pub(crate) fn not_acceptable() -> Self {
        let mut status = Self::new(
            406,
            "NotAcceptable",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        );
        status.details = Some(Map::new());
        status
    }

    /// 415.
    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a kind of patch that there is not.
    pub(crate) fn unsupported_patch_type() -> Self {
        let mut status = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(Map::new());
        status
    }

    /// 413.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 410 for a resource version whose history is gone.
    pub(crate) fn expired(requested: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {requested} ({oldest})"),
        )
    }

    /// 504 for a resource version that lies in the future.
    pub(crate) fn too_large_resource_version(requested: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {requested}, current: {current}");
        let mut status = Self::new(504, "Timeout", format!("Timeout: {message}"));
        let mut details = Map::new();
        details.insert("retryAfterSeconds".into(), 1.into());
        details.insert(
            "causes".into(),
            json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]),
        );
        status.details = Some(details);
        status
    }

    /// 500.
    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        let mut status = Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        );
        let mut details = Map::new();
        details.insert("causes".into(), json!([{"message": message.to_string()}]));
        status.details = Some(details);
        status
    }

    /// The body.
    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("kind".into(), "Status".into());
        body.insert("apiVersion".into(), "v1".into());
        body.insert("metadata".into(), json!({}));
        body.insert("status".into(), "Failure".into());
        body.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            body.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            body.insert("details".into(), Value::Object(details.clone()));
        }
        body.insert("code".into(), self.code.into());
        Value::Object(body)
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_string()
    } else {
        format!("{name}.{group}")
    }
}
