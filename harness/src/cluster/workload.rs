//! Deployments of a case, and their pods, as the cluster has them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment as DeploymentObject;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod as PodObject};
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::lab::{is_running, state};
use super::objects::{PodImage, RUN_LABEL, RunId};
use super::provider::Cluster;
use super::wait::Patience;
use super::{ClusterError, discover};
use crate::agent::{CONTROL_PORT, READY_PATH};
use crate::case::{Deployment, PodState, Update, Workload};
use crate::image::PROGRAM;
use crate::lab::{NAMESPACE, object};
use crate::timing::Timing;
use crate::world::{Dual, Family, Protocol, World};

/// The label of the pods of a case; its value is the name of the case's Service, which selects them by it.
pub(crate) const CASE_LABEL: &str = "onehop.dev/case";
/// The label of the pods of a Deployment; its value is its name within the case.
const DEPLOYMENT_LABEL: &str = "onehop.dev/deployment";
/// What a pod has on top of the time that it lingers before the kubelet kills it, in seconds.
const TO_BE_KILLED: u16 = 15;

/// A pod of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkloadPod {
    pub(crate) name: String,
    /// Its Deployment, by the name within the case.
    pub(crate) deployment: String,
    /// The node, by the world's name.
    pub(crate) node: String,
    pub(crate) address: Dual,
    pub(crate) state: PodState,
}

/// A port of the pods: its name, its number, its protocol.
pub(crate) type NamedPort = (String, u16, Protocol);

impl Cluster {
    /// Creates the Deployments of a case.
    pub(crate) async fn create_workload(
        &self,
        case: &str,
        workload: &Workload,
        ports: &[NamedPort],
        world: &World,
    ) -> Result<(), ClusterError> {
        for deployment in &workload.deployments {
            let template = Template {
                case,
                run: &self.run,
                image: &self.image,
                lingers: workload.lingers,
                ports,
                world,
            };
            let created = object(template.deployment(*deployment));
            let created = self
                .deployments()
                .create(&PostParams::default(), &created)
                .await;
            created.map_err(ClusterError::object("create a Deployment"))?;
        }
        Ok(())
    }

    /// Sets how many pods a Deployment is to have.
    pub(crate) async fn scale(
        &self,
        case: &str,
        deployment: &str,
        replicas: u16,
    ) -> Result<(), ClusterError> {
        let spec = json!({ "replicas": replicas });
        self.patch_deployment(case, deployment, spec).await
    }

    /// Begins a rolling update of a Deployment.
    pub(crate) async fn roll(&self, case: &str, deployment: &str) -> Result<(), ClusterError> {
        let rolled = super::objects::random().map_err(ClusterError::Random)?;
        let annotations = json!({ "onehop.dev/rolled": rolled });
        let template = json!({ "metadata": { "annotations": annotations } });
        self.patch_deployment(case, deployment, json!({ "template": template }))
            .await
    }

    async fn patch_deployment(
        &self,
        case: &str,
        deployment: &str,
        spec: Value,
    ) -> Result<(), ClusterError> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let name = object_name(case, deployment);
        let patched = self
            .deployments()
            .patch(&name, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .map_err(ClusterError::object("change a Deployment"))
    }

    /// The pods of a case that run, as they are now.
    pub(crate) async fn workload_pods(
        &self,
        case: &str,
        world: &World,
        families: &[Family],
    ) -> Result<Vec<WorkloadPod>, ClusterError> {
        let listed = self.list_pods(case).await?;
        let pods = listed
            .iter()
            .filter_map(|pod| workload_pod(pod, world, families));
        Ok(pods.collect())
    }

    async fn list_pods(&self, case: &str) -> Result<Vec<PodObject>, ClusterError> {
        let own = ListParams::default().labels(&format!("{CASE_LABEL}={case}"));
        let listed = self.pods().list(&own).await;
        Ok(listed
            .map_err(ClusterError::object("list the pods of a case"))?
            .items)
    }

    /// Waits until each Deployment has so many pods, all of its last template and ready, and until no other pod of
    /// the case is left that has not ended.
    pub(crate) async fn settled(
        &self,
        case: &str,
        replicas: &BTreeMap<&'static str, u16>,
        timing: &Timing,
    ) -> Result<(), ClusterError> {
        let patience = Patience::new("the workload did not settle", timing.cluster_ready);
        while let Some(state) = self.unsettled(case, replicas).await? {
            patience.pause(state).await?;
        }
        Ok(())
    }

