//! GET of one object and of many.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;

use super::json_text;
use super::options::Options;
use super::path::ResourceTarget;
use super::render::Shape;
use crate::status::Status;
use crate::store::{Key, Object, State, Store};

/// One object.
pub(super) fn get(
    store: &Store,
    target: &ResourceTarget,
    shape: Shape,
) -> Result<Response, Status> {
    let key = target.key();
    let object = store
        .read(|state| state.get(target.resource, &key))
        .ok_or_else(|| Status::not_found(target.resource, &key.1))?;
    Ok(json_text(StatusCode::OK, shape.object(target, &object)))
}

/// The objects that the selectors match, all at one resource version. `limit` is not honoured, which clients allow for.
pub(super) fn list(
    store: &Store,
    target: &ResourceTarget,
    options: &Options,
    shape: Shape,
) -> Result<Response, Status> {
    let (objects, revision) = selected(store, target, options);
    if let Some(wanted) = options.resource_version
        && wanted > revision
    {
        return Err(Status::too_large_resource_version(wanted, revision));
    }
    let objects: Vec<&Object> = objects.iter().map(Arc::as_ref).collect();
    Ok(json_text(
        StatusCode::OK,
        shape.list(target, &objects, revision),
    ))
}

/// The selected objects and the resource version they were read at.
pub(super) fn selected(
    store: &Store,
    target: &ResourceTarget,
    options: &Options,
) -> (Vec<Arc<Object>>, u64) {
    // Selecting happens outside of the lock.
    let (mut objects, revision) =
        store.read(|state| (in_namespace(state, target), state.revision()));
    objects.retain(|object| matches(object, target, options));
    (objects, revision)
}

/// The selected objects, for a request that holds the lock already.
pub(super) fn selected_of(
    state: &State,
    target: &ResourceTarget,
    options: &Options,
) -> Vec<Arc<Object>> {
    let mut objects = in_namespace(state, target);
    objects.retain(|object| matches(object, target, options));
    objects
}

fn in_namespace(state: &State, target: &ResourceTarget) -> Vec<Arc<Object>> {
    let mut found: Vec<_> = state
        .list(target.resource, target.namespace.as_deref())
        .collect();
    if target.namespace.is_none() {
        // Etcd's order, in which `a-b/x` comes before `a/x`. They nearly have it already.
        fn path(key: &Key) -> impl Iterator<Item = u8> {
            key.0.bytes().chain([b'/']).chain(key.1.bytes())
        }
        found.sort_by(|(one, _), (other, _)| path(one).cmp(path(other)));
    }
    found
        .into_iter()
        .map(|(_, object)| object.clone())
        .collect()
}

fn matches(object: &Object, target: &ResourceTarget, options: &Options) -> bool {
    options.selector.matches(&object.value) && named(target, object)
}

/// A watch may be on one name.
pub(super) fn named(target: &ResourceTarget, object: &Object) -> bool {
    target
        .name
        .as_deref()
        .is_none_or(|name| object.value["metadata"]["name"] == name)
}
