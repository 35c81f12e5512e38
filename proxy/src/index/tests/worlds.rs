//! Any world, by any way to it.

use super::{list_services, list_slices};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::{Index, Touched};
use crate::fuzzing::assert_sound;
use crate::model::{
    Endpoint, Family, Node, ObjectName, Policy, Protocol, Service, ServicePort, Slice, SlicePort,
};
use crate::plan::{self, ServicePlan};

/// The node that plans are made for.
const HERE: &str = "a";

#[derive(Clone, Debug)]
enum Change {
    ApplyService(Service),
    DeleteService(ObjectName),
    ReplaceServices(Vec<Service>),
    ApplySlice(Arc<str>, Slice),
    DeleteSlice(ObjectName),
    ReplaceSlices(Vec<(Arc<str>, Slice)>),
    ApplyNode(Node),
}

fn object_name(prefix: &'static str) -> impl Strategy<Value = ObjectName> {
    (prop::sample::select(vec!["m", "n"]), 0..4).prop_map(move |(namespace, at)| ObjectName {
        namespace: namespace.into(),
        name: format!("{prefix}{at}").into(),
    })
}

fn word(of: &'static [&'static str]) -> impl Strategy<Value = Box<str>> {
    prop::sample::select(of).prop_map(Into::into)
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

fn address(family: Family) -> impl Strategy<Value = IpAddr> {
    (1..6_u8).prop_map(move |last| match family {
        Family::V4 => IpAddr::from([10, 0, 0, last]),
        Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)]),
    })
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    btree_set(family().prop_flat_map(address), 0..4).prop_map(|set| set.into_iter().collect())
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Udp])
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![Policy::Cluster, Policy::Local])
}

fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let conditions = (any::<bool>(), any::<bool>(), any::<bool>());
    let zones = btree_set(word(&["x", "y"]), 0..3);
    let nodes = btree_set(word(&[HERE, "b"]), 0..3);
    (
        address(family),
        option::of(word(&[HERE, "b"])),
        conditions,
        zones,
        nodes,
    )
        .prop_map(
            |(address, node, (ready, serving, terminating), zones, nodes)| Endpoint {
                address,
                node,
                ready,
                serving,
                terminating,
                zones,
                nodes,
            },
        )
}

fn slice() -> impl Strategy<Value = (Arc<str>, Slice)> {
    let port =
        (word(&["", "http"]), protocol(), 1..3_u16).prop_map(|(name, protocol, port)| SlicePort {
            name,
            protocol,
            port,
        });
    let ports = vec(port, 0..3);
    let name = (0..4).prop_map(|at| Arc::<str>::from(format!("slice{at}")));
    (name, object_name("web"), family(), ports).prop_flat_map(|(name, service, family, ports)| {
        vec(endpoint(family), 0..5).prop_map(move |endpoints| {
            (
                name.clone(),
                Slice {
                    service: service.clone(),
                    family,
                    ports: ports.clone(),
                    endpoints,
                },
            )
        })
    })
}

fn service() -> impl Strategy<Value = Service> {
    let port = (
        word(&["", "http"]),
        protocol(),
        option::of(30000..30003_u16),
    );
    // What the reader promises: no two ports of a Service have the same name, number or node port.
    let ports = vec(port, 0..3).prop_map(|ports| {
        let port =
            |(at, (name, protocol, node_port)): (usize, (Box<str>, Protocol, Option<u16>))| {
                let at = u16::try_from(at).unwrap();
                (
                    ServicePort {
                        name,
                        protocol,
                        port: 80 + at,
                        node_port: node_port.map(|number| number + 10 * at),
                    },
                    protocol,
                )
            };
        let mut ports: Vec<_> = ports.into_iter().enumerate().map(port).collect();
        ports.sort_by(|(a, _), (b, _)| (&a.name, a.protocol).cmp(&(&b.name, b.protocol)));
        ports.dedup_by(|(a, _), (b, _)| (&a.name, a.protocol) == (&b.name, b.protocol));
        ports.into_iter().map(|(port, _)| port).collect::<Vec<_>>()
    });
    let cluster_ips = prop::sample::subsequence(vec!["10.96.0.1", "fd00:96::1"], 0..=2)
        .prop_map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect());
    let ranges = prop::sample::subsequence(
        vec!["10.0.0.0/30", "10.0.0.4/32", "fd00::/16", "0.0.0.0/0"],
        0..=4,
    )
    .prop_map(|texts| {
        texts
            .iter()
            .map(|text| text.parse().unwrap())
            .collect::<Vec<IpNet>>()
    });
    let addresses = (cluster_ips, addresses(), addresses(), ranges);
    let settings = (
        policy(),
        policy(),
        option::of(1..100_u32),
        option::of(Just(32000)),
    );
    (object_name("web"), addresses, settings, ports).prop_map(
        |(name, (cluster_ips, external_ips, vips, source_ranges), settings, ports)| {
            let (external_policy, internal_policy, affinity, health_check_node_port) = settings;
            Service {
                name,
                cluster_ips,
                external_ips,
                vips,
                source_ranges,
                external_policy,
                internal_policy,
                affinity,
                health_check_node_port,
                ports,
            }
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let own = option::of(prop::sample::select(vec!["10.0.0.4", "10.96.0.1"]));
    (
        word(&[HERE, HERE, HERE, "b"]),
        option::of(word(&["x", "y"])),
        own,
    )
        .prop_map(|(name, zone, own)| Node {
            name,
            zone,
            addresses: own.iter().map(|text| text.parse().unwrap()).collect(),
            own_ports: [80].into(),
        })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => service().prop_map(Change::ApplyService),
        1 => object_name("web").prop_map(Change::DeleteService),
        1 => vec(service(), 0..5).prop_map(Change::ReplaceServices),
        6 => slice().prop_map(|(name, slice)| Change::ApplySlice(name, slice)),
        2 => object_name("slice").prop_map(Change::DeleteSlice),
        1 => vec(slice(), 0..5).prop_map(Change::ReplaceSlices),
        1 => node().prop_map(Change::ApplyNode),
    ]
}

