use std::collections::BTreeSet;

use onehop_harness::run::{Endpoint, EndpointState};

use super::matrix::Endpoints;
use super::*;
use crate::sample::sample;

/// No evidence.
fn nothing(_: &CaseResult, _: &str) -> Option<String> {
    None
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let parts = page
        .split(&format!(" {attribute}=\""))
        .skip(1)
        .collect::<Vec<_>>();
    let values = parts.into_iter().filter_map(|part| part.split('"').next());
    values.collect()
}

#[test]
fn every_case_is_there_and_news_is_unfolded() {
    let page = html(&sample(), &nothing);
    assert!(page.contains("<h1 class=\"fail\">Something is not as expected</h1>"));
    for case in &sample().results[0].cases {
        let body = format!("id=\"{}\"", anchor("p0-", &case.id));
        assert_eq!(page.matches(&body).count(), 1, "{}", case.id);
    }
    let open = values(&page, "data-verdict").into_iter();
    assert_eq!(
        open.collect::<Vec<_>>(),
        ["pass", "known", "skip", "fail", "error"]
    );
    let unfolded = page.split("<details class=\"case ").skip(1);
    let unfolded = unfolded.map(|case| {
        case.split('>')
            .next()
            .is_some_and(|tag| tag.ends_with(" open"))
    });
    assert_eq!(
        unfolded.collect::<Vec<_>>(),
        [false, false, false, true, true]
    );
}

#[test]
fn links_lead_somewhere_and_ids_are_unique() {
    let page = html(&sample(), &nothing);
    let ids = values(&page, "id");
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    for link in values(&page, "href") {
        if let Some(id) = link.strip_prefix('#') {
            assert!(unique.contains(&id), "{link}");
        }
    }
    for target in values(&page, "popovertarget") {
        assert!(unique.contains(&target), "{target}");
    }
}

#[test]
fn nothing_is_fetched_and_no_text_is_markup() {
    let mut results = sample();
    results.results[0].cases[3].reason = Some("</style><script>alert(1)</script>".to_owned());
    let page = html(&results, &nothing);
    assert!(!page.contains("<script>alert"));
    results.results[0].cases[3].evidence = Some("javascript:alert(1);/x?#%".into());
    assert!(
        html(&results, &nothing).contains("href=\"./javascript%3Aalert%281%29%3B/x%3F%23%25/\"")
    );
    results.results[0].cases[3].flows[0].false_alarm = Some(-1.0);
    results.results[0].cases[3].flows[0].p_value = Some(7.0);
    results.results[0].cases[3].flows[0].expected_shares = [("web-0".to_owned(), 0.5)].into();
    results.results[0].cases[3].flows[0].journeys = vec![usize::MAX];
    let _ = html(&results, &nothing);
    for attribute in ["src", "srcset", "action", "poster"] {
        assert_eq!(values(&page, attribute), Vec::<&str>::new());
    }
    assert!(!page.contains("@import") && !page.contains("url("));
    assert!(page.contains("web-0 &lt;&amp; nobody else&gt;"));
}

#[test]
fn a_cell_has_the_worst_of_its_cases_and_names_them() {
    let results = sample();
    let cells = matrix::cells(&results.results[0].cases);
    let found: Vec<_> = cells
        .iter()
        .flat_map(|(row, columns)| columns.values().map(move |cell| (row, cell)))
        .collect();
    let [(row, cell)] = found[..] else {
        panic!("{found:?}");
    };
    assert!(!row.external);
    assert_eq!(row.endpoints, Endpoints::ReadyHere);
    // Of its two flows one failed.
    assert_eq!(
        cell.iter().collect::<Vec<_>>(),
        [(&"internal/fails", &Verdict::Fail)]
    );
}

#[test]
fn endpoints_are_seen_from_the_node_that_decides() {
    let flow = &sample().results[0].cases[3].flows[0];
    let endpoint = |node: &str, state| Endpoint {
        pod: "web".to_owned(),
        node: node.to_owned(),
        state,
        family: None,
        hints: Vec::new(),
    };
    use EndpointState::{NotServing, Ready, Terminating};
    for (endpoints, from_vm1, from_nowhere) in [
        (
            vec![("vm1", Ready), ("vm2", Ready)],
            Endpoints::ReadyHere,
            Endpoints::ReadySomewhere,
        ),
        (
            vec![("vm1", Terminating), ("vm2", Ready)],
            Endpoints::TerminatingHere,
            Endpoints::ReadySomewhere,
        ),
        (
            vec![("vm1", NotServing), ("vm2", Ready)],
            Endpoints::ReadyElsewhere,
            Endpoints::ReadySomewhere,
        ),
        (
            vec![("vm1", Terminating), ("vm2", Terminating)],
            Endpoints::OnlyTerminatingHere,
            Endpoints::OnlyTerminatingElsewhere,
        ),
        (
            vec![("vm2", Terminating)],
            Endpoints::OnlyTerminatingElsewhere,
            Endpoints::OnlyTerminatingElsewhere,
        ),
        (vec![("vm1", NotServing)], Endpoints::None, Endpoints::None),
        (vec![], Endpoints::None, Endpoints::None),
    ] {
        let endpoints: Vec<_> = endpoints
            .into_iter()
            .map(|(node, state)| endpoint(node, state))
            .collect();
        assert_eq!(
            Endpoints::of(&endpoints, Some("vm1"), flow),
            from_vm1,
            "{endpoints:?}"
        );
        assert_eq!(
            Endpoints::of(&endpoints, None, flow),
            from_nowhere,
            "{endpoints:?}"
        );
    }
    let mut of_the_other_family = endpoint("vm1", Ready);
    of_the_other_family.family = Some(onehop_harness::world::Family::V6);
    assert_eq!(
        Endpoints::of(&[of_the_other_family], Some("vm1"), flow),
        Endpoints::None
    );
}
