//! What the API says, as it says it. Nothing is kept here: every object goes on as soon as it is read.
//!
//! Each kind has one watch. It lists in pages, then follows; it goes on from where it was when its
//! connection ends, lists anew when the server has forgotten where that was, and pauses longer and
//! longer while the API is away. Whoever listens keeps what it knows meanwhile.

mod client;
mod fields;
mod pauses;
mod read;

use std::future::ready;
use std::time::Instant;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};

use crate::model::ObjectName;
use pauses::Pauses;

pub use client::{ClientError, Connection, connect};
pub use fields::Brief;
pub use read::Read;

#[cfg(test)]
mod tests;

/// Objects of one page of a list: what is held at once of a cluster's objects.
const PAGE: u32 = 500;
/// How long the server keeps a watch open, in seconds. A server that ends it later is taken for dead.
const WATCH_SECONDS: u32 = 290;

/// Services of another proxy (`service.kubernetes.io/service-proxy-name`) are not this one's.
const OWN_SERVICES: &str = "!service.kubernetes.io/service-proxy-name";
/// Headless Services have no addresses.
const WITH_ADDRESS: &str = "spec.clusterIP!=None";
/// Nor do their endpoints matter.
const WITH_SERVICE_ADDRESS: &str = "!service.kubernetes.io/headless";

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// The Node that the proxy runs on.
    Node,
    /// ServiceCIDRs.
    ServiceCidrs,
}

impl Kind {
    /// How the API's users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::EndpointSlices => "EndpointSlices",
            Self::Node => "Node",
            Self::ServiceCidrs => "ServiceCIDRs",
        }
    }
}

/// Something that the API said.
#[derive(Debug)]
pub enum Observed {
    /// About a Service.
    Service(Change<Service>),
    /// About an EndpointSlice.
    Slice(Change<EndpointSlice>),
    /// About this node.
    Node(Change<Node>),
    /// About a ServiceCIDR.
    ServiceCidr(Change<ServiceCIDR>),
    /// A watch broke. It is repeated after a pause.
    Broken {
        /// Which.
        kind: Kind,
        /// Why.
        error: watcher::Error,
        /// It had not worked since it broke before.
        again: bool,
    },
    /// A watch that was broken works again.
    Healed(Kind),
}

/// What happened to the objects of one kind.
#[derive(Debug)]
pub enum Change<K> {
    /// A list begins: objects follow, and those that are not among them are gone once it ends.
    Listing,
    /// An object, listed or changed.
    Applied(Box<K>),
    /// The list has ended.
    Listed,
    /// An object is gone, or is selected no more.
    Deleted(ObjectName),
    /// An object that cannot be read: as if it were not there, until it is changed.
    Unreadable {
        /// Its name.
        name: ObjectName,
        /// What is wrong with it.
        error: String,
    },
}

/// Watches all that a proxy needs, for ever.
pub fn observe(client: &Client, node: &str) -> impl Stream<Item = Observed> + use<> {
    let config = || Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    let services = config().labels(OWN_SERVICES).fields(WITH_ADDRESS);
    let slices = config().labels(WITH_SERVICE_ADDRESS);
    #[cfg(feature = "faults")]
    let [services, slices] = [services, slices].map(crate::faults::watched);
    let own = config().fields(&format!("metadata.name={node}"));
    stream::select_all([
        watch(client, own, Kind::Node, Observed::Node),
        watch(client, services, Kind::Services, Observed::Service),
        watch(client, slices, Kind::EndpointSlices, Observed::Slice),
        watch(client, config(), Kind::ServiceCidrs, Observed::ServiceCidr),
    ])
}

/// Watches one kind.
fn watch<K>(
    client: &Client,
    config: Config,
    kind: Kind,
    observed: fn(Change<K>) -> Observed,
) -> BoxStream<'static, Observed>
where
    K: Brief + Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
{
    let api: Api<Read<K>> = Api::all(client.clone());
    let (mut broken, mut pauses) = (false, Pauses::default());
    watcher::watcher(api, config)
        .flat_map(move |event| {
            let again = broken;
            // That a list is asked for does not prove that there is an answer.
            broken = event.is_err() || (broken && matches!(event, Ok(Event::Init)));
            let healed = (again && !broken).then_some(Observed::Healed(kind));
            let (said, pause) = match event {
                Ok(event) => (observed(change(event)), None),
                Err(error) => {
                    let pause = pauses.after(&error, Instant::now());
                    (Observed::Broken { kind, error, again }, Some(pause))
                }
            };
            // The watch is not asked again before the pause has passed.
            let rest = stream::iter(pause).then(tokio::time::sleep);
            stream::iter(healed.into_iter().chain([said])).chain(rest.filter_map(|()| ready(None)))
        })
        .boxed()
}

/// What an event says.
pub(crate) fn change<K: Resource<DynamicType = ()>>(event: Event<Read<K>>) -> Change<K> {
    match event {
        Event::Init => Change::Listing,
        Event::InitDone => Change::Listed,
        Event::Delete(object) => Change::Deleted(object.name()),
        Event::Apply(object) | Event::InitApply(object) => {
            let name = object.name();
            match object {
                Read::Object(object) => Change::Applied(object),
                Read::Unreadable { error, .. } => Change::Unreadable { name, error },
            }
        }
    }
}
