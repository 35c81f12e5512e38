//! Which families a Service has (`initIPFamilyFields` in `pkg/registry/core/service/storage/alloc.go`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::update::{same_cluster_ips, same_families};
use super::{Family, Pools, Refusal, SpecExt, validate};
use crate::field::FieldError;

const POLICY: &str = "spec.ipFamilyPolicy";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// A PreferDualStack Service that the client did not touch here keeps its number of addresses.
pub(super) fn unchanged_prefer_dual_stack(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    let prefers = |spec: &ServiceSpec| spec.ip_family_policy.as_deref() == Some(PREFER);
    prefers(new) && prefers(old) && same_cluster_ips(new, old) && same_families(new, old)
}

/// Fills `ipFamilyPolicy` and `ipFamilies`.
pub(super) fn settle(
    pools: &Pools,
    new: &mut ServiceSpec,
    old: Option<&ServiceSpec>,
) -> Result<(), Refusal> {
    if !new.needs_cluster_ip() || old.is_some_and(|old| unchanged_prefer_dual_stack(new, old)) {
        return Ok(());
    }
    let headless_without_selector = new.cluster_ip.as_deref() == Some("None")
        && new
            .selector
            .as_ref()
            .is_none_or(std::collections::BTreeMap::is_empty);
    if new.ip_family_policy.is_none() {
        let inherited = old.and_then(|old| old.ip_family_policy.clone());
        let default = if headless_without_selector {
            REQUIRE
        } else {
            SINGLE
        };
        new.ip_family_policy = Some(inherited.unwrap_or_else(|| default.into()));
    }
    refuse(validate::cluster_ip_fields(new))?;
    let mut errors = Vec::new();
    if let Some(old) = old {
        errors.extend(shrink(new, old));
    }
    let policy = new.ip_family_policy.clone().unwrap_or_default();
    if policy == SINGLE {
        for (count, what) in [
            (new.cluster_ip_list().len(), "cluster IPs"),
            (new.family_list().len(), "IP families"),
        ] {
            if count == 2 {
                errors.push(FieldError::invalid(
                    POLICY,
                    policy.clone(),
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"),
                ));
            }
        }
    }
    errors.extend(infer_from_addresses(pools, new));
    refuse(errors)?;
    let primary = pools.families().next().unwrap_or(Family::V4);
    if headless_without_selector {
        let families = new
            .ip_families
            .get_or_insert_with(|| vec![primary.name().into()]);
        if families.len() < 2 && policy != SINGLE {
            append_other(families);
        }
        return Ok(());
    }
    refuse(unavailable(pools, new))?;
    let families = new
        .ip_families
        .get_or_insert_with(|| vec![primary.name().into()]);
    if policy != SINGLE && families.len() == 1 && pools.families().count() == 2 {
        append_other(families);
    }
    Ok(())
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Refusal> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Fields(errors))
    }
}

fn append_other(families: &mut Vec<String>) {
    let first = if families.first().is_some_and(|family| family == "IPv6") {
        Family::V6
    } else {
        Family::V4
    };
    families.push(first.other().name().into());
}

/// On an update to SingleStack the second address and family go; any other reduction needs that policy.
fn shrink(new: &mut ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    let policy = new.ip_family_policy.clone().unwrap_or_default();
    let mut errors = Vec::new();
    if policy == SINGLE {
        if same_cluster_ips(new, old) {
            new.cluster_ips.iter_mut().for_each(|list| list.truncate(1));
        }
        if same_families(new, old) {
            new.ip_families.iter_mut().for_each(|list| list.truncate(1));
        }
        return errors;
    }
    let reduced = |new: usize, old: usize| new != 0 && new < old;
    for (is_reduced, what) in [
        (
            reduced(new.cluster_ip_list().len(), old.cluster_ip_list().len()),
            "cluster IP",
        ),
        (
            reduced(new.family_list().len(), old.family_list().len()),
            "IP family",
        ),
    ] {
        if is_reduced {
            errors.push(FieldError::invalid(
                POLICY,
                policy.clone(),
                format!("must be 'SingleStack' to release the secondary {what}"),
            ));
        }
    }
    errors
}

fn infer_from_addresses(pools: &Pools, new: &mut ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let addresses = new.cluster_ip_list().to_vec();
    for (index, address) in addresses.iter().enumerate() {
        let Ok(address) = address.parse::<IpAddr>() else {
            break;
        };
        if index < new.family_list().len() {
            continue;
        }
        let family = Family::of(address);
        if pools.has(family) {
            new.ip_families
                .get_or_insert_default()
                .push(family.name().into());
        } else {
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{index}]"),
                addresses.clone(),
                format!("{} is not configured on this cluster", family.name()),
            ));
        }
    }
    errors
}

fn unavailable(pools: &Pools, new: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new.ip_family_policy.as_deref() == Some(REQUIRE) && pools.families().count() < 2 {
        errors.push(FieldError::invalid(
            POLICY,
            REQUIRE,
            "this cluster is not configured for dual-stack services",
        ));
    }
    for (index, family) in new.family_list().iter().enumerate() {
        if !pools.families().any(|found| found.name() == family) {
            errors.push(FieldError::invalid(
                format!("spec.ipFamilies[{index}]"),
                family.as_str(),
                "not configured on this cluster",
            ));
        }
    }
    errors
}
