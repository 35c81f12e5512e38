//! In which form objects are sent: as they are, as rows of a Table, or as their metadata alone.

use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::path::ResourceTarget;
use super::table;
use crate::codec;
use crate::status::Status;
use crate::store::Object;

/// The form that the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Table,
    Metadata,
}

impl Shape {
    /// Picks the first form of the Accept header that is served. Clients that prefer protobuf also take JSON.
    ///
    /// # Errors
    /// 406 when nothing that the client accepts is served.
    pub(super) fn from_accept(accept: Option<&HeaderValue>) -> Result<Self, Status> {
        let accept = accept
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default();
        if accept.is_empty() {
            return Ok(Self::Object);
        }
        for entry in accept.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let form = parts.find_map(|part| part.strip_prefix("as="));
            let known = match form {
                None => Self::Object,
                Some("Table") => Self::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Self::Metadata,
                Some(_) => continue,
            };
            if matches!(media, "application/json" | "application/*" | "*/*") {
                return Ok(known);
            }
        }
        // An Accept of protobuf alone still gets JSON: client-go decodes by the Content-Type of the answer.
        if accept.contains("application/vnd.kubernetes.protobuf") {
            return Ok(Self::Object);
        }
        Err(Status::not_acceptable())
    }

    /// One object as text.
    pub(super) fn object(self, target: &ResourceTarget, object: &Object) -> String {
        match self {
            Self::Object if std::ptr::eq(target.served, target.resource.stored()) => {
                object.json.to_string()
            }
            Self::Object => {
                codec::encode(target.resource, target.served, &object.value).to_string()
            }
            Self::Table => table::table(
                target,
                std::iter::once(&object.value),
                &metadata_of(&object.value),
            )
            .to_string(),
            Self::Metadata => partial(&object.value).to_string(),
        }
    }

    /// A list as text.
    pub(super) fn list(
        self,
        target: &ResourceTarget,
        objects: &[&Object],
        revision: u64,
    ) -> String {
        if self == Self::Table {
            let metadata = json!({"resourceVersion": revision.to_string()});
            return table::table(
                target,
                objects.iter().map(|object| &object.value),
                &metadata,
            )
            .to_string();
        }
        let (api_version, kind) = match self {
            Self::Metadata => (
                "meta.k8s.io/v1".to_string(),
                "PartialObjectMetadataList".to_string(),
            ),
            _ => (
                target.served.api_version(),
                format!("{}List", target.resource.kind_name),
            ),
        };
        let mut text = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\"items\":["
        );
        // Ten thousand objects are megabytes, which are not to be copied each time that the text grows.
        text.reserve(objects.iter().map(|object| object.json.len() + 1).sum());
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            match self {
                Self::Object if std::ptr::eq(target.served, target.resource.stored()) => {
                    text.push('{');
                    text.push_str(object.untyped());
                }
                Self::Object => {
                    let mut value = codec::encode(target.resource, target.served, &object.value);
                    if let Some(value) = value.as_object_mut() {
                        value.remove("kind");
                        value.remove("apiVersion");
                    }
                    text.push_str(&value.to_string());
                }
                _ => text.push_str(&self.object(target, object)),
            }
        }
        text.push_str("]}");
        text
    }
}

fn metadata_of(value: &Value) -> Value {
    json!({"resourceVersion": value["metadata"]["resourceVersion"]})
}

/// The metadata alone.
pub(super) fn partial(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
}