    /// What the workload still waits for, if anything.
    async fn unsettled(
        &self,
        case: &str,
        replicas: &BTreeMap<&'static str, u16>,
    ) -> Result<Option<String>, ClusterError> {
        for (deployment, replicas) in replicas {
            let found = self.deployments().get(&object_name(case, deployment)).await;
            let found = found.map_err(ClusterError::object("read a Deployment"))?;
            if let Some(state) = unsettled(&found, *replicas) {
                return Ok(Some(format!("{deployment} {state}")));
            }
        }
        let pods = self.list_pods(case).await?;
        let pods: Vec<_> = pods.iter().filter(|pod| !has_ended(pod)).collect();
        let wanted = replicas.values().map(|n| usize::from(*n)).sum::<usize>();
        let text = || {
            let each: Vec<_> = pods.iter().map(|pod| described(pod)).collect();
            let (count, each) = (pods.len(), each.join(", "));
            format!("there are {count} pods instead of {wanted}: {each}")
        };
        Ok((pods.len() != wanted).then(text))
    }

    /// Deletes the Deployments of a case and their pods, and waits until they are gone.
    pub(crate) async fn delete_workload(
        &self,
        case: &str,
        timing: &Timing,
    ) -> Result<(), ClusterError> {
        let own = ListParams::default().labels(&format!("{CASE_LABEL}={case}"));
        let at_once = DeleteParams::default().grace_period(1);
        let deleted = self
            .deployments()
            .delete_collection(&DeleteParams::background(), &own)
            .await;
        deleted.map_err(ClusterError::object("delete the Deployments"))?;
        let patience = Patience::new("the pods of the case were not gone", timing.cluster_ready);
        loop {
            // A controller that has not heard of it yet may make another one.
            let deleted = self.pods().delete_collection(&at_once, &own).await;
            deleted.map_err(ClusterError::object("delete the pods of a case"))?;
            match self.list_pods(case).await?.len() {
                0 => return Ok(()),
                left => patience.pause(format!("{left} are left")).await?,
            }
        }
    }

    /// Keeps further pods from a Node, or lets them come.
    pub(crate) async fn cordon(&self, node: &str, cordoned: bool) -> Result<(), ClusterError> {
        let patch = Patch::Merge(json!({ "spec": { "unschedulable": cordoned } }));
        let patched = self
            .nodes_api()
            .patch(node, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .map_err(ClusterError::object("cordon the node"))
    }

    /// Evicts a pod, as `kubectl drain` does.
    pub(crate) async fn evict(&self, pod: &str) -> Result<(), ClusterError> {
        let evicted = self.pods().evict(pod, &EvictParams::default()).await;
        evicted
            .map(drop)
            .map_err(ClusterError::object(format!("evict the pod {pod}")))
    }

    /// Stops every process on a Node, or lets them go on.
    pub(crate) async fn stop_node(&self, node: &str, stopped: bool) -> Result<(), ClusterError> {
        let nodes = self
            .nodes
            .as_ref()
            .expect("cases are checked against what the lab lacks");
        let failed = |why| ClusterError::Stop {
            node: node.to_owned(),
            stopped,
            why,
        };
        nodes.stop(node, stopped).await.map_err(failed)
    }

    /// Waits until the cluster takes a Node for ready, or for not ready.
    pub(crate) async fn node_becomes(
        &self,
        node: &str,
        ready: bool,
        timing: &Timing,
    ) -> Result<(), ClusterError> {
        let what = match ready {
            true => format!("{node} did not become ready"),
            false => format!("the cluster did not notice that {node} has stopped"),
        };
        let patience = Patience::new(&what, timing.cluster_ready);
        loop {
            let found = self.nodes_api().get(node).await;
            let found = found.map_err(ClusterError::object("read the node"))?;
            if discover::is_ready(&found) == ready {
                return Ok(());
            }
            let state = if ready { "it is not" } else { "it is ready" };
            patience.pause(state.to_owned()).await?;
        }
    }

    fn deployments(&self) -> Api<DeploymentObject> {
        Api::namespaced(self.client.0.clone(), NAMESPACE)
    }

    fn pods(&self) -> Api<PodObject> {
        Api::namespaced(self.client.0.clone(), NAMESPACE)
    }

    fn nodes_api(&self) -> Api<NodeObject> {
        Api::all(self.client.0.clone())
    }
}

fn object_name(case: &str, deployment: &str) -> String {
    format!("{case}-{deployment}")
}

/// A pod by its name, where it is and what it is about, for people.
fn described(pod: &PodObject) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.unwrap_or("no node");
    let ending = match pod.metadata.deletion_timestamp {
        Some(_) => ", being deleted",
        None => "",
    };
    format!("{name} on {node} ({}{ending})", state(pod))
}

