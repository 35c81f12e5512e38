//! Which cluster a command is about: it is named, and never guessed.

use std::path::Path;

use kube::Client;
use miette::{IntoDiagnostic, Report, Result, WrapErr, miette};
use onehop_harness::cluster::{client, contexts};
use onehop_harness::error::chain;

use crate::arguments::ClusterArguments;

/// A client for the cluster that the arguments name.
pub(crate) async fn client_of(arguments: &ClusterArguments) -> Result<Client> {
    if arguments.in_cluster {
        let config = kube::Config::incluster().into_diagnostic();
        let config = config.wrap_err("failed to find the cluster that this is a pod of")?;
        return Client::try_from(config).into_diagnostic();
    }
    let kubeconfig = arguments.kubeconfig.as_deref();
    let context = named(arguments.context.as_deref(), kubeconfig)?;
    client(kubeconfig, context).await.into_diagnostic()
}

/// The context, or the refusal to guess one.
pub(crate) fn named<'a>(context: Option<&'a str>, kubeconfig: Option<&Path>) -> Result<&'a str> {
    context.ok_or_else(|| unnamed(kubeconfig))
}

/// The refusal to guess a cluster, with the contexts that there are.
fn unnamed(kubeconfig: Option<&Path>) -> Report {
    let help = match contexts(kubeconfig) {
        Ok(contexts) if contexts.is_empty() => "the kubeconfig has no contexts".to_owned(),
        Ok(contexts) => format!("the kubeconfig has {}", contexts.join(", ")),
        Err(error) => chain(&error),
    };
    miette!(
        help = help,
        "which cluster? Name it with --context, because current-context is easily another one"
    )
}
