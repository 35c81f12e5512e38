use super::*;
use crate::sample::sample;

const SLOWER: f64 = 1.5;

/// A run whose proxy stayed up.
fn whole() -> Results {
    let mut results = sample();
    results.results[0].error = None;
    results
}

#[test]
fn what_was_not_judged_is_no_clean_comparison() {
    let comparison = compare(&whole(), &sample(), SLOWER);
    assert_eq!(
        comparison.unjudged,
        ["mine (mine 1.2.3) of HEAD: the proxy of vm1 has exited"]
    );
    assert!(
        comparison
            .to_string()
            .ends_with("nothing that was judged is worse\n")
    );
    let mut alone = whole();
    alone.results.push(sample().results.remove(0));
    alone.results[1].proxy.name = "other".to_owned();
    alone.results[1].error = None;
    let comparison = compare(&alone, &whole(), SLOWER);
    assert_eq!(comparison.unjudged, ["other (mine 1.2.3) is only in BASE"]);
    let mut nothing = whole();
    for case in &mut nothing.results[0].cases {
        case.verdict = Verdict::Skip;
    }
    let unjudged = compare(&whole(), &nothing, SLOWER).unjudged;
    assert_eq!(unjudged.len(), 2, "{unjudged:?}");
}

#[test]
fn what_head_has_not_judged_any_more_is_no_clean_comparison() {
    let judged = |results: &Results| {
        let cases = results.results[0].cases.iter();
        cases.filter(|case| case.verdict != Verdict::Skip).count()
    };
    assert_eq!(judged(&whole()), 4);
    let mut fewer = whole();
    fewer.results[0]
        .cases
        .retain(|case| case.id == "external/passes");
    let comparison = compare(&whole(), &fewer, SLOWER);
    let [lost] = &comparison.unjudged[..] else {
        panic!("{:?}", comparison.unjudged);
    };
    assert!(
        lost.contains("of HEAD has not judged 2 cases that BASE has: "),
        "{lost}"
    );
    assert!(comparison.markdown().starts_with("## ⚠️"));
    assert!(
        comparison
            .html()
            .contains("<h1 class=\"error\">Not everything was judged</h1>")
    );
    // What HEAD alone has is shown, and no loss.
    let back = compare(&fewer, &whole(), SLOWER);
    assert_eq!(back.unjudged, [""; 0]);
    assert_eq!(back.proxies[0].only_head.len(), 4);

    let mut skipped = whole();
    for case in skipped.results[0].cases.iter_mut().skip(1) {
        case.verdict = Verdict::Skip;
    }
    let comparison = compare(&whole(), &skipped, SLOWER);
    assert_eq!(comparison.unjudged.len(), 1, "{:?}", comparison.unjudged);
}

#[test]
fn other_surroundings_are_named() {
    let mut elsewhere = whole();
    elsewhere.run.provider = "kind".to_owned();
    elsewhere.run.kernel = "7.0".to_owned();
    let comparison = compare(&whole(), &elsewhere, SLOWER);
    let besides = &comparison.proxies[0].besides;
    for what in ["the provider is another: ", "the kernel is another: "] {
        assert!(
            besides.iter().any(|text| text.starts_with(what)),
            "{besides:?}"
        );
    }
    assert!(comparison.html().contains("the provider is another: "));
    assert!(
        compare(&whole(), &whole(), SLOWER).proxies[0]
            .besides
            .is_empty()
    );
    elsewhere = whole();
    elsewhere.run.started = "2030-01-01T00:00:00Z".to_owned();
    let besides = &compare(&whole(), &elsewhere, SLOWER).proxies[0].besides;
    assert!(
        besides[0].starts_with("begun ") && besides[0].ends_with("2030-01-01T00:00:00Z"),
        "{besides:?}"
    );
}

#[test]
fn what_a_profile_comes_to_excuse_is_worse() {
    let mut head = whole();
    head.results[0].cases[0].verdict = Verdict::Known;
    assert_eq!(compare(&whole(), &head, SLOWER).regressions.len(), 1);
    assert!(compare(&head, &whole(), SLOWER).is_clean());
    // One that was known, and has not shown.
    let mut base = whole();
    base.results[0].cases[0].finding = Some("docs/findings/one.md".to_owned());
    let comparison = compare(&base, &head, SLOWER);
    assert!(comparison.is_clean());
    assert_eq!(comparison.proxies[0].verdicts.len(), 1);
}

#[test]
fn a_run_compared_with_itself_is_clean() {
    let comparison = compare(&whole(), &whole(), SLOWER);
    assert!(
        comparison.is_clean() && comparison.unjudged.is_empty(),
        "{comparison}"
    );
    let [pair] = &comparison.proxies[..] else {
        panic!("one proxy");
    };
    assert_eq!(
        (pair.base.as_str(), pair.compared),
        ("mine (mine 1.2.3)", 4)
    );
    assert!(pair.verdicts.is_empty() && pair.moved.is_empty());
    assert!(comparison.to_string().ends_with("nothing is worse\n"));
}

