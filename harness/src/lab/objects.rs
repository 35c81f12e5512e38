//! The Kubernetes objects of a world, and those of a case's Service.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::documents::{
    HEADLESS, SERVICE_LABEL, endpoints, external_ips, node_object, pod_object, service_object,
    slice_name, slice_object, slices_of,
};
use crate::case::{Backend, Families, IpMode, SERVICE_PORT, Service as Spec, TaintEffect};
use crate::world::{Dual, Family, World};

/// The label of a node that says its zone.
pub(crate) const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The namespace of every object that belongs to one.
pub const NAMESPACE: &str = "onehop";

/// A Service of a case as the API has allocated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Its families.
    pub families: Vec<Family>,
    /// Its ClusterIPs; none of a headless one. That of a family which it does not have is the unspecified one, as all
    /// addresses here are.
    pub cluster_ip: Option<Dual>,
    /// Its health check node port, where it has one.
    pub health_check_node_port: Option<u16>,
    /// Its load-balancer address, once the load balancer has given it one.
    pub vip: Option<Dual>,
    /// Its second one, if it has two.
    pub other_vip: Option<Dual>,
    /// Its ports, in the order of its spec.
    pub ports: Vec<AllocatedPort>,
    /// Its external addresses.
    pub external_ips: Vec<IpAddr>,
}

/// A port of a Service as the API has allocated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatedPort {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// Its node port, where it has one.
    pub node_port: Option<u16>,
}

impl Allocated {
    /// The node port of its first port, where it has one.
    pub fn node_port(&self) -> Option<u16> {
        self.ports.first()?.node_port
    }

    /// The port of this name; the first for the empty name.
    pub fn port(&self, name: &str) -> Option<&AllocatedPort> {
        let mut ports = self.ports.iter();
        ports.find(|port| name.is_empty() || port.name == name)
    }
}

/// EndpointSlices by their family and number.
type Slices = BTreeSet<(Family, u16)>;

