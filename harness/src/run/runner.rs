//! One case from its first object to its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::ask::{Subject, ask};
use super::held::HeldByName;
use super::progress::Progress;
use super::results::{CaseResult, Verdict};
use super::row::Answer;
use super::ruled::Ruled;
use super::sabotage::{Sabotage, Victim};
use super::situation::Situation;
use super::spent::{Spent, Stopwatch, WaitedFor};
use super::traffic::{Answering, Ongoing, TrafficByName};
use super::workload::Scene;
use super::{evidence, excused};
use crate::agent::Kept;
use crate::case::{
    Case, Check, Expectation, HEALTH_PATH, HeldFlow, Place, Question, ServiceType, Step, Target,
    Traffic,
};
use crate::error::chain;
use crate::lab::{Allocated, Calls, Lab, LabError, join_results, target_port};
use crate::probe::HttpOutcome;
use crate::verdict::Asked;
use crate::world::{Dual, Family, Length};

/// The first port of the backends of cases; each case has one of its own.
const FIRST_PORT: u16 = 20_000;

/// One case about to be run in a lab.
pub struct CaseRun {
    /// The lab.
    pub lab: Arc<Lab>,
    /// The case.
    pub case: Case,
    /// A number that no other case in the lab has, below 1 000.
    pub number: u16,
    /// Where evidence of a failure goes, if any is kept.
    pub evidence: Option<PathBuf>,
    /// What makes the proxy wrong, where the suite itself is judged.
    pub sabotage: Option<Sabotage>,
}

impl CaseRun {
    /// Runs the case, judges it, and removes what it made.
    ///
    /// Whatever goes wrong ends up in the result: a failure of the harness is a verdict of
    /// [`Verdict::Error`], never of the proxy.
    pub async fn run(self) -> CaseResult {
        let mut watch = Stopwatch::start();
        let name = service_name(&self.case.id);
        tracing::info!(case = self.case.id, "begins");
        // They listen until the Service is gone: one that is still served would be reached.
        let listening = self.listen().await;
        watch.lap(WaitedFor::Backends);
        let (outcome, _backends) = match listening {
            Ok(backends) => (self.run_steps(&name, &mut watch).await, backends),
            Err(error) => (Err(error), Default::default()),
        };
        let mut result = unjudged(&self.case, Verdict::Pass, None);
        // What an error cut short.
        watch.lap(WaitedFor::Connections);
        let restored = self.restore().await;
        watch.lap(WaitedFor::Removal);
        let service = outcome
            .as_ref()
            .ok()
            .map(|progress| progress.service.clone());
        match outcome {
            Err(error) => {
                result.verdict = Verdict::Error;
                result.reason = Some(chain(&error));
                result.evidence = self.capture(&name, &[], &[]).await;
            }
            Ok(progress) => {
                let journeys = progress.journeys();
                if let Some(reason) = progress.failure {
                    result.verdict = Verdict::Fail;
                    result.reason = Some(reason);
                    result.evidence = self.capture(&name, &journeys, &progress.ruled).await;
                }
                result.flows = progress.flows;
                result.journeys = progress.samples;
                result.situations = progress.situations;
            }
        }
        watch.lap(WaitedFor::Evidence);
        let dispersed = self.end_crowd(&name).await;
        let ended = self
            .delete(&name, service)
            .await
            .and(restored)
            .and(dispersed);
        if let (Err(error), Verdict::Pass) = (ended, result.verdict) {
            result.verdict = if matches!(error, LabError::Undeleted { .. }) {
                Verdict::Fail
            } else {
                Verdict::Error
            };
            result.reason = Some(chain(&error));
        }
        if let Some(known) = self.lab.known(&self.case.id) {
            excused::excuse(&mut result, known);
        }
        watch.lap(WaitedFor::Removal);
        result.waited_for = watch.spent();
        result.seconds = result.waited_for.values().sum();
        let (case, seconds) = (&result.id, result.seconds);
        tracing::info!(case, verdict = %result.verdict, seconds, "has ended");
        result
    }

