//! Who is asked, and what of the answers disagrees.

use std::collections::BTreeMap;

use super::super::health::{Answer, Answered, disagreement};
use super::*;
use crate::world::Family;

#[test]
fn each_node_is_asked_at_its_internal_address_else_its_external_one() {
    let mut nodes = three_nodes();
    nodes[1]["status"]["addresses"] = json!([{"type": "ExternalIP", "address": "192.0.2.2"}]);
    nodes[2]["status"]["addresses"] = json!([]);
    let asked = |families: Value| -> Vec<Option<String>> {
        let services = [
            service("web", json!({"ipFamilies": families})),
            service("internal", json!({"healthCheckNodePort": null})),
        ];
        let survey = surveyed(&services, &[], &nodes);
        let questions = survey.questions().into_iter();
        questions
            .map(|question| question.address.map(|address| address.to_string()))
            .collect()
    };
    let some = |address: &str| Some(address.to_owned());
    let v4 = [some("172.18.0.11:31000"), some("192.0.2.2:31000"), None];
    assert_eq!(asked(json!(["IPv4"])), v4);
    let v6 = [some("[fd00::11]:31000"), None, None];
    assert_eq!(asked(json!(["IPv6"])), v6);
    let dual = [some("[fd00::11]:31000"), some("192.0.2.2:31000"), None];
    assert_eq!(asked(json!(["IPv6", "IPv4"])), dual);
}

fn answered(status: u16, local: Option<usize>) -> Answer {
    Answer::Answered(Answered {
        status,
        local_endpoints: local,
        proxy_healthy: None,
        service: Some("shop/web".to_owned()),
    })
}

#[test]
fn an_answer_disagrees_when_the_slices_of_no_family_say_so() {
    let disagrees = |v4: usize, v6: usize, answer: &Answer| {
        let expected = BTreeMap::from([(Family::V4, v4), (Family::V6, v6)]);
        disagreement("shop/web", &expected, answer)
    };
    for (v4, v6, agreeing) in [
        (1, 1, answered(200, Some(1))),
        (0, 0, answered(503, Some(0))),
        (2, 0, answered(503, Some(0))),
        (2, 0, answered(200, Some(2))),
        (1, 1, answered(200, None)),
        (0, 0, answered(503, None)),
        // Whoever that is, it is no proxy.
        (1, 1, answered(404, None)),
        (0, 0, Answer::Refused),
        (1, 1, Answer::Silent),
        (1, 1, Answer::NotAsked(String::new())),
    ] {
        assert_eq!(disagrees(v4, v6, &agreeing), None, "{agreeing:?}");
    }
    let mut unhealthy = answered(503, Some(1));
    let mut other = answered(200, Some(1));
    if let (Answer::Answered(unhealthy), Answer::Answered(other)) = (&mut unhealthy, &mut other) {
        unhealthy.proxy_healthy = Some(false);
        other.service = Some("shop/other".to_owned());
    }
    for (count, answer, text) in [
        (
            2,
            answered(200, Some(1)),
            "it counts 1, and the slices have 2 ready here",
        ),
        (0, answered(200, Some(0)), "200, and it counts no endpoint"),
        (1, answered(503, Some(1)), "503, and it counts 1"),
        (
            1,
            answered(503, None),
            "503, and the slices have 1 ready here",
        ),
        (
            0,
            answered(200, None),
            "200, and the slices have 0 ready here",
        ),
        (
            1,
            Answer::Refused,
            "nothing listens, and the slices have 1 ready here",
        ),
        (
            1,
            unhealthy,
            "503, because its proxy calls itself unhealthy",
        ),
        (1, other, "it answers for shop/other"),
    ] {
        assert_eq!(disagrees(count, count, &answer).as_deref(), Some(text));
    }
}
