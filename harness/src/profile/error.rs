//! What can be wrong with a profile, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Origin;
use crate::tools::{ParseToolError, ToolError};

/// A profile could not be used.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// There is no built-in profile of that name.
    #[error(
        "unknown proxy `{name}`{suggestion} expected one of: {known}; \
         or the path of a profile, with a `/` or ending in .yaml"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name as a question, or a comma.
        suggestion: String,
        /// The built-in names.
        known: String,
    },
    /// The version after a built-in name is not one.
    #[error("proxy `{spec}`: {source}")]
    Version {
        /// What was asked for.
        spec: String,
        /// What is wrong with the version.
        source: ParseToolError,
    },
    /// The file cannot be read.
    #[error("cannot read the profile {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where.
        place: Place,
        /// What.
        problem: String,
    },
    /// A text has a placeholder that does not exist.
    #[error("profile {profile}: {field}: {problem}")]
    Template {
        /// The name of the profile.
        profile: String,
        /// The field with the text.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// The program of the proxy is not on this machine.
    #[error("profile {profile}: there is no program `{program}` {searched}")]
    NoProgram {
        /// The name of the profile.
        profile: String,
        /// The program, as the profile names it.
        program: String,
        /// Where it was looked for, as a phrase.
        searched: String,
    },
    /// The command that should print the proxy's version does not.
    #[error("profile {profile}: the version command `{command}` {problem}")]
    NoVersion {
        /// The name of the profile.
        profile: String,
        /// The command.
        command: String,
        /// What happened instead.
        problem: String,
    },
    /// The tool that provides the program cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// A place in a profile: `my-proxy.yaml:12:14: netns.ready.http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or that it is built in.
    pub origin: Origin,
    /// The line, counted from 1.
    pub line: u64,
    /// The column, counted from 1.
    pub column: u64,
    /// The field, as a path of keys; empty where it is not known.
    pub field: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::BuiltIn => f.write_str("built-in profile")?,
            Origin::File(path) => write!(f, "{}", path.display())?,
        }
        write!(f, ":{}:{}", self.line, self.column)?;
        if self.field.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.field)
        }
    }
}

impl ProfileError {
    /// An unknown name, with the nearest of the known ones if one is near.
    pub(super) fn unknown<'a>(
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> ProfileError {
        ProfileError::Unknown {
            name: name.to_owned(),
            suggestion: match nearest(name, known.clone()) {
                Some(near) => format!(", did you mean `{near}`?"),
                None => ",".to_owned(),
            },
            known: known.collect::<Vec<&str>>().join(", "),
        }
    }
}

/// The known name that a mistyped one most probably means.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; and a part of a name (`nftables`) means the name.
    let limit = name.chars().count().div_ceil(3);
    known
        .map(|candidate| {
            let part = name.len() >= 3 && candidate.contains(name);
            let distance = if part {
                1
            } else {
                edit_distance(name, candidate)
            };
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or changed to make one word of the other (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (a, b, distance) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let known = ["kube-proxy-nftables", "kube-proxy-iptables"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("nftables"), Some("kube-proxy-nftables"));
        assert_eq!(near("kube-proxy-ipvs"), Some("kube-proxy-iptables"));
        assert_eq!(near("kubeproxy-iptables"), Some("kube-proxy-iptables"));
        assert_eq!(near("cilium"), None);
        assert_eq!(near(""), None);
    }
}
