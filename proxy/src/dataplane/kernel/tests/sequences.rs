//! Any sequence of changes, with transactions that fail, restarts and somebody else's changes on the way,
//! leaves what applying the last plans at once leaves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use onehop_nft::{Data, Element, Verdict};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::dataplane::{chains, layout};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// These Services change at once; whether the kernel refuses.
    Apply(Vec<(usize, Option<ServicePlan>)>, bool),
    /// The addresses with node ports change.
    Addresses(BTreeSet<IpAddr>),
    /// The ranges of cluster addresses change.
    Ranges(Vec<IpNet>),
    /// Another process takes over.
    Restart,
    /// Somebody flushes the tables.
    Flush,
    /// Somebody deletes a table.
    Delete,
}

const SERVICES: usize = 5;

fn plans() -> impl Strategy<Value = ServicePlan> {
    let cluster_ips = subsequence(vec!["10.96.0.1", "10.96.0.2", "fd96::1"], 0..=3);
    (vec(port_plans(), 0..4), cluster_ips).prop_map(|(mut ports, cluster_ips)| {
        for (number, port) in ports.iter_mut().enumerate() {
            port.port_name = format!("p{}", number % 3).into();
        }
        let cluster_ips = cluster_ips.into_iter();
        let cluster_ips = cluster_ips.map(|ip| ip.parse().expect("an address"));
        ServicePlan {
            cluster_ips: cluster_ips.collect(),
            ..plan("", ports)
        }
    })
}

fn port_plans() -> impl Strategy<Value = PortPlan> {
    let family = select(Family::ALL.to_vec());
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let affinity = option::weighted(0.4, select(vec![60, 10800]));
    let lists = (btree_set(0..6u16, 0..5), btree_set(0..6u16, 0..3));
    let hairpins = btree_set(0..6u16, 0..3);
    let ranges = option::weighted(0.4, btree_set(0..6u16, 0..4));
    let fronts = vec(fronts(), 0..5);
    (family, protocol, affinity, lists, hairpins, ranges, fronts).prop_map(
        |(family, protocol, affinity, (cluster, local), hairpins, ranges, fronts)| {
            let address = |number: u16| member(family, number);
            let places = |list: BTreeSet<u16>| -> Vec<SocketAddr> {
                let list = list.into_iter();
                list.map(|number| SocketAddr::new(address(number), 8080))
                    .collect()
            };
            let ranges = ranges.map(|ranges| {
                let ranges = ranges.into_iter().map(address);
                ranges.map(IpNet::from).collect()
            });
            let fronts = fronts
                .into_iter()
                .map(|(kind, number, port, handling)| Front {
                    address: (kind != FrontKind::NodePort).then(|| address(number)),
                    port,
                    kind,
                    handling,
                });
            PortPlan {
                protocol,
                affinity,
                cluster: places(cluster),
                local: places(local),
                hairpins: hairpins.into_iter().map(address).collect(),
                source_ranges: ranges,
                fronts: fronts.collect(),
                ..port(family)
            }
        },
    )
}

fn member(family: Family, number: u16) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 0, u8::try_from(number).expect("small")].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 0, number].into(),
    }
}

fn fronts() -> impl Strategy<Value = (FrontKind, u16, u16, Handling)> {
    let kinds = [
        FrontKind::ClusterIp,
        FrontKind::NodePort,
        FrontKind::ExternalIp,
        FrontKind::LoadBalancer,
    ];
    let handlings = [
        Handling::InternalCluster,
        Handling::InternalLocal,
        Handling::ExternalCluster,
        Handling::ExternalLocal,
        Handling::Drop,
        Handling::Reject,
    ];
    let kind = select(kinds.to_vec());
    (kind, 1..3u16, 80..82u16, select(handlings.to_vec()))
}

