//! Which faults are asked for.

use miette::{Result, miette};
use onehop_harness::profile::Profile;

use super::fault::Fault;

/// The faults that work on a proxy, in network namespaces or on kind, and whose names these are, or have these in them; all that work on it when there is
/// none.
///
/// # Errors
/// A pattern that is the name of a fault that does not work there, or matches none; and a proxy on which none works.
pub(super) fn select(profile: &Profile, on_kind: bool, patterns: &[String]) -> Result<Vec<Fault>> {
    let works = |fault: &Fault| fault.works_on(profile, on_kind).is_ok();
    let there: Vec<_> = Fault::all().filter(works).collect();
    if there.is_empty() {
        let place = if on_kind { " on kind" } else { "" };
        let help =
            "the bundled proxy has faults inside; others are made wrong in network namespaces";
        return Err(miette!(
            help = help,
            "no fault works on {}{place}",
            profile.name
        ));
    }
    let mut selected = Vec::new();
    for pattern in patterns {
        let exact = there.iter().find(|fault| fault.name() == pattern);
        let parts = there.iter().filter(|fault| fault.name().contains(pattern));
        let found: Vec<_> = exact.map_or_else(|| parts.collect(), |fault| vec![fault]);
        if found.is_empty() {
            return Err(not_there(profile, on_kind, pattern));
        }
        selected.extend(found.iter().map(|fault| fault.name()));
    }
    let wanted = |fault: &Fault| patterns.is_empty() || selected.contains(&fault.name());
    Ok(there.into_iter().filter(wanted).collect())
}

/// Why no fault on a proxy matches a pattern: it does not work there, or there is none at all.
fn not_there(profile: &Profile, on_kind: bool, pattern: &str) -> miette::Report {
    let help = format!(
        "onehop faults --list --proxy {} names those that do",
        profile.name
    );
    // One that is committed both ways has more to say of why it cannot be beside this proxy.
    let is_it = |fault: &Fault| fault.name() == pattern;
    let elsewhere = Fault::all().filter(is_it).last();
    let elsewhere = elsewhere.or_else(|| Fault::all().find(|fault| fault.name().contains(pattern)));
    let reason =
        elsewhere.and_then(|fault| Some((fault.name(), fault.works_on(profile, on_kind).err()?)));
    match reason {
        Some((name, why)) => {
            miette!(
                help = help,
                "fault {name} does not work on {}: {why}",
                profile.name
            )
        }
        None => miette!(
            help = "onehop faults --list names every fault",
            "no fault matches {pattern}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(proxy: &str, patterns: &[&str]) -> Result<Vec<&'static str>> {
        let profile = Profile::load(proxy).expect("built in");
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let faults = select(&profile, false, &patterns)?;
        Ok(faults.into_iter().map(Fault::name).collect())
    }

    #[test]
    fn a_proxy_has_its_own_faults_and_each_once() {
        let bundled = selected("bundled", &[]).expect("some");
        let beside = selected("kube-proxy-nftables", &[]).expect("some");
        for names in [&bundled, &beside] {
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len());
        }
        assert!(bundled.contains(&"serves-unready-endpoints"));
        assert!(beside.contains(&"rejects-instead-of-dropping"));
        assert!(!bundled.contains(&"rejects-instead-of-dropping"));
    }

    #[test]
    fn on_kind_there_is_what_the_bundled_proxy_has_inside() {
        let selected = |proxy| {
            let profile = Profile::load(proxy).expect("built in");
            select(&profile, true, &[]).map(|faults| faults.len())
        };
        assert_eq!(
            selected("bundled").expect("some"),
            Fault::all()
                .filter(|fault| matches!(fault, Fault::Inside(_)))
                .count()
        );
        let refused = selected("kube-proxy-nftables")
            .expect_err("none")
            .to_string();
        assert_eq!(refused, "no fault works on kube-proxy-nftables on kind");
    }

    #[test]
    fn a_name_is_that_fault_and_a_part_is_all_that_have_it() {
        let one = selected("kube-proxy-nftables", &["ignores-hints"]).expect("one");
        assert_eq!(one, ["ignores-hints"]);
        let some = selected("kube-proxy-nftables", &["health-port"]).expect("some");
        assert!(some.len() > 1 && some.iter().all(|name| name.starts_with("health-port")));
    }

    #[test]
    fn a_fault_that_does_not_work_on_a_proxy_is_refused_and_told_why() {
        let refused = |proxy, pattern| {
            selected(proxy, &[pattern])
                .expect_err("refused")
                .to_string()
        };
        assert_eq!(
            refused("kube-proxy-nftables", "serves-unready-endpoints"),
            "fault serves-unready-endpoints does not work on kube-proxy-nftables: only the bundled proxy has it inside"
        );
        assert_eq!(
            refused("kube-proxy-iptables", "ignores-source-ranges"),
            "fault ignores-source-ranges does not work on kube-proxy-iptables: \
             it empties chains that kube-proxy has in nftables mode"
        );
        assert_eq!(refused("bundled", "no-such"), "no fault matches no-such");
    }
}