/// Whether all of a pod has ended for good. Nobody deletes it, and nothing is sent to it.
///
/// A kubelet that has not heard yet that its node's taint is gone refuses a pod that the scheduler gives it (phase `Failed`), and the
/// controller makes another one.
fn has_ended(pod: &PodObject) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// What a Deployment still waits for, if anything.
fn unsettled(deployment: &DeploymentObject, replicas: u16) -> Option<String> {
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        return Some("has not been taken up".to_owned());
    }
    let wanted = Some(i32::from(replicas)).filter(|n| *n > 0);
    let none = |n: &i32| *n > 0;
    let counts = [
        ("replicas", status.replicas.filter(none)),
        ("updated", status.updated_replicas.filter(none)),
        ("ready", status.ready_replicas.filter(none)),
    ];
    let wrong = counts.into_iter().find(|(_, count)| *count != wanted);
    wrong.map(|(what, count)| {
        let count = count.unwrap_or_default();
        format!("has {count} instead of {replicas} ({what})")
    })
}

/// A pod of a workload from its object, once it runs.
fn workload_pod(pod: &PodObject, world: &World, families: &[Family]) -> Option<WorkloadPod> {
    let address = discover::pod_addresses(pod, families)?;
    let object = pod.spec.as_ref()?.node_name.as_deref()?;
    let node = world.nodes.iter().find(|node| node.object == object)?;
    let ending = pod.metadata.deletion_timestamp.is_some();
    let state = match (is_running(pod), ending) {
        (true, false) => PodState::Ready,
        (true, true) => PodState::Terminating,
        (false, _) => PodState::Unready,
    };
    let labels = pod.metadata.labels.as_ref()?;
    Some(WorkloadPod {
        name: pod.metadata.name.clone()?,
        deployment: labels.get(DEPLOYMENT_LABEL)?.clone(),
        node: node.name.clone(),
        address,
        state,
    })
}

/// What the pods of a workload have in common.
struct Template<'a> {
    case: &'a str,
    run: &'a RunId,
    image: &'a PodImage,
    lingers: u16,
    ports: &'a [NamedPort],
    world: &'a World,
}

