//! Somebody changes a table of its own every few milliseconds, while the proxy's tables are large: no read of them
//! is ever of one generation.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::dataplane::{encode, layout};

const SERVICES: u32 = 20_000;
const PAUSE: Duration = Duration::from_millis(1);
/// How often it is tried to read them in one piece.
const ROUNDS: usize = 50;

/// Works until this is dropped.
struct Neighbour {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Neighbour {
    /// Begins, in the network namespace of the calling thread.
    fn begin() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let own = onehop_nft::Table::new(onehop_nft::Family::Inet, "neighbour");
            let mut netfilter = Netfilter::open().expect("nftables");
            let (mut made, mut deleted) = (Batch::new(), Batch::new());
            made.add_table(&own);
            deleted.delete_table(&own);
            let mut changes = 0;
            while !until.load(Ordering::Relaxed) {
                for batch in [&mut made, &mut deleted] {
                    netfilter.commit(batch).expect("it is its own table");
                    changes += 1;
                }
                std::thread::sleep(PAUSE);
            }
            changes
        });
        let thread = Some(thread);
        Self { ended, thread }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let changes = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            let changes = changes.expect("it works until now").expect("it worked");
            assert!(changes > 10, "it was busy");
        }
    }
}

fn many() -> Vec<ServicePlan> {
    let of = |number: u32| {
        let address = |network: u32| IpAddr::from(Ipv4Addr::from(network + number));
        let front = Front {
            address: Some(address(0x0a60_0000)),
            port: 80,
            kind: FrontKind::ClusterIp,
            handling: Handling::InternalCluster,
        };
        let port = PortPlan {
            cluster: vec![SocketAddr::new(address(0x0af4_0000), 8080)],
            fronts: vec![front],
            ..port(Family::V4)
        };
        plan(&format!("service-{number}"), vec![port])
    };
    (0..SERVICES).map(of).collect()
}

#[test]
fn damage_to_large_tables_is_found_and_repaired_beside_a_busy_neighbour() {
    in_namespace(|| {
        let mut dataplane = Dataplane::open(Options::default()).expect("nftables");
        dataplane
            .apply(changes(many()))
            .expect("the kernel takes it");
        let _neighbour = Neighbour::begin();
        // So large that the neighbour changes something during every read. Where this test has to share its processor,
        // the neighbour may be held up for once.
        let mut of_one_generation = || {
            dataplane
                .netfilter
                .elements(&table(Family::V4), layout::SERVICES)
        };
        let given_up = (0..ROUNDS).any(|_| of_one_generation().is_err());
        assert!(
            given_up,
            "the neighbour is too slow, or the tables are too small"
        );

        assert_in_step(&mut dataplane);
        let mut other = Netfilter::open().expect("nftables");
        let mut flush = Batch::new();
        flush.flush_set(&table(Family::V4), layout::SERVICES);
        other.commit(&mut flush).expect("the kernel flushes it");
        let differences = dataplane.verify().expect("the kernel answers");
        assert_eq!(differences.len(), SERVICES as usize);

        dataplane.distrust();
        let report = dataplane.apply(Changes::default());
        assert!(report.expect("the kernel takes it").replaced);
        assert_in_step(&mut dataplane);
    });
}

#[test]
fn a_restart_beside_a_busy_neighbour_keeps_the_numbers_of_service_ports() {
    in_namespace(|| {
        let ids = |dataplane: &Dataplane| -> Vec<_> {
            let numbers = dataplane.state.elements(Family::V4);
            let mut numbers: Vec<_> = numbers
                .filter(|(key, _)| encode::set_of(key) == layout::SERVICE_IDS)
                .map(|(key, value)| format!("{key:?} {value:?}"))
                .collect();
            numbers.sort();
            numbers
        };
        // Not in the order in which the second one comes to know them, by which numbers would differ.
        let mut first = Dataplane::open(Options::default()).expect("nftables");
        let last = name("service-5");
        let (early, late): (Vec<_>, Vec<_>) = many().into_iter().partition(|plan| plan.name > last);
        for part in [early, late] {
            first.apply(changes(part)).expect("the kernel takes it");
        }
        let before = ids(&first);
        assert_eq!(before.len(), SERVICES as usize);
        drop(first);
        let _neighbour = Neighbour::begin();
        let mut second = Dataplane::open(Options::default()).expect("nftables");
        second.apply(changes(many())).expect("the kernel takes it");
        assert_eq!(ids(&second), before);
    });
}
