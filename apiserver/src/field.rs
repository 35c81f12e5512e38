//! Errors of single fields, as `k8s.io/apimachinery/pkg/util/validation/field` words them.

use std::fmt;

use serde_json::{Value, json};

/// Why a field was refused; the names are those of a `Status` cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
}

impl FieldErrorKind {
    fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldError {
    kind: FieldErrorKind,
    pub(crate) path: String,
    /// The value as JSON.
    value: String,
    detail: String,
}

impl FieldError {
    pub(crate) fn required(path: impl Into<String>, detail: &str) -> Self {
        Self::new(FieldErrorKind::Required, path, Value::Null, detail)
    }

    pub(crate) fn invalid(
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::Invalid, path, value, detail)
    }

    /// An invalid value that is JSON in an order of its own.
    pub(crate) fn invalid_text(
        path: impl Into<String>,
        value: String,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            value,
            ..Self::invalid(path, Value::Null, detail)
        }
    }

    pub(crate) fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, value, "")
    }

    /// A duplicate whose value is JSON in an order of its own.
    pub(crate) fn duplicate_text(path: impl Into<String>, value: String) -> Self {
        Self {
            value,
            ..Self::duplicate(path, Value::Null)
        }
    }

    pub(crate) fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, Value::Null, detail)
    }

    pub(crate) fn too_long(path: impl Into<String>, limit: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            path,
            Value::Null,
            format!("may not be more than {limit} bytes"),
        )
    }

    pub(crate) fn too_many(path: impl Into<String>, count: usize, limit: usize) -> Self {
        Self::new(
            FieldErrorKind::TooMany,
            path,
            count,
            format!("must have at most {limit} items"),
        )
    }

    /// `supported` is listed as it is given; upstream sorts most of its lists, but not all.
    pub(crate) fn not_supported(
        path: impl Into<String>,
        value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let listed: Vec<String> = supported
            .iter()
            .map(|value| format!("\"{value}\""))
            .collect();
        Self::new(
            FieldErrorKind::NotSupported,
            path,
            value,
            format!("supported values: {}", listed.join(", ")),
        )
    }

    fn new(
        kind: FieldErrorKind,
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            path: path.into(),
            value: value.into().to_string(),
            detail: detail.into(),
        }
    }

    /// The message without the path.
    pub(crate) fn body(&self) -> String {
        use FieldErrorKind::{Forbidden, Required, TooLong};
        let mut text = self.kind.words().to_string();
        if !matches!(self.kind, Required | Forbidden | TooLong) {
            text.push_str(": ");
            text.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// The entry of `details.causes`.
    pub(crate) fn cause(&self) -> Value {
        json!({"reason": self.kind.reason(), "message": self.body(), "field": self.path})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.body())
    }
}
