//! Errors as text.

use std::error::Error;

/// Characters of a line that an error quotes: a structured log line can be a screenful.
const QUOTED_CHARACTERS: usize = 400;
/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 15;

/// An error with its causes, outermost first, separated by `: `.
///
/// What a report quotes: the causes say what to do more often than the error does.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(plain(error), |text, cause| {
        let cause = plain(cause);
        // Some libraries repeat the cause in their own text.
        if text.ends_with(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// What an error itself says. kube says everything that it knows of an API's refusal, twice.
fn plain(error: &(dyn Error + 'static)) -> String {
    let refusal = match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(&**status),
        _ => error.downcast_ref::<kube::core::Status>(),
    };
    match refusal {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}

/// The last lines of a log that say anything, indented and shortened, as an error quotes them.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let shorten = |line: &&str| match line.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("  {}…", &line[..end]),
        None => format!("  {line}"),
    };
    let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    last.iter().map(shorten).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open it")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open it: {0}")]
    struct Repeats(#[source] std::io::Error);

    #[test]
    fn causes_follow_what_they_caused() {
        let cause = || std::io::Error::other("it is locked");
        assert_eq!(chain(&cause()), "it is locked");
        assert_eq!(chain(&Outer(cause())), "failed to open it: it is locked");
        assert_eq!(chain(&Repeats(cause())), "failed to open it: it is locked");
    }

    #[test]
    fn the_last_lines_that_say_anything_are_quoted() {
        assert_eq!(last_lines("a\n\nb\n \n"), "  a\n  b");
        assert_eq!(last_lines(""), "");
        let many = format!("first\n{}", "then\n".repeat(QUOTED_LINES));
        assert_eq!(last_lines(&many), ["  then"; QUOTED_LINES].join("\n"));
        let long = "é".repeat(QUOTED_CHARACTERS + 1);
        let quoted = format!("  {}…", "é".repeat(QUOTED_CHARACTERS));
        assert_eq!(last_lines(&long), quoted);
    }
}
