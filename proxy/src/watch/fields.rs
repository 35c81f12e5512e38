//! The fields of watched objects that a proxy reads.
//!
//! Everything else of a Service or an EndpointSlice is skipped as it comes, and never held: managed fields,
//! annotations, references. Of a cluster of ten thousand Services, that is half of what reading it costs. What
//! [`crate::objects`] reads has to be here; `every_field_that_counts_is_read` tells if it is not.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// An object that is read from some of its fields.
pub trait Brief: Sized {
    /// The fields. What they leave out is absent from the object.
    type Fields: DeserializeOwned + Into<Self>;
}

impl Brief for core::Service {
    type Fields = Service;
}

impl Brief for discovery::EndpointSlice {
    type Fields = EndpointSlice;
}

/// There is one Node; it is read whole.
impl Brief for core::Node {
    type Fields = Self;
}

/// There are few; they are read whole.
impl Brief for networking::ServiceCIDR {
    type Fields = Self;
}

/// Of a Service.
#[derive(Debug, Deserialize)]
pub struct Service {
    metadata: Option<Metadata<IgnoredAny>>,
    spec: Option<ServiceSpec>,
    status: Option<ServiceStatus>,
}

/// Of an EndpointSlice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    metadata: Option<Metadata<BTreeMap<String, String>>>,
    address_type: Option<String>,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<SlicePort>>,
}

/// Annotations matter on slices alone: one says when their Pods changed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<A> {
    namespace: Option<String>,
    name: Option<String>,
    /// From where a watch goes on.
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<A>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "type")]
    type_: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ip_families: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    ports: Option<Vec<ServicePort>>,
    external_traffic_policy: Option<String>,
    internal_traffic_policy: Option<String>,
    health_check_node_port: Option<i32>,
    load_balancer_source_ranges: Option<Vec<String>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<core::SessionAffinityConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i32>,
    node_port: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Deserialize)]
struct LoadBalancer {
    ingress: Option<Vec<Ingress>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<discovery::EndpointConditions>,
    node_name: Option<String>,
    hints: Option<discovery::EndpointHints>,
}

#[derive(Debug, Deserialize)]
struct SlicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i32>,
}

/// The metadata without annotations, and those.
fn metadata<A>(fields: Option<Metadata<A>>) -> (ObjectMeta, Option<A>) {
    let Some(fields) = fields else {
        return Default::default();
    };
    let metadata = ObjectMeta {
        namespace: fields.namespace,
        name: fields.name,
        resource_version: fields.resource_version,
        labels: fields.labels,
        ..ObjectMeta::default()
    };
    (metadata, fields.annotations)
}

impl From<Service> for core::Service {
    fn from(fields: Service) -> Self {
        Self {
            metadata: metadata(fields.metadata).0,
            spec: fields.spec.map(Into::into),
            status: fields.status.map(|status| core::ServiceStatus {
                load_balancer: status.load_balancer.map(Into::into),
                ..core::ServiceStatus::default()
            }),
        }
    }
}

impl From<ServiceSpec> for core::ServiceSpec {
    fn from(fields: ServiceSpec) -> Self {
        Self {
            type_: fields.type_,
            cluster_ip: fields.cluster_ip,
            cluster_ips: fields.cluster_ips,
            ip_families: fields.ip_families,
            external_ips: fields.external_ips,
            ports: all(fields.ports),
            external_traffic_policy: fields.external_traffic_policy,
            internal_traffic_policy: fields.internal_traffic_policy,
            health_check_node_port: fields.health_check_node_port,
            load_balancer_source_ranges: fields.load_balancer_source_ranges,
            session_affinity: fields.session_affinity,
            session_affinity_config: fields.session_affinity_config,
            ..Self::default()
        }
    }
}

impl From<ServicePort> for core::ServicePort {
    fn from(fields: ServicePort) -> Self {
        Self {
            name: fields.name,
            protocol: fields.protocol,
            port: fields.port.unwrap_or_default(),
            node_port: fields.node_port,
            ..Self::default()
        }
    }
}

impl From<LoadBalancer> for core::LoadBalancerStatus {
    fn from(fields: LoadBalancer) -> Self {
        Self {
            ingress: all(fields.ingress),
        }
    }
}

impl From<Ingress> for core::LoadBalancerIngress {
    fn from(fields: Ingress) -> Self {
        Self {
            ip: fields.ip,
            ip_mode: fields.ip_mode,
            ..Self::default()
        }
    }
}

impl From<EndpointSlice> for discovery::EndpointSlice {
    fn from(fields: EndpointSlice) -> Self {
        let (metadata, annotations) = metadata(fields.metadata);
        Self {
            metadata: ObjectMeta {
                annotations,
                ..metadata
            },
            address_type: fields.address_type.unwrap_or_default(),
            endpoints: all(fields.endpoints),
            ports: all(fields.ports),
        }
    }
}

