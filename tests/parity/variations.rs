//! Where the bundled proxy and kube-proxy differ, and both may.

use crate::compare::Difference;

/// A difference that is declared, with its reason.
pub(crate) struct Variation {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether this is what makes a flow differ: exactly this, and nothing besides.
    pub(crate) explains: fn(&Difference) -> bool,
}

/// All of them.
pub(crate) const VARIATIONS: &[Variation] = &[];
