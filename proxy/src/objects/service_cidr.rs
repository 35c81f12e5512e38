//! The ranges that cluster addresses are taken from.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1 as api;

use super::{Problems, Reading, address, is_named_in_cluster, reading};
use crate::model::ObjectName;

/// Reads a ServiceCIDR. Its ranges are sorted, and none is there twice.
///
/// Traffic to an address of such a range that no Service has is dropped, so a range that holds what is no
/// Service's business (all addresses, loopback, multicast) is left out.
#[must_use]
pub fn service_cidr(object: &api::ServiceCIDR) -> Reading<Vec<IpNet>> {
    reading("ServiceCIDR", &object.metadata, |name, problems| {
        read(object, name, problems)
    })
}

fn read(
    object: &api::ServiceCIDR,
    name: &ObjectName,
    problems: &mut Problems,
) -> Option<Vec<IpNet>> {
    if !is_named_in_cluster(name, problems) {
        return None;
    }
    let listed = object
        .spec
        .as_ref()
        .and_then(|spec| spec.cidrs.as_deref())
        .unwrap_or_default();
    let mut ranges = Vec::new();
    for (at, text) in listed.iter().enumerate() {
        match address::usable_range(text) {
            Ok(range) => ranges.push(range),
            Err(why) => problems.add(
                format_args!("spec.cidrs[{at}]"),
                format_args!("{why}; left out"),
            ),
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    (!ranges.is_empty()).then_some(ranges)
}
