//! `onehop lab`: a lab to look around in.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_harness::lab::{ApiKind, Lab, LabOptions, ProxyUnderTest};
use onehop_harness::netns::{Sandbox, attach};
use onehop_harness::timing::Timing;
use onehop_harness::world::World;
use tokio::runtime::Runtime;

use crate::arguments::LabCommand;
use crate::output::say;
use crate::{NOT_JUDGED, preparation, signals};

pub(crate) fn lab(command: LabCommand) -> Result<ExitCode> {
    match command {
        LabCommand::Up {
            proxy,
            no_proxy,
            lab,
            out,
        } => {
            let specs = if no_proxy { Vec::new() } else { vec![proxy] };
            let mut prepared = preparation::prepare(&specs, &lab, true)?;
            let (api, proxy) = (prepared.api, prepared.proxies.pop());
            let mut sandbox = prepared.sandbox;
            Runtime::new().into_diagnostic()?.block_on(async {
                let lab = start(api, proxy, &out.join("lab"), lab.timing()).await?;
                stay(Arc::new(lab), &mut sandbox).await
            })?;
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Exec { host, command } => {
            let status = attach::find().and_then(|lab| lab.run(&host, &command));
            let code = status.into_diagnostic()?.code();
            Ok(code
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(NOT_JUDGED)
                .into())
        }
        LabCommand::Down => {
            attach::find().and_then(|lab| lab.end()).into_diagnostic()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts a lab with the world of the story.
pub(crate) async fn start(
    api: ApiKind,
    proxy: Option<ProxyUnderTest>,
    dir: &Path,
    timing: Timing,
) -> Result<Lab> {
    let options = LabOptions {
        world: World::story(),
        api,
        proxy,
        dir: std::path::absolute(dir).into_diagnostic()?,
        timing,
    };
    Lab::start(options).await.into_diagnostic()
}

/// Keeps a lab up until interrupted, and prints how to enter it.
pub(crate) async fn stay(lab: Arc<Lab>, sandbox: &mut Sandbox) -> Result<()> {
    let ends = signals::asked_to_end().into_diagnostic()?;
    let _announcement =
        attach::announce(sandbox, lab.netns().hosts(), lab.netns().api().kubeconfig())
            .into_diagnostic()?;
    say!("the lab is up; interrupt to end it, or run: onehop lab down\n");
    let world = lab.world();
    for node in &world.nodes {
        let pods = world.pods.iter().filter(|pod| pod.node == node.name);
        let pods: Vec<_> = pods.map(|pod| pod.name.as_str()).collect();
        say!(
            "  node    {:16} {:24} pods {}",
            node.name,
            node.address,
            pods.join(" ")
        );
    }
    for client in &world.clients {
        say!("  client  {:16} {}", client.name, client.address);
    }
    say!("\nrun a command on any host, in another terminal:\n");
    say!("  onehop lab exec vm1 -- nft list ruleset");
    say!(
        "  onehop lab exec client-public -- ping -c 1 {}",
        world.nodes[0].address.v4
    );
    if let Some(door) = sandbox.door.take() {
        let text = lab.netns().api().open_door(door).into_diagnostic()?;
        let path = lab.dir().join("kubeconfig");
        fs::write(&path, text)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", path.display()))?;
        say!(
            "\nand reach its API from there:\n\n  export KUBECONFIG={}",
            path.display()
        );
    }
    ends.await;
    Ok(())
}
