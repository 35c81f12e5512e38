//! Create, update and delete of one object, under the store's lock: the stages that upstream's generic registry runs
//! (`k8s.io/apiserver/pkg/registry/generic/registry/store.go`, `registry/rest/{create,update,delete}.go`).

mod delete;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};

use crate::codec;
use crate::field::FieldError;
use crate::identity;
use crate::resource::{Kind, Resource, by_kind};
use crate::service;
use crate::status::Status;
use crate::store::{Applied, Key, Object, State};
use crate::validate;

pub(crate) use delete::{Deleted, Deletion, Preconditions, delete};
use delete::{has_finalizers, remove};

/// Namespaces that always exist.
pub(crate) const PERMANENT_NAMESPACES: &[&str] =
    &["default", "kube-node-lease", "kube-public", "kube-system"];

/// The ServiceCIDR that every cluster has.
pub(crate) const DEFAULT_SERVICE_CIDR: &str = "kubernetes";

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = Value::Object(Map::new());
    }
    match &mut value["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

/// An object that was not stored, because the request was a dry run.
fn not_stored(value: Value) -> Arc<Object> {
    Arc::new(Object::unstored(value))
}

/// Stores a new object, decoded already.
///
/// # Errors
/// Upstream's refusals: 400, 403, 404 (namespace), 409, 422.
pub(crate) fn create(
    state: &mut State,
    resource: &'static Resource,
    namespace: &str,
    mut value: Value,
    applied: Applied,
    dry_run: bool,
) -> Result<Arc<Object>, Status> {
    settle_identity(resource, namespace, &mut value)?;
    if resource.namespaced {
        admit_to_namespace(state, resource, namespace, text(&value, "name"))?;
    }
    reset_status(resource.kind, &mut value);
    if resource.kind == Kind::ServiceCidr && text(&value, "name") == DEFAULT_SERVICE_CIDR {
        value["status"] = ready_service_cidr();
    }
    if matches!(resource.kind, Kind::EndpointSlice | Kind::Pod) {
        metadata(&mut value).insert("generation".into(), 1.into());
    }
    let changes = prepare(state, resource, &mut value, None)?;
    check(resource, &value, None)?;
    let key = (namespace.to_string(), text(&value, "name").to_string());
    if state.get(resource, &key).is_some() {
        return Err(Status::already_exists(resource, &key.1));
    }
    if dry_run {
        return Ok(not_stored(value));
    }
    if let Some(changes) = changes {
        state.pools.commit(changes);
    }
    Ok(state.put(resource, key, value, applied))
}

fn settle_identity(resource: &Resource, namespace: &str, value: &mut Value) -> Result<(), Status> {
    settle_namespace(resource, namespace, value)?;
    let metadata = metadata(value);
    if metadata.get("resourceVersion").is_some() {
        return Err(Status::unclassified(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), identity::uid().into());
    metadata.insert("creationTimestamp".into(), identity::now().into());
    if !metadata.contains_key("name")
        && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str)
    {
        let prefix: String = prefix.chars().take(58).collect();
        metadata.insert(
            "name".into(),
            format!("{prefix}{}", identity::name_suffix()).into(),
        );
    }
    Ok(())
}

fn settle_namespace(resource: &Resource, namespace: &str, value: &mut Value) -> Result<(), Status> {
    let given = text(value, "namespace").to_string();
    if !resource.namespaced {
        metadata(value).remove("namespace");
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata(value).insert("namespace".into(), namespace.into());
    Ok(())
}

/// What the NamespaceLifecycle admission plugin checks.
fn admit_to_namespace(
    state: &State,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    let namespaces = by_kind(Kind::Namespace);
    let Some(found) = state.get(namespaces, &(String::new(), namespace.to_string())) else {
        return Err(Status::not_found(namespaces, namespace));
    };
    if found.value["metadata"]["deletionTimestamp"].is_string() {
        return Err(Status::namespace_terminating(resource, name, namespace));
    }
    Ok(())
}

/// A creator cannot set the status, except a Node's, which a kubelet brings along.
fn reset_status(kind: Kind, value: &mut Value) {
    let status = match kind {
        Kind::Pod => Some(json!({"phase": "Pending", "qosClass": "BestEffort"})),
        Kind::Namespace => {
            value["spec"] = json!({"finalizers": ["kubernetes"]});
            Some(json!({"phase": "Active"}))
        }
        Kind::ServiceCidr => Some(json!({})),
        _ => None,
    };
    if let Some(status) = status {
        value["status"] = status;
    }
}

/// What upstream's API server itself says about its own range a moment later; of others only a controller would.
fn ready_service_cidr() -> Value {
    json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": identity::now(),
    }]})
}

