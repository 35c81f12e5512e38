//! The conformance cases: claims about where Service traffic goes, as data.
//!
//! One file a subject. A case names its claim in one sentence and where that comes from; its
//! checks state for every flow which pods may answer, from which source, over how many hops, in
//! which shares, and by which node it enters. What may not happen is asserted as well: no other
//! pod, no other source, no refusal where a drop is due.

mod affinity;
mod distribution;
mod endpoints;
mod established;
mod external_ip;
mod external_policy;
mod families;
#[cfg(feature = "faults")]
pub mod faults;
mod hairpin;
mod health_check;
mod internal_policy;
mod invalid_packets;
mod lifecycle;
mod live;
mod load_balancer;
mod mtu;
mod node_port_addresses;
pub mod oracle;
mod policies;
mod proxy_health;
mod scope;
mod source_ranges;
pub mod story;
mod subject;
mod topology;
mod transitions;
mod udp;

use onehop_harness::case::Case;
use onehop_harness::profile::Profile;

pub use subject::Subject;

/// Every case, in the order of reports.
pub fn catalogue() -> Vec<Case> {
    [
        external_policy::cases(),
        load_balancer::cases(),
        health_check::cases(),
        proxy_health::cases(),
        internal_policy::cases(),
        policies::cases(),
        external_ip::cases(),
        hairpin::cases(),
        affinity::cases(),
        source_ranges::cases(),
        endpoints::cases(),
        topology::cases(),
        scope::cases(),
        node_port_addresses::cases(),
        families::cases(),
        invalid_packets::cases(),
        distribution::cases(),
        transitions::cases(),
        udp::cases(),
        mtu::cases(),
        established::cases(),
        live::cases(),
        lifecycle::cases(),
    ]
    .concat()
}

/// The cases whose ids match any of these patterns, or all cases when there is none.
///
/// A pattern is a part of an id, or has `*` for any run of characters and then stands for a whole
/// id.
///
/// # Errors
/// The patterns that match no case: most likely a typing error, and never a reason to judge
/// nothing.
pub fn matching(patterns: &[String]) -> Result<Vec<Case>, Vec<String>> {
    let cases = catalogue();
    let unmatched: Vec<_> = patterns
        .iter()
        .filter(|pattern| !cases.iter().any(|case| matches(pattern, &case.id)))
        .cloned()
        .collect();
    if !unmatched.is_empty() {
        return Err(unmatched);
    }
    let wanted = |case: &Case| patterns.is_empty() || patterns.iter().any(|p| matches(p, &case.id));
    Ok(cases.into_iter().filter(wanted).collect())
}

/// A case that a profile knows to fail, and that is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "proxy `{proxy}` knows of a defect in case {case}, which is not in the catalogue; onehop list names every case"
)]
pub struct UnknownCase {
    /// The profile's name.
    pub proxy: String,
    /// The case.
    pub case: String,
}

/// Checks that all cases which a profile knows to fail are in the catalogue, or among these others.
///
/// # Errors
/// One is not: mistyped, its failure would be news for ever.
pub fn check_known(profile: &Profile, others: &[Case]) -> Result<(), UnknownCase> {
    let catalogue = catalogue();
    let mut known = profile.known.iter().flat_map(|known| &known.cases);
    let there = |id: &String| catalogue.iter().chain(others).any(|case| case.id == *id);
    match known.find(|id| !there(id)) {
        None => Ok(()),
        Some(case) => Err(UnknownCase {
            proxy: profile.name.clone(),
            case: case.clone(),
        }),
    }
}

