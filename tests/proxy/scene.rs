//! A lab with the bundled proxy, a Service of its own, and the ways to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onehop_harness::case::{
    Backend, Place, Port, SERVICE_PORT, Service as Spec, Target, external, pod,
};
use onehop_harness::lab::{
    Allocated, ApiKind, Lab, LabOptions, NAMESPACE, NodeProxy, ProxyUnderTest, target_port,
};
use onehop_harness::netns::Namespace;
use onehop_harness::prepare;
use onehop_harness::probe::{self, HttpOutcome};
use onehop_harness::timing::Timing;
use onehop_harness::world::{CLIENT_PUBLIC, Family, Protocol, World};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::echo;
use crate::traffic::{Route, try_once};

/// The node by which all traffic enters.
pub(crate) const NODE: &str = "vm2";
/// The good Service, which is called all the time.
pub(crate) const GOOD: &str = "good";
/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

const PORTS: &[Port] = &[
    Port {
        name: "tcp",
        number: SERVICE_PORT,
        protocol: Protocol::Tcp,
    },
    Port {
        name: "udp",
        number: SERVICE_PORT,
        protocol: Protocol::Udp,
    },
];
/// The first port of the backends of all Services.
const FIRST_PORT: u16 = 20_001;
/// Every pod with a backend.
pub(crate) const PODS: [&str; 2] = ["web-0", "web-3"];

/// One lab.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    /// The ways to the good Service.
    pub(crate) routes: Vec<Route>,
    _backends: JoinSet<()>,
}

impl Scene {
    /// Builds a lab whose proxy is as the built-in profile says, and the good Service, and waits until it works.
    pub(crate) async fn build(name: &str) -> Result<Self, Failed> {
        Self::build_with(name, |_| ()).await
    }

    /// The same, with a change of the proxy under test.
    pub(crate) async fn build_with(
        name: &str,
        change: impl FnOnce(&mut ProxyUnderTest),
    ) -> Result<Self, Failed> {
        let mut proxy = prepare::proxy("bundled", None, &mut |_| {})?;
        change(&mut proxy);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("proxy")
            .join(name);
        let lab = Lab::start(LabOptions {
            world: World::story(),
            api: ApiKind::Embedded,
            proxy: Some(proxy),
            dir,
            timing: Timing::default(),
        });
        let lab = lab.await?;
        let mut backends = JoinSet::new();
        let ports = [0, 1].map(|position| target_port(FIRST_PORT, position, 0));
        for pod in PODS {
            echo::open(lab.netns().namespace(pod), ports.into(), &mut backends)?;
        }
        let mut scene = Self {
            lab,
            routes: Vec::new(),
            _backends: backends,
        };
        scene.routes = scene.serve(GOOD).await?;
        Ok(scene)
    }

    /// Makes a Service, and waits until it works. The ways to it: from a pod to its ClusterIP by IPv4, and from
    /// outside to its node port by IPv6.
    pub(crate) async fn serve(&self, name: &str) -> Result<Vec<Route>, Failed> {
        let service = self.create(name).await?;
        let routes = self.routes_of(&service)?;
        self.works(&routes).await?;
        Ok(routes)
    }

    /// Makes a Service, and does not wait.
    pub(crate) async fn create(&self, name: &str) -> Result<Allocated, Failed> {
        let (objects, world) = (self.lab.objects(), self.lab.world());
        let backends = backends(&PODS);
        let created = objects.create_service(name, spec(), world, &backends, FIRST_PORT);
        Ok(created.await?)
    }

    /// Writes the logging verbosity into the configuration file, and gives further arguments.
    pub(crate) fn with_verbosity(
        verbosity: u32,
        arguments: &[&str],
    ) -> impl FnOnce(&mut ProxyUnderTest) {
        move |proxy| {
            configure(proxy, &format!("logging:\n  verbosity: {verbosity}\n"));
            let arguments = arguments.iter().map(ToString::to_string);
            proxy.profile.netns.command.extend(arguments);
        }
    }

    /// Shortens `nftables.syncPeriod` to a second: `/healthz` is 503 once an update has waited for twice that.
    pub(crate) fn with_short_sync_period(proxy: &mut ProxyUnderTest) {
        configure(proxy, "nftables:\n  syncPeriod: 1s\n");
    }

    /// The ways to a Service.
    pub(crate) fn routes_of(&self, service: &Allocated) -> Result<Vec<Route>, Failed> {
        let node_port = Target::NodePort(NODE.to_owned());
        [
            (pod("client-vm2"), Target::ClusterIp, Family::V4),
            (external(CLIENT_PUBLIC), node_port, Family::V6),
        ]
        .into_iter()
        .map(|(from, target, family)| self.route(&from, &target, service, family))
        .collect()
    }

    fn route(
        &self,
        from: &Place,
        target: &Target,
        service: &Allocated,
        family: Family,
    ) -> Result<Route, Failed> {
        let to = |port| {
            let found = self.lab.resolve_port(target, port, service, family);
            found.ok_or_else(|| format!("the Service has no {target:?}"))
        };
        Ok(Route {
            from: self.lab.netns().namespace(from.host()).clone(),
            tcp: to("tcp")?,
            udp: to("udp")?,
        })
    }

