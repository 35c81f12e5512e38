//! The query parameters of requests (`ListOptions`, `CreateOptions`, … in `k8s.io/apimachinery/pkg/apis/meta/v1`).

use std::num::IntErrorKind;

use axum::extract::Query;
use axum::http::{Method, Uri};

use super::path::ResourceTarget;
use crate::field::FieldError;
use crate::selector::{FieldSelector, LabelSelector, Selector};
use crate::status::Status;

/// What to do with unknown and duplicate fields of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The parameters that are understood; others are ignored, as upstream does.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) selector: Selector,
    pub(super) resource_version: Option<u64>,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: Option<bool>,
    pub(super) timeout_seconds: Option<i64>,
    pub(super) dry_run: bool,
    pub(super) field_validation: FieldValidation,
    pub(super) field_manager: String,
    pub(super) grace_seconds: Option<i64>,
}

fn boolean(text: &str) -> bool {
    !matches!(text, "false" | "0")
}

impl Options {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400 for a selector or number that cannot be read, 422 for parameters that contradict each other.
    pub(super) fn parse(
        target: &ResourceTarget,
        method: &Method,
        query: &str,
    ) -> Result<Self, Status> {
        let uri: Uri = format!("/?{query}")
            .parse()
            .map_err(|_| Status::bad_request("invalid query"))?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let get = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let kind = match method.as_str() {
            "PUT" => "UpdateOptions",
            "PATCH" => "PatchOptions",
            "DELETE" => "DeleteOptions",
            _ => "CreateOptions",
        };
        let flag = |name: &str| get(name).map(boolean);
        let labels = LabelSelector::parse(get("labelSelector").unwrap_or_default())
            .map_err(Status::bad_request)?;
        let fields = FieldSelector::parse(
            target.resource,
            target.served,
            get("fieldSelector").unwrap_or_default(),
        )
        .map_err(Status::bad_request)?;
        let many = target.name.is_none() || flag("watch").unwrap_or(false);
        let timeout_seconds = integer(get("timeoutSeconds").filter(|_| many))?;
        integer(get("limit").filter(|_| many))?;
        let grace_seconds =
            integer(get("gracePeriodSeconds").filter(|_| *method == Method::DELETE))?;
        let mut options = Self {
            selector: Selector { labels, fields },
            resource_version: resource_version(
                get("resourceVersion").unwrap_or_default(),
                flag("watch").unwrap_or(false),
            )?,
            watch: flag("watch").unwrap_or(false),
            bookmarks: flag("allowWatchBookmarks").unwrap_or(false),
            initial_events: flag("sendInitialEvents"),
            timeout_seconds,
            dry_run: dry_run(&pairs, kind)?,
            field_validation: field_validation(get("fieldValidation").unwrap_or_default(), kind)?,
            field_manager: get("fieldManager").unwrap_or_default().to_string(),
            grace_seconds,
        };
        check_list_options(
            &options,
            get("resourceVersion"),
            get("resourceVersionMatch"),
        )?;
        // `SetListOptionsDefaults`: a watch that starts with what exists ends that with a bookmark, too.
        let from_state = options.resource_version.is_none_or(|version| version == 0);
        if options.watch && from_state && options.initial_events.is_none() {
            options.initial_events = Some(true);
        }
        Ok(options)
    }
}

/// A number, in the words of Go's `strconv`.
fn integer(text: Option<&str>) -> Result<Option<i64>, Status> {
    let parse = |text: &str| {
        text.parse().map_err(|error: std::num::ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": {why}"))
        })
    };
    text.map(parse).transpose()
}

fn resource_version(text: &str, watch: bool) -> Result<Option<u64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let why = format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax");
        // Upstream classifies this for lists only.
        if watch { Status::unclassified(why) } else { Status::bad_request(format!("invalid resource version: {why}")) }
    })
}

fn dry_run(pairs: &[(String, String)], kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = pairs
        .iter()
        .filter(|(key, _)| key == "dryRun")
        .map(|(_, value)| value.as_str())
        .collect();
    match values.as_slice() {
        [] | [""] => Ok(false),
        values if values.iter().all(|value| *value == "All") => Ok(true),
        values => {
            let error = FieldError::not_supported("dryRun", values.to_vec(), &["All"]);
            Err(Status::invalid_options(kind, &[error]))
        }
    }
}

fn field_validation(text: &str, kind: &str) -> Result<FieldValidation, Status> {
    match text {
        "Ignore" => Ok(FieldValidation::Ignore),
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Strict" => Ok(FieldValidation::Strict),
        other => {
            let error = FieldError::not_supported(
                "fieldValidation",
                other,
                &["", "Ignore", "Strict", "Warn"],
            );
            Err(Status::invalid_options(kind, &[error]))
        }
    }
}

/// `ValidateListOptions` in `k8s.io/apimachinery/pkg/apis/meta/internalversion/validation`.
fn check_list_options(
    options: &Options,
    version: Option<&str>,
    matching: Option<&str>,
) -> Result<(), Status> {
    let mut errors = Vec::new();
    let matching = matching.unwrap_or_default();
    let version = version.unwrap_or_default();
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    if options.watch {
        if options.initial_events.is_some() && matching != "NotOlderThan" {
            forbid(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if options.initial_events.is_none() && !matching.is_empty() {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if !matches!(matching, "" | "NotOlderThan") {
            errors.push(FieldError::not_supported(
                "resourceVersionMatch",
                matching,
                &["NotOlderThan"],
            ));
        }
    } else {
        if !matching.is_empty() && version.is_empty() {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if !matches!(matching, "" | "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(
                "resourceVersionMatch",
                matching,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
        if matching == "Exact" && version == "0" {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        if options.initial_events.is_some() {
            forbid(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid_options("ListOptions", &errors))
    }
}
