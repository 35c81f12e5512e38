//! POST, PUT, PATCH and DELETE: decodes bodies and hands objects to the lifecycle.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::options::{FieldValidation, Options};
use super::path::ResourceTarget;
use super::render::Shape;
use super::{json_text, list};
use crate::codec::{self, Body, Decoded};
use crate::field::FieldError;
use crate::lifecycle::{self, Deleted, Deletion, Part, Preconditions, Update};
use crate::patch;
use crate::resource::{Kind, Resource};
use crate::status::Status;
use crate::store::{Applied, Key, Object, State, Store};

const BODY_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// How many operations a JSON patch may have.
const JSON_PATCH_LIMIT: usize = 10_000;

/// Characters of all warnings of an answer together, beyond which each is cut.
const WARNINGS_LIMIT: usize = 4096;
/// How many warnings an answer has at most. Upstream sends all 100 that it notes, which clients of hyper, such as
/// kube-rs, cannot read: they take 100 headers.
const WARNINGS_COUNT: usize = 90;
/// Characters of one warning among too many.
const WARNING_LIMIT: usize = 256;

/// A request that changes something.
pub(super) struct Request<'a> {
    pub(super) target: &'a ResourceTarget,
    pub(super) options: &'a Options,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    pub(super) shape: Shape,
}

/// A body and the complaints that a lenient request gets as warnings.
struct Accepted {
    value: Value,
    warnings: Vec<String>,
}

impl Request<'_> {
    fn resource(&self) -> &'static Resource {
        self.target.resource
    }

    fn parse_body(&self) -> Result<Body, Status> {
        match self.content_type {
            "" | "application/json" if self.body.is_empty() => Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
                self.resource().kind_name
            ))),
            "" | "application/json" => codec::parse_json(self.body).map_err(|error| {
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {error}",
                    self.resource().kind_name
                ))
            }),
            "application/yaml" => codec::parse_yaml(self.body).map_err(|error| {
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {}): yaml: {error}",
                    self.resource().kind_name
                ))
            }),
            PROTOBUF => codec::protobuf::object(self.resource().kind, self.target.served, self.body)
                .map(|value| Body {
                    value,
                    duplicates: Vec::new(),
                })
                .ok_or_else(|| Status::unsupported_media_type(BODY_TYPES)),
            _ => Err(Status::unsupported_media_type(BODY_TYPES)),
        }
    }

    fn object(&self) -> Result<Accepted, Status> {
        let body = self.parse_body()?;
        let decoded = codec::decode(self.resource(), self.target.served, body.value)?;
        self.accept(decoded, &body.duplicates)
    }

    fn accept(&self, decoded: Decoded, duplicates: &[String]) -> Result<Accepted, Status> {
        let warnings: Vec<String> = match self.options.field_validation {
            FieldValidation::Ignore => Vec::new(),
            _ => decoded
                .unknown
                .iter()
                .map(|path| format!("unknown field {path:?}"))
                .chain(
                    duplicates
                        .iter()
                        .map(|path| format!("duplicate field {path:?}")),
                )
                .take(codec::COMPLAINTS)
                .collect(),
        };
        if self.options.field_validation == FieldValidation::Strict && !warnings.is_empty() {
            return Err(Status::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                self.resource().kind_name,
                self.target.served.version,
                self.resource().kind_name,
                warnings.join(", ")
            )));
        }
        Ok(Accepted {
            value: decoded.value,
            warnings,
        })
    }

    fn respond(&self, code: StatusCode, object: &Object, warnings: &[String]) -> Response {
        let mut response = json_text(code, self.shape.object(self.target, object));
        for value in warning_headers(warnings) {
            response.headers_mut().append(header::WARNING, value);
        }
        response
    }

    /// The answer to a create or an update, which also warns of what is deprecated, as upstream's strategies do.
    fn written(&self, code: StatusCode, object: &Object, mut warnings: Vec<String>) -> Response {
        let value = &object.value;
        let external = value["spec"]["externalIPs"].is_array();
        if self.resource().kind == Kind::Service && self.target.part == Part::Main && external {
            let text =
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
            warnings.push(text.into());
        }
        if code == StatusCode::CREATED && value["addressType"] == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        self.respond(code, object, &warnings)
    }

    fn update(&self, applied: Option<Applied>) -> Update {
        Update {
            part: self.target.part,
            dry_run: self.options.dry_run,
            applied,
        }
    }
}

