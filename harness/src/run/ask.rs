//! Asking the questions of a check, once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::json;

use super::held::HeldByName;
use super::row::{Answer, allocated, row, text};
use super::traffic::{Left, Notice, TrafficByName};
use super::{proxy_health, stray_segment};
use crate::balancer::{HealthCheck, NodeHealth};
use crate::case::{
    BalancerCheck, Check, Expectation, FlowCheck, HEALTH_PATH, NodeAddress, Question, Service,
    Target, Together, weighed,
};
use crate::lab::{Allocated, Call, Calls, Lab, LabError, NAMESPACE, join_results, target_port};
use crate::probe::{HttpAnswer, HttpOutcome};
use crate::verdict::{Asked, FlowResult, Ground, judge};
use crate::world::{CLIENT_PRIVATE, Dual, Family, Protocol, World};

/// What the questions of a case are about.
pub(super) struct Subject<'a> {
    /// The lab.
    pub(super) lab: &'a Lab,
    /// The Service's name.
    pub(super) name: &'a str,
    /// The Service as the API last allocated it.
    pub(super) service: &'a Allocated,
    /// The last health check node port that it had: the one that must be closed when it has none.
    pub(super) health_port: Option<u16>,
    /// The Service as it was last asked for.
    pub(super) spec: Service,
    /// The first port that its backends listen on.
    pub(super) first_port: u16,
    /// The EndpointSlices that it has.
    pub(super) slices: BTreeSet<u16>,
    /// Every pod that its backends listen in, whether the Service has it now or not, and the port.
    pub(super) listening: &'a [(Dual, u16)],
    /// The flows that it keeps open.
    pub(super) held: &'a HeldByName,
    /// The traffic that goes on.
    pub(super) traffic: &'a TrafficByName,
    /// The world with every pod that there is now.
    pub(super) world: &'a World,
    /// The number of distributions that the case judges, which share its false-alarm rate.
    pub(super) judged: usize,
}

/// Asks every question of a check, in each family.
pub(super) async fn ask(
    subject: &Subject<'_>,
    check: &Check,
    asked: Asked,
) -> Result<Vec<Answer>, LabError> {
    let questions = check.questions.iter().map(async |question| {
        let families = subject.lab.families().iter().copied();
        let families = families.filter(|family| question.is_asked_in(*family));
        match question {
            Question::Flow(flow) => {
                let families = families.map(|family| subject.flow(flow, family, asked));
                join_results(families).await
            }
            Question::HealthCheck {
                node,
                at,
                path,
                local_endpoints,
                ..
            } => {
                let families = families.map(|family| {
                    subject.health_check(node, (*at, path), *local_endpoints, family)
                });
                join_results(families).await
            }
            Question::ProxyHealth { node, path, good } => {
                let answer = proxy_health::ask(subject.lab, node, *path, *good);
                Ok(vec![answer.await?.into()])
            }
            Question::HealthyNodes { by, nodes, .. } => {
                let families = families
                    .filter(|family| subject.spec.families.has(*family))
                    .map(|family| subject.healthy_nodes(*by, nodes, family));
                join_results(families).await
            }
            Question::Held { name, expect } => subject.held(name, expect).await,
            Question::Answered(name) => {
                let going = subject.traffic.get(name).expect("cases are checked");
                going.answered().await.map_err(|error| *error)
            }
            Question::LostUntilNoticed(name) => {
                let going = subject.traffic.get(name).expect("cases are checked");
                let notice = subject.notice().await?;
                going.lost_until(&notice).await.map_err(|error| *error)
            }
            Question::HealthCheckAllocated(expected) => {
                let got = subject.service.health_check_node_port.is_some();
                Ok(vec![allocated("healthCheckNodePort", *expected, got)])
            }
            Question::NodePortAllocated(expected) => {
                let got = subject.service.node_port().is_some();
                Ok(vec![allocated("nodePort", *expected, got)])
            }
            Question::StraySegment { pod, backend } => {
                let rows = families.map(|family| {
                    let (service, port) = (subject.service, subject.first_port);
                    stray_segment::ask(subject.lab, service, (pod, backend, port), family)
                });
                let rows = join_results(rows).await?;
                Ok(rows.into_iter().map(Answer::from).collect())
            }
            Question::Affinity { flows, together } => {
                let families =
                    families.map(|family| subject.affinity(flows, *together, family, asked));
                let answers = join_results(families).await?;
                Ok(answers.into_iter().flatten().collect())
            }
        }
    });
    let mut answers: Vec<Answer> = join_results(questions)
        .await?
        .into_iter()
        .flatten()
        .collect();
    for answer in &mut answers {
        answer.result.check.clone_from(&check.label);
    }
    Ok(answers)
}

/// How many interfaces saw a call.
fn hops(call: &Call) -> usize {
    let journey = call.journey.as_ref();
    journey.map_or(0, |journey| journey.request.len())
}

