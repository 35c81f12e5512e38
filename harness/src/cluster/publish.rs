//! Results in a ConfigMap, for whoever runs in the cluster itself.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::ClusterError;
use crate::run::Results;

/// The key of the results.
const KEY: &str = "results.json";

/// Writes results to the ConfigMap `namespace/name`, which is made if it is not there.
///
/// # Errors
/// When the name is none, or the API refuses.
pub async fn publish(client: &Client, name: &str, results: &Results) -> Result<(), ClusterError> {
    let Some((namespace, name)) = name.split_once('/') else {
        return Err(ClusterError::ConfigMap {
            name: name.to_owned(),
        });
    };
    let text = serde_json::to_string(results).expect("results are JSON");
    let patch = Patch::Apply(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name },
        "data": { KEY: text },
    }));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let applied = maps
        .patch(name, &PatchParams::apply("onehop").force(), &patch)
        .await;
    let what = format!("write the results to the ConfigMap {namespace}/{name}");
    applied.map(drop).map_err(ClusterError::object(what))
}
