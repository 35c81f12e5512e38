//! The API is lost, and comes back.

use std::time::Duration;

use libtest_mimic::Failed;
use onehop_harness::netns::API;
use onehop_nft::{
    Batch, Chain, ChainKind, Family, Hook, L4PROTO, Netfilter, Reject, Rule, TH_DPORT, TH_SPORT,
    Table, Value, priority,
};

use crate::scene::Scene;
use crate::traffic::{Traffic, try_once};

/// How the API is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Watches break, and connections are refused.
    Refused,
    /// Nothing goes to it or comes from it.
    Silent,
}

/// What changed meanwhile is applied later.
pub(crate) async fn lost() -> Result<(), Failed> {
    let scene = Scene::build("api").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    for (name, loss) in [("refused", Loss::Refused), ("silent", Loss::Silent)] {
        block(&scene, loss)?;
        if loss == Loss::Refused {
            // A watch breaks by the answer to what it still gets.
            scene.create("noise").await?;
            let broken = async || {
                let log = scene.log().unwrap_or_default();
                log.matches("the watch broke, the rules stay").count() >= 2
            };
            scene.until("the watches are broken", broken).await?;
        }
        let service = scene.create(name).await?;
        let routes = scene.routes_of(&service)?;
        traffic.flow_for(Duration::from_secs(1)).await;
        assert_eq!(scene.status("/healthz").await?, 200, "nothing is queued");
        assert!(try_once(&routes[0]).await.is_err(), "it is unknown as yet");
        unblock(&scene)?;
        scene.works(&routes).await?;
    }
    assert_eq!(scene.status("/healthz").await?, 200);
    scene
        .until("both watches work again", async || {
            let log = scene.log().unwrap_or_default();
            log.matches("the watch works again").count() >= 2
        })
        .await?;
    traffic.end().await?.is_lossless()
}

fn table() -> Table {
    Table::new(Family::Inet, "blocked")
}

/// Lets nobody reach the API over the network, which the test's own way does not lead over.
fn block(scene: &Scene, loss: Loss) -> Result<(), Failed> {
    let mut batch = Batch::new();
    batch.add_table(&table());
    let of_api = |port| {
        let tcp = Rule::new().eq(L4PROTO, Value::new().proto(6));
        tcp.eq(port, Value::new().port(6443))
    };
    for (name, hook, rule) in [
        ("input", Hook::Input, of_api(TH_DPORT)),
        ("output", Hook::Output, of_api(TH_SPORT)),
    ] {
        let rule = match (loss, hook) {
            (Loss::Silent, _) => rule.drop(),
            (Loss::Refused, Hook::Input) => rule.reject(Reject::TcpReset),
            (Loss::Refused, _) => continue,
        };
        let chain = Chain::base(name, ChainKind::Filter, hook, priority::FILTER);
        batch.add_chain(&table(), &chain);
        batch.add_rule(&table(), name, &rule);
    }
    commit(scene, &mut batch)
}

fn unblock(scene: &Scene) -> Result<(), Failed> {
    let mut batch = Batch::new();
    batch.delete_table(&table());
    commit(scene, &mut batch)
}

fn commit(scene: &Scene, batch: &mut Batch) -> Result<(), Failed> {
    let host = scene.lab.netns().namespace(API);
    let committed = host.within(|| Netfilter::open()?.commit(batch));
    Ok(committed??)
}
