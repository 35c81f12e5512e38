//! Asks health check node ports, over HTTP, as a load balancer does.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;

use super::health::Answer;
use super::outline::Question;
use crate::probe::get_from_here;

/// Where kube-proxy is asked by load balancers; it answers on any path.
const PATH: &str = "/healthz";
/// Nodes that are asked at once, each by one connection after the other.
const AT_ONCE: usize = 128;
/// Ports in a row that give no answer until a node is asked no more: then it is the way to the node, and not the port.
const SILENCES: usize = 2;

/// Asks each question once.
pub(super) async fn ask(questions: Vec<Question>, patience: Duration) -> Vec<(Question, Answer)> {
    let mut nodes: BTreeMap<String, Vec<Question>> = BTreeMap::new();
    for question in questions {
        let of_node = nodes.entry(question.node.clone()).or_default();
        of_node.push(question);
    }
    let nodes = futures::stream::iter(nodes.into_values());
    let answers = nodes.map(|questions| ask_node(questions, patience));
    answers
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .concat()
}

async fn ask_node(questions: Vec<Question>, patience: Duration) -> Vec<(Question, Answer)> {
    let mut silences = 0;
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let answer = match question.address {
            None => Answer::NotAsked("its Node has no address of this family".to_owned()),
            Some(_) if silences >= SILENCES => {
                Answer::NotAsked("its other health check node ports gave no answer".to_owned())
            }
            Some(address) => match get_from_here(address, PATH, patience).await {
                Ok(outcome) => outcome.into(),
                Err(error) => Answer::Broken(error.to_string()),
            },
        };
        match answer {
            Answer::Silent => silences += 1,
            Answer::NotAsked(_) => {}
            _ => silences = 0,
        }
        answers.push((question, answer));
    }
    answers
}
