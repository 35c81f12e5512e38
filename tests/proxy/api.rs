//! The API is lost, and comes back.

use std::time::Duration;

use libtest_mimic::Failed;
use onehop_harness::netns::API;
use onehop_nft::{
    Batch, Chain, ChainKind, Family, Hook, L4PROTO, Netfilter, Reject, Rule, TH_DPORT, Table,
    priority,
};

use crate::scene::Scene;
use crate::traffic::{Traffic, try_once};

/// Watches break, connections are refused, and then silently dropped. What changed meanwhile is applied later.
pub(crate) async fn lost() -> Result<(), Failed> {
    let scene = Scene::build("api").await?;
    let traffic = Traffic::start(&scene.routes).await?;
    for (name, how) in [
        ("refused", Rule::new().reject(Reject::TcpReset)),
        ("dropped", Rule::new().drop()),
    ] {
        block(&scene, Some(how))?;
        let service = scene.create(name).await?;
        let routes = scene.routes_of(&service)?;
        traffic.flow_for(Duration::from_secs(1)).await;
        assert_eq!(scene.status("/healthz").await?, 200, "nothing is queued");
        assert!(try_once(&routes[0]).await.is_err(), "it is unknown as yet");
        block(&scene, None)?;
        scene.works(&routes).await?;
    }
    assert_eq!(scene.status("/healthz").await?, 200);
    let log = scene.log()?;
    for said in ["the watch broke, the rules stay", "the watch works again"] {
        assert!(log.contains(said), "no `{said}` in:\n{log}");
    }
    traffic.end().await?.is_lossless()
}

/// Lets nobody reach the API any more, or everybody again. The test's own way does not lead over the network.
fn block(scene: &Scene, how: Option<Rule>) -> Result<(), Failed> {
    let table = Table::new(Family::Inet, "blocked");
    let mut batch = Batch::new();
    match how {
        Some(how) => {
            let input = Chain::base("input", ChainKind::Filter, Hook::Input, priority::FILTER);
            batch.add_table(&table);
            batch.add_chain(&table, &input);
            let mut rule = Rule::new()
                .eq(L4PROTO, onehop_nft::Value::new().proto(6))
                .eq(TH_DPORT, onehop_nft::Value::new().port(6443));
            rule.expressions.extend(how.expressions);
            batch.add_rule(&table, "input", &rule);
        }
        None => batch.delete_table(&table),
    }
    let committed = scene
        .lab
        .namespace(API)
        .within(|| Netfilter::open()?.commit(&mut batch));
    Ok(committed??)
}
