//! What the API fills in (`SetDefaults_Service` in `pkg/apis/core/v1/defaults.go`).

use k8s_openapi::api::core::v1::{
    ClientIPConfig, LoadBalancerStatus, Service, ServiceStatus, SessionAffinityConfig,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::SpecExt;

const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn empty_status() -> ServiceStatus {
    ServiceStatus {
        load_balancer: Some(LoadBalancerStatus::default()),
        conditions: None,
    }
}

pub(super) fn default(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    spec.type_.get_or_insert_with(|| "ClusterIP".into());
    match spec
        .session_affinity
        .get_or_insert_with(|| "None".into())
        .as_str()
    {
        "None" => spec.session_affinity_config = None,
        "ClientIP" => {
            let config = spec
                .session_affinity_config
                .get_or_insert_with(SessionAffinityConfig::default);
            let client_ip = config.client_ip.get_or_insert_with(ClientIPConfig::default);
            client_ip.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        _ => {}
    }
    for port in spec.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if spec.externally_accessible() {
        spec.external_traffic_policy
            .get_or_insert_with(|| "Cluster".into());
    }
    if matches!(spec.type_name(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        spec.internal_traffic_policy
            .get_or_insert_with(|| "Cluster".into());
    }
    if spec.is_load_balancer() {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        let balancer = service
            .status
            .as_mut()
            .and_then(|status| status.load_balancer.as_mut());
        for ingress in balancer
            .into_iter()
            .flat_map(|balancer| balancer.ingress.iter_mut().flatten())
        {
            if ingress.ip.is_some() {
                ingress.ip_mode.get_or_insert_with(|| "VIP".into());
            }
        }
    }
}