impl Template<'_> {
    fn deployment(&self, deployment: Deployment) -> Value {
        let own = json!({ CASE_LABEL: self.case, DEPLOYMENT_LABEL: deployment.name });
        let mut labels = own.clone();
        labels[RUN_LABEL] = json!(self.run.to_string());
        let (surge, unavailable) = match deployment.update {
            Update::NewFirst => (1, 0),
            Update::OldFirst => (0, 1),
        };
        let rolling = json!({ "maxSurge": surge, "maxUnavailable": unavailable });
        json!({
            "metadata": {
                "name": object_name(self.case, deployment.name),
                "namespace": NAMESPACE,
                "labels": labels,
            },
            "spec": {
                "replicas": deployment.replicas,
                "selector": { "matchLabels": own },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": rolling },
                "template": { "metadata": { "labels": labels }, "spec": self.pod(deployment, &own) },
            },
        })
    }

    fn pod(&self, deployment: Deployment, labels: &Value) -> Value {
        // One term for each: a term takes one name.
        let on = deployment.nodes.iter().map(|node| {
            let object = &self.world.node(node).expect("cases are checked").object;
            let named = json!({ "key": "metadata.name", "operator": "In", "values": [object] });
            json!({ "matchFields": [named] })
        });
        let on: Vec<_> = on.collect();
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": self.lingers + TO_BE_KILLED,
            "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": on },
            } },
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": labels },
            }],
            "containers": [self.container()],
        })
    }

    fn container(&self) -> Value {
        let run = self.run.to_string();
        // An agent knows the process by how it begins.
        let mut command = [
            PROGRAM,
            "pod",
            "--run",
            &run,
            "$(POD)",
            "--node",
            "$(NODE)",
            "--lingers",
        ]
        .map(str::to_owned)
        .to_vec();
        command.push(self.lingers.to_string());
        for (_, number, _) in self.ports {
            command.extend(["--serve".to_owned(), number.to_string()]);
        }
        for node in &self.world.nodes {
            command.extend([
                "--call".to_owned(),
                format!("{}={}", node.object, node.name),
            ]);
        }
        let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
        let ports = self.ports.iter().map(|(name, number, protocol)| {
            json!({ "name": name, "containerPort": number, "protocol": protocol })
        });
        json!({
            "name": "pod",
            "image": self.image.name,
            "imagePullPolicy": self.image.policy(),
            "command": command,
            "env": [field("POD", "metadata.name"), field("NODE", "spec.nodeName")],
            "ports": ports.collect::<Vec<_>>(),
            "readinessProbe": {
                "httpGet": { "path": READY_PATH, "port": CONTROL_PORT },
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                // One probe may be late on a busy machine.
                "failureThreshold": 2,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Deployment = Deployment::new("spread", &["vm1", "vm3"], 2);

    fn deployment() -> DeploymentObject {
        let world = World::story();
        let ports = [("port-0".to_owned(), 20_007, Protocol::Tcp)];
        let run = RunId::new().expect("the kernel has random octets");
        let image = PodImage {
            name: "onehop:1".to_owned(),
            pulled: false,
        };
        let template = Template {
            case: "lifecycle-x",
            run: &run,
            image: &image,
            lingers: 5,
            ports: &ports,
            world: &world,
        };
        object(template.deployment(SPREAD.updated(Update::OldFirst)))
    }

    #[test]
    fn a_deployment_runs_pods_that_agents_find_and_services_select() {
        let deployment = deployment();
        let template = deployment.spec.expect("a spec").template;
        let labels = template
            .metadata
            .and_then(|meta| meta.labels)
            .expect("labels");
        assert_eq!(labels[CASE_LABEL], "lifecycle-x");
        let container = &template.spec.expect("a pod").containers[0];
        let command = container.command.clone().unwrap_or_default();
        assert_eq!(command[..3], [PROGRAM, "pod", "--run"]);
        assert_eq!(command[4], "$(POD)");
        assert!(
            command.windows(2).any(|pair| pair == ["--serve", "20007"]),
            "{command:?}"
        );
        assert!(command.contains(&"vm3=vm3".to_owned()), "{command:?}");
    }

    #[test]
    fn a_pod_has_ended_by_its_phase_and_not_because_it_is_being_deleted() {
        let pod = |pod: Value| has_ended(&object(pod));
        assert!(pod(
            json!({"status": {"phase": "Failed", "reason": "TaintToleration"}})
        ));
        assert!(pod(json!({"status": {"phase": "Succeeded"}})));
        assert!(!pod(json!({"status": {"phase": "Pending"}})));
        assert!(!pod(json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Running"},
        })));
        assert!(!pod(json!({})));
    }

    #[test]
    fn a_deployment_is_settled_once_it_is_taken_up_and_all_are_ready() {
        let mut deployment = deployment();
        deployment.metadata.generation = Some(2);
        let status = |generation: i64, replicas: i32, ready: i32| {
            object(json!({
                "observedGeneration": generation,
                "replicas": replicas,
                "updatedReplicas": 2,
                "readyReplicas": ready,
            }))
        };
        for (generation, replicas, ready, settled) in [
            (1, 2, 2, false),
            (2, 3, 2, false),
            (2, 2, 1, false),
            (2, 2, 2, true),
        ] {
            deployment.status = Some(status(generation, replicas, ready));
            assert_eq!(
                unsettled(&deployment, 2).is_none(),
                settled,
                "{generation} {replicas} {ready}"
            );
        }
        deployment.status = Some(object(json!({ "observedGeneration": 2 })));
        assert_eq!(unsettled(&deployment, 0), None);
    }

    #[test]
    fn a_pod_that_is_being_deleted_and_still_ready_is_terminating() {
        let world = World::story();
        let pod = |ready: &str, deleted: Option<&str>| {
            let pod: PodObject = object(json!({
                "metadata": {
                    "name": "a",
                    "labels": { DEPLOYMENT_LABEL: "spread" },
                    "deletionTimestamp": deleted,
                },
                "spec": { "nodeName": "vm3", "containers": [] },
                "status": {
                    "podIPs": [{ "ip": "10.0.0.1" }],
                    "conditions": [{ "type": "Ready", "status": ready }],
                },
            }));
            let pod = workload_pod(&pod, &world, &[Family::V4]).expect("it runs");
            (pod.node, pod.state)
        };
        let at = Some("2026-01-01T00:00:00Z");
        assert_eq!(pod("True", None), ("vm3".to_owned(), PodState::Ready));
        assert_eq!(pod("True", at), ("vm3".to_owned(), PodState::Terminating));
        assert_eq!(pod("False", None).1, PodState::Unready);
    }
}
