//! kube-rs against the embedded API: the harness's own client, and its watcher in both modes.

use std::error::Error;
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Client, ResourceExt as _};
use onehop_apiserver::{ApiServer, Config};
use serde_json::json;

type Outcome = Result<(), Box<dyn Error>>;

async fn client() -> Result<Client, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?).parse()?;
    tokio::spawn(ApiServer::new(Config::default())?.serve(listener));
    Ok(Client::try_from(kube::Config::new(uri))?)
}

fn service(name: &str) -> Result<Service, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }))
}

#[tokio::test]
async fn the_typed_client_reads_and_writes() -> Outcome {
    let services: Api<Service> = Api::default_namespaced(client().await?);
    let made = services
        .create(&PostParams::default(), &service("web")?)
        .await?;
    let taken = services
        .create(&PostParams::default(), &service("web")?)
        .await;
    assert!(
        matches!(&taken, Err(kube::Error::Api(status)) if status.is_already_exists()),
        "{taken:?}"
    );
    let replaced = services
        .replace("web", &PostParams::default(), &made)
        .await?;
    assert_eq!(
        replaced.resource_version(),
        made.resource_version(),
        "nothing changed"
    );
    let listed = services
        .list(&ListParams::default().fields("metadata.name=web"))
        .await?;
    assert_eq!(listed.items.len(), 1);
    services.delete("web", &DeleteParams::default()).await?;
    assert!(services.get_opt("web").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn all_kinds_of_patch_are_taken() -> Outcome {
    let services: Api<Service> = Api::default_namespaced(client().await?);
    let params = PatchParams::apply("test");
    let applied = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}});
    services
        .patch("web", &params, &Patch::Apply(&applied))
        .await?;
    let strategic = json!({"spec": {"ports": [{"port": 80, "targetPort": 81}]}});
    services
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Strategic(&strategic),
        )
        .await?;
    let merge = json!({"metadata": {"labels": {"a": "b"}}});
    services
        .patch("web", &PatchParams::default(), &Patch::Merge(&merge))
        .await?;
    let status = json!({"status": {"loadBalancer": {}}});
    services
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let service = services.get("web").await?;
    assert_eq!(service.labels().get("a").map(String::as_str), Some("b"));
    let spec = service.spec.ok_or("no spec")?;
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
    Ok(())
}

#[tokio::test]
async fn the_watcher_lists_and_watches() -> Outcome {
    watches(watcher::Config::default()).await
}

#[tokio::test]
async fn the_watcher_streams_lists() -> Outcome {
    watches(watcher::Config::default().streaming_lists()).await
}

/// The initial objects, then a change, then a deletion.
async fn watches(config: watcher::Config) -> Outcome {
    let maps: Api<ConfigMap> = Api::default_namespaced(client().await?);
    let map = |name: &str| serde_json::from_value::<ConfigMap>(json!({"metadata": {"name": name}}));
    maps.create(&PostParams::default(), &map("first")?).await?;
    let events = watch(maps.clone(), config).default_backoff();
    pin_mut!(events);
    assert!(matches!(next(&mut events).await?, Event::Init));
    assert!(
        matches!(next(&mut events).await?, Event::InitApply(found) if found.name_any() == "first")
    );
    assert!(matches!(next(&mut events).await?, Event::InitDone));
    maps.create(&PostParams::default(), &map("second")?).await?;
    assert!(
        matches!(next(&mut events).await?, Event::Apply(found) if found.name_any() == "second")
    );
    maps.delete("first", &DeleteParams::default()).await?;
    assert!(
        matches!(next(&mut events).await?, Event::Delete(found) if found.name_any() == "first")
    );
    Ok(())
}

async fn next(
    events: &mut (impl Stream<Item = watcher::Result<Event<ConfigMap>>> + Unpin),
) -> Result<Event<ConfigMap>, Box<dyn Error>> {
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await?;
    Ok(event.ok_or("the watcher ended")??)
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_its_watches() -> Outcome {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?).parse()?;
    let served = tokio::spawn(ApiServer::new(Config::default())?.serve(listener));
    let client = Client::try_from(kube::Config::new(uri))?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let stream = maps
        .watch(&kube::api::WatchParams::default(), "0")
        .await?
        .boxed();
    served.abort();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.collect::<Vec<_>>()).await;
    assert!(ended.is_ok(), "the watch outlived its server");
    Ok(())
}
