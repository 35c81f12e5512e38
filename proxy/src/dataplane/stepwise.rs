//! Elements that come and go change by change, held against all that there should be. Pure; for fuzzing.

use std::collections::HashMap;

use super::element::{Key, Value};
use super::state::{State, index};
use crate::model::{Family, ObjectName};
use crate::plan::ServicePlan;

/// A state, and what its changes have left in tables that begin empty.
#[derive(Debug, Default)]
pub(crate) struct Stepwise {
    state: State,
    tables: [HashMap<Key, Value>; 2],
}

impl Stepwise {
    /// Changes the plan of a Service.
    ///
    /// # Panics
    /// If the kernel would refuse: an element goes that is not there, or comes that is.
    pub(crate) fn change(&mut self, name: &ObjectName, plan: Option<ServicePlan>) {
        let mut deltas = Default::default();
        self.state.change(name, plan, Some(&mut deltas));
        for (table, delta) in self.tables.iter_mut().zip(&deltas) {
            for key in delta.removed() {
                assert!(
                    table.remove(&key).is_some(),
                    "{key:?} goes, and is not there"
                );
            }
            for (key, value) in delta.added() {
                assert!(table.insert(key, value).is_none(), "{key:?} comes again");
            }
        }
    }

    /// Holds the tables against what the plans ask for.
    ///
    /// # Panics
    /// If they are not that.
    pub(crate) fn assert_in_step(&self) {
        for family in Family::ALL {
            let mut all = HashMap::new();
            for (key, value) in self.state.elements(family) {
                assert!(all.insert(key, value).is_none(), "{key:?} is there twice");
            }
            assert_eq!(self.tables[index(family)], all, "{family:?}");
        }
    }
}