/// Defaults and allocates. The claims are returned, not yet made.
fn prepare(
    state: &State,
    resource: &Resource,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<Option<service::Changes>, Status> {
    if resource.kind != Kind::Service {
        validate::default(resource.kind, value);
        return Ok(None);
    }
    let mut new: Service = codec::typed(value)?;
    let old: Option<Service> = old.map(codec::typed).transpose()?;
    let changes = service::prepare(&state.pools, &mut new, old.as_ref())?;
    *value = serde_json::to_value(&new).map_err(Status::internal)?;
    codec::drop_empty(Kind::Service, value);
    Ok(Some(changes))
}

fn check(resource: &Resource, value: &Value, old: Option<&Value>) -> Result<(), Status> {
    let mut errors = old.map_or_else(Vec::new, |old| validate::meta::validate_update(value, old));
    errors.extend(validate::meta::validate(resource, value));
    if resource.kind == Kind::Service {
        let new: Service = codec::typed(value)?;
        let old: Option<Service> = old.map(codec::typed).transpose()?;
        errors.extend(service::validate(&new, old.as_ref()));
    } else {
        errors.extend(validate::validate(resource.kind, value, old));
    }
    refuse(resource, value, &errors)
}

fn refuse(resource: &Resource, value: &Value, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        resource.group,
        resource.kind_name,
        text(value, "name"),
        errors,
    ))
}

/// Replaces an object, or its status.
///
/// # Errors
/// Upstream's refusals: 400, 409, 422.
pub(crate) fn update(
    state: &mut State,
    resource: &'static Resource,
    key: &Key,
    mut value: Value,
    change: Update,
) -> Result<Arc<Object>, Status> {
    let Some(old) = state.get(resource, key) else {
        return Err(Status::not_found(resource, &key.1));
    };
    keep_identity(resource, key, &mut value, &old.value)?;
    let changes = match change.part {
        Part::Status => {
            default_incoming(resource, &mut value, &old.value)?;
            keep_all_but_status(&mut value, &old.value);
            check_status(resource, &mut value, &old.value)?;
            None
        }
        Part::Main => {
            if resource.has_status {
                keep(&mut value, &old.value, "status");
            }
            if resource.kind == Kind::Namespace {
                keep(&mut value, &old.value, "spec");
            }
            let changes = prepare(state, resource, &mut value, Some(&old.value))?;
            check(resource, &value, Some(&old.value))?;
            changes
        }
    };
    bump_generation(resource.kind, &mut value, &old.value);
    if value == old.value {
        if let Some(applied) = change.applied
            && !change.dry_run
            && *applied != *old.applied
        {
            return Ok(state
                .remember_applied(resource, key, applied)
                .unwrap_or(old));
        }
        return Ok(old);
    }
    if change.dry_run {
        return Ok(not_stored(value));
    }
    if let Some(changes) = changes {
        state.pools.commit(changes);
    }
    if finished(&value) {
        // As upstream, the answer has the version from before; that of the deletion is in the event.
        let answer = not_stored(value.clone());
        remove(state, resource, key, value);
        return Ok(answer);
    }
    let applied = change.applied.unwrap_or_else(|| old.applied.clone());
    Ok(state.put(resource, key.clone(), value, applied))
}

/// How an update is meant.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) part: Part,
    pub(crate) dry_run: bool,
    /// What server-side apply wants remembered; other writes leave it as it was.
    pub(crate) applied: Option<Applied>,
}

fn keep(value: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(kept) => value[field] = kept.clone(),
        None => {
            if let Some(object) = value.as_object_mut() {
                object.remove(field);
            }
        }
    }
}