    /// Takes back what the case has done to nodes, however it ended: others go on in the same lab. All of it
    /// is tried, and the first failure told.
    async fn restore(&self) -> Result<(), LabError> {
        let mut restored = Ok(());
        for node in self.case.stopped() {
            restored = restored.and(self.lab.stop_node(node, false).await);
        }
        for node in self.case.drained() {
            let taken = self.lab.cluster().cordon(self.object(node), false).await;
            restored = restored.and(taken.map_err(LabError::from));
        }
        for (node, _) in self.case.tainted() {
            let done = self.lab.objects().taint_node(self.object(node), None).await;
            restored = restored.and(done.map_err(LabError::object("take the taint away")));
        }
        restored
    }

    /// The name of a node's object.
    pub(super) fn object<'a>(&'a self, node: &'a str) -> &'a str {
        let node = self.lab.world().node(node);
        &node.expect("a node of the world").object
    }

    async fn capture(&self, name: &str, journeys: &[String], ruled: &[Ruled]) -> Option<PathBuf> {
        let dir = self.evidence.as_ref()?.join(name);
        match evidence::capture(&self.lab, &dir, name, journeys, ruled).await {
            Ok(()) => Some(dir),
            Err(error) => {
                tracing::error!(%error, case = self.case.id, "no evidence could be kept");
                None
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        FIRST_PORT + self.number
    }

    async fn run_steps(&self, name: &str, watch: &mut Stopwatch) -> Result<Progress, LabError> {
        let mut progress = self.create(name, watch).await?;
        for step in &self.case.steps {
            tracing::debug!(case = self.case.id, ?step, "next");
            let (done, on) = match step {
                Step::Change(change) => {
                    let done = self.change(name, change, &mut progress).await;
                    (done, WaitedFor::Changes)
                }
                Step::Check(check) => {
                    let done = self.check(name, check, &mut progress, watch).await;
                    (done, WaitedFor::Connections)
                }
                Step::Open(held) => {
                    let done = self.open(name, held, &mut progress).await;
                    (done, WaitedFor::Connections)
                }
                Step::Wait(time) => {
                    tokio::time::sleep(*time).await;
                    (Ok(()), WaitedFor::Time)
                }
                Step::Idle(parts) => {
                    tokio::time::sleep(self.lab.timing().idle / *parts).await;
                    (Ok(()), WaitedFor::Time)
                }
                Step::Settle => (self.settle(name, &progress).await, WaitedFor::Changes),
                Step::Traffic(traffic) => {
                    self.begin(name, traffic, &mut progress);
                    (Ok(()), WaitedFor::Connections)
                }
            };
            watch.lap(on);
            done?;
            if progress.failure.is_some() {
                // What follows would be judged in a world that is not the one described.
                break;
            }
        }
        Ok(progress)
    }

    /// Begins traffic that goes on.
    fn begin(&self, name: &str, traffic: &Traffic, progress: &mut Progress) {
        let answering = self.answering(name);
        let protocol = self.case.service.ports[0].protocol;
        let listening = (protocol, target_port(self.port(), 0, 0));
        let service = &progress.service;
        let going = Ongoing::begin(&self.lab, traffic, service, &answering, listening);
        progress.traffic.insert(traffic.name, going);
    }

    /// Who may answer its traffic.
    fn answering(&self, name: &str) -> Answering {
        if self.case.workload.is_some() {
            return Answering::Workload(format!("{name}-"));
        }
        let pods = self.case.every_backends().flatten();
        let at = self.addresses().into_iter();
        Answering::Backends {
            pods: pods.map(|backend| backend.pod.clone()).collect(),
            at: at
                .flat_map(|(pod, port)| pod.both().map(|ip| SocketAddr::new(ip, port)))
                .collect(),
        }
    }

    /// Opens the backends of every pod that is ever one, on each port that it may be called by.
    async fn listen(&self) -> Result<Vec<Kept>, LabError> {
        let mut by_pod = BTreeMap::<&str, Vec<u16>>::new();
        for (pod, port) in self.listening() {
            by_pod.entry(pod).or_default().push(port);
        }
        let strays = self.case.has_strays();
        let opening = by_pod.iter().map(async |(pod, ports)| {
            if strays {
                self.lab.echo_on(pod, ports).await
            } else {
                self.lab.listen_on(pod, ports).await
            }
        });
        join_results(opening).await
    }

    /// The pods that its backends listen in, and their ports.
    fn listening(&self) -> impl Iterator<Item = (&str, u16)> {
        let backends = self.case.every_backends().flatten();
        let pods: BTreeSet<_> = backends.map(|b| (b.pod.as_str(), b.slice)).collect();
        let positions = 0..self.case.service.ports.len();
        pods.into_iter().flat_map(move |(pod, slice)| {
            let port = move |position| target_port(self.port(), position, slice);
            positions.clone().map(move |position| (pod, port(position)))
        })
    }

    async fn create(&self, name: &str, watch: &mut Stopwatch) -> Result<Progress, LabError> {
        let Case {
            service, backends, ..
        } = &self.case;
        let (workload, created) = match &self.case.workload {
            Some(workload) => {
                let (running, created) = self.create_workload(name, workload).await?;
                (Some(running), created)
            }
            None => {
                let (objects, world) = (self.lab.objects(), self.lab.world());
                let created = objects.create_service(name, *service, world, backends, self.port());
                let created = created
                    .await
                    .map_err(LabError::object("create the Service"))?;
                (None, created)
            }
        };
        watch.lap(WaitedFor::Objects);
        let service = self.with_vip(name, service.kind, created).await;
        watch.lap(WaitedFor::Balancer);
        let service = service?;
        let victim = Victim {
            lab: &self.lab,
            case: &self.case,
            name,
            service: &service,
            port: self.port(),
        };
        let sabotage = self.sabotage.as_ref();
        let sabotage = sabotage.map(|sabotage| sabotage.commit(&victim));
        let sabotage = sabotage.transpose().map_err(LabError::Sabotage)?;
        Ok(Progress {
            spec: self.case.service,
            backends: self.case.backends.clone(),
            health_port: service.health_check_node_port,
            service,
            flows: Vec::new(),
            samples: Vec::new(),
            situations: Vec::new(),
            ruled: Vec::new(),
            held: HeldByName::new(),
            traffic: TrafficByName::new(),
            crowd: 0,
            workload,
            failure: None,
            _sabotage: sabotage.map(Mutex::new),
        })
    }

    /// Waits until the load balancer has given the Service its address, if it gets one.
    pub(super) async fn with_vip(
        &self,
        name: &str,
        kind: ServiceType,
        mut service: Allocated,
    ) -> Result<Allocated, LabError> {
        let timing = self.lab.timing();
        let deadline = Instant::now() + timing.converge;
        while matches!(kind, ServiceType::LoadBalancer(_)) && service.vip.is_none() {
            if Instant::now() > deadline {
                let problems = self.lab.balancer_problems().await?;
                return Err(LabError::NoVip {
                    problems: problems.join("; "),
                });
            }
            tokio::time::sleep(timing.converge_pause).await;
            service = self
                .lab
                .objects()
                .get_service(name)
                .await
                .map_err(LabError::object("read the Service"))?;
        }
        Ok(service)
    }

    /// Converges, then judges without a retry.
    async fn check(
        &self,
        name: &str,
        check: &Check,
        progress: &mut Progress,
        watch: &mut Stopwatch,
    ) -> Result<(), LabError> {
        let converged = self.converge(name, check, progress).await;
        watch.lap(WaitedFor::Convergence);
        let converged = converged?;
        tracing::debug!(
            case = self.case.id,
            check = check.label,
            converged,
            "is judged"
        );
        let scene = self.scene(name, progress).await?;
        let answers = self
            .ask_in(&scene, name, check, progress, Asked::Fully)
            .await?;
        self.still(name, &scene).await?;
        let situation = Situation::of(&check.label, progress, &scene);
        progress.situations.push(situation);
        // While everything is as it was when they were asked.
        if self.evidence.is_some()
            && let Ok(check) = scene.named(check)
        {
            let subject = self.subject(name, &scene, progress);
            watch.lap(WaitedFor::Connections);
            let ruled = subject.ruled(&check, &answers).await;
            progress.ruled.extend(ruled);
            watch.lap(WaitedFor::Evidence);
        }
        progress.take(answers);
        if progress.failure.is_none() && !converged {
            let seconds = self.lab.timing().converge.as_secs();
            progress.failure = Some(format!(
                "{}: not as expected within {seconds} s, {ONLY_LATER}",
                check.label
            ));
        }
        Ok(())
    }

    /// Opens flows and keeps them.
    async fn open(
        &self,
        name: &str,
        held: &HeldFlow,
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        let scene = self.scene(name, progress).await?;
        let flow = match scene.named_flow(&held.flow) {
            Ok(flow) => flow,
            Err(answers) => {
                progress.take(answers);
                return Ok(());
            }
        };
        let held = &HeldFlow {
            flow,
            ..held.clone()
        };
        let (answers, kept) = self.subject(name, &scene, progress).open(held).await?;
        progress.held.insert(held.name, kept);
        progress.take(answers);
        Ok(())
    }

    /// The addresses of the pods that its backends listen in, and their ports.
    pub(super) fn addresses(&self) -> Vec<(Dual, u16)> {
        let pods = self.listening().map(|(pod, port)| {
            let pod = self.lab.world().pod(pod).expect("a pod of the world");
            (pod.address, port)
        });
        pods.collect()
    }

    fn subject<'a>(
        &'a self,
        name: &'a str,
        scene: &'a Scene,
        progress: &'a Progress,
    ) -> Subject<'a> {
        Subject {
            lab: &self.lab,
            name,
            service: &progress.service,
            health_port: progress.health_port,
            spec: progress.spec,
            first_port: self.port(),
            slices: if progress.workload.is_some() {
                BTreeSet::from([0])
            } else {
                progress.backends.iter().map(|b| b.slice).collect()
            },
            listening: &scene.listening,
            world: &scene.world,
            held: &progress.held,
            traffic: &progress.traffic,
            judged: (distributions(&self.case) * self.lab.families().len()).max(1),
        }
    }

