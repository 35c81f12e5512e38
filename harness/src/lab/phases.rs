//! How long each phase of a start takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A clock of phases that follow each other.
#[derive(Debug)]
pub(crate) struct Phases {
    done: BTreeMap<&'static str, Duration>,
    clock: Instant,
}

impl Phases {
    pub(crate) fn start() -> Self {
        Self {
            done: BTreeMap::new(),
            clock: Instant::now(),
        }
    }

    /// The phase of this name has ended, and the next begins.
    pub(crate) fn end(&mut self, name: &'static str) {
        self.done.insert(name, self.clock.elapsed());
        self.clock = Instant::now();
    }

    /// Each phase, and how long it took.
    pub(crate) fn done(self) -> BTreeMap<&'static str, Duration> {
        self.done
    }
}
