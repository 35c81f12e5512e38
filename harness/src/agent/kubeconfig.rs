//! A client by a kubeconfig's text.

use std::io;

use super::error::AgentError;

/// A client of the API that a kubeconfig leads to.
pub(crate) async fn client_of(kubeconfig: &str) -> Result<kube::Client, AgentError> {
    let bad = |error: String| AgentError::Host {
        host: "lb".to_owned(),
        what: "use the kubeconfig".to_owned(),
        source: io::Error::other(error),
    };
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig).map_err(|e| bad(e.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(parsed, &options).await;
    let config = config.map_err(|error| bad(error.to_string()))?;
    kube::Client::try_from(config).map_err(|error| bad(error.to_string()))
}
