//! The Kubernetes objects of a world, and those of a case's Service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::case::{Backend, Policy, Service as Spec, ServiceType};
use crate::world::{self, Dual, Family, World};

/// The namespace of every object that belongs to one.
pub const NAMESPACE: &str = "onehop";
/// The port of every Service.
pub const SERVICE_PORT: u16 = 80;

/// A Service of a case as the API has allocated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Its ClusterIPs.
    pub cluster_ip: Dual,
    /// Its node port, where it has one.
    pub node_port: Option<u16>,
    /// Its health check node port, where it has one.
    pub health_check_node_port: Option<u16>,
    /// Its load-balancer address, once the load balancer has given it one.
    pub vip: Option<Dual>,
}

/// The API of a lab, as far as the harness uses it.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    /// Objects are read and written through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates the namespace, the Nodes and the Pods of a world, each with its status.
    pub(crate) async fn create_world(&self, world: &World) -> kube::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = object(json!({"metadata": {"name": NAMESPACE}}));
        namespaces
            .create(&PostParams::default(), &namespace)
            .await?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let nodes = world.nodes.iter().map(async |node| {
            let (node, status) = node_object(node);
            create_with_status(&nodes, &node["metadata"]["name"], &node, &status).await
        });
        futures::future::try_join_all(nodes).await?;
        let pods = world.pods.iter().map(async |pod| {
            let (pod, status) = pod_object(pod);
            create_with_status(&pods, &pod["metadata"]["name"], &pod, &status).await
        });
        futures::future::try_join_all(pods).await?;
        Ok(())
    }

    /// Creates a Service and its EndpointSlices, one of each family.
    pub async fn create_service(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        backends: &[Backend],
        target_port: u16,
    ) -> kube::Result<Allocated> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        for family in Family::ALL {
            let slice = object(slice_object(name, family, world, backends, target_port));
            slices.create(&PostParams::default(), &slice).await?;
        }
        let service = object(service_object(name, spec, target_port));
        let created = self
            .services()
            .create(&PostParams::default(), &service)
            .await?;
        allocated(&created)
    }

    /// Changes a Service by a merge patch of its spec.
    pub async fn patch_service(&self, name: &str, spec: Value) -> kube::Result<Allocated> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let patched = self
            .services()
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        allocated(&patched)
    }

    /// Replaces the endpoints of a Service.
    pub async fn replace_backends(
        &self,
        name: &str,
        world: &World,
        backends: &[Backend],
    ) -> kube::Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        for family in Family::ALL {
            let endpoints = endpoints(family, world, backends);
            let patch = Patch::Merge(json!({ "endpoints": endpoints }));
            slices
                .patch(&slice_name(name, family), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// The Service as it is now.
    pub async fn get_service(&self, name: &str) -> kube::Result<Allocated> {
        allocated(&self.services().get(name).await?)
    }

    /// Deletes a Service and its EndpointSlices. What is already gone is fine.
    pub async fn delete_service(&self, name: &str) -> kube::Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        let gone = |result| match result {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        let deleted = self.services().delete(name, &DeleteParams::default()).await;
        gone(deleted.map(drop))?;
        for family in Family::ALL {
            let name = slice_name(name, family);
            gone(
                slices
                    .delete(&name, &DeleteParams::default())
                    .await
                    .map(drop),
            )?;
        }
        Ok(())
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// The spec of a Service of this type and policies, as a merge patch or a whole spec: what does
/// not apply to the type is `null`, which removes it.
pub fn service_spec(spec: Spec) -> Value {
    let external = match spec.kind {
        ServiceType::ClusterIp => Value::Null,
        ServiceType::NodePort | ServiceType::LoadBalancer(_) => policy(spec.external),
    };
    let class = match spec.kind {
        ServiceType::LoadBalancer(mode) => json!(mode.load_balancer_class()),
        ServiceType::ClusterIp | ServiceType::NodePort => Value::Null,
    };
    json!({
        "type": spec.kind.api_name(),
        "externalTrafficPolicy": external,
        "internalTrafficPolicy": policy(spec.internal),
        "loadBalancerClass": class,
    })
}

/// A policy as the API writes it.
pub fn policy(policy: Policy) -> Value {
    json!(policy.to_string())
}

async fn create_with_status<K>(
    api: &Api<K>,
    name: &Value,
    object: &Value,
    status: &Value,
) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let name = name.as_str().expect("objects have names");
    let created = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    api.create(&PostParams::default(), &created).await?;
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

fn node_object(node: &world::Node) -> (Value, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {"podCIDR": node.pod_cidrs[0], "podCIDRs": node.pod_cidrs},
    });
    let addresses: Vec<_> = node
        .address
        .both()
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .chain([json!({"type": "Hostname", "address": node.name})])
        .collect();
    let ready = json!({
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "a node of the lab",
    });
    (
        object,
        json!({"addresses": addresses, "conditions": [ready]}),
    )
}

fn pod_object(pod: &world::Pod) -> (Value, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": pod.node,
            "containers": [{"name": "backend", "image": "onehop"}],
        },
    });
    let addresses: Vec<_> = pod
        .address
        .both()
        .iter()
        .map(|ip| json!({ "ip": ip }))
        .collect();
    let ready = json!({"type": "Ready", "status": "True"});
    let status = json!({
        "phase": "Running",
        "podIP": pod.address.v4,
        "podIPs": addresses,
        "conditions": [ready],
    });
    (object, status)
}