    /// Asks a check in the world as it is in a scene.
    async fn ask_in(
        &self,
        scene: &Scene,
        name: &str,
        check: &Check,
        progress: &Progress,
        asked: Asked,
    ) -> Result<Vec<Answer>, LabError> {
        match scene.named(check) {
            Ok(check) => ask(&self.subject(name, scene, progress), &check, asked).await,
            Err(answers) => Ok(answers),
        }
    }

    /// Deletes the Service, and waits until no node serves its ClusterIP any more; and then the workload.
    async fn delete(&self, name: &str, service: Option<Allocated>) -> Result<(), LabError> {
        let deleted = self.delete_service(name, service).await;
        if self.case.workload.is_some() {
            self.lab
                .cluster()
                .delete_workload(name, self.lab.timing())
                .await?;
        }
        deleted
    }

    async fn delete_service(&self, name: &str, service: Option<Allocated>) -> Result<(), LabError> {
        let deleted = self.lab.objects().delete_service(name).await;
        deleted.map_err(LabError::object("delete the Service"))?;
        let Some(service) = service else {
            return Ok(());
        };
        let mut gone = Vec::new();
        for node in &self.lab.world().nodes {
            for family in self.lab.families() {
                gone.push(self.is_gone_from(&node.name, &service, *family));
            }
        }
        join_results(gone).await.map(drop)
    }

