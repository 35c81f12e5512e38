//! The way of hostile objects from bytes to plans, and what holds of every plan, for fuzzing and property tests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use serde_json::Value;

use crate::index::{Index, Observed};
use crate::model::{Family, ObjectName};
use crate::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan};
use crate::watch::Brief;

/// The name of the node that plans are made for.
pub const NODE: &str = "a";

/// Applies JSON objects, one after the other, to an index for the node [`NODE`], and plans what they touch. Their
/// `kind` says what they are; without one, each kind is tried. What is no JSON ends the input, and what does not
/// deserialise is skipped, as a watch would.
///
/// # Panics
///
/// If a plan breaks a promise of [`crate::plan`]; see [`assert_sound`]. Nothing else may panic.
#[must_use]
pub fn world(bytes: &[u8]) -> Index {
    let mut index = Index::new(NODE);
    for value in serde_json::Deserializer::from_slice(bytes)
        .into_iter::<Value>()
        .map_while(Result::ok)
    {
        for observed in observe(&mut index, &value) {
            assert!(
                observed
                    .problems
                    .iter()
                    .all(|problem| !problem.to_string().contains('\n'))
            );
            for name in &observed.touched {
                if let Some(plan) = index.plan(name) {
                    assert_sound(&plan, name);
                }
            }
        }
    }
    index
}

/// Applies one object.
fn observe(index: &mut Index, value: &Value) -> Vec<Observed> {
    /// The object, if its kind is this one or not given.
    fn object<K: Brief>(value: &Value, kind: &str) -> Option<K> {
        let named = value.get("kind").and_then(Value::as_str);
        let mut value = value.clone();
        if named.is_none() {
            let object = value.as_object_mut()?;
            let version = match kind {
                "EndpointSlice" => "discovery.k8s.io/v1",
                "ServiceCIDR" => "networking.k8s.io/v1",
                _ => "v1",
            };
            object.insert("kind".to_owned(), kind.into());
            object.insert("apiVersion".to_owned(), version.into());
        } else if named != Some(kind) {
            return None;
        }
        let fields = serde_json::from_value::<K::Fields>(value);
        fields.ok().map(Into::into)
    }
    let mut observed = Vec::new();
    observed.extend(
        object::<core::Service>(value, "Service").map(|object| index.observe_service(&object)),
    );
    observed.extend(
        object::<discovery::EndpointSlice>(value, "EndpointSlice")
            .map(|object| index.observe_slice(&object)),
    );
    observed.extend(object::<core::Node>(value, "Node").map(|object| index.observe_node(&object)));
    observed.extend(
        object::<networking::ServiceCIDR>(value, "ServiceCIDR")
            .map(|object| index.observe_service_cidr(&object)),
    );
    observed
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
