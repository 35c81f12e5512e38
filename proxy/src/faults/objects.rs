//! What faults do to Services as the API gives them.

use k8s_openapi::api::core::v1::Service;

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

pub(super) fn without_proxy_name(service: &mut Service) {
    if let Some(labels) = &mut service.metadata.labels {
        labels.remove(PROXY_NAME);
    }
}

/// A headless Service is taken for one whose external addresses are its cluster addresses.
pub(super) fn headless_as_any(service: &mut Service) {
    let Some(spec) = &mut service.spec else {
        return;
    };
    if spec.cluster_ip.as_deref() == Some("None") {
        let addresses = spec.external_ips.clone().unwrap_or_default();
        spec.cluster_ip = addresses.first().cloned();
        spec.cluster_ips = Some(addresses);
        // The addresses are not in the order of the families.
        spec.ip_families = None;
    }
}

pub(super) fn without_ip_mode(service: &mut Service) {
    let status = service.status.as_mut();
    let balancer = status.and_then(|status| status.load_balancer.as_mut());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_mut());
    for address in ingress.into_iter().flatten() {
        address.ip_mode = None;
    }
}