fn keep_identity(
    resource: &Resource,
    key: &Key,
    value: &mut Value,
    old: &Value,
) -> Result<(), Status> {
    settle_namespace(resource, &key.0, value)?;
    let name = text(value, "name");
    if !name.is_empty() && name != key.1 {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.1
        )));
    }
    let uid = text(value, "uid");
    if !uid.is_empty() && uid != text(old, "uid") {
        return Err(Status::conflict(
            resource,
            &key.1,
            &format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                storage_prefix(resource.kind, resource.plural),
                if key.0.is_empty() {
                    key.1.clone()
                } else {
                    format!("{}/{}", key.0, key.1)
                },
                text(old, "uid")
            ),
        ));
    }
    match text(value, "resourceVersion") {
        "" if !resource.unconditional_update => {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                0,
                "must be specified for an update",
            );
            return Err(Status::invalid(
                resource.group,
                resource.plural,
                &key.1,
                &[error],
            ));
        }
        "" => {}
        version if version == text(old, "resourceVersion") => {}
        version if version.parse::<u64>().is_err() => {
            return Err(Status::unclassified(format!(
                "strconv.ParseUint: parsing \"{version}\": invalid syntax"
            )));
        }
        _ => return Err(Status::modified(resource, &key.1)),
    }
    let metadata = metadata(value);
    metadata.insert("name".into(), key.1.clone().into());
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match old["metadata"].get(field) {
            Some(kept) => metadata.insert(field.into(), kept.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    Ok(())
}

/// Where upstream keeps a kind in etcd; some names are older than the resource's.
fn storage_prefix(kind: Kind, plural: &'static str) -> &'static str {
    match kind {
        Kind::Node => "minions",
        Kind::Service => "services/specs",
        _ => plural,
    }
}

/// A write to `/status` may also change labels and annotations, as upstream's strategies allow.
fn keep_all_but_status(value: &mut Value, old: &Value) {
    let mut kept = old.clone();
    kept["status"] = value["status"].take();
    kept["metadata"] = value["metadata"].take();
    *value = kept;
}

/// Defaults see the object as the client sent it: an `ipMode` is filled in only where the client's own `spec` is that of
/// a load balancer.
fn default_incoming(resource: &Resource, value: &mut Value, old: &Value) -> Result<(), Status> {
    if resource.kind == Kind::Service {
        let mut service: Service = codec::typed(value)?;
        service::default(&mut service);
        *value = serde_json::to_value(&service).map_err(Status::internal)?;
        codec::drop_empty(resource.kind, value);
        return Ok(());
    }
    validate::default(resource.kind, value);
    let class = &old["status"]["qosClass"];
    if resource.kind == Kind::Pod && value["status"].is_object() && !class.is_null() {
        value["status"]["qosClass"] = class.clone();
    }
    Ok(())
}

fn check_status(resource: &Resource, value: &mut Value, old: &Value) -> Result<(), Status> {
    let mut errors = validate::meta::validate_update(value, old);
    errors.extend(validate::meta::validate(resource, value));
    if resource.kind == Kind::Service {
        if value["status"]["loadBalancer"].is_null() {
            value["status"]["loadBalancer"] = json!({});
        }
        errors.extend(service::validate_status(&codec::typed(value)?));
    } else {
        errors.extend(validate::validate(resource.kind, value, Some(old)));
    }
    refuse(resource, value, &errors)
}

/// Where upstream counts changes of the specification.
fn bump_generation(kind: Kind, value: &mut Value, old: &Value) {
    let changed = match kind {
        Kind::EndpointSlice => {
            let without_metadata = |value: &Value| {
                let mut value = value.clone();
                value["metadata"] = value["metadata"]["labels"].take();
                value
            };
            without_metadata(value) != without_metadata(old)
        }
        Kind::Pod => value["spec"] != old["spec"],
        _ => false,
    };
    if changed {
        let before = old["metadata"]["generation"].as_i64().unwrap_or_default();
        metadata(value).insert("generation".into(), (before + 1).into());
    }
}

/// A marked object without finalizers or time to wait goes; a namespace has finalizers in its specification, too.
fn finished(value: &Value) -> bool {
    value["metadata"]["deletionTimestamp"].is_string()
        && !has_finalizers(value)
        && value["spec"]["finalizers"].is_null()
        && value["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or_default()
            == 0
}
