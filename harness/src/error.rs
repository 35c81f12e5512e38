//! Errors as text.

use std::error::Error;

/// An error with its causes, outermost first, separated by `: `.
///
/// What a report quotes: the causes say what to do more often than the error does.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open it")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_what_they_caused() {
        let cause = std::io::Error::other("it is locked");
        assert_eq!(chain(&cause), "it is locked");
        assert_eq!(chain(&Outer(cause)), "failed to open it: it is locked");
    }
}