fn apply(index: &mut Index, change: Change) -> Touched {
    match change {
        Change::ApplyService(service) => index.apply_service(service),
        Change::DeleteService(name) => index.delete_service(&name),
        Change::ReplaceServices(services) => list_services(index, services),
        Change::ApplySlice(name, slice) => index.apply_slice(&name, slice),
        Change::DeleteSlice(name) => index.delete_slice(&name),
        Change::ReplaceSlices(slices) => list_slices(index, slices),
        Change::ApplyNode(node) => index.apply_node(node),
    }
}

/// The same world, as plainly as can be.
#[derive(Clone, Debug, Default)]
struct World {
    node: Node,
    services: BTreeMap<ObjectName, Service>,
    slices: BTreeMap<ObjectName, Slice>,
}

impl World {
    fn apply(&mut self, change: Change) {
        let slice_name = |name: Arc<str>, slice: &Slice| ObjectName {
            namespace: slice.service.namespace.clone(),
            name,
        };
        match change {
            Change::ApplyService(service) => {
                drop(self.services.insert(service.name.clone(), service));
            }
            Change::DeleteService(name) => drop(self.services.remove(&name)),
            Change::ReplaceServices(services) => {
                self.services = services
                    .into_iter()
                    .map(|service| (service.name.clone(), service))
                    .collect();
            }
            Change::ApplySlice(name, slice) => {
                drop(self.slices.insert(slice_name(name, &slice), slice));
            }
            Change::DeleteSlice(name) => drop(self.slices.remove(&name)),
            Change::ReplaceSlices(slices) => {
                self.slices = slices
                    .into_iter()
                    .map(|(name, slice)| (slice_name(name, &slice), slice))
                    .collect();
            }
            Change::ApplyNode(node) if &*node.name == HERE => self.node = node,
            Change::ApplyNode(_) => {}
        }
    }

    /// Every Service, planned at once.
    fn plans(&self) -> BTreeMap<ObjectName, ServicePlan> {
        let plan = |service: &Service| {
            let slices: Vec<_> = self
                .slices
                .values()
                .filter(|slice| slice.service == service.name)
                .collect();
            plan::service(service, &slices, &self.node)
        };
        self.services
            .iter()
            .map(|(name, service)| (name.clone(), plan(service)))
            .collect()
    }
}

proptest! {
    #[test]
    fn planned_change_by_change_is_planned_at_once(changes in vec(change(), 0..40)) {
        let mut index = Index::new(HERE);
        let mut world = World { node: index.node().clone(), ..World::default() };
        let mut plans: BTreeMap<ObjectName, ServicePlan> = BTreeMap::new();
        for change in changes {
            world.apply(change.clone());
            for name in apply(&mut index, change.clone()) {
                match index.plan(&name) {
                    Some(plan) => drop(plans.insert(name, plan)),
                    None => drop(plans.remove(&name)),
                }
            }
            prop_assert_eq!(&plans, &world.plans());
            let again = apply(&mut index, change.clone());
            // A list with an object twice changes it twice, each time anew.
            let lists_twice = matches!(change, Change::ReplaceServices(_) | Change::ReplaceSlices(_));
            prop_assert!(again.is_empty() || lists_twice, "{change:?} again touches {again:?}");
        }
        plans.iter().for_each(|(name, plan)| assert_sound(plan, name));

        let mut anew = Index::new(HERE);
        list_slices(&mut anew, world.slices.into_iter().map(|(name, slice)| (name.name, slice)).collect());
        anew.apply_node(world.node);
        list_services(&mut anew, world.services.into_values().collect());
        let at_once: BTreeMap<_, _> = anew.services().map(|name| (name.clone(), anew.plan(name).unwrap())).collect();
        prop_assert_eq!(plans, at_once);
    }

    #[test]
    fn the_order_of_slices_and_endpoints_does_not_matter(
        service in service(),
        slices in vec(slice(), 0..5),
        node in node(),
        order in any::<u64>(),
    ) {
        let slices: Vec<_> = slices.into_iter().map(|(_, slice)| slice).collect();
        let mut shuffled = slices.clone();
        let by = |at: usize| (at as u64 + 1).wrapping_mul(order | 1).rotate_left(17) % 1009;
        for slice in &mut shuffled {
            let mut at = 0..;
            slice.endpoints.sort_by_cached_key(|_| by(at.next().unwrap()));
            slice.ports.reverse();
        }
        let mut at = 0..;
        shuffled.sort_by_cached_key(|_| by(at.next().unwrap()));
        let planned = |slices: &[Slice]| plan::service(&service, &slices.iter().collect::<Vec<_>>(), &node);
        prop_assert_eq!(planned(&slices), planned(&shuffled));
    }
}