/// The API of a lab, as far as the harness uses it.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    families: Vec<Family>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    /// Objects are read and written through this client. Services are of these families, the
    /// cluster's own.
    pub fn new(client: Client, families: &[Family]) -> Self {
        let families = families.to_vec();
        Self { client, families }
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

    /// Tells each Node its zone, as a cloud does some time after the node has joined.
    ///
    /// That is done once its proxy runs. kube-proxy as it starts takes in its Node before the part
    /// is registered that wants the zone (`NewNodeTopologyConfig` and `RegisterEventHandler` in its
    /// `server.go`), loses that now and then, and knows no zone until the label changes.
    pub(crate) async fn label_zones(&self, world: &World) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for node in &world.nodes {
            let labels = json!({ ZONE_LABEL: node.zone });
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            nodes
                .patch(&node.object, &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// Gives a Node object this taint alone, or none: a key and an effect.
    pub(crate) async fn taint_node(
        &self,
        node: &str,
        taint: Option<(&str, TaintEffect)>,
    ) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let taints =
            taint.map(|(key, effect)| json!([{ "key": key, "effect": effect.api_name() }]));
        let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
        nodes.patch(node, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Creates a Service and its EndpointSlices, of each family. Its backends listen on
    /// [`target_port`](super::target_port)s of this first one.
    pub async fn create_service(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        backends: &[Backend],
        first_port: u16,
    ) -> kube::Result<Allocated> {
        for (family, slice) in slices_of(backends, &spec.families.of(&self.families)) {
            let slice = slice_object(name, spec, (family, slice), world, backends, first_port);
            let slices = self.slices();
            slices
                .create(&PostParams::default(), &object(slice))
                .await?;
        }
        let service = service_object(name, spec, world, &self.families);
        self.create_service_object(service, spec, world, first_port)
            .await
    }

    /// Creates a Service that selects pods by a label. Its EndpointSlices are up to the cluster.
    pub(crate) async fn create_selecting_service(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        (label, value): (&str, &str),
        first_port: u16,
    ) -> kube::Result<Allocated> {
        let mut service = service_object(name, spec, world, &self.families);
        service["spec"]["selector"] = json!({ label: value });
        self.create_service_object(service, spec, world, first_port)
            .await
    }

    async fn create_service_object(
        &self,
        mut service: Value,
        spec: Spec,
        world: &World,
        first_port: u16,
    ) -> kube::Result<Allocated> {
        if spec.external_ips {
            let addresses = external_ips(world, first_port);
            let both = addresses.iter().flat_map(|dual| dual.both());
            let own = both.filter(|ip| self.families.contains(&Family::of(*ip)));
            let addresses: Vec<_> = own.collect();
            service["spec"]["externalIPs"] = json!(addresses);
        }
        let service = object(service);
        let created = self
            .services()
            .create(&PostParams::default(), &service)
            .await?;
        self.allocated(&created)
    }

    /// Changes a Service by a merge patch of its spec.
    pub async fn patch_service(&self, name: &str, spec: Value) -> kube::Result<Allocated> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let patched = self
            .services()
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        self.allocated(&patched)
    }

    /// Sets or removes a label of a Service.
    pub async fn label_service(
        &self,
        name: &str,
        label: &str,
        value: Option<&str>,
    ) -> kube::Result<Allocated> {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { label: value } } }));
        let services = self.services();
        self.allocated(
            &services
                .patch(name, &PatchParams::default(), &patch)
                .await?,
        )
    }

    /// Sets `ipMode` of a Service's load-balancer addresses.
    pub async fn set_ip_mode(
        &self,
        name: &str,
        addresses: Dual,
        mode: IpMode,
    ) -> kube::Result<Allocated> {
        let own = addresses.both().into_iter();
        let own = own.filter(|ip| !ip.is_unspecified());
        let ingress: Vec<_> = own
            .map(|ip| json!({ "ip": ip, "ipMode": mode.api_name() }))
            .collect();
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let (services, patch) = (self.services(), Patch::Merge(status));
        let patched = services
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        self.allocated(&patched)
    }

    /// Replaces the endpoints of a Service: changes, adds and removes EndpointSlices, of which
    /// there were `before`.
    pub async fn replace_backends(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        (before, backends): (&[Backend], &[Backend]),
        first_port: u16,
    ) -> kube::Result<()> {
        let families = &spec.families.of(&self.families);
        let (old, new) = (slices_of(before, families), slices_of(backends, families));
        self.replace_slices(name, spec, world, (&old, &new), backends, first_port)
            .await
    }

    /// Sets the families of a Service, and then its EndpointSlices, in that order: their controller goes by the Service.
    /// It had those of `before`, of which the first stays.
    pub async fn set_families(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        (before, backends): (Families, &[Backend]),
        first_port: u16,
    ) -> kube::Result<Allocated> {
        // The API adds the second family and its address by itself, and takes them away.
        let policy = spec.families.policy(self.families.len());
        let patched = self
            .patch_service(name, json!({ "ipFamilyPolicy": policy }))
            .await?;
        let slices = |families: Families| slices_of(backends, &families.of(&self.families));
        let (old, new) = (slices(before), slices(spec.families));
        self.replace_slices(name, spec, world, (&old, &new), backends, first_port)
            .await?;
        Ok(patched)
    }

    async fn replace_slices(
        &self,
        name: &str,
        spec: Spec,
        world: &World,
        (old, new): (&Slices, &Slices),
        backends: &[Backend],
        first_port: u16,
    ) -> kube::Result<()> {
        let slices = self.slices();
        for (family, slice) in new {
            let id = (*family, *slice);
            let object_name = slice_name(name, *family, *slice);
            if old.contains(&id) {
                let endpoints = endpoints(id, world, backends);
                let patch = Patch::Merge(json!({ "endpoints": endpoints }));
                slices
                    .patch(&object_name, &PatchParams::default(), &patch)
                    .await?;
            } else {
                let slice = slice_object(name, spec, id, world, backends, first_port);
                slices
                    .create(&PostParams::default(), &object(slice))
                    .await?;
            }
        }
        for (family, slice) in old.difference(new) {
            let object_name = slice_name(name, *family, *slice);
            slices
                .delete(&object_name, &DeleteParams::default())
                .await?;
        }
        Ok(())
    }

    /// The Service as it is now.
    pub async fn get_service(&self, name: &str) -> kube::Result<Allocated> {
        self.allocated(&self.services().get(name).await?)
    }

    /// Deletes a Service and its EndpointSlices. What is already gone is fine.
    pub async fn delete_service(&self, name: &str) -> kube::Result<()> {
        let gone = |result| match result {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        let deleted = self.services().delete(name, &DeleteParams::default()).await;
        gone(deleted.map(drop))?;
        let own = format!("{SERVICE_LABEL}={name}");
        let (slices, own) = (self.slices(), ListParams::default().labels(&own));
        for slice in slices.list(&own).await? {
            let name = slice.metadata.name.unwrap_or_default();
            let deleted = slices.delete(&name, &DeleteParams::default()).await;
            gone(deleted.map(drop))?;
        }
        Ok(())
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// What the API has allocated to a Service.
    ///
    /// # Errors
    /// When it answered with something else than a Service of the families that were asked for.
    fn allocated(&self, service: &Service) -> kube::Result<Allocated> {
        let spec = service.spec.clone().unwrap_or_default();
        let port = |number: Option<i32>| number.and_then(|n| u16::try_from(n).ok());
        let ingress: Vec<String> = service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref())
            .and_then(|balancer| balancer.ingress.as_ref())
            .map(|ingress| ingress.iter().filter_map(|i| i.ip.clone()).collect())
            .unwrap_or_default();
        let ports: Vec<_> = spec
            .ports
            .iter()
            .flatten()
            .map(|allocated| AllocatedPort {
                name: allocated.name.clone().unwrap_or_default(),
                number: port(Some(allocated.port)).unwrap_or(SERVICE_PORT),
                node_port: port(allocated.node_port).filter(|port| *port != 0),
            })
            .collect();
        let external_ips = spec.external_ips.iter().flatten();
        let cluster_ips = spec.cluster_ips.clone().unwrap_or_default();
        // An API that says nothing of families was to give addresses of all.
        let families = match spec.ip_families.as_deref() {
            None | Some([]) => self.families.clone(),
            Some(names) => {
                let named = |family: &Family| names.iter().any(|name| name == family.api_name());
                Family::ALL.into_iter().filter(named).collect()
            }
        };
        let cluster_ip = nth_dual(&cluster_ips, &families, 0);
        if cluster_ip.is_none() && cluster_ips != [HEADLESS] {
            let given = if cluster_ips.is_empty() {
                "none".to_owned()
            } else {
                cluster_ips.join(", ")
            };
            let wanted: Vec<_> = families.iter().map(ToString::to_string).collect();
            let problem = format!(
                "the API gave a Service no ClusterIP of {}, but {given}; the lab needs an API with \
                 service addresses of all families of its nodes",
                wanted.join(" and ")
            );
            return Err(kube::Error::Service(problem.into()));
        }
        Ok(Allocated {
            cluster_ip,
            health_check_node_port: port(spec.health_check_node_port).filter(|port| *port != 0),
            vip: nth_dual(&ingress, &families, 0),
            other_vip: nth_dual(&ingress, &families, 1),
            families,
            external_ips: external_ips.filter_map(|ip| ip.parse().ok()).collect(),
            ports,
        })
    }
}

