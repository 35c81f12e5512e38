//! The objects that a lab makes in a cluster. Each is labelled with its run.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::agents::AGENT_PORT;
use super::{ClusterError, wait};
use crate::image::PROGRAM;
use crate::lab::{NAMESPACE, object};
use crate::timing::Timing;

/// The label of everything that a run makes; its value is the run.
pub(super) const RUN_LABEL: &str = "onehop.dev/run";
/// The DaemonSet of the agents, and the label of its pods.
pub(super) const AGENTS: &str = "onehop-agents";
const APP_LABEL: &str = "app";
/// The Secret that has the agents' token.
const TOKEN: &str = "onehop-token";

/// The name of a run: short, and like no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives no random octets.
    pub fn new() -> io::Result<Self> {
        random().map(Self)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// onehop's image, as pods have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodImage {
    /// Its name.
    pub name: String,
    /// Whether nodes may pull it from a registry. One that only an engine on this machine has made
    /// is nowhere to be pulled from, and asking would tell strangers.
    pub pulled: bool,
}

impl PodImage {
    pub(super) fn policy(&self) -> &'static str {
        if self.pulled { "IfNotPresent" } else { "Never" }
    }
}

/// Thirty-two characters that nobody guesses.
pub(super) fn random() -> io::Result<String> {
    let mut octets = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// Creates the namespace, in which pods may do what agents must.
pub(super) async fn create_namespace(client: &Client, run: &RunId) -> Result<(), ClusterError> {
    let privileged = ["enforce", "audit", "warn"].map(|what| {
        (
            format!("pod-security.kubernetes.io/{what}"),
            json!("privileged"),
        )
    });
    let mut labels = serde_json::Map::from_iter(privileged);
    labels.insert(RUN_LABEL.to_owned(), json!(run.to_string()));
    let namespace = object(json!({ "metadata": { "name": NAMESPACE, "labels": labels } }));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Err(ClusterError::InUse {
            holder: "one that began at the same time".to_owned(),
        }),
        created => created
            .map(drop)
            .map_err(ClusterError::object("create the namespace")),
    }
}

/// Deletes the namespace of a run with everything in it, and waits until it is gone. That of
/// another run, or of a stranger, is left alone.
pub(crate) async fn delete_of(
    client: &Client,
    run: &RunId,
    timing: &Timing,
) -> Result<(), ClusterError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_opt(NAMESPACE).await;
    let found = found.map_err(ClusterError::object("read the namespace"))?;
    let own = found.filter(|namespace| {
        let labels = namespace.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(RUN_LABEL)) == Some(&run.0)
    });
    match own {
        Some(namespace) => delete(client, &namespace, timing).await,
        None => Ok(()),
    }
}

/// Deletes this very namespace, and no other that may have come in its place.
pub(super) async fn delete(
    client: &Client,
    namespace: &Namespace,
    timing: &Timing,
) -> Result<(), ClusterError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespace.metadata.uid.clone();
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: uid.clone(),
        resource_version: None,
    });
    match namespaces.delete(NAMESPACE, &parameters).await {
        // It is gone, or another has come in its place.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        deleted => drop(deleted.map_err(ClusterError::object("delete the namespace"))?),
    }
    let what = format!("the namespace {NAMESPACE} was not gone");
    wait::until(&what, timing.cluster_ready, async || {
        let found = namespaces.get_opt(NAMESPACE).await;
        let found = found.map_err(ClusterError::object("read the namespace"))?;
        let there = found.is_some_and(|found| found.metadata.uid == uid);
        Ok(if there {
            Err("it is being deleted".to_owned())
        } else {
            Ok(())
        })
    })
    .await
}

/// Starts an agent on each of these nodes.
pub(super) async fn create_agents(
    client: &Client,
    run: &RunId,
    image: &PodImage,
    token: &str,
    nodes: &[String],
) -> Result<(), ClusterError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = object(json!({
        "metadata": metadata(TOKEN, run),
        "stringData": { "token": token },
    }));
    let created = secrets.create(&PostParams::default(), &secret).await;
    created.map_err(ClusterError::object("create the agents' token"))?;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let set = object(agents(run, image, nodes));
    let created = sets.create(&PostParams::default(), &set).await;
    created
        .map(drop)
        .map_err(ClusterError::object("create the agents"))
}

/// The DaemonSet of the agents.
///
/// They are privileged and share the machine's network and process ids: an agent enters the networks of pods beside it,
/// listens to raw packets, and sets kernel parameters of the node's network for as long as the run lasts.
fn agents(run: &RunId, image: &PodImage, nodes: &[String]) -> Value {
    let labels = json!({ APP_LABEL: AGENTS, RUN_LABEL: run.to_string() });
    let listen = format!("127.0.0.1:{AGENT_PORT}");
    let token = json!({ "secretKeyRef": { "name": TOKEN, "key": "token" } });
    // One term for each: a term takes one name.
    let on = nodes.iter().map(|node| {
        let named = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
        json!({ "matchFields": [named] })
    });
    let on: Vec<_> = on.collect();
    json!({
        "metadata": metadata(AGENTS, run),
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "hostPID": true,
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 5,

                    "tolerations": [{ "operator": "Exists" }],
                    "affinity": { "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": on },
                    } },
                    "containers": [{
                        "name": "agent",
                        "image": image.name,
                        "imagePullPolicy": image.policy(),
                        "command": [PROGRAM, "agent", "--listen", listen],
                        "env": [{ "name": "ONEHOP_TOKEN", "valueFrom": token }],
                        "securityContext": { "privileged": true },
                    }],
                },
            },
        },
    })
}

/// Starts a pod on a node, that waits.
pub(super) async fn create_pod(
    client: &Client,
    run: &RunId,
    image: &PodImage,
    pod: &str,
    node: &str,
) -> Result<(), ClusterError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let object = object(json!({
        "metadata": metadata(pod, run),
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "pod",
                "image": image.name,
                "imagePullPolicy": image.policy(),
                "command": [PROGRAM, "pod", "--run", run.to_string(), pod],
            }],
        },
    }));
    let created = pods.create(&PostParams::default(), &object).await;
    created
        .map(drop)
        .map_err(ClusterError::object(format!("create the pod {pod}")))
}

fn metadata(name: &str, run: &RunId) -> Value {
    json!({ "name": name, "namespace": NAMESPACE, "labels": { RUN_LABEL: run.to_string() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_tokens_differ() {
        let random = |_| random().expect("the kernel has random octets");
        let all: std::collections::BTreeSet<_> = (0..100).map(random).collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|text| text.len() == 32));
    }

    #[test]
    fn agents_run_on_the_nodes_that_are_named_and_their_token_is_in_no_pod_spec() {
        let run = RunId::new().expect("the kernel has random octets");
        let image = PodImage {
            name: "onehop:1".to_owned(),
            pulled: false,
        };
        let set: DaemonSet = object(agents(&run, &image, &["node-a".to_owned()]));
        let text = serde_json::to_string(&set).expect("JSON");
        assert!(text.contains(r#""values":["node-a"]"#), "{text}");
        assert!(text.contains("secretKeyRef"), "{text}");
        assert!(text.contains(r#""imagePullPolicy":"Never""#), "{text}");
    }
}
