//! What a fault is, wherever it is committed: inside of a proxy that is told to, or beside one that knows nothing of it.

use std::sync::Arc;

use onehop_harness::lab::Lab;
use onehop_harness::profile::Profile;
use onehop_harness::run::{CaseResult, Sabotage};
use onehop_proxy::faults as inside;
use onehop_suites::faults as beside;

/// One way to be wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The bundled proxy does it itself, asked to by `--fault`.
    Inside(&'static inside::Fault),
    /// It is done to a proxy from outside.
    Beside(&'static beside::Fault),
}

impl Fault {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let inside = inside::FAULTS.iter().map(Self::Inside);
        inside.chain(beside::all().map(Self::Beside))
    }

    /// Its name, which no other on the same proxy has.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inside(fault) => fault.name,
            Self::Beside(fault) => fault.name,
        }
    }

    /// The behaviour that it breaks.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Self::Inside(fault) => fault.breaks,
            Self::Beside(fault) => fault.breaks,
        }
    }

    /// Who promises that behaviour.
    pub(crate) fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Inside(fault) => fault.sources,
            Self::Beside(fault) => fault.sources,
        }
    }

    /// Whether it can be committed against a proxy: that which understands `--fault` is wrong by itself, and what is
    /// done to others would come on top of that. On kind, nobody does that.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn works_on(self, profile: &Profile, on_kind: bool) -> Result<(), String> {
        let is_own = matches!(&profile.netns.command[..], [program, command, ..]
            if program == "onehop" && command == "proxy");
        match (self, is_own) {
            (Self::Inside(_), true) => Ok(()),
            (Self::Inside(_), false) => Err("only the bundled proxy has it inside".to_owned()),
            (Self::Beside(_), true) => Err("the bundled proxy has its own inside".to_owned()),
            (Self::Beside(_), false) if on_kind => Err(
                "what is done to it from outside is done in network namespaces alone".to_owned(),
            ),
            (Self::Beside(fault), false) => fault.works_on(profile),
        }
    }

    /// Whether it names this case as one that catches it.
    pub(crate) fn names(self, case: &str) -> bool {
        match self {
            Self::Inside(fault) => fault.caught_by.contains(&case),
            Self::Beside(fault) => fault.caught_by.iter().any(|(id, _)| *id == case),
        }
    }

    /// Whether it names this case as one that passes all the same: next to what it breaks.
    pub(crate) fn spares(self, case: &str) -> bool {
        match self {
            Self::Inside(_) => false,
            Self::Beside(fault) => fault.spares.contains(&case),
        }
    }

    /// Whether a failed case has caught it: one that it names, for a reason that it names where it does.
    pub(crate) fn is_caught_by(self, result: &CaseResult) -> bool {
        match self {
            Self::Inside(_) => self.names(&result.id),
            Self::Beside(fault) => {
                let reason = result.reason.as_deref().unwrap_or_default();
                let mut words = fault.caught_by.iter();
                words.any(|(id, words)| {
                    *id == result.id && words.split('|').any(|words| reason.contains(words))
                })
            }
        }
    }

    /// The proxy with this fault, as far as its profile makes it.
    pub(crate) fn profile(self, profile: Profile) -> Profile {
        match self {
            Self::Inside(fault) => profile.with_arguments(&["--fault", fault.name]),
            Self::Beside(fault) => fault.profile(profile),
        }
    }

    /// Commits what concerns a lab as a whole.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) async fn commit(self, lab: &Arc<Lab>) -> Result<beside::Committed, String> {
        match self {
            Self::Inside(_) => Ok(beside::Committed::default()),
            Self::Beside(fault) => fault.commit(lab).await,
        }
    }

    /// What commits it to the Service of each case, where it concerns those.
    pub(crate) fn sabotage(self) -> Option<Sabotage> {
        match self {
            Self::Inside(_) => None,
            Self::Beside(fault) => fault.sabotage(),
        }
    }
}