impl From<Endpoint> for discovery::Endpoint {
    fn from(fields: Endpoint) -> Self {
        Self {
            addresses: fields.addresses.unwrap_or_default(),
            conditions: fields.conditions,
            node_name: fields.node_name,
            hints: fields.hints,
            ..Self::default()
        }
    }
}

impl From<SlicePort> for discovery::EndpointPort {
    fn from(fields: SlicePort) -> Self {
        Self {
            name: fields.name,
            protocol: fields.protocol,
            port: fields.port,
            ..Self::default()
        }
    }
}

fn all<T, U: From<T>>(listed: Option<Vec<T>>) -> Option<Vec<U>> {
    Some(listed?.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::objects;

    /// As it is read whole, and as it is read from its fields.
    fn both<K: Brief + DeserializeOwned>(object: &Value) -> [K; 2] {
        let whole = serde_json::from_value(object.clone()).expect("an object");
        let fields: K::Fields = serde_json::from_value(object.clone()).expect("its fields");
        [whole, fields.into()]
    }

    #[test]
    fn every_field_that_counts_is_read() {
        let metadata = json!({
            "namespace": "default", "name": "web", "resourceVersion": "7", "uid": "u", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubernetes.io/service-name": "web", "app": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        });
        let service = json!({
            "metadata": metadata,
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
                "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack", "externalIPs": ["192.0.2.1"],
                "ports": [{"name": "http", "protocol": "UDP", "port": 80, "nodePort": 30080, "targetPort": "web",
                           "appProtocol": "x"}],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 30100,
                "loadBalancerSourceRanges": ["203.0.113.0/24"], "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "selector": {"app": "web"}, "allocateLoadBalancerNodePorts": true,
                "publishNotReadyAddresses": true, "trafficDistribution": "PreferClose",
            },
            "status": {"loadBalancer": {"ingress": [
                {"ip": "198.51.100.1", "ipMode": "VIP"}, {"ip": "198.51.100.2", "ipMode": "Proxy"},
                {"hostname": "lb.example"},
            ]}},
        });
        let [whole, brief] = both::<core::Service>(&service);
        let reading = objects::service(&whole);
        assert_eq!(reading.problems, []);
        let value = reading.value.as_ref().expect("a Service");
        assert!(
            value.affinity.is_some()
                && value.source_ranges.len() == 1
                && value.vips.len() == 1
                && value.external_ips.len() == 1
                && value.health_check_node_port.is_some()
                && value.ports.len() == 1,
            "the object uses every field: {value:?}"
        );
        assert_eq!(objects::service(&brief), reading);
        assert_eq!(
            brief.metadata.resource_version,
            whole.metadata.resource_version
        );

        let slice = json!({
            "metadata": metadata, "addressType": "IPv6",
            "endpoints": [
                {"addresses": ["fd00::1"], "nodeName": "vm1", "zone": "z", "hostname": "h",
                 "conditions": {"ready": false, "serving": true, "terminating": true},
                 "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "vm1"}]},
                 "targetRef": {"kind": "Pod", "name": "p"}},
                {"addresses": ["fd00::2"]},
            ],
            "ports": [{"name": "http", "protocol": "SCTP", "port": 8080, "appProtocol": "x"}],
        });
        let [whole, brief] = both::<discovery::EndpointSlice>(&slice);
        let reading = objects::slice(&whole);
        assert_eq!(reading.problems, []);
        assert!(reading.value.is_some());
        assert_eq!(objects::slice(&brief), reading);
        assert_eq!(brief.metadata.annotations, whole.metadata.annotations);
    }

    #[test]
    fn what_is_absent_or_null_is_read_as_when_read_whole() {
        for object in [
            json!({}),
            json!({"metadata": {}, "spec": {}, "status": {}, "endpoints": [{}], "ports": [{}]}),
            json!({"metadata": {"name": null, "labels": null}, "spec": null, "status": null,
                   "addressType": null, "endpoints": null, "ports": null}),
            json!({"metadata": {"namespace": "n", "name": "x"}, "spec": {"clusterIP": "10.0.0.1",
                   "ports": [{"port": null, "nodePort": null}], "externalIPs": null},
                   "status": {"loadBalancer": {"ingress": null}}}),
        ] {
            let [whole, brief] = both::<core::Service>(&object);
            assert_eq!(
                objects::service(&brief),
                objects::service(&whole),
                "{object}"
            );
            let [whole, brief] = both::<discovery::EndpointSlice>(&object);
            assert_eq!(objects::slice(&brief), objects::slice(&whole), "{object}");
        }
    }
}
