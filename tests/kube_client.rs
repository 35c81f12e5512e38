//! kube-rs against the embedded API: the harness's own client, and its watcher in both modes.

use std::error::Error;
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
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
    // kube-rs has JSON patches only with a feature that nothing else here needs.
    let operations = json!([
        {"op": "test", "path": "/spec/ports/0/targetPort", "value": 81},
        {"op": "replace", "path": "/spec/ports/0/targetPort", "value": 82},
    ]);
    let request = http::Request::patch("/api/v1/namespaces/default/services/web")
        .header("content-type", "application/json-patch+json")
        .body(operations.to_string().into_bytes())?;
    let patched: Service = services.clone().into_client().request(request).await?;
    assert_eq!(patched.name_any(), "web");
    let status = json!({"status": {"loadBalancer": {}}});
    services
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let service = services.get("web").await?;
    assert_eq!(service.labels().get("a").map(String::as_str), Some("b"));
    let spec = service.spec.ok_or("no spec")?;
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
    let port = &spec.ports.as_deref().unwrap_or_default()[0];
    assert_eq!(port.target_port, Some(IntOrString::Int(82)));
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

#[tokio::test]
async fn the_watcher_that_lists_recovers_from_410() -> Outcome {
    recovers(watcher::Config::default()).await
}

#[tokio::test]
async fn the_watcher_that_streams_lists_recovers_from_410() -> Outcome {
    recovers(watcher::Config::default().streaming_lists()).await
}

fn map(name: &str, label: &str, data: &str) -> Result<ConfigMap, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": label}}, "data": {"a": data},
    }))
}

/// While the watcher does not look, more is written than the history holds, nothing of which it has selected.
async fn recovers(config: watcher::Config) -> Outcome {
    let maps: Api<ConfigMap> = Api::default_namespaced(client().await?);
    let params = PostParams::default();
    maps.create(&params, &map("mine", "x", "")?).await?;
    let events = watch(maps.clone(), config.labels("app=x").timeout(1)).default_backoff();
    pin_mut!(events);
    assert!(matches!(next(&mut events).await?, Event::Init));
    assert!(matches!(next(&mut events).await?, Event::InitApply(_)));
    assert!(matches!(next(&mut events).await?, Event::InitDone));
    let size = 1_000_000;
    for number in 0..70 {
        let large = map("large", "y", &format!("{number}{}", "x".repeat(size)))?;
        if number == 0 {
            maps.create(&params, &large).await?;
        } else {
            maps.replace("large", &params, &large).await?;
        }
    }
    let error = loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await?;
        match event.ok_or("the watcher ended")? {
            Err(error) => break error,
            Ok(event) => assert!(matches!(event, Event::Apply(_)), "{event:?}"),
        }
    };
    assert!(
        matches!(&error, watcher::Error::WatchError(status) if status.code == 410),
        "{error:?}"
    );
    assert!(matches!(next(&mut events).await?, Event::Init));
    assert!(
        matches!(next(&mut events).await?, Event::InitApply(found) if found.name_any() == "mine")
    );
    assert!(matches!(next(&mut events).await?, Event::InitDone));
    maps.create(&params, &map("late", "x", "")?).await?;
    assert!(matches!(next(&mut events).await?, Event::Apply(found) if found.name_any() == "late"));
    Ok(())
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_for_its_watcher() -> Outcome {
    let maps: Api<ConfigMap> = Api::default_namespaced(client().await?);
    let params = PostParams::default();
    maps.create(&params, &map("out", "y", "")?).await?;
    let config = watcher::Config::default().labels("app=x");
    let events = watch(maps.clone(), config).default_backoff();
    pin_mut!(events);
    assert!(matches!(next(&mut events).await?, Event::Init));
    assert!(matches!(next(&mut events).await?, Event::InitDone));
    maps.replace("out", &params, &map("out", "x", "")?).await?;
    assert!(matches!(next(&mut events).await?, Event::Apply(found) if found.name_any() == "out"));
    maps.replace("out", &params, &map("out", "z", "")?).await?;
    assert!(matches!(next(&mut events).await?, Event::Delete(found) if found.name_any() == "out"));
    Ok(())
}

/// The initial objects, then a new one, a change, and a deletion.
async fn watches(config: watcher::Config) -> Outcome {
    let maps: Api<ConfigMap> = Api::default_namespaced(client().await?);
    maps.create(&PostParams::default(), &map("first", "x", "")?)
        .await?;
    let events = watch(maps.clone(), config).default_backoff();
    pin_mut!(events);
    assert!(matches!(next(&mut events).await?, Event::Init));
    assert!(
        matches!(next(&mut events).await?, Event::InitApply(found) if found.name_any() == "first")
    );
    assert!(matches!(next(&mut events).await?, Event::InitDone));
    maps.create(&PostParams::default(), &map("second", "x", "")?)
        .await?;
    assert!(
        matches!(next(&mut events).await?, Event::Apply(found) if found.name_any() == "second")
    );
    let changed = map("second", "x", "changed")?;
    maps.replace("second", &PostParams::default(), &changed)
        .await?;
    assert!(matches!(next(&mut events).await?, Event::Apply(found) if found.data == changed.data));
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