/// Whether an id matches a pattern, as [`matching`] has them.
pub fn matches(pattern: &str, id: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return id.contains(pattern);
    };
    let Some(mut id) = id.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = id.find(part) else {
            return false;
        };
        id = &id[at + part.len()..];
    }
    id.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use onehop_harness::case::{
        Entry, Expectation, Feature, Place, Question, Reach, ServiceType, Source, Together,
        Variation,
    };
    use onehop_harness::timing::Timing;
    use onehop_harness::verdict::Asked;
    use onehop_harness::world::World;

    use super::*;

    #[test]
    fn every_case_that_a_built_in_profile_knows_to_fail_is_in_the_catalogue() {
        let profiles = Profile::built_in().map(|name| Profile::load(name).expect("valid"));
        let profiles: Vec<_> = profiles.collect();
        assert!(profiles.iter().any(|profile| !profile.known.is_empty()));
        for mut profile in profiles {
            check_known(&profile, &[]).expect("all of them");
            for known in &mut profile.known {
                known.cases.push("no/such-case".to_owned());
            }
            assert_eq!(check_known(&profile, &[]).is_ok(), profile.known.is_empty());
        }
    }

    /// What has connections while a Service changes may lose one to it (docs/findings/packets-between-two-generations.md).
    #[test]
    fn what_traffic_may_lose_beside_kube_proxy_is_known_of_every_case_with_traffic() {
        let profile = Profile::load("kube-proxy-nftables").expect("valid");
        let of_traffic = |text: &String| text.starts_with("meanwhile");
        let known = profile.known.iter();
        let known = known.filter(|known| known.shows.iter().all(of_traffic));
        let known: BTreeSet<_> = known.flat_map(|known| known.cases.clone()).collect();
        let cases = catalogue();
        let with_traffic = cases.iter().filter(|case| case.traffics().count() > 0);
        let with_traffic: BTreeSet<_> = with_traffic.map(|case| case.id.clone()).collect();
        assert_eq!(known, with_traffic);
    }

    fn reaches(case: &Case) -> Vec<Reach> {
        let flows = case.flows().into_iter();
        let reaches = flows.filter_map(|flow| match flow.expect {
            Expectation::Reaches(reach) => Some(reach),
            _ => None,
        });
        reaches.map(as_many).collect()
    }

    /// Pods of a workload have names once they are there; here, any will do.
    fn as_many(reach: Reach) -> Reach {
        match reach.selected {
            Some(selected) => {
                let names = (0..selected.count).map(|number| format!("web-{number}"));
                reach.named(names.collect())
            }
            None => reach,
        }
    }

    #[test]
    fn no_case_is_defective_and_every_id_is_unique() {
        let cases = catalogue();
        let defects: Vec<_> = cases.iter().flat_map(Case::defects).collect();
        assert!(defects.is_empty(), "{defects:#?}");
        let ids: BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
        assert_eq!(ids.len(), cases.len());
        // Each case has ports and external addresses by its number, which is below 1000.
        assert!((100..1000).contains(&cases.len()), "{}", cases.len());
    }

    #[test]
    fn every_case_is_of_one_subject_and_every_subject_has_cases() {
        let cases = catalogue();
        for case in &cases {
            let own = Subject::ALL.iter().filter(|subject| subject.has(case));
            assert_eq!(own.count(), 1, "{}", case.id);
        }
        for subject in Subject::ALL {
            assert!(cases.iter().any(|case| subject.has(case)), "{subject:?}");
        }
    }

    #[test]
    fn every_variation_is_measured_by_a_case_and_every_value_has_its_turn() {
        let mut measured = BTreeSet::new();
        for flow in catalogue().iter().flat_map(Case::flows) {
            if let Expectation::Varies(variation, by_value) = flow.expect {
                let values: Vec<_> = by_value.iter().map(|(value, _)| *value).collect();
                assert_eq!(values, variation.values());
                measured.insert(variation);
            }
        }
        assert_eq!(measured, Variation::ALL.iter().copied().collect());
    }

    #[test]
    fn every_place_and_pod_is_part_of_the_world() {
        let world = World::story();
        for case in catalogue() {
            for backend in case.every_backends().flatten() {
                assert!(
                    world.pod(&backend.pod).is_some(),
                    "{}: {}",
                    case.id,
                    backend.pod
                );
            }
            for flow in case.flows() {
                let host = flow.from.host();
                let known = world.pod(host).is_some()
                    || world.node(host).is_some()
                    || world.client(host).is_some()
                    || flow.from == Place::LoadBalancer;
                assert!(known, "{}: {host}", case.id);
            }
            for pod in reaches(&case).iter().flat_map(|reach| &reach.pods) {
                assert!(world.pod(pod).is_some(), "{}: {pod}", case.id);
            }
        }
    }

    /// A profile that leaves a feature out is not judged by the cases that need it: one that no case needs would promise that
    /// for nothing.
    #[test]
    fn every_feature_is_needed_by_a_case() {
        let needed: BTreeSet<_> = catalogue()
            .iter()
            .flat_map(|case| case.features.clone())
            .collect();
        let unneeded = Feature::ALL
            .iter()
            .filter(|feature| !needed.contains(feature));
        // Nothing judges SCTP.
        assert_eq!(unneeded.collect::<Vec<_>>(), [&Feature::Sctp]);
    }

    #[test]
    fn expected_shares_sum_to_one_and_give_the_stated_imbalance() {
        for case in catalogue() {
            for reach in reaches(&case) {
                let Reach { pods, shares, .. } = reach;
                assert_eq!(shares.len(), pods.len(), "{}", case.id);
                assert!(
                    (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                    "{}",
                    case.id
                );
                if let Some(imbalance) = reach.imbalance {
                    assert!(reach.judged, "{}", case.id);
                    let largest = shares.iter().copied().fold(0.0, f64::max);
                    let derived = largest * shares.len() as f64;
                    assert!((derived - imbalance).abs() < 1e-9, "{}: {derived}", case.id);
                }
            }
        }
    }

    #[test]
    fn shares_through_the_balancer_follow_from_the_placement() {
        // A case may state shares that it derived by hand; they must be those of its placement.
        for case in catalogue() {
            let ServiceType::LoadBalancer(mode) = case.service.kind else {
                continue;
            };
            let reaches = reaches(&case);
            // Who the pods of a workload are is not known.
            for reach in reaches.iter().filter(|reach| reach.selected.is_none()) {
                let nodes = match (reach.source, &reach.entry) {
                    (Source::Preserved, Entry::Balanced(nodes))
                    | (Source::Balancer, Entry::Proxied(nodes)) => nodes,
                    _ => continue,
                };
                let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
                let pods: Vec<&str> = reach.pods.iter().map(String::as_str).collect();
                let derived = load_balancer::balanced_local_in(mode, &nodes, &pods).shares;
                for (stated, derived) in reach.shares.iter().zip(derived) {
                    assert!((stated - derived).abs() < 1e-9, "{}", case.id);
                }
            }
        }
    }

    #[test]
    fn a_whole_run_misses_or_alarms_less_than_once_in_ten_thousand() {
        let timing = Timing::default();
        let families = 2.0;
        let (mut misses, mut alarms) = (0.0, 0.0);
        for case in catalogue() {
            for reach in reaches(&case) {
                let expect = Expectation::Reaches(reach.clone());
                let calls = Asked::Fully.connections(&expect, 1, &timing);
                // At the bound, the power that results promise would not be reached.
                assert!(calls < 20_000, "{}", case.id);
                let miss = |share: f64| (1.0 - share).powi(i32::try_from(calls).expect("small"));
                let entries = reach.entries().len();
                let entry = if entries > 1 {
                    miss(1.0 / entries as f64)
                } else {
                    0.0
                };
                let pods = if reach.pods.len() > 1 && !reach.sticky {
                    &reach.shares[..]
                } else {
                    &[]
                };
                let pods: f64 = pods.iter().map(|share| miss(*share)).sum();
                misses += families * (pods + entry * entries as f64);
            }
            let questions = case.checks().flat_map(|check| &check.questions);
            for question in questions {
                if let Question::Affinity { flows, together } = question
                    && *together == Together::EveryPod
                {
                    // Each flow draws a pod once; one that nobody draws is missed.
                    let draws = i32::try_from(flows.len()).expect("few flows");
                    let pods = reaches(&case)
                        .iter()
                        .map(|r| r.pods.len())
                        .max()
                        .unwrap_or(1) as f64;
                    misses += families * pods * (1.0 - 1.0 / pods).powi(draws);
                }
            }
            if reaches(&case).iter().any(|reach| reach.judged) {
                alarms += timing.false_alarm;
            }
        }
        assert!(misses < 1e-5, "{misses}");
        assert!(alarms < 1e-4, "{alarms}");
    }

    #[test]
    fn patterns_match_parts_or_whole_ids() {
        let id = "external/local/client-ip-kept";
        for pattern in [
            "local",
            "external/",
            "*",
            "external/*",
            "*/local/*",
            "external/*kept",
        ] {
            assert!(matches(pattern, id), "{pattern}");
        }
        for pattern in ["internal", "local/*", "*/local", "external/*lost"] {
            assert!(!matches(pattern, id), "{pattern}");
        }
        let unknown = matching(&["external".to_owned(), "no-such-case".to_owned()]);
        assert_eq!(unknown, Err(vec!["no-such-case".to_owned()]));
    }
}
