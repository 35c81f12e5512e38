//! Services: defaults, cluster addresses, node ports, validation (`pkg/registry/core/service`).
//!
//! The order of the stages is upstream's: default, carry over allocated values, normalise the cluster IP fields,
//! settle the families, claim addresses and ports, drop fields that a type change made meaningless, validate.
//! Everything here is pure: claims become real when the caller commits the returned [`Changes`].

mod allocate;
mod changes;
mod defaults;
mod families;
mod pools;
#[cfg(test)]
mod tests;
mod update;
mod validate;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

pub(crate) use pools::{Changes, Family, Pools};

use crate::field::FieldError;
use crate::status::Status;

/// Why a Service was refused before validation could run.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Wrong fields.
    Fields(Vec<FieldError>),
    /// Nothing left to allocate, or the like.
    Internal(String),
}

impl Refusal {
    fn field(error: FieldError) -> Self {
        Self::Fields(vec![error])
    }

    fn into_status(self, name: &str) -> Status {
        match self {
            Self::Fields(errors) => Status::invalid("", "Service", name, &errors),
            Self::Internal(message) => Status::internal(message),
        }
    }
}

/// Takes a Service from what the client sent to what is stored.
///
/// # Errors
/// 422 with upstream's causes, or 500 when a range is full; nothing is allocated then.
pub(crate) fn prepare(
    pools: &Pools,
    new: &mut Service,
    old: Option<&Service>,
) -> Result<Changes, Status> {
    let name = new.metadata.name.clone().unwrap_or_default();
    new.spec.get_or_insert_default();
    defaults::default(new);
    match old {
        None => new.status = Some(defaults::empty_status()),
        Some(old) => new.status.clone_from(&old.status),
    }
    let old_spec = old.and_then(|old| old.spec.as_ref());
    let spec = new.spec.get_or_insert_default();
    if let Some(old) = old_spec {
        update::carry_over_allocated(spec, old);
    }
    update::normalise_cluster_ips(spec, old_spec);
    families::settle(pools, spec, old_spec).map_err(|refusal| refusal.into_status(&name))?;
    let mut claim = pools.claim();
    match old_spec {
        None => allocate::create(&mut claim, spec),
        Some(old) => allocate::update(&mut claim, spec, old),
    }
    .map_err(|refusal| refusal.into_status(&name))?;
    if let Some(old) = old_spec {
        update::drop_type_dependent(spec, old);
    }
    Ok(claim.finish())
}

/// Everything that is wrong with a prepared Service, but for its metadata.
pub(crate) fn validate(new: &Service, old: Option<&Service>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let (Some(new), Some(old)) = (new.spec.as_ref(), old.and_then(|old| old.spec.as_ref())) {
        errors.extend(changes::update(new, old));
    }
    errors.extend(validate::service(new));
    errors
}

/// Everything that is wrong with a new status.
pub(crate) fn validate_status(service: &Service) -> Vec<FieldError> {
    validate::load_balancer_status(service)
}

/// Defaults that also apply to a written status.
pub(crate) fn default(service: &mut Service) {
    defaults::default(service);
}

/// Releases what a deleted Service held.
pub(crate) fn release(pools: &Pools, service: &Service) -> Changes {
    let mut claim = pools.claim();
    if let Some(spec) = &service.spec {
        allocate::release_all(&mut claim, spec);
    }
    claim.finish()
}

/// Short ways to ask about a spec, used by every stage.
pub(crate) trait SpecExt {
    fn type_name(&self) -> &str;
    fn is_load_balancer(&self) -> bool;
    fn needs_cluster_ip(&self) -> bool;
    fn takes_node_ports(&self) -> bool;
    fn allocates_node_ports(&self) -> bool;
    fn needs_health_check(&self) -> bool;
    fn externally_accessible(&self) -> bool;
    fn headless(&self) -> bool;
    fn port_list(&self) -> &[ServicePort];
    fn node_ports(&self) -> BTreeSet<i32>;
    fn cluster_ip_list(&self) -> &[String];
    fn family_list(&self) -> &[String];
}

impl SpecExt for ServiceSpec {
    fn type_name(&self) -> &str {
        self.type_.as_deref().unwrap_or_default()
    }

    fn is_load_balancer(&self) -> bool {
        self.type_name() == "LoadBalancer"
    }

    fn needs_cluster_ip(&self) -> bool {
        self.type_name() != "ExternalName"
    }

    fn takes_node_ports(&self) -> bool {
        matches!(self.type_name(), "NodePort" | "LoadBalancer")
    }

    fn allocates_node_ports(&self) -> bool {
        self.type_name() == "NodePort"
            || self.is_load_balancer() && self.allocate_load_balancer_node_ports != Some(false)
    }

    fn needs_health_check(&self) -> bool {
        self.is_load_balancer() && self.external_traffic_policy.as_deref() == Some("Local")
    }

    fn externally_accessible(&self) -> bool {
        self.takes_node_ports()
            || self.type_name() == "ClusterIP"
                && self
                    .external_ips
                    .as_ref()
                    .is_some_and(|ips| !ips.is_empty())
    }

    fn headless(&self) -> bool {
        matches!(self.cluster_ip_list(), [only] if only == "None")
    }

    fn port_list(&self) -> &[ServicePort] {
        self.ports.as_deref().unwrap_or_default()
    }

    fn node_ports(&self) -> BTreeSet<i32> {
        self.port_list()
            .iter()
            .filter_map(|port| port.node_port)
            .collect()
    }

    fn cluster_ip_list(&self) -> &[String] {
        self.cluster_ips.as_deref().unwrap_or_default()
    }

    fn family_list(&self) -> &[String] {
        self.ip_families.as_deref().unwrap_or_default()
    }
}
