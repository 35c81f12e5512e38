//! The way of hostile objects from bytes to plans, and what holds of every plan, for fuzzing and property tests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use kube::Resource;
use kube::core::{ObjectList, WatchEvent};
use kube::runtime::watcher::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conntrack;
use crate::dataplane::Stepwise;
use crate::index::Index;
use crate::model::{Family, ObjectName};
use crate::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan};
use crate::run::world::World;
use crate::watch::{self, Brief, Change, Observed, Read};

/// The name of the node that plans are made for.
pub const NODE: &str = "a";

/// Takes JSON values, one after the other, as an API server's answers: objects, lists of them (`items`) and events of a
/// watch (`type` and `object`). They go the way of [`crate::watch`] to an index for the node [`NODE`], and what they
/// touch is planned and put into the tables' elements. Their `kind` says what they are; without one, each kind is tried.
/// What is no JSON ends the input, and what is no list and no event of a kind is skipped.
///
/// # Panics
///
/// If a plan breaks a promise of [`crate::plan`]; see [`assert_sound`]. If the elements are not those of the plans.
/// Nothing else may panic.
#[must_use]
pub fn world(bytes: &[u8]) -> Index {
    let mut world = World::new(NODE, [].into());
    let mut elements = Stepwise::default();
    for value in serde_json::Deserializer::from_slice(bytes)
        .into_iter::<&RawValue>()
        .map_while(Result::ok)
    {
        for observed in answers(value.get()) {
            let concerns = world.observe(observed);
            let mut problems = concerns.problems.iter();
            assert!(problems.all(|problem| !problem.to_string().contains('\n')));
            for name in &concerns.touched {
                let plan = world.index.plan(name);
                if let Some(plan) = &plan {
                    assert_sound(plan, name);
                }
                elements.change(name, plan);
            }
        }
        elements.assert_in_step();
    }
    world.index
}

/// Reads answers of connection tracking; how many UDP flows they hold.
#[must_use]
pub fn conntrack(bytes: &[u8]) -> usize {
    conntrack::read_entries(bytes)
}

/// What a text says, by each kind that it may be.
fn answers(text: &str) -> Vec<Observed> {
    let mut observed = Vec::new();
    observed.extend(of_kind::<core::Service>(text).map(Observed::Service));
    observed.extend(of_kind::<discovery::EndpointSlice>(text).map(Observed::Slice));
    observed.extend(of_kind::<core::Node>(text).map(Observed::Node));
    observed.extend(of_kind::<networking::ServiceCIDR>(text).map(Observed::ServiceCidr));
    observed
}

/// What an answer says, if its kind is this one or not given.
fn of_kind<K>(text: &str) -> impl Iterator<Item = Change<K>>
where
    K: Brief + Resource<DynamicType = ()> + Clone,
{
    /// What tells an answer from another.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Form<'a> {
        kind: Option<String>,
        #[serde(borrow)]
        items: Option<&'a RawValue>,
        #[serde(borrow)]
        object: Option<&'a RawValue>,
    }
    fn kind(text: &str) -> Option<String> {
        serde_json::from_str::<Form<'_>>(text).ok()?.kind
    }

    let form: Form<'_> = serde_json::from_str(text).unwrap_or_default();
    let own = K::kind(&());
    let named = form.object.map_or(form.kind, |object| kind(object.get()));
    if named.is_some_and(|named| named.strip_suffix("List").unwrap_or(&named) != own) {
        return Vec::new().into_iter();
    }
    let events: Vec<Event<Read<K>>> = if form.items.is_some() {
        let list = serde_json::from_str::<ObjectList<Read<K>>>(text);
        let listed = list.into_iter().flat_map(|list| {
            let items = list.items.into_iter().map(Event::InitApply);
            [Event::Init]
                .into_iter()
                .chain(items)
                .chain([Event::InitDone])
        });
        listed.collect()
    } else if form.object.is_some() {
        let event = serde_json::from_str::<WatchEvent<Read<K>>>(text).ok();
        let event = event.and_then(|event| match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Apply(object)),
            WatchEvent::Deleted(object) => Some(Event::Delete(object)),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        });
        event.into_iter().collect()
    } else {
        let object = serde_json::from_str::<Read<K>>(text).ok();
        object.into_iter().map(Event::Apply).collect()
    };
    let changes: Vec<_> = events.into_iter().map(watch::change).collect();
    changes.into_iter()
}

/// What holds of every plan, whatever the world.
///
/// # Panics
///
/// If it does not.
pub fn assert_sound(plan: &ServicePlan, name: &ObjectName) {
    assert_eq!(plan.name, *name);
    let families: Vec<Family> = plan
        .cluster_ips
        .iter()
        .map(|address| Family::of(*address))
        .collect();
    assert!(
        is_ascending(&families),
        "cluster addresses, one a family: {:?}",
        plan.cluster_ips
    );
    let mut fronts = BTreeSet::new();
    for port in &plan.ports {
        assert!(
            families.contains(&port.family),
            "a family without a cluster address: {port:?}"
        );
        assert_port_sound(port);
        for Front {
            address,
            port: number,
            ..
        } in &port.fronts
        {
            let key = (port.family, address, number, port.protocol);
            assert!(fronts.insert(key), "two ports of {name} have {key:?}");
        }
    }
    if let Some(health) = &plan.health {
        assert!(
            health.local_endpoints.keys().eq(families.iter()),
            "{health:?} for {families:?}"
        );
    }
}

fn assert_port_sound(port: &PortPlan) {
    let PortPlan {
        cluster,
        local,
        serving,
        hairpins,
        fronts,
        ..
    } = port;
    for sockets in [cluster, local, serving] {
        assert!(is_ascending(sockets), "{port:?}");
        assert!(
            sockets
                .iter()
                .all(|socket| is_fit(socket.ip(), port.family) && socket.port() != 0),
            "{port:?}"
        );
    }
    assert!(is_ascending(hairpins), "{port:?}");
    let addresses: BTreeSet<IpAddr> = cluster
        .iter()
        .chain(local)
        .map(std::net::SocketAddr::ip)
        .collect();
    assert!(
        hairpins.iter().all(|address| addresses.contains(address)),
        "{port:?}"
    );
    assert!(is_ascending(fronts), "{port:?}");
    for front in fronts {
        assert!(
            front.port != 0 && (front.address.is_none() == (front.kind == FrontKind::NodePort)),
            "{port:?}"
        );
        assert!(
            front
                .address
                .is_none_or(|address| is_fit(address, port.family)),
            "{port:?}"
        );
        match front.handling {
            Handling::InternalCluster | Handling::ExternalCluster | Handling::ExternalLocal => {
                assert!(!cluster.is_empty(), "{port:?}");
            }
            Handling::InternalLocal => assert!(!local.is_empty(), "{port:?}"),
            Handling::Drop => assert_eq!(front.kind, FrontKind::ClusterIp, "{port:?}"),
            Handling::Reject => assert!(cluster.is_empty() && local.is_empty(), "{port:?}"),
        }
    }
    if let Some(ranges) = &port.source_ranges {
        assert!(!ranges.is_empty() && is_ascending(ranges), "{port:?}");
        assert!(
            ranges
                .iter()
                .all(|range| Family::of(range.addr()) == port.family && range.prefix_len() > 0)
        );
    }
}

fn is_ascending<T: PartialOrd>(list: &[T]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

fn is_fit(address: IpAddr, family: Family) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    Family::of(address) == family && !special && address.to_canonical() == address
}
