//! Objects that may be unreadable, each by itself: one that is does not take its list with it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::Brief;
use crate::model::ObjectName;

/// An object from the API.
///
/// kube's own `DeserializeGuard` does the same by way of a tree of values, at several times the cost.
#[derive(Clone, Debug)]
pub enum Read<K> {
    /// One that could be read.
    Object(Box<K>),
    /// One that could not.
    Unreadable {
        /// Its name and version, as far as it has them.
        metadata: Box<ObjectMeta>,
        /// What is wrong with it.
        error: String,
    },
}

impl<K: Resource<DynamicType = ()>> Read<K> {
    /// Its name.
    pub fn name(&self) -> ObjectName {
        let metadata = self.meta();
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        ObjectName {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
        }
    }
}

impl<'de, K: Brief> Deserialize<'de> for Read<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<K::Fields>(raw.get()) {
            Ok(fields) => Self::Object(Box::new(fields.into())),
            Err(error) => Self::Unreadable {
                metadata: Box::new(metadata(raw.get())),
                error: error.to_string(),
            },
        })
    }
}

/// What can be had of an object's metadata.
fn metadata(raw: &str) -> ObjectMeta {
    let object: Value = serde_json::from_str(raw).unwrap_or_default();
    let text = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
    ObjectMeta {
        namespace: text("namespace"),
        name: text("name"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Read<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }
}
