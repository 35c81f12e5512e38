//! What is wrong with a configuration.

use std::fmt;

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One thing that is wrong, or that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, from the top: `nftables.syncPeriod`.
    pub field: String,
    /// Where it is, if it is anywhere.
    pub place: Option<Place>,
    /// What is wrong with it and what to do, to be read after its name.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} {}", self.field, self.what)
    }
}

/// A configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not YAML.
    #[error("the configuration is not YAML: {0}")]
    Syntax(String),
    /// Fields are wrong: all of them, in the order of the file.
    #[error("the configuration has fields that cannot be used:{}", lines(.0))]
    Fields(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}
