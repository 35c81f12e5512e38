//! Which Services a change concerns, and that planning only those is planning all.

mod changes;
mod worlds;

use std::collections::HashSet;
use std::sync::Arc;

use super::{Index, Touched};
use crate::model::{ObjectName, Service, Slice};

/// A list of all Services, as a watch tells it: one after the other, and at its end what was not among them is gone.
fn list_services(index: &mut Index, services: Vec<Service>) -> Touched {
    let names: HashSet<_> = services
        .iter()
        .map(|service| service.name.clone())
        .collect();
    let listed: Vec<_> = services
        .into_iter()
        .map(|service| index.apply_service(service))
        .collect();
    let gone = index.keep_services(&names);
    listed.into_iter().flatten().chain(gone).collect()
}

/// The same of slices, each by its name in the namespace of its Service.
fn list_slices(index: &mut Index, slices: Vec<(Arc<str>, Slice)>) -> Touched {
    let name_of = |(name, slice): &(Arc<str>, Slice)| ObjectName {
        namespace: slice.service.namespace.clone(),
        name: name.clone(),
    };
    let names: HashSet<_> = slices.iter().map(name_of).collect();
    let listed: Vec<_> = slices
        .into_iter()
        .map(|(name, slice)| index.apply_slice(&name, slice))
        .collect();
    let gone = index.keep_slices(&names);
    listed.into_iter().flatten().chain(gone).collect()
}
