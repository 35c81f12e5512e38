//! Single changes, each with what follows from it.

use super::sequences::{contents, member, options};
use super::*;
use crate::dataplane::{chains, layout};

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
