//! The workload of a case: what is done to it, and who its pods are when a check begins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::sync::Mutex;

use super::progress::Progress;
use super::row::{Answer, row};
use super::runner::CaseRun;
use super::situation::{Endpoint, EndpointState};
use crate::agent::{BECOME_PATHS, CONTROL_PORT};
use crate::case::{
    Check, Expectation, FlowCheck, HeldExpectation, PodState, PodsOf, Question, Workload,
};
use crate::cluster::{CASE_LABEL, NamedPort, WorkloadPod};
use crate::lab::{Allocated, LabError, port_name, target_port};
use crate::probe::HttpOutcome;
use crate::world::{Dual, Pod, World};

/// A workload that the cluster runs.
pub(super) struct Running {
    /// How many pods each Deployment is to have now.
    pub(super) replicas: BTreeMap<&'static str, u16>,
    /// The pods that agents act on.
    adopted: Mutex<BTreeSet<String>>,
}

/// The world as a round of questions finds it: pods of a workload come and go.
pub(super) struct Scene {
    pub(super) world: World,
    /// Every pod that may answer, and the port.
    pub(super) listening: Vec<(Dual, u16)>,
    pods: Vec<WorkloadPod>,
}

impl CaseRun {
    /// Has the cluster run the workload, and creates the Service that selects it.
    pub(super) async fn create_workload(
        &self,
        name: &str,
        workload: &Workload,
    ) -> Result<(Running, Allocated), LabError> {
        let (lab, spec) = (&self.lab, self.case.service);
        let ports = spec.ports.iter().enumerate().map(|(position, port)| {
            let number = target_port(self.port(), position, 0);
            (port_name(position), number, port.protocol)
        });
        let ports: Vec<NamedPort> = ports.collect();
        let cluster = lab.cluster();
        cluster
            .create_workload(name, workload, &ports, lab.world())
            .await?;
        let deployments = workload.deployments.iter();
        let running = Running {
            replicas: deployments.map(|one| (one.name, one.replicas)).collect(),
            adopted: Mutex::default(),
        };
        cluster
            .settled(name, &running.replicas, lab.timing())
            .await?;
        let (objects, label) = (lab.objects(), (CASE_LABEL, name));
        let created = objects.create_selecting_service(name, spec, lab.world(), label, self.port());
        let created = created
            .await
            .map_err(LabError::object("create the Service"))?;
        Ok((running, created))
    }

    /// Waits until the workload is as its Deployments want it.
    pub(super) async fn settle(&self, name: &str, progress: &Progress) -> Result<(), LabError> {
        let running = progress.workload();
        let settled = self
            .lab
            .cluster()
            .settled(name, &running.replicas, self.lab.timing());
        Ok(settled.await?)
    }

    /// The world as it is now. Agents act on every pod that serves in it.
    pub(super) async fn scene(&self, name: &str, progress: &Progress) -> Result<Scene, LabError> {
        let lab = &self.lab;
        let mut scene = Scene {
            world: lab.world().clone(),
            listening: self.addresses(),
            pods: Vec::new(),
        };
        let Some(running) = &progress.workload else {
            return Ok(scene);
        };
        scene.pods = self.workload_pods(name).await?;
        let mut adopted = running.adopted.lock().await;
        for pod in scene
            .pods
            .iter()
            .filter(|pod| pod.state != PodState::Unready)
        {
            if !adopted.contains(&pod.name) {
                lab.adopt(&pod.node, std::slice::from_ref(&pod.name))
                    .await?;
                adopted.insert(pod.name.clone());
            }
        }
        for pod in &scene.pods {
            let ports =
                (0..self.case.service.ports.len()).map(|at| target_port(self.port(), at, 0));
            scene
                .listening
                .extend(ports.map(|port| (pod.address, port)));
            scene.world.pods.push(Pod {
                name: pod.name.clone(),
                node: pod.node.clone(),
                address: pod.address,
            });
        }
        Ok(scene)
    }