/// All in full if they fit, else each one cut and no more once the total is reached: upstream's `WithWarningRecorder`.
fn warning_headers(warnings: &[String]) -> Vec<HeaderValue> {
    let characters = |text: &str| text.chars().count();
    let total: usize = warnings.iter().map(|warning| characters(warning)).sum();
    let mut written = 0;
    let mut headers = Vec::new();
    for warning in warnings.iter().take(WARNINGS_COUNT) {
        let text: String = if total <= WARNINGS_LIMIT {
            warning.clone()
        } else {
            warning.chars().take(WARNING_LIMIT).collect()
        };
        if written >= WARNINGS_LIMIT {
            break;
        }
        written += characters(&text);
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        // A control character makes it no header, and upstream leaves it out, too.
        headers.extend(HeaderValue::try_from(
            format!("299 - \"{text}\"").into_bytes(),
        ));
    }
    headers
}

/// POST to a collection.
pub(super) fn create(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    let accepted = request.object()?;
    let namespace = request.target.namespace.clone().unwrap_or_default();
    let dry_run = request.options.dry_run;
    let object = store.write(|state| {
        lifecycle::create(
            state,
            request.resource(),
            &namespace,
            accepted.value,
            Applied::default(),
            dry_run,
        )
    })?;
    Ok(request.written(StatusCode::CREATED, &object, accepted.warnings))
}

/// PUT to an object.
pub(super) fn replace(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    let accepted = request.object()?;
    let key = request.target.key();
    let resource = request.resource();
    same_name(&accepted.value, &key.1)?;
    let (object, code) = store.write(|state| {
        if resource.create_on_update
            && request.target.part == Part::Main
            && state.get(resource, &key).is_none()
        {
            let object = create_on_update(state, request, &key, accepted.value.clone())?;
            return Ok((object, StatusCode::CREATED));
        }
        let update = request.update(None);
        let object = lifecycle::update(state, resource, &key, accepted.value.clone(), update)?;
        Ok::<_, Status>((object, StatusCode::OK))
    })?;
    Ok(request.written(code, &object, accepted.warnings))
}

/// An object that is sent to a URL has the name of the URL (`checkName`).
fn same_name(value: &Value, expected: &str) -> Result<(), Status> {
    match value["metadata"]["name"].as_str().unwrap_or_default() {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({expected} based on URL) was undeterminable: name must be provided"
        ))),
        name if name != expected => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({expected})"
        ))),
        _ => Ok(()),
    }
}

fn create_on_update(
    state: &mut State,
    request: &Request<'_>,
    key: &Key,
    mut value: Value,
) -> Result<Arc<Object>, Status> {
    same_name(&value, &key.1)?;
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    lifecycle::create(
        state,
        request.resource(),
        &key.0,
        value,
        Applied::default(),
        request.options.dry_run,
    )
}

/// PATCH of an object.
pub(super) fn patch(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    match request.content_type {
        "application/apply-patch+yaml" => apply(store, request),
        "application/json-patch+json" => {
            let operations = json_patch(request.body)?;
            patched(store, request, &[], |value| {
                patch::json_patch(value, &operations).map_err(|_| {
                    Status::unprocessable_patch(
                        "the server rejected our request due to an error in our request",
                    )
                })
            })
        }
        "application/merge-patch+json" => {
            let body = patch_body(request.body)?;
            patched(store, request, &body.duplicates, |value| {
                patch::merge(value, &body.value);
                Ok(())
            })
        }
        "application/strategic-merge-patch+json" => {
            let body = patch_body(request.body)?;
            let keys = request.resource().merge_keys;
            patched(store, request, &body.duplicates, |value| {
                patch::strategic_merge(value, &body.value, keys).map_err(Status::unclassified)
            })
        }
        _ => Err(Status::unsupported_patch_type()),
    }
}