#[test]
fn what_fails_now_is_worse_and_what_passes_now_is_not() {
    let (base, mut head) = (sample(), sample());
    let cases = &mut head.results[0].cases;
    cases[0].verdict = Verdict::Fail;
    cases[0].reason = Some("dropped | all".to_owned());
    cases[3].verdict = Verdict::Pass;
    cases.remove(2);
    let comparison = compare(&base, &head, SLOWER);
    assert_eq!(comparison.regressions, ["external/passes: dropped | all"]);
    let told: Vec<_> = comparison.proxies[0]
        .verdicts
        .iter()
        .map(|change| {
            (
                change.case.as_str(),
                change.is_regression(),
                change.is_mended(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("external/passes", true, false),
            ("internal/fails", false, true),
        ]
    );
    assert_eq!(comparison.proxies[0].only_base, ["external/is-skipped"]);
    let text = comparison.to_string();
    assert!(text.contains("1 worse, 1 mended, 1 only before"), "{text}");
    let line = "  ✘  external/passes  pass    fail   dropped | all\n";
    assert!(text.contains(line), "{text}");
    let markdown = comparison.markdown();
    assert!(markdown.starts_with("## ❌ 1 worse"), "{markdown}");
    assert!(
        markdown.contains("| ✘ | `external/passes` | pass | fail | dropped \\| all |"),
        "{markdown}"
    );
    assert!(
        comparison
            .html()
            .contains("<h1 class=\"fail\">1 worse</h1>")
    );
    // And back again.
    let back = compare(&head, &base, SLOWER);
    assert_eq!(
        back.regressions,
        ["internal/fails: pods 1-0-2: dropped (3 of 20)"]
    );
}

/// A row of the sample with these answers.
fn answers(results: &mut Results, counts: &[(&str, u64)]) {
    let row = &mut results.results[0].cases[3].flows[1];
    let counts: BTreeMap<_, _> = counts
        .iter()
        .map(|(pod, n)| ((*pod).to_owned(), *n))
        .collect();
    row.tally = Some(onehop_harness::verdict::Tally {
        reached: counts,
        ..Default::default()
    });
    row.shares = row
        .tally
        .iter()
        .flat_map(onehop_harness::verdict::Tally::shares)
        .collect();
}

#[test]
fn a_distribution_that_moved_is_worse_and_another_draw_is_not() {
    let (mut base, mut head) = (sample(), sample());
    answers(&mut base, &[("web-0", 200), ("web-1", 200)]);
    answers(&mut head, &[("web-0", 300), ("web-1", 100)]);
    let comparison = compare(&base, &head, SLOWER);
    assert_eq!(comparison.proxies[0].distributions, 1);
    assert_eq!(
        comparison.regressions,
        [
            "internal/fails: the shares of pods 1-0-2: pod(client-vm1) to cluster-ip, TCP, IPv6 moved"
        ]
    );
    assert!(
        comparison
            .to_string()
            .contains("web-0 50.0 %, web-1 50.0 %  web-0 75.0 %, web-1 25.0 %")
    );
    // What was wrong before may move, and a verdict that is another is the news.
    let mut wrong = base.clone();
    wrong.results[0].cases[3].flows[1].wrong = vec!["shares".to_owned()];
    assert!(compare(&wrong, &head, SLOWER).is_clean());
    let mut mended = head.clone();
    mended.results[0].cases[3].verdict = Verdict::Pass;
    assert!(compare(&base, &mended, SLOWER).is_clean());
    answers(&mut head, &[("web-0", 205), ("web-1", 195)]);
    assert!(compare(&base, &head, SLOWER).is_clean());
    // A client with an affinity.
    answers(&mut base, &[("web-0", 200)]);
    answers(&mut head, &[("web-1", 200)]);
    let comparison = compare(&base, &head, SLOWER);
    assert!(comparison.is_clean() && comparison.proxies[0].distributions == 0);
}

/// Eighteen cases that converge in this time each.
fn converging(time: impl Fn(usize) -> f64) -> Results {
    let mut results = whole();
    let cases = &mut results.results[0].cases;
    let passing = cases[0].clone();
    cases.clear();
    cases.extend((0..18).map(|number| CaseResult {
        id: format!("many/{number:02}"),
        waited_for: [(onehop_harness::run::WaitedFor::Convergence, time(number))].into(),
        ..passing.clone()
    }));
    results
}

#[test]
fn a_turn_in_which_everything_is_slow_is_one_event() {
    let base = converging(|_| 0.1);
    // The second turn of three, to which every third case belongs, was ten times as slow, and the others slower by a little.
    let head = converging(|number| if number % 3 == 1 { 1.0 } else { 0.11 });
    let by_turns = compare_turns(&base, &head, 1.0, 3);
    assert!(by_turns.is_clean(), "{by_turns}");
    let pair = &by_turns.proxies[0];
    let ratio = pair.convergence.expect("a ratio");
    assert_eq!((pair.turns, ratio.pairs, ratio.turns), (Some(3), 18, 3));
    assert!(
        by_turns.to_string().contains("over 18 cases in 3 turns"),
        "{by_turns}"
    );
    // Who takes them for eighteen events is sure.
    let apart = compare(&base, &head, 1.0);
    assert_eq!(apart.regressions.len(), 1, "{apart}");
    assert!(apart.to_string().contains("over 18 cases\n"), "{apart}");
    // In every turn, it is no chance.
    let slow = converging(|number| 0.3 + 0.001 * (number % 5) as f64);
    assert!(!compare_turns(&base, &slow, SLOWER, 3).is_clean());
}

#[test]
fn slower_is_worse_beyond_chance_and_beyond_what_is_borne() {
    let (mut base, mut head) = (sample(), sample());
    for (results, time) in [(&mut base, 0.1), (&mut head, 0.4)] {
        let passing = results.results[0].cases[0].clone();
        let cases = (0..12).map(|number| CaseResult {
            id: format!("many/{number}"),
            waited_for: [(
                onehop_harness::run::WaitedFor::Convergence,
                time * (1.0 + f64::from(number) / 100.0),
            )]
            .into(),
            ..passing.clone()
        });
        results.results[0].cases.extend(cases);
    }
    let comparison = compare(&base, &head, SLOWER);
    assert_eq!(comparison.regressions.len(), 1, "{comparison}");
    assert!(
        comparison.regressions[0].starts_with("convergence takes 3."),
        "{comparison}"
    );
    let markdown = comparison.markdown();
    assert!(
        markdown.contains("- **Worse:** convergence takes 3."),
        "{markdown}"
    );
    assert!(compare(&base, &head, 10.0).is_clean());
    assert!(
        compare(&head, &base, SLOWER).is_clean(),
        "faster is not worse"
    );
}

#[test]
fn losses_while_something_changed_are_compared_by_flows() {
    // What has gone on in as many cases, and lost so many of 4000 in each.
    let lost = |of_cases: &[u64]| {
        let mut results = whole();
        let cases = &mut results.results[0].cases;
        let (case, row) = (cases[0].clone(), cases[3].flows[1].clone());
        cases.extend(of_cases.iter().enumerate().map(|(number, lost)| {
            let of_each_family = FlowResult {
                tally: None,
                latency: None,
                lost: Some(*lost),
                count: 4000,
                ..row.clone()
            };
            CaseResult {
                id: format!("live/{number}"),
                flows: vec![of_each_family; 1],
                ..case.clone()
            }
        }));
        results
    };
    let (none, some) = (lost(&[0; 10]), lost(&[4; 10]));
    assert_eq!(
        compare(&none, &some, SLOWER).regressions,
        [
            "losses while something changed: 0 of 40000 connections -> 40 of 40000; a larger part of 10 flows and a smaller of 0: \
             +0.10 % of a flow (99 %: +0.10 to +0.10)"
        ]
    );
    let back = compare(&some, &none, SLOWER);
    assert!(back.is_clean());
    let told = back.proxies[0].loss.expect("both have such flows");
    assert_eq!(
        (told.base, told.head, told.flows),
        ((40, 40_000), (0, 40_000), (0, 10))
    );
    // A burst in one flow is one event, however long it is, and two are hardly more.
    let burst = lost(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 400]);
    assert!(compare(&none, &burst, SLOWER).is_clean());
    let two = lost(&[400, 400, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(compare(&none, &two, SLOWER).is_clean());
    // Nor are flows of one case that lose together.
    let of_one_case = |each: u64| {
        let mut results = lost(&[each]);
        let cases = &mut results.results[0].cases;
        let flows = &mut cases.last_mut().expect("added").flows;
        flows.extend(flows.clone());
        results
    };
    let comparison = compare(&of_one_case(4), &of_one_case(6), SLOWER);
    assert!(
        comparison.is_clean() && comparison.proxies[0].loss.is_none(),
        "{comparison}"
    );
}

#[test]
fn proxies_are_paired_by_name_and_the_others_in_their_order() {
    let (mut base, mut head) = (sample(), sample());
    let named = |name: &str| {
        let mut one = sample().results.remove(0);
        one.proxy.name = name.to_owned();
        one.proxy.version = None;
        one
    };
    base.results = vec![named("a"), named("old"), named("b")];
    head.results = vec![named("b"), named("new"), named("a")];
    let comparison = compare(&base, &head, SLOWER);
    let pairs: Vec<_> = comparison
        .proxies
        .iter()
        .map(|pair| (&*pair.base, &*pair.head))
        .collect();
    assert_eq!(pairs, [("a", "a"), ("old", "new"), ("b", "b")]);
}
