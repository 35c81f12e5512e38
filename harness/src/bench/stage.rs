//! A lab of one node, for measuring: a network, an API full of Services, one proxy. It has no taps
//! and no load balancer, which would use the processors that the proxy is measured on.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams};
use onehop_apiserver::ApiServer;

use super::error::BenchError;
use super::population::{Member, NODE, TARGET_PORT, networks};
use super::process;
use super::responder::Responder;
use super::wait::{Impatience, Patience, Stop, Target, until_right};
use crate::lab::{
    ApiKind, LabApi, NAMESPACE, NodeProxy, Objects, ProxyUnderTest, SERVICE_PORT, directory,
    placeholders,
};
use crate::netns::{API, Namespace, Network};
use crate::timing::Timing;
use crate::world::{Family, World};

/// The pod that calls.
const CLIENT: &str = "client";
/// The pod behind every endpoint.
const WEB: &str = "web";
/// How often it is looked whether the proxy still runs.
const WATCH: Duration = Duration::from_millis(100);

/// What stages have in common.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// A directory for the stages.
    pub(super) dir: PathBuf,
    pub(super) family: Family,
    /// How long anything may take.
    pub(super) patience: Duration,
}

/// A Service of a stage.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) member: Member,
    remote: SocketAddr,
    generation: u32,
    /// Just before the Service was created; its endpoints were there by then.
    pub(super) created: Instant,
}

impl Served {
    /// What a prober is to find, as the endpoints are now.
    pub(super) fn target(&self, family: Family) -> Target {
        Target {
            name: self.member.name.clone(),
            remote: self.remote,
            right: self.member.endpoints(family, self.generation),
        }
    }

    /// Gives it other endpoints, which are still to be written.
    pub(super) fn next_generation(&mut self) -> u32 {
        self.generation += 1;
        self.generation
    }
}

/// A running stage. Everything in it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    // Fields are dropped in this order: what uses the network goes before the network.
    proxy: Option<NodeProxy>,
    name: String,
    _responder: Responder,
    objects: Objects,
    server: ApiServer,
    api: LabApi,
    caller: Namespace,
    network: Network,
    world: World,
    setting: Setting,
    /// The Services that are only there.
    pub(super) present: Vec<Served>,
    /// The Services that change.
    pub(super) changing: Vec<Served>,
}

impl Stage {
    /// Builds a stage with this many Services, and no proxy.
    pub(super) async fn build(
        name: &str,
        setting: &Setting,
        services: u32,
    ) -> Result<Self, BenchError> {
        let dir = setting.dir.join(name);
        directory::make_empty(&dir)?;
        let setting = Setting {
            dir,
            ..setting.clone()
        };
        let mut world = World::with_nodes(1);
        for pod in [CLIENT, WEB] {
            world.add_pod(pod, NODE);
        }
        let network = Network::build(&world).await?;
        let host = |name: &str| network.host(name).expect("it is in the world");
        let web = world.pod(WEB).expect("it was just added").address;
        for (endpoints, gateway) in networks().into_iter().zip(web.both()) {
            // By way of the pod: as neighbours of the node, thousands of endpoints would be more
            // than the kernel keeps.
            host(NODE).route(endpoints, Some(gateway), WEB).await?;
            host(WEB).own(endpoints).await?;
        }
        let responder = Responder::start(host(WEB).namespace())
            .map_err(BenchError::socket("open the endpoints"))?;
        let caller = host(CLIENT).namespace().clone();
        // Callers that do not choose a port themselves have more of them than by default.
        caller
            .sysctl(&[("net/ipv4/ip_local_port_range", "1024 65000")])
            .map_err(BenchError::socket("set the ports"))?;
        let timing = Timing::default();
        let api_host = host(API).namespace();
        let api_dir = setting.dir.join("api");
        let (api, client) = LabApi::start(&ApiKind::Embedded, api_host, &api_dir, &timing).await?;
        let objects = Objects::new(client, &Family::ALL);
        objects
            .create_world(&world)
            .await
            .map_err(BenchError::object("create the world"))?;
        let server = api.embedded().expect("it is embedded").clone();
        let mut stage = Self {
            proxy: None,
            name: name.to_owned(),
            _responder: responder,
            objects,
            server,
            api,
            caller,
            network,
            world,
            setting,
            present: Vec::new(),
            changing: Vec::new(),
        };
        stage.present = stage.add((0..services).map(Member::present)).await?;
        stage.carried().await?;
        Ok(stage)
    }

    /// Waits until the new network carries packets, for which the kernel takes its time.
    async fn carried(&self) -> Result<(), BenchError> {
        let Some(service) = self.present.first() else {
            return Ok(());
        };
        let right = service.member.endpoints(self.family(), service.generation);
        let endpoint = Target {
            name: "an endpoint without a proxy".to_owned(),
            remote: SocketAddr::new(right[0], TARGET_PORT),
            right,
        };
        let carried = self.wait(move |patience| until_right(&endpoint, 1, patience));
        carried.await.map(drop)
    }

    /// The name of its proxy.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The family of everything here.
    pub(super) fn family(&self) -> Family {
        self.setting.family
    }

