//! Asking the questions of a check, once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;

use crate::balancer::HealthCheck;
use crate::case::{BalancerCheck, Check, FlowCheck, Question, Target};
use crate::lab::{Allocated, Lab, LabError, NAMESPACE, join_results};
use crate::probe::{HttpAnswer, HttpOutcome, get};
use crate::verdict::{Asked, FlowResult, judge};
use crate::world::{CLIENT_PRIVATE, Family, Protocol};

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
    /// The port that its backends listen on.
    pub(super) port: u16,
    /// The number of distributions that the case judges, which share its false-alarm rate.
    pub(super) judged: usize,
}

/// A judged question, with the journeys that show what was wrong.
pub(super) struct Answer {
    /// The row of the report.
    pub(super) result: FlowResult,
    /// Journeys of its connections, one of each outcome, when it failed.
    pub(super) journeys: Vec<String>,
}

/// Asks every question of a check, in each family.
pub(super) async fn ask(
    subject: &Subject<'_>,
    check: &Check,
    asked: Asked,
) -> Result<Vec<Answer>, LabError> {
    let questions = check.questions.iter().map(async |question| {
        let families = subject.lab.families().iter().copied();
        match question {
            Question::Flow(flow) => {
                let families = families.map(|family| subject.flow(flow, family, asked));
                join_results(families).await
            }
            Question::HealthCheck {
                node,
                local_endpoints,
            } => {
                let families =
                    families.map(|family| subject.health_check(node, *local_endpoints, family));
                join_results(families).await
            }
            Question::HealthyNodes { by, nodes } => Ok(vec![subject.healthy_nodes(*by, nodes)]),
            Question::HealthCheckAllocated(expected) => Ok(vec![subject.allocated(*expected)]),
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

impl Subject<'_> {
    async fn flow(
        &self,
        flow: &FlowCheck,
        family: Family,
        asked: Asked,
    ) -> Result<Answer, LabError> {
        let lab = self.lab;
        let Some(remote) = lab.resolve(&flow.to, self.service, family) else {
            let result = row(&flow.from.to_string(), &flow.to.to_string(), Some(family)).expect(
                "an address",
                "the Service has none",
                false,
            );
            return Ok(result.into());
        };
        let count = asked.connections(&flow.expect, self.judged, lab.timing());
        let by = match &flow.to {
            Target::VipAt(node) => Some(node.as_str()),
            Target::ClusterIp | Target::NodePort(_) | Target::Vip => None,
        };
        let calls = lab.call_by(&flow.from, by, remote, count).await?;
        let observed: Vec<_> = calls.iter().map(|call| call.observed.clone()).collect();
        let ground = lab.ground();
        let result = judge(
            flow,
            family,
            &observed,
            self.port,
            asked,
            self.judged,
            &ground,
        );
        let mut journeys = BTreeMap::new();
        if !result.passed() {
            for call in &calls {
                let outcome = call.observed.kind();
                journeys.entry(outcome).or_insert_with_key(|kind| {
                    format!(
                        "{} -> {} {family}: {kind}\n{}",
                        flow.from,
                        flow.to,
                        call.journey_text(lab)
                    )
                });
            }
        }
        Ok(Answer {
            result,
            journeys: journeys.into_values().collect(),
        })
    }

    /// The health check node port of a node: its status, the headers and the body that load
    /// balancers read (k8s pkg/proxy/healthcheck/service_health.go), or that it is closed.
    async fn health_check(
        &self,
        node: &str,
        local_endpoints: Option<u32>,
        family: Family,
    ) -> Result<Answer, LabError> {
        let to = format!("health-check-port@{node}");
        let row = row(&format!("external({CLIENT_PRIVATE})"), &to, Some(family));
        let Some(port) = self.health_port else {
            return Ok(row
                .expect("a port", "none was ever allocated", false)
                .into());
        };
        let world = self.lab.world();
        let address = world
            .node(node)
            .expect("a node of the world")
            .address
            .of(family);
        let client = self.lab.namespace(CLIENT_PRIVATE);
        let time = self.lab.timing().answer;
        let outcome = get(client, SocketAddr::new(address, port), "/healthz", time)
            .await
            .map_err(LabError::http(node))?;
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

    fn healthy_nodes(&self, by: BalancerCheck, nodes: &[String]) -> Answer {
        let view = self
            .lab
            .balancer()
            .view(&format!("{NAMESPACE}/{}", self.name));
        let used = view.as_ref().and_then(|view| match view.check {
            Some(HealthCheck::Http { .. }) => Some(BalancerCheck::HealthCheckNodePort),
            Some(HealthCheck::NodePort { .. }) => Some(BalancerCheck::NodePort),
            None => None,
        });
        let (healthy, settled) = view
            .map(|view| (view.healthy(), view.settled()))
            .unwrap_or_default();
        let got = format!("{} by {used:?}", healthy.join("+"));
        let expected = format!("{} by {:?}", nodes.join("+"), Some(by));
        let right = settled && healthy == nodes && used == Some(by);
        row("load-balancer", "healthy-nodes", None)
            .expect(&expected, &got, right)
            .into()
    }

    fn allocated(&self, expected: bool) -> Answer {
        let text = |allocated: bool| {
            if allocated {
                "allocated"
            } else {
                "not allocated"
            }
        };
        let got = self.service.health_check_node_port.is_some();
        let row = row("api", "healthCheckNodePort", None);
        row.expect(text(expected), text(got), got == expected)
            .into()
    }
}

/// A row for a question that is no flow.
fn row(from: &str, to: &str, family: Option<Family>) -> FlowResult {
    FlowResult {
        check: String::new(),
        from: from.to_owned(),
        to: to.to_owned(),
        family,
        protocol: Protocol::Tcp,
        count: 1,
        expected: String::new(),
        got: String::new(),
        tally: None,
        hops: BTreeMap::new(),
        shares: BTreeMap::new(),
        p_value: None,
        false_alarm: None,
        imbalance: None,
        wrong: Vec::new(),
    }
}

impl FlowResult {
    fn expect(self, expected: &str, got: &str, right: bool) -> Self {
        let wrong = if right {
            Vec::new()
        } else {
            vec![format!("{got} instead of {expected}")]
        };
        self.expect_all(expected, got, wrong)
    }

    fn expect_all(self, expected: &str, got: &str, wrong: Vec<String>) -> Self {
        Self {
            expected: expected.to_owned(),
            got: got.to_owned(),
            wrong,
            ..self
        }
    }
}

impl From<FlowResult> for Answer {
    fn from(result: FlowResult) -> Self {
        Self {
            result,
            journeys: Vec::new(),
        }
    }
}

fn text(outcome: &HttpOutcome) -> String {
    match outcome {
        HttpOutcome::Answered(answer) => format!("{} {}", answer.status, answer.body.trim()),
        HttpOutcome::Refused => "refused".to_owned(),
        HttpOutcome::Silent => "silent".to_owned(),
        HttpOutcome::Broken(how) => format!("broken: {how}"),
    }
}