    /// Waits until a node serves none of the addresses of a Service that is deleted, and has closed its health check port.
    async fn is_gone_from(
        &self,
        node: &str,
        service: &Allocated,
        family: Family,
    ) -> Result<(), LabError> {
        let timing = self.lab.timing();
        let began = Instant::now();
        let targets = [
            Target::ClusterIp,
            Target::NodePort(node.to_owned()),
            Target::ExternalIp(node.to_owned()),
            Target::Vip,
            Target::OtherVip,
        ];
        let remotes = targets.map(|target| self.lab.resolve(&target, service, family));
        let remotes: Vec<_> = remotes.into_iter().flatten().collect();
        let own = self.lab.world().node(node).expect("a node of the world");
        let health = service.health_check_node_port;
        let health = health.map(|port| SocketAddr::new(own.address.of(family), port));
        if remotes.is_empty() && health.is_none() {
            return Ok(());
        }
        let calls = Calls {
            from: &Place::Node(node.to_owned()),
            by: None,
            protocol: self.case.service.ports[0].protocol,
            length: Length::Brief,
            remotes: &remotes,
            backends: &[],
        };
        loop {
            let (_, made) = self.lab.outcomes(calls).await?;
            let served = made.iter().filter(|made| made.outcome.is_reached());
            let mut served: Vec<_> = served.map(|made| made.remote.to_string()).collect();
            if let Some(server) = health
                && self.lab.get(node, server, HEALTH_PATH).await? != HttpOutcome::Refused
            {
                served.push(format!("its health check port {server}"));
            }
            if served.is_empty() {
                return Ok(());
            }
            let waited = began.elapsed();
            if waited > timing.converge {
                return Err(LabError::Undeleted {
                    node: node.to_owned(),
                    addresses: served.join(", "),
                });
            }
            tokio::time::sleep(timing.pause_after(waited)).await;
        }
    }

