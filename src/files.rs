//! The files that a run leaves for others.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onehop_harness::run::{CaseResult, Results};
use onehop_report::FILES;

/// The results, in the directory for them. Everything else is made from it.
pub const RESULTS: &str = "results.json";

/// The evidence of failures, in the directory of a proxy.
pub const EVIDENCE: &str = "evidence";

/// A file that could not be written, or one of an earlier run that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to replace {path}")]
pub struct Unwritten {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Writes the results, and [all that is made](make) from them, into a directory that is there.
///
/// # Errors
/// A file cannot be written.
///
/// # Panics
/// Never: results are always JSON.
pub fn write(dir: &Path, results: &Results) -> Result<(), Unwritten> {
    // In lines of their own, the thousands of steps of ways would be three times as much.
    let text = serde_json::to_string(results).expect("results have no maps but by text");
    write_file(dir, RESULTS, &text)?;
    make(dir, results)
}

/// Writes what people and CI systems read of these results: each of [`FILES`].
///
/// # Errors
/// A file cannot be written.
pub fn make(dir: &Path, results: &Results) -> Result<(), Unwritten> {
    let evidence = |case: &CaseResult, name: &str| read_evidence(dir, case, name);
    let mut files = FILES.into_iter();
    files.try_for_each(|(name, text)| write_file(dir, name, &text(results, &evidence)))
}

/// Reads a file of a case's evidence: from beside the results in this directory, or from where it was when they were written.
pub fn read_evidence(dir: &Path, case: &CaseResult, name: &str) -> Option<String> {
    let beside = dir.join(case.evidence_below()?);
    let evidence = if beside.is_dir() {
        beside
    } else {
        case.evidence.clone()?
    };
    fs::read_to_string(evidence.join(name)).ok()
}

/// Removes what [`write()`] has written for an earlier run, which must not be taken for what comes of this one.
///
/// # Errors
/// A file is there and cannot be removed.
pub fn remove(dir: &Path) -> Result<(), Unwritten> {
    let names = FILES.into_iter().map(|(name, _)| name);
    for name in names.chain([RESULTS]) {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Unwritten { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// These names of proxies, for a directory of each beside these files: with a number at the end of those that are taken.
pub fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let files = FILES.into_iter().map(|(name, _)| name);
    let mut taken: BTreeSet<_> = files.chain([RESULTS]).map(str::to_owned).collect();
    names
        .map(|name| {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut candidates = std::iter::once(name.clone()).chain(numbered);
            let free = candidates.find(|candidate| !taken.contains(candidate));
            let free = free.expect("numbers do not end");
            taken.insert(free.clone());
            free
        })
        .collect()
}

fn write_file(dir: &Path, name: &str, text: &str) -> Result<(), Unwritten> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(|source| Unwritten { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_proxies_share_a_directory_and_none_is_that_of_the_results() {
        let names = ["mine", "other", "mine", "mine-2", "mine", RESULTS];
        let dirs = distinct(names.into_iter().map(str::to_owned));
        let expected = [
            "mine",
            "other",
            "mine-2",
            "mine-2-2",
            "mine-3",
            "results.json-2",
        ];
        assert_eq!(dirs, expected);
    }
}
