//! The connection to the API.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// How long a connection may be silent before the kernel asks whether the server is still there, how
/// often it asks, and how many times. A server that vanished is noticed after their sum, and so is
/// one that left a watch open for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMES: u32 = 3;
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Where the API is, and who asks. By default: as a pod of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// A kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// The address of the API, in place of the kubeconfig's.
    pub master: Option<String>,
}

/// The API cannot be addressed. Whether it answers is another matter.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig is not there, or wrong.
    #[error("failed to read the kubeconfig {}", .path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// There is neither a kubeconfig nor what a pod has.
    #[error("no kubeconfig was given, and this is no pod of a cluster")]
    InCluster(#[source] kube::config::InClusterError),
    /// The address makes no sense.
    #[error(
        "`{address}` is no address of an API server, expected for example https://10.0.0.1:6443"
    )]
    Master {
        /// What was given.
        address: String,
        /// Why.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// Credentials or certificates make no sense.
    #[error("failed to prepare the connection to the API")]
    Client(#[source] kube::Error),
}

/// Prepares a client; it connects when it is used.
///
/// # Errors
/// When a file or an address that it needs makes no sense.
pub async fn connect(connection: &Connection) -> Result<Client, ClientError> {
    let config = config(connection).await?;
    client(config).map_err(ClientError::Client)
}

async fn config(connection: &Connection) -> Result<Config, ClientError> {
    let master = connection.master.as_deref().map(|address| {
        address
            .parse::<Uri>()
            .map_err(|source| ClientError::Master {
                address: address.to_owned(),
                source,
            })
    });
    let master = master.transpose()?;
    let mut config = match (&connection.kubeconfig, master.clone()) {
        (Some(path), _) => {
            let wrong = |source| ClientError::Kubeconfig {
                path: path.clone(),
                source,
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(wrong)?
        }
        (None, Some(master)) => Config::new(master),
        (None, None) => Config::incluster().map_err(ClientError::InCluster)?,
    };
    if let Some(master) = master {
        config.cluster_url = master;
    }
    Ok(config)
}

/// kube's own client, and connections that notice when the server has vanished.
fn client(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_TIMES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    // The machine's certificates are read only where they are needed: there may be hundreds.
    if config.cluster_url.scheme() == Some(&Scheme::HTTP) {
        return over(connector, &config);
    }
    over(
        config.rustls_https_connector_with_connector(connector)?,
        &config,
    )
}

fn over<C>(connector: C, config: &Config) -> Result<Client, kube::Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let http: HyperClient<_, Body> = HyperClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let namespace = config.default_namespace.clone();
    Ok(ClientBuilder::new(service, namespace).build())
}
