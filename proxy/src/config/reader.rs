//! Reading fields into a configuration, and collecting what is wrong with them.

use std::time::Duration;

use super::Config;
use super::error::Problem;
use super::tree::{Found, Section};
use super::values::duration;

/// A configuration that is being read.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    pub(super) config: Config,
}

impl Reader {
    /// A duration for a setting of the kernel's, which counts in seconds.
    pub(super) fn whole_seconds(
        &mut self,
        section: &mut Section,
        name: &'static str,
    ) -> Option<Duration> {
        let (duration, found) = self.duration(section, name);
        if let Some(found) = found.filter(|_| {
            duration.is_some_and(|d| d.subsec_nanos() != 0 || d.as_secs() > i32::MAX as u64)
        }) {
            self.problems
                .push(found.problem(format!("must be whole seconds, {} at most", i32::MAX)));
            return None;
        }
        duration
    }

    /// A duration, with where it was found. Zero is not set.
    pub(super) fn duration(
        &mut self,
        section: &mut Section,
        name: &'static str,
    ) -> (Option<Duration>, Option<Found<()>>) {
        let Some(text) = section.text(name, &mut self.problems) else {
            return (None, None);
        };
        let at = Found {
            value: (),
            field: text.field.clone(),
            place: text.place,
        };
        let value = self.parsed(Some(text), duration);
        (value.filter(|value| !value.is_zero()), Some(at))
    }

    /// Parses text, and reports what is wrong with it.
    pub(super) fn parsed<T>(
        &mut self,
        found: Option<Found<String>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let found = found?;
        match parse(&found.value) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problems.push(found.problem(what));
                None
            }
        }
    }

    /// A number within bounds, both included.
    pub(super) fn in_range<T: TryFrom<i128>>(
        &mut self,
        found: Option<Found<i128>>,
        from: i128,
        to: i128,
    ) -> Option<T> {
        let found = found?;
        let value = Some(found.value).filter(|value| (from..=to).contains(value));
        let value = value.and_then(|value| T::try_from(value).ok());
        if value.is_none() {
            self.problems.push(found.problem(format!(
                "must be from {from} to {to}, and is {}",
                found.value
            )));
        }
        value
    }

    /// A field of kube-proxy's that changes nothing here: accepted, and noted where it is set.
    pub(super) fn no_effect(&mut self, section: &mut Section, name: &'static str, why: &str) {
        if let Some(found) = section.take(name).filter(|found| !found.value.is_zero()) {
            self.config
                .notices
                .push(found.problem(format!("has no effect, {why}")));
        }
    }

    /// A field of kube-proxy's that this proxy cannot fulfil: accepted only where it is not set.
    pub(super) fn refused(&mut self, section: &mut Section, name: &'static str, why: &str) {
        if let Some(found) = section.take(name).filter(|found| !found.value.is_zero()) {
            self.problems
                .push(found.problem(format!("is not supported by this proxy: {why}; remove it")));
        }
    }
}