impl Subject<'_> {
    async fn flow(
        &self,
        flow: &FlowCheck,
        family: Family,
        asked: Asked,
    ) -> Result<Answer, LabError> {
        let Some(remotes) = self.remotes(flow, family, asked) else {
            return Ok(self.no_address(flow, family));
        };
        let backends = self.backends_of(family);
        let calls = self.calls(flow, &remotes, &backends);
        let calls = self.lab.call_each(calls).await?;
        Ok(self.judged(flow, family, &calls, asked))
    }

    /// The address that a flow calls, as often as it takes; `None` while the Service has none.
    pub(super) fn remotes(
        &self,
        flow: &FlowCheck,
        family: Family,
        asked: Asked,
    ) -> Option<Vec<SocketAddr>> {
        let lab = self.lab;
        let remote = lab.resolve_port(&flow.to, flow.port, self.service, family)?;
        let count = asked.connections(&flow.expect, self.judged, lab.timing());
        Some(vec![remote; count])
    }

    /// The answer about a flow to an address that the Service does not have.
    pub(super) fn no_address(&self, flow: &FlowCheck, family: Family) -> Answer {
        let row = FlowResult {
            protocol: self.protocol(flow),
            ..row(&flow.from.to_string(), &flow.target(), Some(family))
        };
        row.expect("an address", "the Service has none", false)
            .into()
    }

    /// The backends of the case in a family.
    pub(super) fn backends_of(&self, family: Family) -> Vec<SocketAddr> {
        let listening = self.listening.iter();
        listening
            .map(|(pod, port)| SocketAddr::new(pod.of(family), *port))
            .collect()
    }

    /// How a flow calls these addresses.
    pub(super) fn calls<'b>(
        &self,
        flow: &'b FlowCheck,
        remotes: &'b [SocketAddr],
        backends: &'b [SocketAddr],
    ) -> Calls<'b> {
        let by = match &flow.to {
            Target::VipAt(node) | Target::ClusterIpAt(node) => Some(node.as_str()),
            _ => None,
        };
        Calls {
            from: &flow.from,
            by,
            protocol: self.protocol(flow),
            length: flow.length,
            remotes,
            backends,
        }
    }

    fn protocol(&self, flow: &FlowCheck) -> Protocol {
        let (_, port) = self.spec.port(flow.port).expect("cases are checked");
        port.protocol
    }

    /// Judges the calls of a flow.
    pub(super) fn judged(
        &self,
        flow: &FlowCheck,
        family: Family,
        calls: &[Call],
        asked: Asked,
    ) -> Answer {
        let lab = self.lab;
        let observed: Vec<_> = calls.iter().map(|call| call.observed.clone()).collect();
        let ground = Ground {
            world: self.world,
            ..lab.ground()
        };
        let result = judge(
            flow,
            family,
            &observed,
            &self.ports(flow),
            asked,
            self.judged,
            &ground,
        );
        let examples: Vec<&Call> = if result.passed() {
            // Rounds before the verdict are not shown.
            let last = (asked == Asked::Fully).then(|| calls.iter().max_by_key(|call| hops(call)));
            last.flatten().into_iter().collect()
        } else {
            let mut by_outcome = BTreeMap::new();
            for call in calls {
                by_outcome.entry(call.observed.kind()).or_insert(call);
            }
            by_outcome.into_values().collect()
        };
        Answer {
            result,
            samples: examples.iter().map(|call| call.sample(lab)).collect(),
        }
    }

    /// The health check node port of a node: its status, the headers and the body that load
    /// balancers read (k8s pkg/proxy/healthcheck/service_health.go), or that it is closed.
    async fn health_check(
        &self,
        node: &str,
        (at, path): (NodeAddress, &str),
        local_endpoints: Option<u32>,
        family: Family,
    ) -> Result<Answer, LabError> {
        let world = self.lab.world();
        let own = world.node(node).expect("a node of the world");
        let (address, which) = match at {
            NodeAddress::Primary => (own.address, ""),
            NodeAddress::Other => (own.other_address, ", other address"),
        };
        let by = if path == HEALTH_PATH { "" } else { path };
        let to = format!("health-check-port@{node}{by}{which}");
        let row = row(&format!("external({CLIENT_PRIVATE})"), &to, Some(family));
        let Some(port) = self.health_port else {
            return Ok(row
                .expect("a port", "none was ever allocated", false)
                .into());
        };
        let server = SocketAddr::new(address.of(family), port);
        let outcome = self.lab.get(CLIENT_PRIVATE, server, path).await?;
        let result = match (local_endpoints, &outcome) {
            (None, outcome) => {
                let refused = *outcome == HttpOutcome::Refused;
                row.expect("refused", &text(outcome), refused)
            }
            (Some(count), HttpOutcome::Answered(answer)) => {
                let wrong = self.wrong_health_answer(answer, count);
                let status = if count > 0 { 200 } else { 503 };
                let expected = format!("{status}, localEndpoints {count}");
                row.expect_all(&expected, &text(&outcome), wrong)
            }
            (Some(count), other) => {
                row.expect(&format!("localEndpoints {count}"), &text(other), false)
            }
        };
        Ok(result.into())
    }

    fn wrong_health_answer(&self, answer: &HttpAnswer, count: u32) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |right: bool, text: String| {
            if !right {
                wrong.push(text);
            }
        };
        let status = if count > 0 { 200 } else { 503 };
        must(
            answer.status == status,
            format!("status {} instead of {status}", answer.status),
        );
        let weight = count.to_string();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("x-load-balancing-endpoint-weight", &weight),
        ] {
            let got = answer.headers.get(name).map(String::as_str);
            must(
                got == Some(value),
                format!("header {name} is {got:?} instead of {value:?}"),
            );
        }
        let body = json!({
            "service": {"namespace": NAMESPACE, "name": self.name},
            "localEndpoints": count,
            "serviceProxyHealthy": true,
        });
        let got = serde_json::from_str::<serde_json::Value>(&answer.body);
        must(
            got.is_ok_and(|got| got == body),
            format!("body {} instead of {body}", answer.body),
        );
        wrong
    }

    /// Which nodes the load balancer has left, and until when they passed its health checks: what a view says of that is of its last
    /// change, and the last of a node that is left was that it failed.
    async fn notice(&self) -> Result<Notice, LabError> {
        let view = self.lab.view(self.name).await?;
        let left = |nodes: BTreeMap<String, NodeHealth>| {
            let left = nodes.into_iter().filter(|(_, health)| !health.healthy);
            let left = left.filter_map(|(node, health)| {
                Some(Left {
                    node,
                    at: self.lab.by_taps(health.since),
                    passed: self.lab.by_taps(health.passed?),
                })
            });
            left.collect()
        };
        let families = view.into_iter().flat_map(|view| view.nodes);
        let left = families.map(|(family, nodes)| (family, left(nodes)));
        Ok(Notice {
            left: left.collect(),
            slack: self.lab.timing().health_check_slack,
        })
    }

    async fn healthy_nodes(
        &self,
        by: BalancerCheck,
        nodes: &BTreeMap<String, u32>,
        family: Family,
    ) -> Result<Answer, LabError> {
        let view = self.lab.view(self.name).await?;
        let used = view.as_ref().and_then(|view| match view.check? {
            HealthCheck::HealthCheckNodePort { .. } => Some(BalancerCheck::HealthCheckNodePort),
            HealthCheck::NodePort { .. } => Some(BalancerCheck::NodePort),
            HealthCheck::ProxyHealth => Some(BalancerCheck::ProxyHealth),
        });
        let (healthy, settled) = view
            .and_then(|view| Some((view.weights(family)?, view.settled())))
            .unwrap_or_default();
        let got = format!("{} by {used:?}", weighed(&healthy));
        let expected = format!("{} by {:?}", weighed(nodes), Some(by));
        let right = settled && healthy == *nodes && used == Some(by);
        let row = row("load-balancer", "healthy-nodes", Some(family));
        Ok(row.expect(&expected, &got, right).into())
    }

    /// The ports that the backends listen on for what a flow calls, one of each EndpointSlice.
    fn ports(&self, flow: &FlowCheck) -> Vec<u16> {
        let (position, _) = self.spec.port(flow.port).expect("cases are checked");
        let slices = self.slices.iter();
        slices
            .map(|slice| target_port(self.first_port, position, *slice))
            .collect()
    }

    /// Asks flows of a Service with affinity in one family, and holds them against each other.
    async fn affinity(
        &self,
        flows: &[FlowCheck],
        together: Together,
        family: Family,
        asked: Asked,
    ) -> Result<Vec<Answer>, LabError> {
        let each = flows.iter().map(|flow| self.flow(flow, family, asked));
        let mut answers = join_results(each).await?;
        let tallies = answers.iter().filter_map(|a| a.result.tally.as_ref());
        let reached: BTreeSet<&String> = tallies.flat_map(|tally| tally.reached.keys()).collect();
        let may: BTreeSet<&String> = flows
            .iter()
            .filter_map(|flow| match &flow.expect {
                Expectation::Reaches(reach) => Some(&reach.pods),
                _ => None,
            })
            .flatten()
            .collect();
        let right = match together {
            Together::OnePod => reached.len() == 1,
            Together::EveryPod => reached == may,
        };
        let got: Vec<_> = reached.iter().map(|pod| pod.as_str()).collect();
        let row = row("all of them", "together", Some(family));
        let row = row.expect(&together.to_string(), &got.join(" "), right);
        answers.push(row.into());
        Ok(answers)
    }
}