fn patch_body(body: &[u8]) -> Result<Body, Status> {
    let body = codec::parse_json(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if body.value.is_object() {
        Ok(body)
    } else {
        Err(Status::bad_request(
            "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
        ))
    }
}

fn json_patch(body: &[u8]) -> Result<json_patch::Patch, Status> {
    if body.trim_ascii_start().starts_with(b"{") {
        return Err(Status::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ));
    }
    let operations: json_patch::Patch = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if operations.0.len() > JSON_PATCH_LIMIT {
        let mut status = Status::too_large(JSON_PATCH_LIMIT);
        status.message = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_LIMIT}, got {}",
            operations.0.len()
        );
        return Err(status);
    }
    Ok(operations)
}

/// Changes an object outside of the store's lock and stores the result if the object is still the same, else starts
/// again; so a patch without a resource version never conflicts, and an expensive one holds up nobody else.
fn patched(
    store: &Store,
    request: &Request<'_>,
    duplicates: &[String],
    change: impl Fn(&mut Value) -> Result<(), Status>,
) -> Result<Response, Status> {
    let (resource, served) = (request.resource(), request.target.served);
    let key = request.target.key();
    loop {
        let old = store
            .read(|state| state.get(resource, &key))
            .ok_or_else(|| Status::not_found(resource, &key.1))?;
        let mut value = codec::encode(resource, served, &old.value);
        change(&mut value)?;
        let result = value.to_string();
        let accepted = codec::decode(resource, served, value)
            .and_then(|decoded| request.accept(decoded, duplicates))
            .map_err(|status| unreadable_result(&status, &result))?;
        let stored = store.write(|state| {
            let unchanged = state
                .get(resource, &key)
                .is_some_and(|now| Arc::ptr_eq(&now, &old));
            unchanged.then(|| {
                lifecycle::update(state, resource, &key, accepted.value, request.update(None))
            })
        });
        if let Some(object) = stored {
            let object = object?;
            return Ok(request.written(StatusCode::OK, &object, accepted.warnings));
        }
    }
}

/// A patch whose result cannot be decoded is the patch's fault.
fn unreadable_result(status: &Status, result: &str) -> Status {
    for part in ["json: cannot unmarshal", "strict decoding error"] {
        if let Some(start) = status.message.find(part) {
            return Status::invalid_patch_result(result, &status.message[start..]);
        }
    }
    status.clone()
}

/// Server-side apply, without ownership: see the crate's documentation.
fn apply(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    let (resource, served) = (request.resource(), request.target.served);
    let key = request.target.key();
    if request.options.field_manager.is_empty() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid_options("PatchOptions", &[error]));
    }
    let body = codec::parse_yaml(request.body)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    let applied = body.value;
    if applied["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let part = |field: &str| applied[field].as_str().unwrap_or_default();
    if part("apiVersion").is_empty() || part("kind").is_empty() {
        let version = Some(part("apiVersion"))
            .filter(|version| !version.is_empty())
            .unwrap_or("/");
        return Err(Status::bad_request(format!(
            "invalid object type: {version}, Kind={}",
            part("kind")
        )));
    }
    let (object, code, warnings) = store.write(|state| {
        let old = state.get(resource, &key);
        let mut managers: BTreeMap<String, Value> = old
            .as_ref()
            .map(|old| (*old.applied).clone())
            .unwrap_or_default();
        let mut value = match &old {
            Some(old) => codec::encode(resource, served, &old.value),
            None if request.target.part == Part::Status => {
                return Err(Status::not_found(resource, &key.1));
            }
            None => Value::Object(Map::new()),
        };
        let manager = format!(
            "{}/{:?}",
            request.options.field_manager, request.target.part
        );
        patch::apply(
            &mut value,
            &applied,
            managers.get(&manager),
            resource.apply_keys,
        );
        managers.insert(manager, applied.clone());
        let managers = Arc::new(managers);
        let decoded = codec::decode(resource, served, value)?;
        let accepted = request.accept(decoded, &body.duplicates)?;
        if old.is_some() {
            let update = request.update(Some(managers));
            let object = lifecycle::update(state, resource, &key, accepted.value, update)?;
            return Ok((object, StatusCode::OK, accepted.warnings));
        }
        same_name(&accepted.value, &key.1)?;
        let dry_run = request.options.dry_run;
        let object = lifecycle::create(state, resource, &key.0, accepted.value, managers, dry_run)?;
        Ok((object, StatusCode::CREATED, accepted.warnings))
    })?;
    Ok(request.written(code, &object, warnings))
}