fn service_object(name: &str, spec: Spec, target_port: u16) -> Value {
    let mut service = json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": Family::ALL,
            "ports": [{"protocol": spec.protocol, "port": SERVICE_PORT, "targetPort": target_port}],
        },
    });
    let own = service_spec(spec);
    for (field, value) in own.as_object().expect("a spec is an object") {
        if !value.is_null() {
            service["spec"][field] = value.clone();
        }
    }
    service
}

fn slice_name(service: &str, family: Family) -> String {
    format!("{service}-{}", family.api_name().to_lowercase())
}

fn slice_object(
    service: &str,
    family: Family,
    world: &World,
    backends: &[Backend],
    target_port: u16,
) -> Value {
    json!({
        "metadata": {
            "name": slice_name(service, family),
            "namespace": NAMESPACE,
            "labels": BTreeMap::from([
                ("kubernetes.io/service-name", service),
                ("endpointslice.kubernetes.io/managed-by", "onehop.dev"),
            ]),
        },
        "addressType": family.api_name(),
        "endpoints": endpoints(family, world, backends),
        "ports": [{"name": "", "protocol": "TCP", "port": target_port}],
    })
}

fn endpoints(family: Family, world: &World, backends: &[Backend]) -> Vec<Value> {
    let endpoint = |backend: &Backend| {
        let pod = world
            .pod(&backend.pod)
            .expect("a case's backends are pods of its world");
        json!({
            "addresses": [pod.address.of(family)],
            "nodeName": pod.node,
            "conditions": {
                "ready": backend.ready,
                "serving": backend.serving,
                "terminating": backend.terminating,
            },
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name},
        })
    };
    backends.iter().map(endpoint).collect()
}

/// A typed object from JSON that this file wrote itself.
fn object<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("the lab's own objects are valid")
}

/// What the API has allocated to a Service.
///
/// # Errors
/// When it answered with something else than a dual-stack Service, which is what was asked for.
fn allocated(service: &Service) -> kube::Result<Allocated> {
    let spec = service.spec.clone().unwrap_or_default();
    let port = |number: Option<i32>| number.and_then(|n| u16::try_from(n).ok());
    let ingress: Vec<String> = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_ref())
        .map(|ingress| ingress.iter().filter_map(|i| i.ip.clone()).collect())
        .unwrap_or_default();
    let first_port = spec
        .ports
        .as_ref()
        .and_then(|ports| ports.first())
        .and_then(|p| p.node_port);
    let cluster_ips = spec.cluster_ips.unwrap_or_default();
    let cluster_ip = dual(&cluster_ips).ok_or_else(|| {
        let given = if cluster_ips.is_empty() {
            "none".to_owned()
        } else {
            cluster_ips.join(", ")
        };
        let problem = format!(
            "the API gave a dual-stack Service no ClusterIP of each family, but {given}; the \
             lab needs an API with service addresses of both families"
        );
        kube::Error::Service(problem.into())
    })?;
    Ok(Allocated {
        cluster_ip,
        node_port: port(first_port).filter(|port| *port != 0),
        health_check_node_port: port(spec.health_check_node_port).filter(|port| *port != 0),
        vip: dual(&ingress),
    })
}

/// The addresses of both families, if there is one of each.
fn dual(addresses: &[String]) -> Option<Dual> {
    let mut found = (None, None);
    for address in addresses {
        match address.parse() {
            Ok(std::net::IpAddr::V4(v4)) => found.0 = Some(v4),
            Ok(std::net::IpAddr::V6(v6)) => found.1 = Some(v6),
            Err(_) => {}
        }
    }
    Some(Dual {
        v4: found.0?,
        v6: found.1?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_addresses_of_both_families_is_an_error() {
        let service = |addresses: Value| -> Service {
            object(json!({"spec": {"clusterIPs": addresses, "ports": [{"port": 80}]}}))
        };
        let given = allocated(&service(json!(["10.96.0.9", "fd00:10:96::9"])));
        let given = given.expect("one of each family");
        assert_eq!(given.cluster_ip.v4.to_string(), "10.96.0.9");
        assert_eq!((given.node_port, given.vip), (None, None));
        for (addresses, text) in [(json!(["10.96.0.9"]), "10.96.0.9;"), (json!([]), "none;")] {
            let error = allocated(&service(addresses)).expect_err("one is missing");
            let error = crate::error::chain(&error);
            assert!(error.contains(text), "{error}");
        }
    }
}
