//! Defects of a proxy that are known, so that others are not overlooked among them.

use crate::tools::Version;

/// A defect that is known, proven and written up.
///
/// Its cases are run and judged as all others. What they fail with is still shown, as known and not as news; and a case that
/// passes, passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The cases that fail because of it, by their ids.
    pub cases: Vec<String>,
    /// What it shows: of all that is wrong in a case, each begins with one of these texts. Anything else is news.
    pub shows: Vec<String>,
    /// How many connections of a case it makes go wrong at the most; `None` where that is no matter. More are news.
    pub at_most: Option<u64>,
    /// Whether it does not show each time. A case that passes tells of it then all the same.
    pub sometimes: bool,
    /// The first version that is known to have it; `None` where all before do.
    pub from: Option<Version>,
    /// The last version that is known to have it; `None` where all after do.
    pub to: Option<Version>,
    /// Where it is written up: a path, an address or a number of an issue.
    pub finding: String,
}

impl Known {
    /// Whether a proxy has it that says this of its version.
    ///
    /// One that says nothing, or nothing that can be read, has only what all versions have: a build from a branch must not
    /// pass for a release.
    pub fn is_in(&self, version: Option<&str>) -> bool {
        if self.from.is_none() && self.to.is_none() {
            return true;
        }
        let Some(version) = version.and_then(release) else {
            return false;
        };
        self.from.is_none_or(|from| from <= version) && self.to.is_none_or(|to| version <= to)
    }

    /// Whether these texts, of what is wrong in a case, are all what it shows, and no more connections went wrong than it makes.
    /// Nothing is what none of its questions found: a Service that is still served when it is deleted, for one.
    pub fn explains<'a>(&self, wrong: impl IntoIterator<Item = &'a str>, connections: u64) -> bool {
        let mut wrong = wrong.into_iter().peekable();
        let shown = |text: &str| self.shows.iter().any(|shown| text.starts_with(shown));
        let few = self.at_most.is_none_or(|most| connections <= most);
        few && wrong.peek().is_some() && wrong.all(shown)
    }
}

/// The release in what a proxy says of its version: `Kubernetes v1.36.3`, or `v1.36.3+vendor`. None of what came before a
/// release, or after it.
fn release(text: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    words.find_map(|word| word.split('+').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(from: Option<&str>, to: Option<&str>) -> Known {
        let version = |text: &str| text.parse().expect("a version");
        Known {
            cases: vec!["subject/claim".to_owned()],
            shows: vec!["lost".to_owned(), "refused (RST)".to_owned()],
            at_most: None,
            sometimes: false,
            from: from.map(version),
            to: to.map(version),
            finding: "a".to_owned(),
        }
    }

    #[test]
    fn a_version_has_what_is_known_of_its_range_with_both_ends() {
        let both = known(Some("v1.34.4"), Some("v1.36.3"));
        let (since, until) = (known(Some("v1.34.4"), None), known(None, Some("v1.36.3")));
        for (version, expected) in [
            ("Kubernetes v1.34.3", [false, false, true]),
            ("Kubernetes v1.34.4", [true; 3]),
            ("v1.35.10+vendor.1", [true; 3]),
            ("Kubernetes v1.36.3", [true; 3]),
            ("Kubernetes v1.36.4", [false, true, false]),
        ] {
            let is_in = [&both, &since, &until].map(|known| known.is_in(Some(version)));
            assert_eq!(is_in, expected, "{version}");
        }
    }

    #[test]
    fn only_what_a_defect_shows_is_explained_by_it() {
        let known = known(None, None);
        assert!(known.explains(["lost (3 of 20)", "refused (RST) (1 of 20)"], 4));
        for news in ["reached web-3 (1 of 20)", "cut: refused (RST) (1 of 20)"] {
            assert!(!known.explains(["lost (3 of 20)", news], 4), "{news}");
        }
        assert!(!known.explains([], 0));
        let few = Known {
            at_most: Some(4),
            ..known
        };
        let lost = |connections| few.explains(["lost"], connections);
        assert_eq!([4, 5].map(lost), [true, false]);
    }

    #[test]
    fn a_build_that_is_no_release_has_only_what_all_have() {
        let of_some = known(Some("v1.34.4"), None);
        for version in [
            None,
            Some("mine"),
            Some("Kubernetes v1.37.0-alpha.1.52+9d1c02ab"),
        ] {
            assert!(!of_some.is_in(version), "{version:?}");
            assert!(known(None, None).is_in(version), "{version:?}");
        }
    }
}