/// The nth addresses of these families, from 0 on, if there is one of each. That of any other is the unspecified one.
fn nth_dual(addresses: &[String], families: &[Family], nth: usize) -> Option<Dual> {
    let addresses: Vec<IpAddr> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
    let mut found = Dual {
        v4: Ipv4Addr::UNSPECIFIED,
        v6: Ipv6Addr::UNSPECIFIED,
    };
    for family in Family::ALL {
        let mut of_family = addresses
            .iter()
            .filter(|address| Family::of(**address) == family);
        match of_family.nth(nth) {
            Some(IpAddr::V4(v4)) => found.v4 = *v4,
            Some(IpAddr::V6(v6)) => found.v6 = *v6,
            None => {}
        }
    }
    let has = |family: &Family| !found.of(*family).is_unspecified();
    let all = !families.is_empty() && families.iter().all(has);
    all.then_some(found)
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

/// A typed object from JSON that onehop wrote itself.
pub(crate) fn object<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("the lab's own objects are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(families: &[Family]) -> Objects {
        let config = kube::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client that asks nobody");
        Objects::new(client, families)
    }

    fn service(addresses: &Value) -> Service {
        object(json!({"spec": {"clusterIPs": addresses, "ports": [{"port": 80}]}}))
    }

    #[tokio::test]
    async fn a_service_without_an_address_of_each_family_is_an_error() {
        let both = objects(&Family::ALL);
        let given = both.allocated(&service(&json!(["10.96.0.9", "fd00:10:96::9"])));
        let given = given.expect("one of each family");
        let cluster_ip = given.cluster_ip.expect("it is not headless");
        assert_eq!(cluster_ip.v4.to_string(), "10.96.0.9");
        assert_eq!((given.node_port(), given.vip), (None, None));
        for (addresses, text) in [(json!(["10.96.0.9"]), "10.96.0.9;"), (json!([]), "none;")] {
            let error = both.allocated(&service(&addresses));
            let error = crate::error::chain(&error.expect_err("one is missing"));
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn addresses_are_told_apart_by_their_families_and_their_order() {
        let addresses = ["198.51.100.1", "2001:db8::1", "198.51.100.2", "2001:db8::2"];
        let addresses = addresses.map(str::to_owned);
        let texts = |nth, families: &[Family]| {
            let both = nth_dual(&addresses, families, nth)?.both();
            Some(both.map(|address| address.to_string()))
        };
        let dual = |v4: &str, v6: &str| Some([v4.to_owned(), v6.to_owned()]);
        assert_eq!(texts(0, &Family::ALL), dual("198.51.100.1", "2001:db8::1"));
        assert_eq!(texts(1, &Family::ALL), dual("198.51.100.2", "2001:db8::2"));
        assert_eq!(texts(2, &Family::ALL), None);
        assert_eq!(nth_dual(&addresses[..3], &Family::ALL, 1), None);
        assert!(nth_dual(&addresses[..3], &[Family::V4], 1).is_some());
        assert_eq!(texts(0, &[]), None);
    }

    #[tokio::test]
    async fn a_service_of_one_family_has_no_address_of_the_other() {
        let mut service = service(&json!(["fd00:10:96::9"]));
        let spec = service.spec.as_mut().expect("a spec");
        spec.ip_families = Some(vec!["IPv6".to_owned()]);
        let given = objects(&Family::ALL).allocated(&service);
        let given = given.expect("one is enough");
        assert_eq!(given.families, [Family::V6]);
        let cluster_ip = given.cluster_ip.expect("it has one");
        assert!(cluster_ip.v4.is_unspecified() && !cluster_ip.v6.is_unspecified());
    }

    #[tokio::test]
    async fn a_service_of_a_cluster_of_one_family_needs_one_address() {
        let one = objects(&[Family::V4]);
        let given = one.allocated(&service(&json!(["10.96.0.9"])));
        let cluster_ip = given
            .expect("one is enough")
            .cluster_ip
            .expect("it has one");
        assert!(cluster_ip.v6.is_unspecified());
        assert!(one.allocated(&service(&json!(["fd00:10:96::9"]))).is_err());
    }
}
