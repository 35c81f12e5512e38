//! The order of clean-ups, without a kernel.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender};

use onehop_nft::netlink::NetlinkError;

use super::*;
use crate::conntrack::Flow;
use crate::model::Protocol;

/// A clean-up that ends when the test says how.
struct Bench {
    flows: StaleFlows,
    /// Whose flow was stale, when a clean-up began and once more when it ended.
    seen: Receiver<Vec<String>>,
    go_on: Sender<(Duration, Result<(), ()>)>,
}

const PATIENCE: Duration = Duration::from_secs(10);

fn front(address: &str) -> FrontKey {
    FrontKey {
        address: address.parse().expect("an address"),
        protocol: Protocol::Udp,
        port: 53,
    }
}

fn fronts(addresses: &[&str]) -> BTreeSet<FrontKey> {
    addresses.iter().map(|address| front(address)).collect()
}

const ALL: [&str; 3] = ["10.96.0.1", "10.96.0.2", "fd96::1"];

/// The fronts of which a flow is stale that nobody answers.
fn stale(serving: &Mutex<Serving>) -> Vec<String> {
    let serving = serving.lock().expect("no holder panics");
    let is_stale = |address: &&str| {
        let destination = SocketAddr::new(address.parse().expect("an address"), 53);
        let flow = Flow {
            source: destination,
            destination,
            answers_from: destination,
        };
        serving.is_stale(&flow, &BTreeSet::new())
    };
    ALL.iter()
        .filter(|address| is_stale(address))
        .map(ToString::to_string)
        .collect()
}

fn bench() -> Bench {
    let (say, seen) = channel();
    let (go_on, wait) = channel();
    let wait = Mutex::new(wait);
    let flows = StaleFlows::new(move |serving, _| {
        say.send(stale(serving)).expect("the test listens");
        let wait = wait.lock().expect("no holder panics");
        let (took, ended): (_, Result<(), ()>) = wait.recv().expect("the test says");
        say.send(stale(serving)).expect("the test listens");
        let failed = |()| ConntrackError::List(NetlinkError::Unsteady);
        (took, ended.map(|()| BTreeMap::new()).map_err(failed))
    });
    Bench { flows, seen, go_on }
}

impl Bench {
    fn start(&mut self) {
        self.flows.start(Arc::default(), |fronts| {
            Serving::of(fronts, &BTreeSet::new(), |_| Some(&[]))
        });
    }

    fn seen(&self) -> Vec<String> {
        self.seen.recv_timeout(PATIENCE).expect("a clean-up runs")
    }

    /// Lets the clean-up that runs end, and takes what it came to.
    async fn end(&mut self, ended: Result<(), ()>) -> Vec<String> {
        self.end_after(Duration::ZERO, ended).await
    }

    /// The same of one that took so long.
    async fn end_after(&mut self, took: Duration, ended: Result<(), ()>) -> Vec<String> {
        self.go_on.send((took, ended)).expect("a clean-up runs");
        let notify = self.flows.ended();
        let notified = tokio::time::timeout(PATIENCE, notify.notified());
        notified.await.expect("it says that it ended");
        let cleaned = self.flows.finish().map(|(_, result)| result.is_ok());
        assert_eq!(cleaned, Some(ended.is_ok()));
        self.seen()
    }
}

#[tokio::test]
async fn one_runs_at_a_time_and_what_comes_meanwhile_is_for_the_next() {
    let mut bench = bench();
    assert_eq!(bench.flows.due(), None, "nothing is wanted");
    bench.flows.want(fronts(&["10.96.0.1"]));
    assert!(bench.flows.due().is_some_and(|due| due <= Instant::now()));
    bench.start();
    assert_eq!(bench.seen(), ["10.96.0.1"]);
    for address in ["10.96.0.2", "fd96::1"] {
        bench.flows.want(fronts(&[address]));
        assert_eq!(bench.flows.due(), None, "one is under way");
        assert!(bench.flows.finish().is_none(), "and has not ended");
    }
    let before = Instant::now();
    bench.end(Ok(())).await;
    let due = bench.flows.due().expect("something came meanwhile");
    let pause = before + PAUSE..=Instant::now() + PAUSE;
    assert!(pause.contains(&due), "{:?}", due - before);
    bench.start();
    assert_eq!(bench.seen(), ["10.96.0.2", "fd96::1"]);
    bench.end(Ok(())).await;
    assert_eq!(bench.flows.due(), None);
}

#[tokio::test]
async fn the_pause_is_nine_times_as_long_as_it_took_within_bounds() {
    for (took, expected) in [(0, 100), (11, 100), (50, 450), (200, 1000)] {
        let [took, expected] = [took, expected].map(Duration::from_millis);
        let mut bench = bench();
        bench.flows.want(fronts(&["10.96.0.1"]));
        bench.start();
        bench.seen();
        bench.flows.want(fronts(&["10.96.0.2"]));
        let before = Instant::now();
        bench.end_after(took, Ok(())).await;
        let due = bench.flows.due().expect("something came meanwhile");
        let pause = before + expected..=Instant::now() + expected;
        assert!(pause.contains(&due), "{took:?}: {:?}", due - before);
    }
}

#[tokio::test]
async fn what_is_about_to_change_is_left_to_the_next() {
    let mut bench = bench();
    bench.flows.withhold(fronts(&["10.96.0.1"]));
    assert_eq!(bench.flows.due(), None, "nothing runs that could touch it");
    bench.flows.want(fronts(&["10.96.0.1", "10.96.0.2"]));
    bench.start();
    assert_eq!(bench.seen(), ["10.96.0.1", "10.96.0.2"]);
    bench.flows.withhold(fronts(&["10.96.0.1"]));
    assert_eq!(bench.end(Ok(())).await, ["10.96.0.2"]);
    bench.start();
    assert_eq!(bench.seen(), ["10.96.0.1"]);
    bench.end(Ok(())).await;
}

#[tokio::test]
async fn what_failed_is_tried_again_later_and_later() {
    let mut bench = bench();
    bench.flows.want(fronts(&ALL));
    bench.start();
    bench.seen();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let before = Instant::now();
        bench.end(Err(())).await;
        let due = bench
            .flows
            .due()
            .expect("it is tried again without a change");
        pauses.push(due - before);
        bench.start();
        assert_eq!(bench.seen(), ALL);
    }
    let least = [100, 200, 400].map(Duration::from_millis);
    assert!(
        pauses
            .iter()
            .zip(least)
            .all(|(pause, least)| *pause >= least),
        "{pauses:?}"
    );
    bench.end(Ok(())).await;
    assert_eq!(bench.flows.due(), None);
}
