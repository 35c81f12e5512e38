//! What makes a correct proxy wrong, where it is the suite that is judged.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::case::Case;
use crate::lab::{Allocated, Lab};

/// The Service of a case, which a fault is committed against.
#[derive(Clone, Copy, Debug)]
pub struct Victim<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// The case.
    pub case: &'a Case,
    /// The name of its Service.
    pub name: &'a str,
    /// Its Service as the API has allocated it.
    pub service: &'a Allocated,
    /// The first port that its backends listen on, see [`target_port`](crate::lab::target_port). It is the case's own.
    pub port: u16,
}

/// Something done to the lab once a case's Service exists, and before it is judged. What it gives is dropped before the
/// Service is deleted, and undoes it. Only where the suite itself is judged.
#[derive(Clone)]
pub struct Sabotage(Arc<Deed>);

type Deed = dyn Fn(&Victim<'_>) -> Result<Box<dyn Any + Send>, String> + Send + Sync;

impl Sabotage {
    /// What does it.
    pub fn new<Undo: Any + Send>(
        deed: impl Fn(&Victim<'_>) -> Result<Undo, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |victim: &Victim<'_>| {
            Ok(Box::new(deed(victim)?) as Box<dyn Any + Send>)
        }))
    }

    pub(super) fn commit(&self, victim: &Victim<'_>) -> Result<Box<dyn Any + Send>, String> {
        (self.0)(victim)
    }
}

impl fmt::Debug for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sabotage")
    }
}