    /// Waits until a Service works steadily.
    pub(crate) async fn works(&self, routes: &[Route]) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        let mut steady = 0;
        while steady < 10 {
            let mut tried = Ok(());
            for route in routes {
                tried = tried.and(try_once(route).await);
            }
            match tried {
                Ok(()) => steady += 1,
                Err(why) if Instant::now() > deadline => return Err(why.into()),
                Err(_) => {
                    steady = 0;
                    sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Replaces the endpoints of the good Service.
    pub(crate) async fn endpoints(&self, before: &[&str], after: &[&str]) -> Result<(), Failed> {
        let (before, after) = (backends(before), backends(after));
        let (objects, world) = (self.lab.objects(), self.lab.world());
        let replaced = objects.replace_backends(GOOD, spec(), world, (&before, &after), FIRST_PORT);
        Ok(replaced.await?)
    }

    pub(crate) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    pub(crate) fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client())
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.lab.objects().client().clone()
    }

    /// The namespace of the node by which traffic enters.
    pub(crate) fn node(&self) -> &Namespace {
        self.lab.netns().namespace(NODE)
    }

    /// The proxy on that node.
    pub(crate) fn proxy(&self) -> &NodeProxy {
        let mut proxies = self.lab.netns().proxies().iter();
        let found = proxies.find(|proxy| proxy.node() == NODE);
        found.expect("every node has a proxy")
    }

    /// Sends the proxy a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failed> {
        let process = self.proxy().process().ok_or("the proxy does not run")?;
        Ok(kill(Pid::from_raw(process.cast_signed()), signal)?)
    }

    /// Ends the proxy by a signal, and waits until it was started again and says that it is ready.
    pub(crate) async fn restart(&self, signal: Signal) -> Result<(), Failed> {
        let before = self.proxy().restarts();
        self.signal(signal)?;
        self.until("the proxy is started again", async || {
            self.proxy().restarts() > before
        })
        .await?;
        Ok(self.proxy().ready(self.lab.timing()).await?)
    }

    /// What the proxy has logged so far, of all its processes.
    pub(crate) fn log(&self) -> Result<String, Failed> {
        Ok(fs::read_to_string(self.proxy().log())?)
    }

    /// The status of a page of the proxy's health server.
    pub(crate) async fn status(&self, path: &str) -> Result<u16, Failed> {
        Ok(self.get(10256, path).await?.0)
    }

    /// Its metrics, by their names with labels.
    pub(crate) async fn metrics(&self) -> Result<BTreeMap<String, f64>, Failed> {
        let text = self.get(10249, "/metrics").await?.1;
        let metric = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(metric).collect())
    }

    async fn get(&self, port: u16, path: &str) -> Result<(u16, String), Failed> {
        let address = ([127, 0, 0, 1], port).into();
        match probe::get(self.node(), address, path, PATIENCE).await? {
            HttpOutcome::Answered(answer) => Ok((answer.status, answer.body)),
            other => Err(format!("{path} of {port}: {other:?}").into()),
        }
    }

    /// Waits until a page has a status.
    pub(crate) async fn becomes(&self, path: &str, status: u16) -> Result<(), Failed> {
        let what = format!("{path} is {status}");
        self.until(&what, async || {
            self.status(path).await.is_ok_and(|found| found == status)
        })
        .await
    }

    /// Waits until something holds.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), Failed> {
        self.within(PATIENCE, what, holds).await
    }

    /// Waits until something holds that may take a while.
    pub(crate) async fn within(
        &self,
        patience: Duration,
        what: &str,
        mut holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + patience;
        while !holds().await {
            if Instant::now() > deadline {
                let log = self.log().unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(10).collect();
                return Err(
                    format!("not within {patience:?}: {what}; the log ends {last:#?}").into(),
                );
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Creates a Service from JSON, and says whether the API took it.
    pub(crate) async fn admits_service(&self, service: Value) -> bool {
        let service = serde_json::from_value(service).expect("it has the fields of a Service");
        let (services, params) = (self.services(), PostParams::default());
        services.create(&params, &service).await.is_ok()
    }

    /// The same of an EndpointSlice.
    pub(crate) async fn admits_slice(&self, slice: Value) -> bool {
        let slice = serde_json::from_value(slice).expect("it has the fields of an EndpointSlice");
        let (slices, params) = (self.slices(), PostParams::default());
        slices.create(&params, &slice).await.is_ok()
    }
}

/// Adds to the proxy's configuration file.
fn configure(proxy: &mut ProxyUnderTest, fields: &str) {
    let config = proxy.profile.netns.files.get_mut("config.yaml");
    let config = config.expect("the built-in profile has one");
    config.push_str(fields);
}

fn spec() -> Spec {
    Spec::node_port().ports(PORTS)
}

fn backends(pods: &[&str]) -> Vec<Backend> {
    pods.iter().copied().map(Backend::ready).collect()
}
