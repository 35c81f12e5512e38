//! What an update may not change (`ValidateServiceUpdate` in `pkg/apis/core/validation/validation.go`).

use k8s_openapi::api::core::v1::ServiceSpec;

use super::SpecExt;
use crate::field::FieldError;

/// Checks the change from the stored specification.
pub(super) fn update(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new.needs_cluster_ip() && old.needs_cluster_ip() {
        if !(new.headless() && old.headless()) {
            errors.extend(cluster_ip_changes(new, old));
        }
        if !new.headless() && !old.headless() {
            errors.extend(family_changes(new, old));
        }
    }
    if new.is_load_balancer()
        && old.is_load_balancer()
        && new.load_balancer_class != old.load_balancer_class
    {
        errors.push(FieldError::invalid(
            "spec.loadBalancerClass",
            new.load_balancer_class.clone(),
            "may not change once set",
        ));
    }
    if new.needs_health_check()
        && old.needs_health_check()
        && new.health_check_node_port != old.health_check_node_port
    {
        errors.push(FieldError::forbidden(
            "spec.healthCheckNodePort",
            "field is immutable",
        ));
    }
    errors
}

fn cluster_ip_changes(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    let (after, before) = (new.cluster_ip_list(), old.cluster_ip_list());
    let changed = |index: usize| {
        FieldError::invalid(
            format!("spec.clusterIPs[{index}]"),
            after.to_vec(),
            "may not change once set",
        )
    };
    let mut errors = Vec::new();
    if after.len() == before.len() {
        errors.extend(
            (0..after.len())
                .filter(|index| after[*index] != before[*index])
                .map(changed),
        );
        return errors;
    }
    if after.is_empty() {
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            after.to_vec(),
            "primary clusterIP can not be unset",
        ));
    } else if before.first().is_some_and(|first| *first != after[0]) {
        errors.push(changed(0));
    }
    if after.len() == 1
        && before.len() > 1
        && new.ip_family_policy.as_deref() != Some("SingleStack")
    {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            new.ip_family_policy.clone(),
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
        ));
    }
    errors
}

fn family_changes(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    let (after, before) = (new.family_list(), old.family_list());
    let path = "spec.ipFamilies[0]";
    let mut errors = Vec::new();
    if after.len() == before.len() {
        // Upstream names the first position whichever differs.
        errors.extend(
            (0..after.len())
                .filter(|index| after[*index] != before[*index])
                .map(|_| FieldError::invalid(path, after.to_vec(), "may not change once set")),
        );
        return errors;
    }
    if after.len() < before.len() && new.cluster_ip_list().is_empty() {
        errors.push(FieldError::invalid(
            path,
            after.to_vec(),
            "primary ipFamily can not be unset",
        ));
    }
    if let (Some(first), Some(was)) = (after.first(), before.first())
        && first != was
    {
        errors.push(FieldError::invalid(
            path,
            new.cluster_ip_list().to_vec(),
            "may not change once set",
        ));
    }
    if after.len() == 1
        && before.len() > 1
        && new.ip_family_policy.as_deref() != Some("SingleStack")
    {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            new.ip_family_policy.clone(),
            "must be set to 'SingleStack' when releasing the secondary ipFamily",
        ));
    }
    errors
}