/// DELETE of an object.
pub(super) fn delete(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    let deletion = deletion(request)?;
    let resource = request.resource();
    let key = request.target.key();
    let deleted = store.write(|state| lifecycle::delete(state, resource, &key, &deletion))?;
    Ok(match deleted {
        Deleted::Marked(object) => request.respond(StatusCode::OK, &object, &[]),
        Deleted::Gone(object) if matches!(resource.kind, Kind::Service | Kind::Pod) => {
            request.respond(StatusCode::OK, &object, &[])
        }
        Deleted::Gone(object) => {
            let mut details = json!({"name": key.1, "kind": resource.plural, "uid": object.value["metadata"]["uid"]});
            if !resource.group.is_empty() {
                details["group"] = resource.group.into();
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            json_text(StatusCode::OK, status.to_string())
        }
    })
}

/// DELETE of all objects that the selectors match; answers with them as they were.
pub(super) fn delete_collection(store: &Store, request: &Request<'_>) -> Result<Response, Status> {
    if request.resource().kind == Kind::Namespace {
        return Err(Status::method_not_allowed());
    }
    let deletion = deletion(request)?;
    let resource = request.resource();
    let (deleted, revision) = store.write(|state| {
        let matching = list::selected_of(state, request.target, request.options);
        for object in &matching {
            let part = |field: &str| {
                object.value["metadata"][field]
                    .as_str()
                    .unwrap_or_default()
                    .to_string()
            };
            let key = (part("namespace"), part("name"));
            lifecycle::delete(state, resource, &key, &deletion)?;
        }
        Ok::<_, Status>((matching, state.revision()))
    })?;
    let deleted: Vec<&Object> = deleted.iter().map(Arc::as_ref).collect();
    Ok(json_text(
        StatusCode::OK,
        request.shape.list(request.target, &deleted, revision),
    ))
}

fn deletion(request: &Request<'_>) -> Result<Deletion, Status> {
    let options = if request.body.is_empty() {
        Value::Null
    } else {
        match request.content_type {
            "" | "application/json" => {
                codec::parse_json(request.body)
                    .map_err(|error| {
                        Status::bad_request(format!(
                            "couldn't get version/kind; json parse error: {error}"
                        ))
                    })?
                    .value
            }
            "application/yaml" => {
                codec::parse_yaml(request.body)
                    .map_err(Status::bad_request)?
                    .value
            }
            PROTOBUF => codec::protobuf::delete_options(request.body)
                .ok_or_else(|| Status::unsupported_media_type(BODY_TYPES))?,
            _ => return Err(Status::unsupported_media_type(BODY_TYPES)),
        }
    };
    let text = |field: &str| {
        options["preconditions"][field]
            .as_str()
            .map(ToString::to_string)
    };
    let dry_run = match options["dryRun"].as_array().map(Vec::as_slice) {
        None | Some([]) => request.options.dry_run,
        Some(values) if values.iter().all(|value| value == "All") => true,
        Some(values) => {
            let error = FieldError::not_supported("dryRun", values.to_vec(), &["All"]);
            return Err(Status::invalid_options("DeleteOptions", &[error]));
        }
    };
    Ok(Deletion {
        preconditions: Preconditions {
            uid: text("uid"),
            resource_version: text("resourceVersion"),
        },
        grace_seconds: options["gracePeriodSeconds"]
            .as_i64()
            .or(request.options.grace_seconds),
        dry_run,
    })
}