    /// Waits until one whole round is as expected; whether that was in time.
    async fn converge(
        &self,
        name: &str,
        check: &Check,
        progress: &Progress,
    ) -> Result<bool, LabError> {
        let timing = self.lab.timing();
        let began = Instant::now();
        loop {
            // A few connections tell most of the time that it is too early for many.
            let mut passed = false;
            let scene = self.scene(name, progress).await?;
            for asked in [Asked::Briefly, Asked::Covering] {
                passed = match self.ask_in(&scene, name, check, progress, asked).await {
                    Ok(answers) => answers.iter().all(|answer| answer.result.passed()),
                    // A connection that hangs half open, as some do while a node has no rules yet,
                    // outlives the memory of the taps. Here that only means: not yet.
                    Err(error) if error.is_blindness() => false,
                    Err(error) => return Err(error),
                };
                if !passed {
                    break;
                }
            }
            let waited = began.elapsed();
            if passed || waited > timing.converge {
                return Ok(passed);
            }
            tokio::time::sleep(timing.pause_after(waited)).await;
        }
    }
}

/// How the reason of a case ends whose proxy did as expected, but not in time.
const ONLY_LATER: &str = "only later";

impl CaseResult {
    /// Whether it failed because the proxy was late, and nothing else was wrong: on a busy machine that may be chance.
    pub fn is_only_late(&self) -> bool {
        let reason = self.reason.as_deref();
        reason.is_some_and(|reason| reason.ends_with(ONLY_LATER))
    }
}

/// The result of a case that is not run, and why.
pub fn skipped(case: &Case, reason: &str) -> CaseResult {
    unjudged(case, Verdict::Skip, Some(reason.to_owned()))
}

fn unjudged(case: &Case, verdict: Verdict, reason: Option<String>) -> CaseResult {
    CaseResult {
        id: case.id.clone(),
        claim: case.claim.clone(),
        features: case.features.clone(),
        sources: case.sources.iter().map(ToString::to_string).collect(),
        verdict,
        reason,
        finding: None,
        seconds: 0.0,
        waited_for: Spent::new(),
        flows: Vec::new(),
        journeys: Vec::new(),
        situations: Vec::new(),
        evidence: None,
    }
}

/// A Service name made of a case's id: it appears in rules, logs and evidence.
fn service_name(id: &str) -> String {
    id.replace('/', "-")
}

/// How many distributions a case judges in one family.
fn distributions(case: &Case) -> usize {
    let questions = case.checks().flat_map(|check| &check.questions);
    let judged = questions.filter(|question| match question {
        Question::Flow(flow) => matches!(&flow.expect, Expectation::Reaches(r) if r.judged),
        _ => false,
    });
    judged.count()
}
