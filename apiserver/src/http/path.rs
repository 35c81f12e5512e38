//! What a path asks for.

use serde_json::Value;

use super::{discovery, openapi};
use crate::lifecycle::Part;
use crate::resource::{self, GROUP_VERSIONS, Resource, Served};

/// What a path leads to.
pub(super) enum Target {
    /// A text that never changes.
    Fixed(&'static str),
    /// A document that never changes.
    Json(Box<dyn Fn() -> Value>),
    Resource(ResourceTarget),
    /// Inside a served group version, but not a resource of it.
    NoResource,
    Nowhere,
}

/// Objects of a resource, or one of them.
#[derive(Clone, Debug)]
pub(super) struct ResourceTarget {
    pub(super) resource: &'static Resource,
    pub(super) served: &'static Served,
    /// None means all namespaces, or a resource without namespaces.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) part: Part,
}

/// Which methods a target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbs {
    Item,
    Collection,
    /// A list over all namespaces can only be read.
    ReadOnly,
}

impl ResourceTarget {
    pub(super) fn verbs(&self) -> Verbs {
        if self.name.is_some() {
            Verbs::Item
        } else if self.resource.namespaced && self.namespace.is_none() {
            Verbs::ReadOnly
        } else {
            Verbs::Collection
        }
    }

    /// The key of the object.
    pub(super) fn key(&self) -> (String, String) {
        (
            self.namespace.clone().unwrap_or_default(),
            self.name.clone().unwrap_or_default(),
        )
    }
}

/// Reads a path.
pub(super) fn parse(path: &str) -> Target {
    let decoded = percent_decode(path);
    let mut segments: Vec<&str> = decoded
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let document = |build: fn() -> Value| Target::Json(Box::new(build));
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Target::Fixed("ok"),
        ["version"] => return document(discovery::version),
        ["api"] => return document(discovery::api),
        ["apis"] => return document(discovery::groups),
        ["openapi", "v3"] => return document(openapi::index),
        ["openapi", "v3", "api", "v1"] => {
            return Target::Json(Box::new(|| openapi::document("", "v1")));
        }
        ["openapi", "v3", "apis", group, version] => {
            return match known(group, version) {
                Some((group, version)) => {
                    Target::Json(Box::new(move || openapi::document(group, version)))
                }
                None => Target::Nowhere,
            };
        }
        ["apis", group] => {
            return match GROUP_VERSIONS.iter().find(|(name, _)| name == group) {
                Some((group, _)) => Target::Json(Box::new(|| discovery::group(group))),
                None => Target::Nowhere,
            };
        }
        _ => {}
    }
    let (group, version) = match segments.as_slice() {
        ["api", "v1", ..] => {
            segments.drain(..2);
            ("", "v1")
        }
        ["apis", group, version, ..] => {
            let Some(found) = known(group, version) else {
                return Target::Nowhere;
            };
            segments.drain(..3);
            found
        }
        _ => return Target::Nowhere,
    };
    if segments.is_empty() {
        return Target::Json(Box::new(move || discovery::resources(group, version)));
    }
    resource_target(group, version, &segments).map_or(Target::NoResource, Target::Resource)
}

fn known(group: &str, version: &str) -> Option<(&'static str, &'static str)> {
    let (group, versions) = GROUP_VERSIONS.iter().find(|(name, _)| *name == group)?;
    Some((group, versions.iter().find(|found| **found == version)?))
}

fn resource_target(group: &str, version: &str, segments: &[&str]) -> Option<ResourceTarget> {
    let (namespace, rest) = match segments {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status"]) => {
            (Some((*namespace).to_string()), rest)
        }
        rest => (None, rest),
    };
    let (plural, rest) = rest.split_first()?;
    let (resource, served) = resource::find(group, version, plural)?;
    if namespace.is_some() != resource.namespaced && (namespace.is_some() || !rest.is_empty()) {
        return None;
    }
    let (name, part) = match rest {
        [] => (None, Part::Main),
        [name] => (Some((*name).to_string()), Part::Main),
        [name, "status"] if resource.has_status => (Some((*name).to_string()), Part::Status),
        _ => return None,
    };
    Some(ResourceTarget {
        resource,
        served,
        namespace,
        name,
        part,
    })
}

/// Decodes %XX; what is not valid UTF-8 afterwards cannot name anything and is replaced.
fn percent_decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%').then(|| tail.get(..2)).flatten();
        let decoded =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