fn steps() -> impl Strategy<Value = Step> {
    let change = (0..SERVICES, option::weighted(0.75, plans()));
    let addresses = btree_set(0..4u16, 0..3);
    let ranges = subsequence(vec!["10.96.0.0/12", "10.112.0.0/16", "fd96::/108"], 0..=3);
    prop_oneof![
        12 => (vec(change, 1..4), prop::bool::weighted(0.2))
            .prop_map(|(changes, fails)| Step::Apply(changes, fails)),
        1 => addresses.prop_map(|numbers| {
            let numbers = numbers.into_iter();
            Step::Addresses(numbers.map(|number| member(Family::V4, number)).collect())
        }),
        1 => ranges.prop_map(|ranges| {
            let ranges = ranges.into_iter();
            Step::Ranges(ranges.map(|range| range.parse().expect("a range")).collect())
        }),
        1 => Just(Step::Restart),
        1 => Just(Step::Flush),
        1 => Just(Step::Delete),
    ]
}

fn options() -> Options {
    Options {
        node_ports: NodePorts::Listed,
        node_ips: vec![member(Family::V4, 1), member(Family::V6, 1)],
        ..Options::default()
    }
}

/// What was asked for so far.
#[derive(Default)]
struct Wanted {
    services: BTreeMap<ObjectName, ServicePlan>,
    addresses: BTreeSet<IpAddr>,
    ranges: Vec<IpNet>,
}

impl Wanted {
    fn all(&self) -> Changes {
        Changes {
            node_port_addresses: Some(self.addresses.clone()),
            service_cidrs: Some(self.ranges.clone()),
            ..changes(self.services.values().cloned())
        }
    }

    fn change(&mut self, changed: Vec<(usize, Option<ServicePlan>)>) -> Changes {
        let mut changes = Changes::default();
        for (number, plan) in changed {
            let name = name(&format!("service-{number}"));
            let plan = plan.map(|plan| ServicePlan {
                name: name.clone(),
                ..plan
            });
            match &plan {
                Some(plan) => self.services.insert(name.clone(), plan.clone()),
                None => self.services.remove(&name),
            };
            changes.services.insert(name, plan);
        }
        changes
    }
}

fn run(steps: Vec<Step>) {
    let mut wanted = Wanted::default();
    let mut dataplane = Dataplane::open(options()).expect("nftables");
    dataplane.apply(wanted.all()).expect("an empty state");
    for step in steps {
        take(step, &mut wanted, &mut dataplane);
    }
    dataplane
        .apply(Changes::default())
        .expect("what failed before");
    assert_in_step(&mut dataplane);
    let incremental = contents(&mut dataplane);
    let all = wanted.all();
    let at_once = in_namespace(move || {
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        dataplane.apply(all).expect("the kernel takes it");
        assert_in_step(&mut dataplane);
        contents(&mut dataplane)
    });
    assert_eq!(incremental, at_once);
}