    /// Starts the proxy, and says when.
    pub(super) fn start_proxy(&mut self, proxy: &ProxyUnderTest) -> Result<Instant, BenchError> {
        let node = self.world.node(NODE).expect("the node of every stage");
        let dir: &Path = &self.setting.dir;
        let values = placeholders(node, &proxy.program.path, &self.api, dir);
        let host = self.network.host(NODE).expect("the node of every stage");
        self.name.clone_from(&proxy.profile.name);
        let started = Instant::now();
        let timing = Timing::default();
        self.proxy = Some(NodeProxy::start(
            &proxy.profile,
            &values,
            host.namespace(),
            &timing,
        )?);
        Ok(started)
    }

    /// The proxy's process.
    ///
    /// # Panics
    /// When no proxy was started.
    pub(super) fn process(&self) -> u32 {
        let proxy = self.proxy.as_ref().expect("a proxy was started");
        proxy.process().expect("its process was started")
    }

    /// Creates Services with their endpoints, without HTTP.
    pub(super) async fn add(
        &self,
        members: impl Iterator<Item = Member> + Send + 'static,
    ) -> Result<Vec<Served>, BenchError> {
        let (server, family) = (self.server.clone(), self.family());
        let work = move || {
            members
                .map(|member| create(&server, member, family))
                .collect()
        };
        tokio::task::spawn_blocking(work)
            .await
            .expect("writing objects does not panic")
    }

    /// Writes the endpoints of these Services as they are now, without HTTP and without a pause.
    pub(super) async fn replace(&self, services: &[Served]) -> Result<(), BenchError> {
        let (server, family) = (self.server.clone(), self.family());
        let slices = services.iter().flat_map(|service| {
            let slices = service.member.slices(family, service.generation);
            slices
                .into_iter()
                .map(|slice| (service.member.name.clone(), slice))
        });
        let slices: Vec<_> = slices.collect();
        let work = move || {
            slices.into_iter().try_for_each(|(name, slice)| {
                let done = server.replace(slice).map(drop);
                done.map_err(|source| BenchError::Refused { name, source })
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .expect("writing objects does not panic")
    }

    /// Writes the endpoint of one Service as it is now, over HTTP, as a controller would.
    pub(super) async fn patch(&self, service: &Served) -> Result<(), BenchError> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.objects.client().clone(), NAMESPACE);
        let (name, patch) = service.member.patch(self.family(), service.generation);
        slices
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .map_err(BenchError::object(format!("change {name}")))
    }

    /// Runs work on a thread of its own in the client's namespace, for as long as somebody waits
    /// for it and the proxy runs.
    pub(super) async fn in_client<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, BenchError> {
        struct Guard(Stop);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let stop = Stop::default();
        let _guard = Guard(stop.clone());
        let caller = self.caller.clone();
        let work = tokio::task::spawn_blocking(move || caller.within(|| work(&stop)));
        tokio::select! {
            done = work => done
                .expect("a prober does not panic")
                .map_err(BenchError::socket("enter the client")),
            exit = self.exited() => Err(exit),
        }
    }

    /// Waits in the client's namespace for what `wait` waits for.
    pub(super) async fn wait<T: Send + 'static>(
        &self,
        wait: impl FnOnce(&Patience) -> Result<T, Impatience> + Send + 'static,
    ) -> Result<T, BenchError> {
        let limit = self.setting.patience;
        let waited = self.in_client(move |stop| {
            wait(&Patience {
                limit,
                stop: stop.clone(),
            })
        });
        waited.await?.map_err(|impatience| match impatience {
            Impatience::TooLong { what, last } => BenchError::Unsettled {
                proxy: self.name.clone(),
                what,
                after: limit,
                last,
            },
            Impatience::Io(source) => BenchError::socket("open a connection")(source),
            Impatience::Stopped => unreachable!("it is stopped when nobody waits for it"),
        })
    }

    /// Comes back when the proxy has exited.
    async fn exited(&self) -> BenchError {
        loop {
            if let Some(exit) = self.proxy.as_ref().and_then(NodeProxy::exits) {
                return BenchError::Exited {
                    proxy: self.name.clone(),
                    exit: Box::new(exit),
                };
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    /// Waits until the proxy does nothing any more.
    pub(super) async fn at_rest(&self) {
        process::at_rest(self.process()).await;
    }

    /// Stops the proxy until it is thawed.
    pub(super) fn freeze(&self) {
        process::freeze(self.process());
    }

    /// Lets the proxy go on, and waits until it has caught up.
    pub(super) async fn thaw(&self) {
        process::thaw(self.process());
        self.at_rest().await;
    }

    /// For a connection that failed while nothing changed.
    pub(super) fn failed(&self, source: std::io::Error) -> BenchError {
        BenchError::Failed {
            proxy: self.name.clone(),
            source,
        }
    }
}

/// Creates the endpoints, then the Service.
fn create(server: &ApiServer, member: Member, family: Family) -> Result<Served, BenchError> {
    let refused = |source| BenchError::Refused {
        name: member.name.clone(),
        source,
    };
    for slice in member.slices(family, 0) {
        server.create(slice).map_err(refused)?;
    }
    let created = Instant::now();
    let service = server.create(member.service(family)).map_err(refused)?;
    let address = service["spec"]["clusterIP"].as_str();
    let address: Option<IpAddr> = address.and_then(|text| text.parse().ok());
    let address = address.expect("the embedded API gives every Service an address");
    Ok(Served {
        remote: SocketAddr::new(address, SERVICE_PORT),
        member,
        generation: 0,
        created,
    })
}
