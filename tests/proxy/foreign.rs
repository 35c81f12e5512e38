//! Somebody else deletes what the proxy has in the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use onehop_harness::netns::Namespace;
use onehop_nft::{Batch, Family, Netfilter, Table};
use onehop_proxy::dataplane::TABLE;

use crate::hostile::{many, many_endpoints};
use crate::scene::Scene;
use crate::traffic::{Kind, Lane, Traffic};

/// How long it may take until new connections work again. It is some ten milliseconds where nothing else runs; one that
/// waits for the next full sync takes 30 s.
const WINDOW: Duration = Duration::from_secs(5);

/// How often the neighbour changes its own rules.
const NEIGHBOUR: Duration = Duration::from_millis(10);
/// The same of one that is so busy that it changes something during every read of this many elements.
const BUSY: Duration = Duration::from_millis(1);
const MANY: u32 = 50_000;

/// One of them at a time: a whole table, the contents of the maps, the rules, whether they have any effect. Meanwhile
/// somebody changes rules that are not the proxy's all the time, which makes no repair any later.
pub(crate) async fn repaired() -> Result<(), Failed> {
    let scene = Scene::build("foreign").await?;
    let neighbour = tokio::spawn(neighbour(scene.node().clone()));
    for (what, damage) in [
        ("the tables", tables as fn(&mut Netfilter, &mut Batch)),
        ("the elements", elements),
        ("the rules", rules),
        ("the tables", tables),
        ("the effect", effect),
    ] {
        let resyncs = resyncs(&scene).await?;
        let traffic = Traffic::start(&scene.routes).await?;
        traffic.flow_for(Duration::from_millis(400)).await;
        let damaged = traffic.now();
        delete(&scene, what, damage)?;
        scene.works(&scene.routes).await?;
        let again = scene.until("the repair is counted", async || {
            self::resyncs(&scene).await.is_ok_and(|now| now > resyncs)
        });
        again.await?;
        traffic.flow_for(Duration::from_millis(400)).await;
        let report = traffic.end().await?;
        // Established connections go on while connections are tracked; what was sent meanwhile is sent again. Nobody
        // else in the node uses connection tracking, which the kernel ends with the last rule that does. An answer that
        // comes by then still has the pod's address, and a request the Service's: whoever gets it resets the connection.
        let tracked = what == "the elements";
        let broken = |lane: &Lane| !lane.failures().is_empty();
        if tracked && report.of(Kind::OldTcp).any(broken) {
            return Err(format!("{what}: an established connection broke:\n{report}").into());
        }
        let lost = report.failures(&[Kind::NewTcp, Kind::NewUdp, Kind::OldUdp]);
        let window = match (lost.first(), lost.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Duration::ZERO,
        };
        eprintln!("{what}: {} exchanges failed within {window:?}", lost.len());
        // An exchange that began just before is hit as well.
        let slack = Duration::from_millis(500);
        let outside = |at: &&Duration| **at + slack < damaged || **at > damaged + WINDOW;
        if let Some(at) = lost.iter().find(outside) {
            return Err(
                format!("{what}: deleted at {damaged:?}, lost at {at:?}:\n{report}").into(),
            );
        }
    }
    if neighbour.is_finished() {
        neighbour.await??;
    }
    Ok(())
}

/// The tables are so large that the neighbour changes something during every read of them. What is deleted is repaired
/// all the same, and the proxy can be started again.
pub(crate) async fn large_repaired() -> Result<(), Failed> {
    let scene = Scene::build("large").await?;
    many_endpoints(&scene, "large", MANY).await?;
    assert!(scene.admits_service(many("large")).await);
    let programmed = async || {
        let metrics = scene.metrics().await.unwrap_or_default();
        let elements = metrics.get("onehop_nftables_elements");
        elements.is_some_and(|count| *count > f64::from(MANY))
    };
    scene.until("all are in the kernel", programmed).await?;
    let neighbour = Busy::begin(scene.node())?;
    for _ in 0..2 {
        delete(&scene, "the elements", elements)?;
        scene.works(&scene.routes).await?;
        assert_eq!(scene.status("/livez").await?, 200);
        scene.restart(Signal::SIGTERM).await?;
        scene.until("it programs all again", programmed).await?;
        scene.works(&scene.routes).await?;
    }
    neighbour.end()?;
    let log = scene.log()?;
    let given_up = "the state of netfilter changed during each of many dumps";
    assert!(!log.contains(given_up), "no read is given up:\n{log}");
    Ok(())
}

/// A neighbour on a thread of its own, which a runtime would not wake so often.
struct Busy {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), onehop_nft::Error>>,
}

impl Busy {
    fn begin(node: &Namespace) -> Result<Self, Failed> {
        let mut netfilter = node.within(Netfilter::open)??;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                make_and_delete(&mut netfilter)?;
                std::thread::sleep(BUSY);
            }
            Ok(())
        });
        Ok(Self { ended, thread })
    }

    fn end(self) -> Result<(), Failed> {
        self.ended.store(true, Ordering::Relaxed);
        Ok(self.thread.join().expect("it does not panic")?)
    }
}

/// Deletes something of the proxy's.
pub(crate) fn delete(
    scene: &Scene,
    what: &str,
    damage: fn(&mut Netfilter, &mut Batch),
) -> Result<(), Failed> {
    scene.node().within(|| -> Result<(), Failed> {
        let mut netfilter = Netfilter::open()?;
        let mut batch = Batch::new();
        damage(&mut netfilter, &mut batch);
        if batch.is_empty() {
            return Err(format!("there is nothing of {what}").into());
        }
        Ok(netfilter.commit(&mut batch)?)
    })?
}

/// Makes a table of its own and deletes it, again and again.
async fn neighbour(node: Namespace) -> Result<(), Failed> {
    let mut netfilter = node.within(Netfilter::open)??;
    loop {
        make_and_delete(&mut netfilter)?;
        tokio::time::sleep(NEIGHBOUR).await;
    }
}

fn make_and_delete(netfilter: &mut Netfilter) -> Result<(), onehop_nft::Error> {
    let table = Table::new(Family::Inet, "neighbour");
    let (mut made, mut deleted) = (Batch::new(), Batch::new());
    made.add_table(&table);
    deleted.delete_table(&table);
    netfilter.commit(&mut made)?;
    netfilter.commit(&mut deleted)
}

async fn resyncs(scene: &Scene) -> Result<f64, Failed> {
    let metrics = scene.metrics().await?;
    let found = metrics.iter().find(|(name, _)| {
        name.contains("resyncs_total") && name.to_lowercase().contains("foreign")
    });
    Ok(found.map_or(0.0, |(_, count)| *count))
}

fn own() -> [Table; 2] {
    [Family::Ip, Family::Ip6].map(|family| Table::new(family, TABLE))
}

fn tables(_: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        batch.delete_table(&table);
    }
}

/// The tables are there, and their chains see nothing.
fn effect(_: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        batch.add_table(&Table {
            dormant: true,
            ..table
        });
    }
}

pub(crate) fn elements(netfilter: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        for set in netfilter.sets(&table).expect("its sets can be read") {
            batch.flush_set(&table, &set.object.name);
        }
    }
}

fn rules(netfilter: &mut Netfilter, batch: &mut Batch) {
    for table in own() {
        for chain in netfilter.chains(&table).expect("its chains can be read") {
            batch.flush_chain(&table, &chain.object.name);
        }
    }
}
