//! A client for one named context of a kubeconfig.
//!
//! Nothing here ever falls back to `current-context`: whoever works on a real cluster names it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// How long a connection to an API may take. A person waits for it, who may have named the wrong cluster.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A context that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file cannot be read.
    #[error("failed to read the kubeconfig {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no file, or several do not fit together.
    #[error("failed to read the kubeconfig{}", of(.path.as_deref()))]
    Read {
        /// The file; none for the user's own one.
        path: Option<PathBuf>,
        /// Why not.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// A file is no kubeconfig. The parser's own words quote the file, which has credentials.
    #[error("the kubeconfig{} is none: its YAML is wrong{at}", of(.path.as_deref()))]
    Yaml {
        /// The file; none for the user's own one.
        path: Option<PathBuf>,
        /// Where in it, as text.
        at: String,
    },
    /// None of the files that the environment names is there.
    #[error("no file that KUBECONFIG names exists: {0}")]
    NoFile(String),
    /// There is no such context.
    #[error("no context `{context}` in the kubeconfig, which has {}", listed(.known))]
    Unknown {
        /// What was asked for.
        context: String,
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// The context is there, and its cluster or its user cannot be used.
    #[error("failed to use the context `{context}`")]
    Unusable {
        /// The context.
        context: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
}

/// The contexts of a kubeconfig, in its order. Without a file, it is found as kubectl finds it.
///
/// # Errors
/// When it is not there, cannot be read, or is no kubeconfig.
pub fn contexts(kubeconfig: Option<&Path>) -> Result<Vec<String>, ContextError> {
    read(kubeconfig).map(|config| names(&config))
}

/// A client for the API of this context. Nothing is sent yet.
///
/// Without a file, the kubeconfig is found as kubectl finds it: by `KUBECONFIG`, of whose files those that are missing are
/// passed over, else in the home directory (kubernetes `client-go/tools/clientcmd/loader.go`).
///
/// # Errors
/// When the kubeconfig cannot be read, has no such context, or the context cannot be used.
pub async fn client(kubeconfig: Option<&Path>, context: &str) -> Result<Client, ContextError> {
    let config = read(kubeconfig)?;
    let known = names(&config);
    if !known.iter().any(|name| name == context) {
        return Err(ContextError::Unknown {
            context: context.to_owned(),
            known,
        });
    }
    let unusable = |source| ContextError::Unusable {
        context: context.to_owned(),
        source: Box::new(source),
    };
    let own_proxy = has_proxy(&config, context);
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(config, &options)
        .await
        .map_err(|source| unusable(kube::Error::InferKubeconfig(source)))?;
    config.connect_timeout = Some(CONNECT_WITHIN);
    if !own_proxy && !environment_proxies(&config.cluster_url) {
        config.proxy_url = None;
    }
    Client::try_from(config).map_err(unusable)
}

fn read(path: Option<&Path>) -> Result<Kubeconfig, ContextError> {
    let failed = |path: Option<&Path>, source| {
        let path = path.map(Path::to_owned);
        match source {
            KubeconfigError::Parse(error) => {
                let at = error.location();
                let at = at.map(|at| format!(" at line {}, column {}", at.line(), at.column()));
                let at = at.unwrap_or_default();
                ContextError::Yaml { path, at }
            }
            KubeconfigError::ReadConfig(source, path) => ContextError::File { path, source },
            source => ContextError::Read {
                path,
                source: Box::new(source),
            },
        }
    };
    let from = |path: &Path| Kubeconfig::read_from(path).map_err(|e| failed(Some(path), e));
    if let Some(path) = path {
        return from(path);
    }
    let named = env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&named)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if named.is_empty() {
        return Kubeconfig::read().map_err(|source| failed(None, source));
    }
    let mut merged: Option<Kubeconfig> = None;
    for path in named.iter().filter(|path| path.exists()) {
        let next = from(path)?;
        merged = Some(match merged {
            Some(before) => before.merge(next).map_err(|e| failed(Some(path), e))?,
            None => next,
        });
    }
    merged.ok_or_else(|| {
        let named: Vec<_> = named
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        ContextError::NoFile(named.join(", "))
    })
}

fn names(config: &Kubeconfig) -> Vec<String> {
    let contexts = config.contexts.iter();
    contexts.map(|context| context.name.clone()).collect()
}

/// Whether the kubeconfig itself has a proxy for the cluster of this context.
fn has_proxy(config: &Kubeconfig, context: &str) -> bool {
    let named = config.contexts.iter().find(|named| named.name == context);
    let cluster = named.and_then(|named| named.context.as_ref());
    let found = cluster.and_then(|context| {
        let mut clusters = config.clusters.iter();
        clusters.find(|named| named.name == context.cluster)
    });
    let cluster = found.and_then(|named| named.cluster.as_ref());
    cluster
        .and_then(|cluster| cluster.proxy_url.as_ref())
        .is_some_and(|url| !url.is_empty())
}

/// Whether the environment wants a proxy for this URL.
///
/// kube holds `NO_PROXY` against the proxy's address instead of the cluster's, and sends loopback through a proxy as well;
/// Go, and so kubectl, does neither (`golang.org/x/net/http/httpproxy`).
fn environment_proxies(url: &http::Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = host.parse().ok();
    let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    !loopback && Matcher::from_env().intercept(url).is_some()
}

fn of(path: Option<&Path>) -> String {
    path.map(|path| format!(" {}", path.display()))
        .unwrap_or_default()
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::control_plane::kubeconfig;
    use crate::error::chain;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[tokio::test]
    async fn a_context_is_found_by_its_name_alone() {
        let file = file(&kubeconfig("http://127.0.0.1:1", None));
        assert_eq!(contexts(Some(file.path())).unwrap(), ["onehop"]);
        client(Some(file.path()), "onehop").await.unwrap();
        let error = client(Some(file.path()), "").await.err().unwrap();
        assert_eq!(
            chain(&error),
            "no context `` in the kubeconfig, which has onehop"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_named_with_its_reason_and_without_its_secrets() {
        let missing = client(Some(Path::new("/no/such/file")), "onehop").await;
        let missing = chain(&missing.err().unwrap());
        assert!(
            missing.contains("/no/such/file") && missing.contains("No such file"),
            "{missing}"
        );
        let broken = file("users: [{name: a, user: {token: secret}\n");
        let broken = chain(&client(Some(broken.path()), "onehop").await.err().unwrap());
        assert!(
            broken.ends_with("its YAML is wrong at line 1, column 9"),
            "{broken}"
        );
        let wrong = file("users: [{name: a, user: {username: [secret]}}]\n");
        let wrong = chain(&client(Some(wrong.path()), "onehop").await.err().unwrap());
        assert!(
            wrong.contains(" at line 1") && !wrong.contains("secret"),
            "{wrong}"
        );
        let empty = file("");
        let empty = chain(&client(Some(empty.path()), "onehop").await.err().unwrap());
        assert!(empty.ends_with("which has none"), "{empty}");
        let dangling = file("contexts: [{name: a, context: {cluster: b, user: c}}]\n");
        let dangling = chain(&client(Some(dangling.path()), "a").await.err().unwrap());
        assert!(
            dangling.starts_with("failed to use the context `a`"),
            "{dangling}"
        );
    }

    #[test]
    fn loopback_is_reached_without_a_proxy() {
        for url in [
            "https://127.0.0.1:6443",
            "https://[::1]:6443",
            "https://localhost",
        ] {
            assert!(!environment_proxies(&url.parse().unwrap()), "{url}");
        }
    }
}
