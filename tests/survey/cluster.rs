//! A cluster of the story: an embedded API, and nodes whose health check ports are on 127.0.0.0/8.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{fs, process};

use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use onehop_apiserver::{ApiServer, Config};
use onehop_harness::control_plane::kubeconfig;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::server::Server;
use crate::support::{Ended, Home};
use crate::survey;

/// The health check node port of the story's Service.
const HEALTH_PORT: u16 = 32_001;
/// What kube-proxy answers on the health check node port of `shop/web`.
pub(crate) fn health(count: usize) -> Option<(u16, String)> {
    let body = json!({
        "service": {"namespace": "shop", "name": "web"},
        "localEndpoints": count,
        "serviceProxyHealthy": true,
    });
    Some((if count > 0 { 200 } else { 503 }, format!("{body:#}")))
}

/// A cluster of three nodes with addresses of its own: an embedded API, and a kubeconfig for it.
pub(crate) struct Cluster {
    home: Home,
    client: Client,
    runtime: Runtime,
    network: u8,
}

impl Cluster {
    /// The story: pods on vm1, none on vm2, two on vm3.
    pub(crate) fn story() -> Self {
        let cluster = Self::empty();
        cluster.serve("web", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH_PORT}));
        let pods = [
            ("web-0", "10.0.1.1", "vm1"),
            ("web-1", "10.0.3.1", "vm3"),
            ("web-2", "10.0.3.2", "vm3"),
        ];
        cluster.endpoints("web", &pods);
        cluster
    }

    fn empty() -> Self {
        static NETWORKS: AtomicU8 = AtomicU8::new(1);
        let runtime = Runtime::new().expect("a runtime");
        let home = Home::new();
        let (client, url) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a free port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let server = ApiServer::new(Config::default()).expect("the default is valid");
            tokio::spawn(server.serve(listener));
            let config = kube::Config::new(url.parse().expect("a URL"));
            (Client::try_from(config).expect("a client"), url)
        });
        fs::write(home.path().join("kubeconfig"), kubeconfig(&url, None)).expect("written");
        let cluster = Self {
            home,
            client,
            runtime,
            network: NETWORKS.fetch_add(1, Ordering::Relaxed),
        };
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        cluster.create(&namespaces, json!({"metadata": {"name": "shop"}}));
        for number in 1..=3 {
            cluster.node(number);
        }
        cluster
    }

    fn create<K>(&self, api: &Api<K>, object: Value)
    where
        K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).expect("a valid object");
        let created = self
            .runtime
            .block_on(api.create(&PostParams::default(), &object));
        created.expect("created");
    }

    fn in_shop<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "shop")
    }

    fn node(&self, number: u8) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = format!("vm{number}");
        self.create(&nodes, json!({"metadata": {"name": name}}));
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": self.address(number)}],
        }});
        let patch = Patch::Merge(status);
        let params = PatchParams::default();
        let patched = nodes.patch_status(&name, &params, &patch);
        self.runtime.block_on(patched).expect("patched");
    }

    /// The address of a node. Tests, and runs of them side by side, have different ones.
    fn address(&self, node: u8) -> Ipv4Addr {
        let run = u8::try_from(process::id() % 200).expect("below 200");
        Ipv4Addr::new(127, 10 + run, self.network, node)
    }

    pub(crate) fn serve(&self, name: &str, mut spec: Value) {
        spec["ports"] = json!([{"port": 80}]);
        spec["selector"] = json!({"app": name});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.create(&self.in_shop::<Service>(), object);
    }

    pub(crate) fn endpoints(&self, service: &str, pods: &[(&str, &str, &str)]) {
        let endpoint = |(name, address, node): &(&str, &str, &str)| json!({"addresses": [address], "nodeName": node, "targetRef": {"kind": "Pod", "name": name}});
        let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
        let slice = json!({
            "metadata": {"generateName": format!("{service}-"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        });
        self.create(&self.in_shop::<EndpointSlice>(), slice);
    }

    /// A server on the health check node port of this node.
    pub(crate) fn health(
        &self,
        node: u8,
        answers: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Server {
        Server::start((self.address(node), HEALTH_PORT).into(), answers)
    }

    pub(crate) fn survey(&self, arguments: &[&str]) -> Ended {
        survey(&self.home, &[&["--context", "onehop"], arguments].concat())
    }

    /// Its one document, of a survey that succeeds.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.survey(&[&["--format", "json"], arguments].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).expect("one JSON document")
    }
}
