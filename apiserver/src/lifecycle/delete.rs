//! Deletion: at once, or a mark where finalizers or a grace period hold the object.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::{PERMANENT_NAMESPACES, metadata, not_stored, text};
use crate::codec;
use crate::identity;
use crate::resource::{Kind, RESOURCES, Resource, by_kind};
use crate::service;
use crate::status::Status;
use crate::store::{Key, Object, State};

/// What a client demands of the object that it deletes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) preconditions: Preconditions,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) dry_run: bool,
}

/// What became of a deletion.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone; this is its last state.
    Gone(Arc<Object>),
    /// It is marked, and waits for finalizers or its grace period.
    Marked(Arc<Object>),
}

pub(super) fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

pub(super) fn remove(
    state: &mut State,
    resource: &'static Resource,
    key: &Key,
    last: Value,
) -> Option<Arc<Object>> {
    if resource.kind == Kind::Service
        && let Ok(service) = codec::typed::<Service>(&last)
    {
        let changes = service::release(&state.pools, &service);
        state.pools.commit(changes);
    }
    let removed = state.remove(resource, key, last);
    if resource.namespaced {
        end_namespace(state, &key.0);
    }
    removed
}

/// Once a namespace that is being deleted is empty, it loses the finalizer `kubernetes`, as upstream's controller sees to,
/// and goes unless others have put finalizers of their own on it.
fn end_namespace(state: &mut State, name: &str) {
    let namespaces = by_kind(Kind::Namespace);
    let key = (String::new(), name.to_string());
    let Some(found) = state
        .get(namespaces, &key)
        .filter(|found| found.value["metadata"]["deletionTimestamp"].is_string())
    else {
        return;
    };
    let mut contained = RESOURCES.iter().filter(|resource| resource.namespaced);
    if contained.any(|resource| state.list(resource, Some(name)).next().is_some()) {
        return;
    }
    let mut last = found.value.clone();
    last["spec"] = json!({});
    if !has_finalizers(&last) {
        state.remove(namespaces, &key, last);
    } else if last != found.value {
        state.put(namespaces, key, last, found.applied.clone());
    }
}

/// Deletes an object, or marks it where finalizers or a grace period hold it.
///
/// # Errors
/// 403 for a namespace that must stay, 404, 409 for a failed precondition.
pub(crate) fn delete(
    state: &mut State,
    resource: &'static Resource,
    key: &Key,
    deletion: &Deletion,
) -> Result<Deleted, Status> {
    if resource.kind == Kind::Namespace && PERMANENT_NAMESPACES.contains(&key.1.as_str()) {
        return Err(Status::forbidden(
            resource,
            &key.1,
            "this namespace may not be deleted",
        ));
    }
    let Some(old) = state.get(resource, key) else {
        return Err(Status::not_found(resource, &key.1));
    };
    check_preconditions(resource, key, &old.value, &deletion.preconditions)?;
    let grace = grace_seconds(resource.kind, &old.value, deletion.grace_seconds);
    let waits = grace > 0 || has_finalizers(&old.value);
    if resource.kind == Kind::Namespace {
        return Ok(Deleted::Marked(delete_namespace(
            state,
            resource,
            key,
            &old,
            deletion.dry_run,
        )));
    }
    if !waits {
        let last = last_state(resource.kind, &old.value);
        if deletion.dry_run {
            return Ok(Deleted::Gone(not_stored(last)));
        }
        return remove(state, resource, key, last)
            .map(Deleted::Gone)
            .ok_or_else(|| Status::not_found(resource, &key.1));
    }
    let mut marked = old.value.clone();
    mark(&mut marked, grace);
    if deletion.dry_run {
        return Ok(Deleted::Marked(not_stored(marked)));
    }
    if marked == old.value {
        return Ok(Deleted::Marked(old));
    }
    Ok(Deleted::Marked(state.put(
        resource,
        key.clone(),
        marked,
        old.applied.clone(),
    )))
}

/// A pod is marked even when it goes at once.
fn last_state(kind: Kind, value: &Value) -> Value {
    let mut last = value.clone();
    if kind == Kind::Pod {
        mark(&mut last, 0);
        let metadata = metadata(&mut last);
        metadata.insert("deletionTimestamp".into(), identity::now().into());
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    last
}

fn mark(value: &mut Value, grace: i64) {
    let metadata = metadata(value);
    if metadata.get("deletionTimestamp").is_none() {
        metadata.insert(
            "deletionTimestamp".into(),
            identity::in_seconds(grace).into(),
        );
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
}

/// Only a pod on a node has time to end (`podStrategy.CheckGracefulDelete`).
fn grace_seconds(kind: Kind, value: &Value, wanted: Option<i64>) -> i64 {
    if kind != Kind::Pod {
        return 0;
    }
    let ended = matches!(
        value["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if ended
        || value["spec"]["nodeName"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    {
        return 0;
    }
    let own = value["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or_default();
    wanted.unwrap_or(own).max(0)
}

fn check_preconditions(
    resource: &Resource,
    key: &Key,
    old: &Value,
    preconditions: &Preconditions,
) -> Result<(), Status> {
    for (wanted, field, words, what_happened) in [
        (
            &preconditions.uid,
            "uid",
            "UID",
            "deleted and then recreated",
        ),
        (
            &preconditions.resource_version,
            "resourceVersion",
            "ResourceVersion",
            "modified",
        ),
    ] {
        if let Some(wanted) = wanted
            && wanted != text(old, field)
        {
            let why = format!(
                "the {words} in the precondition ({wanted}) does not match the {words} in record ({}). The object might have been {what_happened}",
                text(old, field)
            );
            return Err(Status::precondition(resource, &key.1, &why));
        }
    }
    Ok(())
}

/// Does at once what upstream's namespace controller does over time: everything in the namespace goes, then it.
fn delete_namespace(
    state: &mut State,
    resource: &'static Resource,
    key: &Key,
    old: &Arc<Object>,
    dry_run: bool,
) -> Arc<Object> {
    let mut marked = old.value.clone();
    mark(&mut marked, 0);
    metadata(&mut marked).remove("deletionGracePeriodSeconds");
    marked["status"]["phase"] = "Terminating".into();
    if dry_run {
        return not_stored(marked);
    }
    if marked == old.value {
        return old.clone();
    }
    let marked = state.put(resource, key.clone(), marked, old.applied.clone());
    let deletion = Deletion {
        grace_seconds: Some(0),
        ..Deletion::default()
    };
    for contained in RESOURCES.iter().filter(|resource| resource.namespaced) {
        let keys: Vec<Key> = state
            .list(contained, Some(&key.1))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            // What has finalizers is marked, and ends the namespace when it goes.
            let _marked_or_gone = delete(state, contained, &key, &deletion);
        }
    }
    end_namespace(state, &key.1);
    marked
}
