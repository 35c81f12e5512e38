use std::collections::BTreeSet;

use onehop_harness::case::{Case, Expectation, Reach};
use onehop_harness::profile::Profile;
use onehop_harness::timing::Timing;
use onehop_harness::verdict::{Asked, detection};
use onehop_harness::world::Family;

use super::shares::{FORTY_FIVE_PERCENT, LOST_ONE_OF};
use super::{Deed, Fault, all};
use crate::catalogue;

/// Every fault that shows only now and then must be caught with this chance.
const POWER: f64 = 0.99;

fn fault(name: &str) -> &'static Fault {
    all().find(|fault| fault.name == name).expect("a fault")
}

fn case(id: &str) -> Case {
    let mut cases = catalogue().into_iter();
    let case = cases.find(|case| case.id == id);
    case.unwrap_or_else(|| panic!("no case {id}"))
}

#[test]
fn every_fault_has_a_name_of_its_own_and_says_what_it_breaks_and_on_whose_word() {
    let names: BTreeSet<_> = all().map(|fault| fault.name).collect();
    assert_eq!(names.len(), all().count());
    assert!(names.len() >= 25, "{}", names.len());
    for fault in all() {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(fault.name.chars().all(plain), "{}", fault.name);
        assert!(!fault.breaks.is_empty(), "{}", fault.name);
        assert!(!fault.sources.is_empty(), "{}", fault.name);
        assert!(!fault.caught_by.is_empty(), "{}", fault.name);
    }
}

#[test]
fn every_case_that_a_fault_names_exists_once() {
    for fault in all() {
        let caught_by = fault.caught_by.iter().map(|(id, _)| *id);
        let ids: Vec<_> = caught_by.chain(fault.spares.iter().copied()).collect();
        let unique: BTreeSet<_> = ids.iter().map(|id| case(id).id).collect();
        assert_eq!(unique.len(), ids.len(), "{}", fault.name);
        for (id, words) in fault.caught_by {
            let empty = words.split('|').any(str::is_empty);
            assert!(!empty, "{}: {id}", fault.name);
        }
    }
}

#[test]
fn every_fault_works_on_kube_proxy_in_nftables_mode_and_says_why_it_does_not_elsewhere() {
    let profile = |name| Profile::load(name).expect("built in");
    for fault in all() {
        let (nftables, iptables) = ("kube-proxy-nftables", "kube-proxy-iptables");
        assert_eq!(fault.works_on(&profile(nftables)), Ok(()), "{}", fault.name);
        let works = fault.works_on(&profile(iptables));
        match fault.deed {
            Deed::Emptied(_) => assert!(works.is_err(), "{}", fault.name),
            // As far as its profile has that setting.
            Deed::Setting { .. } => {}
            _ => assert_eq!(works, Ok(()), "{}", fault.name),
        }
        if let Deed::Setting { written, .. } = fault.deed {
            let changed = fault.profile(profile(nftables));
            assert!(changed.netns.files["config.yaml"].contains(written));
        }
    }
}

/// The answered flows of a case, each with the number of its connections and of the distributions that share the case's
/// false-alarm rate.
fn asked(case: &Case) -> Vec<(Reach, usize, usize)> {
    let reaches = || {
        let flows = case.flows().into_iter();
        flows.filter_map(|flow| match flow.expect {
            Expectation::Reaches(reach) => Some(reach),
            _ => None,
        })
    };
    let distributions = reaches().filter(|reach| reach.judged).count() * Family::ALL.len();
    let judged = distributions.max(1);
    reaches()
        .map(|reach| {
            let expect = Expectation::Reaches(reach.clone());
            let calls = Asked::Fully.connections(&expect, judged, &Timing::default());
            (reach, calls, judged)
        })
        .collect()
}

/// One of a hundred is missed by n connections with a chance of 0.99ⁿ: it takes 459 of them to the pod. The cases that
/// judge shares make so many over all of their nodes and both families.
#[test]
fn a_case_that_judges_shares_sees_one_connection_of_a_hundred_that_is_lost() {
    let lost = 1.0 / f64::from(LOST_ONE_OF);
    for (id, _) in fault("loses-one-connection-of-a-hundred-to-a-pod").caught_by {
        let to_the_pod = asked(&case(id)).into_iter().map(|(reach, calls, _)| {
            let position = reach.pods.iter().position(|pod| pod == "web-0");
            position.map_or(0.0, |position| reach.shares[position] * calls as f64)
        });
        let to_the_pod = to_the_pod.sum::<f64>() * Family::ALL.len() as f64;
        let missed = (1.0 - lost).powf(to_the_pod);
        assert!(1.0 - missed >= POWER, "{id}: {to_the_pod}, missed {missed}");
    }
}

/// Samples are sized for a pod of double weight, which is half of three pods' traffic. With 45 %, a single distribution
/// is not enough; all those of a case are.
#[test]
fn a_case_that_judges_shares_sees_that_one_of_three_pods_has_45_percent() {
    let tickets: usize = FORTY_FIVE_PERCENT.iter().sum();
    let actual = FORTY_FIVE_PERCENT.map(|own| own as f64 / tickets as f64);
    assert!((actual[0] - 0.45).abs() < 1e-9);
    for (id, _) in fault("gives-one-of-three-pods-45-percent").caught_by {
        let judged = asked(&case(id))
            .into_iter()
            .filter(|(reach, ..)| reach.judged);
        let missed = judged.map(|(reach, calls, judged)| {
            let false_alarm = Timing::default().false_alarm / judged as f64;
            let seen = detection(&reach.shares, &actual, calls, false_alarm);
            (1.0 - seen).powf(Family::ALL.len() as f64)
        });
        let missed: f64 = missed.product();
        assert!(1.0 - missed >= POWER, "{id}: missed {missed}");
    }
}
