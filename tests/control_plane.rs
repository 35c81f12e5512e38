//! Starts a real etcd and kube-apiserver, where they are installed, and uses the API.
//!
//! Without them the tests are ignored, and say why: `onehop tools install control-plane` provides them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::control_plane::{ControlPlane, ControlPlaneConfig, Endpoint};
use onehop_harness::tools::{Tool, ToolRef, Version, locate};
use serde_json::json;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    let assets = locate(tool, None).map(|located| located.path);
    let trial = |name: &str, test: fn(PathBuf) -> Result<(), Failed>| match &assets {
        Ok(assets) => {
            let assets = assets.clone();
            Trial::test(name, move || test(assets))
        }
        Err(error) => {
            let reason = error.to_string();
            let failure = Failed::from(reason.clone());
            // Whoever runs ignored tests all the same gets the reason as a failure.
            Trial::test(name, move || Err(failure))
                .with_kind(reason)
                .with_ignored_flag(true)
        }
    };
    let trials = vec![
        trial("serves_dual_stack_services", serves_dual_stack_services),
        trial(
            "quotes_an_api_server_that_ends",
            quotes_an_api_server_that_ends,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// An API server allocates what the API promises, for those who have the token.
fn serves_dual_stack_services(assets: PathBuf) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(assets, dir.path())?;
    runtime()?.block_on(async {
        let control_plane = ControlPlane::start_here(config).await?;
        eprintln!("ready in {:.2} s", control_plane.started_in().as_secs_f64());
        let services: Api<Service> =
            Api::default_namespaced(client(control_plane.endpoint()).await?);
        let service = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "ipFamilyPolicy": "RequireDualStack",
                "ports": [{ "port": 80 }],
            },
        }))?;
        let created = services.create(&PostParams::default(), &service).await?;
        let spec = created.spec.ok_or("the Service has no spec")?;
        let addresses = spec.cluster_ips.unwrap_or_default();
        assert!(addresses[0].starts_with("10.96."), "{addresses:?}");
        assert!(addresses[1].starts_with("fd00:10:96::"), "{addresses:?}");
        assert!(
            spec.health_check_node_port
                .is_some_and(|port| port >= 30000)
        );

        let stranger = Endpoint {
            token: "guessed".to_owned(),
            ..control_plane.endpoint().clone()
        };
        std::fs::write(
            &stranger.kubeconfig,
            onehop_harness::control_plane::kubeconfig(&stranger.url, Some(&stranger.token)),
        )?;
        let services: Api<Service> = Api::default_namespaced(client(&stranger).await?);
        let refused = services.get("web").await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 401),
            "{refused:?}"
        );
        control_plane.shutdown().await?;
        Ok(())
    })
}

/// A start that cannot succeed fails soon, with the reason that the server logged.
fn quotes_an_api_server_that_ends(assets: PathBuf) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(assets, dir.path())?;
    let _taken = TcpListener::bind(config.address)?;
    let started = runtime()?.block_on(ControlPlane::start_here(config));
    let error = started.err().ok_or("it started on a port that is taken")?;
    let text = error.to_string();
    assert!(text.starts_with("kube-apiserver ended"), "{text}");
    assert!(text.contains("address already in use"), "{text}");
    Ok(())
}

fn config(assets: PathBuf, dir: &Path) -> Result<ControlPlaneConfig, Failed> {
    // All are held until all are known, so that they differ.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut addresses = Vec::new();
    for listener in &listeners {
        let listener = listener.as_ref().map_err(ToString::to_string)?;
        addresses.push(listener.local_addr()?);
    }
    let [address, client, peer]: [SocketAddr; 3] =
        addresses.try_into().map_err(|_| "three addresses")?;
    Ok(ControlPlaneConfig {
        assets,
        dir: dir.join("control-plane"),
        address,
        etcd_ports: (client.port(), peer.port()),
        service_cidrs: vec!["10.96.0.0/16".parse()?, "fd00:10:96::/112".parse()?],
        ready_within: Duration::from_secs(60),
    })
}

async fn client(endpoint: &Endpoint) -> Result<kube::Client, Failed> {
    let kubeconfig = Kubeconfig::read_from(&endpoint.kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
