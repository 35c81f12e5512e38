//! A client by a kubeconfig's text.

use std::io;

use super::error::AgentError;

/// A client of the API that a kubeconfig leads to. What is wrong with one is not quoted: it has
/// credentials.
pub(crate) async fn client_of(kubeconfig: &str) -> Result<kube::Client, AgentError> {
    let bad = |what: &str| AgentError::Host {
        host: "the cluster".to_owned(),
        what: "use the kubeconfig".to_owned(),
        source: io::Error::other(what.to_owned()),
    };
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig);
    let parsed = parsed.map_err(|_| bad("it is none"))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(parsed, &options).await;
    let config = config.map_err(|_| bad("its context cannot be used"))?;
    kube::Client::try_from(config).map_err(|error| bad(&error.to_string()))
}
