//! The processes that onehop starts in containers: an agent, a pod, a node's pod network.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use onehop_harness::agent::{AgentOptions, ServingPod, pause, serve, serve_pod};
use onehop_harness::cluster::keep_pod_network;
use tokio::runtime::Runtime;

use crate::arguments::{AgentArguments, NetworkArguments, PodArguments};
use crate::signals;

/// The environment variable that has an agent's token: a command line is everybody's to read.
const TOKEN: &str = "ONEHOP_TOKEN";

/// Runs an agent until it is asked to end.
pub(crate) fn agent(arguments: &AgentArguments) -> Result<ExitCode> {
    let token = env::var(TOKEN).unwrap_or_default();
    if token.is_empty() {
        let help = "it must be what the sessions of this agent begin with";
        return Err(miette!(help = help, "{TOKEN} is not set"));
    }
    let options = AgentOptions {
        listen: arguments.listen,
        token,
    };
    let listen = arguments.listen;
    Runtime::new().into_diagnostic()?.block_on(async {
        let ends = signals::asked_to_end().into_diagnostic()?;
        let served = serve(options, ends).await.into_diagnostic();
        served.wrap_err_with(|| format!("failed to listen on {listen}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Is a pod, until it is asked to end.
pub(crate) fn pod(arguments: PodArguments) -> Result<ExitCode> {
    let runtime = Runtime::new().into_diagnostic()?;
    let Some(node) = arguments.node else {
        runtime.block_on(pause()).into_diagnostic()?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut names = arguments.names.into_iter();
    let called = names.find(|(object, _)| *object == node);
    let pod = ServingPod {
        name: arguments.name,
        node: called.map_or(node, |(_, name)| name),
        ports: arguments.ports,
        lingers: Duration::from_secs(arguments.lingers),
    };
    runtime.block_on(serve_pod(pod)).into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

/// Keeps a node's pod network until it is asked to end.
pub(crate) fn network(arguments: NetworkArguments) -> Result<ExitCode> {
    let kept = async move {
        let client = kube::Client::try_default().await.into_diagnostic();
        let client = client.wrap_err("failed to reach the API as a pod of its cluster")?;
        let kept = keep_pod_network(client, &arguments.node, &arguments.configuration).await;
        kept.into_diagnostic()
    };
    Runtime::new().into_diagnostic()?.block_on(async {
        let ends = signals::asked_to_end().into_diagnostic()?;
        tokio::select! {
            done = kept => done.map(|()| ExitCode::SUCCESS),
            () = ends => Ok(ExitCode::SUCCESS),
        }
    })
}
