//! What a known defect excuses.

use super::{CaseResult, Verdict};
use crate::profile::Known;

/// Has a case that fails by nothing but this defect be known to; and one that passes say that it might, where the defect does not show
/// each time.
pub(super) fn excuse(result: &mut CaseResult, known: &Known) {
    let wrong = result.flows.iter().flat_map(|row| &row.wrong);
    let connections = result.flows.iter().map(|row| row.failed).sum();
    let tells = match result.verdict {
        Verdict::Fail if known.explains(wrong.map(String::as_str), connections) => {
            result.verdict = Verdict::Known;
            true
        }
        Verdict::Pass => known.sometimes,
        _ => false,
    };
    if tells {
        result.finding = Some(known.finding.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Service};
    use crate::profile::Profile;
    use crate::run::row::row;
    use crate::run::skipped;
    use crate::run::traffic::TOGETHER;

    fn known(sometimes: bool) -> Known {
        Known {
            cases: vec!["a/case".to_owned()],
            shows: vec!["refused (".to_owned()],
            at_most: Some(2),
            sometimes,
            from: None,
            to: None,
            finding: "a finding".to_owned(),
        }
    }

    /// What becomes of a case with this verdict and this that is wrong: its verdict, and whether it tells of the defect.
    fn excused(verdict: Verdict, wrong: &[&str], sometimes: bool) -> (Verdict, bool) {
        let case = Case::new("a/case", "A claim.", Service::cluster_ip(), &["web-0"]);
        let mut result = skipped(&case, "not yet");
        result.verdict = verdict;
        let mut flow = row("pod", "cluster-ip", None);
        flow.failed = wrong.len() as u64;
        flow.wrong = wrong.iter().map(|text| (*text).to_owned()).collect();
        result.flows.push(flow);
        excuse(&mut result, &known(sometimes));
        (result.verdict, result.finding.is_some())
    }

    #[test]
    fn what_a_defect_shows_is_known_and_all_else_is_news() {
        for sometimes in [false, true] {
            let of = |verdict, wrong: &[&str]| excused(verdict, wrong, sometimes);
            assert_eq!(
                of(Verdict::Fail, &["refused (RST)"]),
                (Verdict::Known, true)
            );
            let (news, many) = (["refused (RST)", "dropped"], ["refused (RST)"; 3]);
            assert_eq!(of(Verdict::Fail, &news), (Verdict::Fail, false));
            assert_eq!(of(Verdict::Fail, &many), (Verdict::Fail, false));
            assert_eq!(
                of(Verdict::Error, &["refused (RST)"]),
                (Verdict::Error, false)
            );
            assert_eq!(of(Verdict::Skip, &[]), (Verdict::Skip, false));
        }
    }

    #[test]
    fn no_built_in_profile_excuses_a_whole_wave_of_traffic() {
        let wave = TOGETHER as u64;
        let profiles = Profile::built_in().map(|name| Profile::load(name).expect("valid"));
        let known: Vec<_> = profiles.flat_map(|profile| profile.known).collect();
        let of_traffic = |known: &&Known| known.shows.iter().any(|text| text.contains("meanwhile"));
        let of_traffic: Vec<_> = known.iter().filter(of_traffic).collect();
        assert!(!of_traffic.is_empty());
        for known in of_traffic {
            let refused = "meanwhile refused (RST) (4 of 1000)";
            assert!(known.explains([refused], 1), "{known:?}");
            assert!(!known.explains([refused], wave), "{known:?}");
        }
    }

    #[test]
    fn a_pass_tells_of_a_defect_that_does_not_show_each_time_alone() {
        assert_eq!(excused(Verdict::Pass, &[], true), (Verdict::Pass, true));
        assert_eq!(excused(Verdict::Pass, &[], false), (Verdict::Pass, false));
    }
}