    /// Whether the pods that serve are still those of a scene, in the same states. One that does not serve may go: it
    /// cannot have answered.
    pub(super) async fn still(&self, name: &str, scene: &Scene) -> Result<(), LabError> {
        if scene.pods.is_empty() {
            return Ok(());
        }
        let now = self.workload_pods(name).await?;
        let (before, now) = (serving(&scene.pods), serving(&now));
        if before == now {
            return Ok(());
        }
        let text = |states: &BTreeMap<String, PodState>| {
            let each = states.iter().map(|(pod, state)| format!("{pod} {state}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let (before, now) = (text(&before), text(&now));
        Err(LabError::Moved { before, now })
    }

    async fn workload_pods(&self, name: &str) -> Result<Vec<WorkloadPod>, LabError> {
        let lab = &self.lab;
        Ok(lab
            .cluster()
            .workload_pods(name, lab.world(), lab.families())
            .await?)
    }

    /// Sets how many pods a Deployment is to have.
    pub(super) async fn scale(
        &self,
        name: &str,
        (deployment, replicas): (&'static str, u16),
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        if let Some(running) = &mut progress.workload {
            running.replicas.insert(deployment, replicas);
        }
        Ok(self.lab.cluster().scale(name, deployment, replicas).await?)
    }

    /// Begins a rolling update of every Deployment.
    pub(super) async fn roll(&self, name: &str, progress: &Progress) -> Result<(), LabError> {
        for deployment in progress.workload().replicas.keys() {
            self.lab.cluster().roll(name, deployment).await?;
        }
        Ok(())
    }

    /// Evicts the pods of the workload from a node that takes no more.
    pub(super) async fn drain(&self, name: &str, node: &str) -> Result<(), LabError> {
        let cluster = self.lab.cluster();
        cluster.cordon(self.object(node), true).await?;
        let pods = self.workload_pods(name).await?;
        for pod in pods.iter().filter(|pod| pod.node == node) {
            cluster.evict(&pod.name).await?;
        }
        Ok(())
    }

    /// Tells the pods of a Deployment what to say of themselves.
    pub(super) async fn say_ready(
        &self,
        name: &str,
        deployment: &str,
        ready: bool,
    ) -> Result<(), LabError> {
        let family = self.lab.families()[0];
        let mut paths = BECOME_PATHS.into_iter();
        let (_, path) = paths
            .find(|(becomes, _)| *becomes == ready)
            .expect("there are both");
        let pods = self.workload_pods(name).await?;
        for pod in pods.iter().filter(|pod| pod.deployment == deployment) {
            let server = SocketAddr::new(pod.address.of(family), CONTROL_PORT);
            match self.lab.get(&pod.node, server, path).await? {
                HttpOutcome::Answered(answer) if answer.status == 200 => {}
                other => {
                    let (pod, said) = (pod.name.clone(), super::row::text(&other));
                    return Err(LabError::Untold { pod, said });
                }
            }
        }
        Ok(())
    }
}

impl Scene {
    /// A check with the pods by name; or the rows of a report that say which pods there are in place of those that
    /// are meant.
    pub(super) fn named(&self, check: &Check) -> Result<Check, Vec<Answer>> {
        let mut check = check.clone();
        let mut wrong = Vec::new();
        for flow in check.questions.iter_mut().flat_map(flows) {
            self.name(flow, &mut wrong);
        }
        if wrong.is_empty() {
            return Ok(check);
        }
        for answer in &mut wrong {
            answer.result.check.clone_from(&check.label);
        }
        Err(wrong)
    }

    /// The same for a flow.
    pub(super) fn named_flow(&self, flow: &FlowCheck) -> Result<FlowCheck, Vec<Answer>> {
        let (mut flow, mut wrong) = (flow.clone(), Vec::new());
        self.name(&mut flow.expect, &mut wrong);
        if wrong.is_empty() {
            Ok(flow)
        } else {
            Err(wrong)
        }
    }

    fn name(&self, expect: &mut Expectation, wrong: &mut Vec<Answer>) {
        let Expectation::Reaches(reach) = expect else {
            return;
        };
        let Some(selected) = reach.selected else {
            return;
        };
        let names = self.who(&selected);
        if names.len() == usize::from(selected.count) {
            *reach = reach.clone().named(names);
        } else {
            let got = format!("{} of them", names.len());
            let row = row("cluster", "pods", None);
            wrong.push(row.expect(&selected.to_string(), &got, false).into());
        }
    }

    /// The node that a pod runs on, by the world's name.
    pub(super) fn node_of(&self, pod: &str) -> String {
        let pod = self.world.pod(pod);
        pod.map(|pod| pod.node.clone()).unwrap_or_default()
    }

    /// The pods of the workload.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |pod: &WorkloadPod| Endpoint {
            pod: pod.name.clone(),
            node: pod.node.clone(),
            state: match pod.state {
                PodState::Ready => EndpointState::Ready,
                PodState::Terminating => EndpointState::Terminating,
                PodState::Unready => EndpointState::NotServing,
            },
            family: None,
            hints: Vec::new(),
        };
        self.pods.iter().map(endpoint).collect()
    }

    fn who(&self, selected: &PodsOf) -> Vec<String> {
        let own = self.pods.iter().filter(|pod| {
            pod.state == selected.state && selected.nodes.contains(&pod.node.as_str())
        });
        own.map(|pod| pod.name.clone()).collect()
    }
}

/// The pods that serve, and their states.
fn serving(pods: &[WorkloadPod]) -> BTreeMap<String, PodState> {
    let serving = pods.iter().filter(|pod| pod.state != PodState::Unready);
    serving.map(|pod| (pod.name.clone(), pod.state)).collect()
}

/// What a question expects of flows.
fn flows(question: &mut Question) -> Vec<&mut Expectation> {
    match question {
        Question::Flow(flow) => vec![&mut flow.expect],
        Question::Affinity { flows, .. } => flows.iter_mut().map(|flow| &mut flow.expect).collect(),
        Question::Held {
            expect: HeldExpectation::Becomes(expect),
            ..
        } => vec![expect],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Entry, Hops, Reach, Source, Target, external};

    fn scene() -> Scene {
        let pod = |name: &str, node: &str, state| WorkloadPod {
            name: name.to_owned(),
            deployment: "all".to_owned(),
            node: node.to_owned(),
            address: World::story().pods[0].address,
            state,
        };
        Scene {
            world: World::story(),
            listening: Vec::new(),
            pods: vec![
                pod("a", "vm1", PodState::Ready),
                pod("b", "vm3", PodState::Ready),
                pod("c", "vm3", PodState::Terminating),
                pod("d", "vm3", PodState::Unready),
            ],
        }
    }

    fn check(selected: PodsOf) -> Check {
        let entry = Entry::Node("vm2".to_owned());
        let reach = Reach::pods(&[], Source::Preserved, Hops::Direct, entry).of(selected);
        Check {
            label: "now".to_owned(),
            questions: vec![
                external("client").calls(Target::NodePort("vm2".to_owned()), reach.into()),
            ],
        }
    }

    #[test]
    fn pods_are_named_by_their_state_and_node() {
        for (selected, names) in [
            (PodsOf::ready(2, &["vm1", "vm3"]), vec!["a", "b"]),
            (PodsOf::terminating(1, &["vm3"]), vec!["c"]),
        ] {
            let named = scene()
                .named(&check(selected))
                .ok()
                .expect("there are as many");
            let Expectation::Reaches(reach) = &named.questions[0].flows()[0].expect else {
                panic!("it expects to reach");
            };
            assert_eq!(reach.pods, names);
            assert_eq!(reach.shares.len(), names.len());
        }
    }

    #[test]
    fn a_pod_that_does_not_serve_may_come_and_go() {
        let mut pods = scene().pods;
        let before = serving(&pods);
        pods.retain(|pod| pod.state != PodState::Unready);
        assert_eq!(serving(&pods), before);
        pods.retain(|pod| pod.state != PodState::Terminating);
        assert_ne!(serving(&pods), before);
    }

    #[test]
    fn another_number_of_pods_is_wrong() {
        let wrong = scene()
            .named(&check(PodsOf::ready(2, &["vm3"])))
            .expect_err("there is one");
        assert_eq!(wrong.len(), 1);
        let texts = &wrong[0].result.wrong;
        assert_eq!(texts, &["1 of them instead of the 2 ready pods on vm3"]);
    }
}
