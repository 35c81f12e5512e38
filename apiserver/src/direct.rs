//! Writes from the same process, without a connection: for whoever fills a server with thousands of objects.

use serde_json::Value;

use crate::ApiServer;
use crate::codec;
use crate::lifecycle::{self, Part, Update};
use crate::resource::{RESOURCES, Resource, Served};
use crate::status::Status;
use crate::store::{Applied, Key};

/// A write that the server refused, as it would have over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API answered {code}: {message}")]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// The message of the `Status`.
    pub message: String,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            code: status.code,
            message: status.message,
        }
    }
}

impl ApiServer {
    /// Creates an object, which is defaulted, checked and allocated to as one that is posted; unknown fields are
    /// dropped. Returns it as it is stored. Watchers see it as any other.
    ///
    /// # Errors
    /// When the kind is not served, or the server refuses the object.
    pub fn create(&self, object: Value) -> Result<Value, Refusal> {
        let (resource, key, value) = decoded(object)?;
        let created = self.store.write(|state| {
            lifecycle::create(state, resource, &key.0, value, Applied::default(), false)
        })?;
        Ok(created.value.clone())
    }

    /// Replaces an object, as one that is put. Returns it as it is stored.
    ///
    /// # Errors
    /// When there is no such object, or the server refuses the new one.
    pub fn replace(&self, object: Value) -> Result<Value, Refusal> {
        let (resource, key, value) = decoded(object)?;
        let update = Update {
            part: Part::Main,
            dry_run: false,
            applied: None,
        };
        let replaced = self
            .store
            .write(|state| lifecycle::update(state, resource, &key, value, update))?;
        Ok(replaced.value.clone())
    }
}

/// The resource of an object, its key and its stored form.
fn decoded(object: Value) -> Result<(&'static Resource, Key, Value), Status> {
    let (resource, served) = served(&object).ok_or_else(Status::no_such_resource)?;
    let metadata = |field: &str| {
        let text = object["metadata"][field].as_str();
        text.unwrap_or_default().to_owned()
    };
    let namespace = if resource.namespaced {
        metadata("namespace")
    } else {
        String::new()
    };
    let key = (namespace, metadata("name"));
    Ok((
        resource,
        key,
        codec::decode(resource, served, object)?.value,
    ))
}

/// What serves the kind and version that an object names.
fn served(object: &Value) -> Option<(&'static Resource, &'static Served)> {
    RESOURCES
        .iter()
        .filter(|resource| object["kind"] == resource.kind_name)
        .find_map(|resource| {
            let mut versions = resource.served.iter();
            let served = versions.find(|served| object["apiVersion"] == served.api_version())?;
            Some((resource, served))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Config;

    #[test]
    fn objects_are_stored_as_those_that_are_sent() {
        let server = ApiServer::new(Config::default()).expect("valid");
        let service = |name: &str, namespace: &str, ports: Value| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"ports": ports, "nonsense": 1},
            })
        };
        let ports = json!([{"port": 80}]);
        let created = server.create(service("web", "default", ports.clone()));
        let created = created.expect("it is valid");
        assert!(created["spec"]["clusterIP"].is_string(), "{created}");
        assert_eq!(created["spec"]["ports"][0]["targetPort"], 80);
        assert_eq!(created["spec"].get("nonsense"), None);

        let replaced = server.replace(service("web", "default", json!([{"port": 81}])));
        let replaced = replaced.expect("it is there");
        assert_eq!(replaced["spec"]["ports"][0]["port"], 81);
        assert_eq!(replaced["metadata"]["uid"], created["metadata"]["uid"]);
        assert_eq!(replaced["spec"]["clusterIP"], created["spec"]["clusterIP"]);

        let refused = |object, code| {
            let refusal = server.create(object).expect_err("it is refused");
            assert_eq!(refusal.code, code, "{refusal}");
        };
        refused(service("web", "default", ports.clone()), 409);
        refused(service("web", "nowhere", ports), 404);
        refused(service("other", "default", json!([])), 422);
        refused(json!({"apiVersion": "v2", "kind": "Service"}), 404);
        let nobody = service("nobody", "default", json!([{"port": 80}]));
        assert_eq!(server.replace(nobody).expect_err("not there").code, 404);
    }
}