fn take(step: Step, wanted: &mut Wanted, dataplane: &mut Dataplane) {
    match step {
        Step::Apply(changed, false) => {
            let changes = wanted.change(changed);
            dataplane.apply(changes).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Apply(changed, true) => {
            let before = contents(dataplane);
            dataplane.sabotage = true;
            let refused = dataplane.apply(wanted.change(changed));
            dataplane.sabotage = false;
            match refused {
                Err(DataplaneError::Change(_)) => {}
                // Nothing was to be done, so that there was nothing to refuse.
                Ok(report) => assert_eq!(report.bytes, 0),
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(
                contents(dataplane),
                before,
                "a refused change had an effect"
            );
        }
        Step::Addresses(addresses) => {
            wanted.addresses.clone_from(&addresses);
            let changes = Changes {
                node_port_addresses: Some(addresses),
                ..Changes::default()
            };
            dataplane.apply(changes).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Ranges(ranges) => {
            wanted.ranges.clone_from(&ranges);
            let changes = Changes {
                service_cidrs: Some(ranges),
                ..Changes::default()
            };
            dataplane.apply(changes).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Restart => {
            *dataplane = Dataplane::open(options()).expect("nftables");
            dataplane.apply(wanted.all()).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Flush | Step::Delete => {
            let mut batch = Batch::new();
            for chain in dataplane
                .netfilter
                .chains(&table(Family::V4))
                .expect("chains")
            {
                batch.flush_chain(&table(Family::V4), &chain.object.name);
            }
            if matches!(step, Step::Delete) {
                batch.delete_table(&table(Family::V6));
            }
            let mut other = Netfilter::open().expect("nftables");
            other.commit(&mut batch).expect("the kernel takes it");
            assert!(!dataplane.verify().expect("an answer").is_empty());
            dataplane.distrust();
            dataplane
                .apply(Changes::default())
                .expect("the kernel takes it");
            assert_in_step(dataplane);
        }
    }
}

/// What a front does: its chain, its refusal, its endpoints and its sources.
type Doing = (String, String, Vec<String>, Vec<String>);

/// What the kernel has, without the numbers of classes, Service ports and endpoints.
fn contents(dataplane: &mut Dataplane) -> BTreeMap<String, Doing> {
    let mut contents = BTreeMap::new();
    for family in Family::ALL {
        let mut maps = BTreeMap::new();
        for set in layout::sets(family) {
            let elements = dataplane.netfilter.elements(&table(family), &set.name);
            maps.insert(set.name, elements.unwrap_or_default());
        }
        for name in [
            layout::CLUSTER_IPS,
            layout::HAIRPINS,
            layout::NODE_PORT_ADDRESSES,
        ] {
            for element in &maps[name] {
                contents.insert(format!("{name} {:?}", element.key), Doing::default());
            }
        }
        let ids = by_key(&maps[layout::SERVICE_IDS]);
        let checked = by_key(&maps[layout::SOURCE_CHECKED]);
        for front in &maps[layout::SERVICES] {
            let class = value(front);
            let id = ids[front.key.as_slice()];
            let chain = verdict(&maps[layout::CLASSES], class);
            let endpoints = endpoints_of(&maps, id, chain.contains("sticky"));
            let sources = checked.get(front.key.as_slice()).map(|checked| {
                assert_eq!(*checked, id);
                let ranges = &maps[layout::SOURCE_RANGES];
                let ranges = ranges
                    .iter()
                    .filter(|range| range.key.as_slice()[..4] == *id);
                let range = |range: &Element| {
                    let last = range.key_end.unwrap_or(range.key);
                    format!("{:?}", (&range.key.as_slice()[4..], &last.as_slice()[4..]))
                };
                let mut ranges: Vec<_> = ranges.map(range).collect();
                ranges.sort();
                ranges
            });
            let doing = (
                chain,
                verdict(&maps[layout::REFUSALS], class),
                endpoints,
                sources.unwrap_or_default(),
            );
            contents.insert(format!("{family:?} {:?}", front.key), doing);
        }
    }
    contents
}

fn by_key(elements: &[Element]) -> BTreeMap<&[u8], &[u8]> {
    let elements = elements.iter();
    elements
        .map(|element| (element.key.as_slice(), value(element)))
        .collect()
}

fn value(element: &Element) -> &[u8] {
    match &element.data {
        Some(Data::Value(value)) => value.as_slice(),
        other => panic!("no value but {other:?}"),
    }
}

fn verdict(map: &[Element], class: &[u8]) -> String {
    let element = map.iter().find(|element| element.key.as_slice() == class);
    match element.and_then(|element| element.data.as_ref()) {
        Some(Data::Verdict(Verdict::Goto(chain))) => chain.to_string(),
        Some(Data::Verdict(verdict)) => format!("{verdict:?}"),
        _ => String::new(),
    }
}

/// The endpoints of a Service port, by list. Under affinity, each slot has to have one.
fn endpoints_of(maps: &BTreeMap<String, Vec<Element>>, id: &[u8], sticky: bool) -> Vec<String> {
    let list = |number: &[u8]| number[3] & 0x80;
    let all = by_key(&maps[layout::ENDPOINTS]);
    let of_id = |map: &str| {
        let elements = maps[map].iter();
        let elements = elements.filter(|element| element.key.as_slice()[..4] == *id);
        elements.cloned().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if sticky {
        for slot in of_id(layout::SLOTS) {
            let list = list(&slot.key.as_slice()[4..]);
            let mut key = id.to_vec();
            key.extend(value(&slot));
            key[7] |= list;
            found.push(format!("{list} {:?}", all[&key[..]]));
        }
    } else {
        for endpoint in of_id(layout::ENDPOINTS) {
            let list = list(&endpoint.key.as_slice()[4..]);
            found.push(format!("{list} {:?}", value(&endpoint)));
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_what_the_last_plans_say(steps in vec(steps(), 1..12)) {
        in_namespace(|| run(steps));
    }
}

/// A Service of so many endpoints.
fn scaled(count: u16) -> Changes {
    let endpoints = (1..=count).map(|number| SocketAddr::new(member(Family::V6, number), 80));
    let port = PortPlan {
        cluster: endpoints.collect(),
        fronts: vec![front(
            FrontKind::ClusterIp,
            "fd96::1",
            80,
            Handling::InternalCluster,
        )],
        ..port(Family::V6)
    };
    changes([plan("scaled", vec![port])])
}

/// More classes than are kept, one after the other.
fn scale_up_and_up(dataplane: &mut Dataplane) {
    for count in 1..=2 * u16::try_from(UNUSED_CLASSES).expect("small") {
        dataplane.apply(scaled(count)).expect("the kernel takes it");
    }
}

/// As if the chains that no class needs had been so for long.
fn ripen(dataplane: &mut Dataplane) {
    for since in dataplane.tables[1].retired.values_mut() {
        *since -= chains::REST;
    }
}

#[test]
fn elements_and_failed_clean_ups_are_counted() {
    in_namespace(|| {
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        let apply = |dataplane: &mut Dataplane, changes| {
            let report = dataplane.apply(changes).expect("the kernel takes it");
            let elements = Family::ALL.map(|family| dataplane.state.elements(family).count());
            assert_eq!(report.elements, elements.iter().sum::<usize>());
            report
        };
        let none = apply(&mut dataplane, Changes::default()).elements;
        scale_up_and_up(&mut dataplane);
        let three = apply(&mut dataplane, scaled(3)).elements;
        assert!(apply(&mut dataplane, scaled(5)).elements > three);
        ripen(&mut dataplane);
        dataplane.sabotage = true;
        dataplane.apply(scaled(4)).expect_err("sabotage");
        dataplane.sabotage = false;
        assert_eq!(apply(&mut dataplane, scaled(3)).failed_cleanups, 1);
        let report = apply(&mut dataplane, gone("scaled"));
        assert_eq!(report.failed_cleanups, 0, "it was told already");
        assert!(report.elements >= none && report.elements < three);
    });
}

/// Classes come and go with the number of endpoints; unused ones do not pile up.
#[test]
fn unused_classes_are_removed() {
    in_namespace(|| {
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        dataplane.apply(Changes::default()).expect("an empty state");
        scale_up_and_up(&mut dataplane);
        assert_in_step(&mut dataplane);
        let retired = dataplane.tables[1].retired.clone();
        assert!(!retired.is_empty());
        // Chains are in the kernel until a moment has passed; then they are not.
        ripen(&mut dataplane);
        dataplane.apply(scaled(2)).expect("the kernel takes it");
        let chains = dataplane
            .netfilter
            .chains(&table(Family::V6))
            .expect("chains");
        let left = chains
            .iter()
            .filter(|chain| retired.contains_key(&chain.object.name));
        let left: Vec<_> = left.map(|chain| &chain.object.name).collect();
        // The class of two endpoints was retired and is wanted again.
        assert_eq!(left, ["pick-cluster-2", "internal-cluster-2-0"]);
        assert!(dataplane.tables[1].retired.is_empty());
        assert_in_step(&mut dataplane);
    });
}

#[test]
fn a_table_of_another_layout_is_replaced() {
    in_namespace(|| {
        let mut batch = Batch::new();
        let table = table(Family::V4);
        batch.add_table(&table);
        let services = onehop_nft::Set::new(layout::SERVICES, &[onehop_nft::Type::Mark]);
        batch.add_set(&table, &services);
        let strange = onehop_nft::Set::new("strange", &[onehop_nft::Type::Mark]);
        batch.add_set(&table, &strange);
        let other = onehop_nft::Table::new(onehop_nft::Family::Ip, "another-table");
        batch.add_table(&other);
        Netfilter::open()
            .expect("nftables")
            .commit(&mut batch)
            .expect("the kernel takes it");
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        dataplane
            .apply(changes(everything()))
            .expect("the kernel takes it");
        assert_in_step(&mut dataplane);
        assert!(cleanup().expect("the kernel takes it"));
        assert!(!cleanup().expect("the kernel takes it"));
        let left = dataplane.netfilter.tables(None).expect("tables");
        let left: Vec<_> = left.into_iter().map(|table| table.object.name).collect();
        assert_eq!(left, ["another-table"]);
    });
}

#[test]
fn of_two_services_with_the_same_front_the_first_by_name_has_it() {
    in_namespace(|| {
        let service = |name: &str, endpoint: &str| {
            let port = PortPlan {
                cluster: endpoints(&[endpoint]),
                fronts: vec![front(
                    FrontKind::ExternalIp,
                    "192.0.2.1",
                    80,
                    Handling::ExternalCluster,
                )],
                ..port(Family::V4)
            };
            plan(name, vec![port])
        };
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        dataplane
            .apply(changes([service("b", "10.0.0.2:80")]))
            .expect("b alone");
        let alone = contents(&mut dataplane);
        assert!(dataplane.conflicts().is_empty());
        dataplane
            .apply(changes([service("a", "10.0.0.1:80")]))
            .expect("a as well");
        let conflicts = dataplane.conflicts();
        assert_eq!(conflicts.len(), 1);
        assert_eq!(
            (&conflicts[0].winner, &conflicts[0].losers[..]),
            (&name("a"), &[name("b")][..])
        );
        assert_ne!(contents(&mut dataplane), alone);
        dataplane.apply(gone("a")).expect("a goes");
        assert_eq!(contents(&mut dataplane), alone);
        assert_in_step(&mut dataplane);
    });
}

/// Flows may be stale that went to an endpoint that no longer serves; who is chosen now does not matter to them.
#[test]
fn udp_changes_are_reported_once_the_kernel_has_them() {
    in_namespace(|| {
        let service = |cluster: &[&str], serving: &[&str]| {
            let port = PortPlan {
                protocol: Protocol::Udp,
                cluster: endpoints(cluster),
                serving: endpoints(serving),
                fronts: vec![front(
                    FrontKind::ClusterIp,
                    "10.96.0.1",
                    53,
                    Handling::InternalCluster,
                )],
                ..port(Family::V4)
            };
            plan("udp", vec![port])
        };
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        let mut report = |sabotage, changes| {
            dataplane.sabotage = sabotage;
            dataplane
                .apply(changes)
                .map(|report| report.udp_changed.len())
        };
        let (a, b) = ("10.0.0.1:53", "10.0.0.2:53");
        let both = || changes([service(&[a, b], &[a, b])]);
        assert_eq!(report(false, both()).expect("all is new"), 1);
        assert_eq!(report(false, both()).expect("nothing is new"), 0);
        let one_chosen = changes([service(&[a], &[a, b])]);
        assert_eq!(report(false, one_chosen).expect("another choice"), 0);
        report(true, changes([service(&[b], &[b])])).expect_err("sabotage");
        assert_eq!(
            report(false, Changes::default()).expect("an endpoint less"),
            1
        );
        assert_eq!(report(false, gone("udp")).expect("nothing left"), 1);
    });
}

#[test]
fn an_interface_that_cannot_be_is_refused() {
    for name in ["", "sixteen-bytes-16"] {
        let options = Options {
            detector: Detector::Interface(name.into()),
            ..options()
        };
        let opened = in_namespace(|| Dataplane::open(options));
        assert!(matches!(opened, Err(DataplaneError::InterfaceName(_))));
    }
}
