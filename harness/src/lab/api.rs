//! The Kubernetes API of a lab: embedded, or a real etcd and kube-apiserver.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kube::Client;
use onehop_apiserver::{ApiServer, Config, ConfigError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::control_plane::{
    ControlPlane, ControlPlaneConfig, ControlPlaneError, Endpoint, kubeconfig,
};
use crate::netns::{Namespace, start_in};
use crate::timing::Timing;
use crate::world::AddressPlan;

/// The port of the API on its host.
const PORT: u16 = 6443;
/// The ports of the real API's etcd, on the loopback of the API's host.
const ETCD_PORTS: (u16, u16) = (2379, 2380);

/// Which API a lab has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApiKind {
    /// The one that is part of onehop.
    #[default]
    Embedded,
    /// A real etcd and kube-apiserver, whose programs are in this folder.
    Real(PathBuf),
}

/// An API that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The embedded one.
    #[error("failed to set up the embedded API")]
    Embedded(#[from] ConfigError),
    /// The real one.
    #[error(transparent)]
    Real(#[from] ControlPlaneError),
    /// A listener or a file.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The client.
    #[error("failed to make a client for the API")]
    Client(#[source] Box<kube::Error>),
}

/// A running API and the ways to it.
#[derive(Debug)]
pub struct LabApi {
    /// Where it is inside the lab; the door from outside leads there.
    host: Namespace,
    /// Its URL inside the lab.
    url: String,
    token: Option<String>,
    kubeconfig: PathBuf,
    tasks: Mutex<JoinSet<()>>,
    embedded: Option<ApiServer>,
    real: Option<ControlPlane>,
}

impl LabApi {
    /// Starts an API on its host and writes a kubeconfig for the nodes to `dir`. Also returns a
    /// client for the harness.
    ///
    /// # Errors
    /// When a listener, a file or the real control plane fails.
    pub async fn start(
        kind: &ApiKind,
        host: &Namespace,
        dir: &Path,
        timing: &Timing,
    ) -> Result<(Self, Client), ApiError> {
        fs::create_dir_all(dir).map_err(io_error(format!("create {}", dir.display())))?;
        let mut tasks = JoinSet::new();
        let address = SocketAddr::from((AddressPlan::api().v4, PORT));
        let (url, token, kubeconfig, embedded, real, local_url) = match kind {
            ApiKind::Embedded => {
                let server = ApiServer::new(Config {
                    service_cidrs: AddressPlan::service_cidrs().to_vec(),
                    ..Config::default()
                })?;
                tasks.spawn(serve(server.clone(), listen(host, address)?));
                let local = listen_here()?;
                let local_url = format!("http://{}", local_address(&local)?);
                tasks.spawn(serve(server.clone(), local));
                let url = format!("http://{address}");
                let path = dir.join("kubeconfig");
                fs::write(&path, kubeconfig(&url, None))
                    .map_err(io_error(format!("write {}", path.display())))?;
                (url, None, path, Some(server), None, local_url)
            }
            ApiKind::Real(assets) => {
                let local = listen_here()?;
                let local_url = format!("https://{}", local_address(&local)?);
                tasks.spawn(forward(local, host.clone(), address));
                let real = start_real(assets, host, dir, address, &local_url, timing).await?;
                let Endpoint {
                    url,
                    token,
                    kubeconfig,
                } = real.endpoint().clone();
                (url, Some(token), kubeconfig, None, Some(real), local_url)
            }
        };
        let client = client(&local_url, token.as_deref())?;
        let api = Self {
            host: host.clone(),
            url,
            token,
            kubeconfig,
            tasks: Mutex::new(tasks),
            embedded,
            real,
        };
        Ok((api, client))
    }

    /// The URL by which nodes reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The kubeconfig by which nodes reach it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The embedded one, to write to without a connection; none when the API is a real one.
    pub fn embedded(&self) -> Option<&ApiServer> {
        self.embedded.as_ref()
    }

    /// What it is: for results.
    pub fn name(&self) -> &'static str {
        if self.real.is_some() {
            "kube-apiserver"
        } else {
            "embedded"
        }
    }

    /// Lets terminals outside reach the API through a listener of the machine's own loopback.
    /// Returns the kubeconfig to use there.
    ///
    /// # Errors
    /// When the listener is unusable.
    pub fn open_door(&self, door: std::net::TcpListener) -> Result<String, ApiError> {
        let prepared = door
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(door));
        let door = prepared.map_err(io_error("open the way to the API"))?;
        let scheme = if self.real.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", local_address(&door)?);
        let address = SocketAddr::from((AddressPlan::api().v4, PORT));
        let forwarded = forward(door, self.host.clone(), address);
        self.tasks
            .lock()
            .expect("no holder panics")
            .spawn(forwarded);
        Ok(kubeconfig(&url, self.token.as_deref()))
    }
}

async fn start_real(
    assets: &Path,
    host: &Namespace,
    dir: &Path,
    address: SocketAddr,
    local_url: &str,
    timing: &Timing,
) -> Result<ControlPlane, ApiError> {
    let config = ControlPlaneConfig {
        assets: assets.to_owned(),
        dir: dir.to_owned(),
        address,
        etcd_ports: ETCD_PORTS,
        service_cidrs: AddressPlan::service_cidrs().to_vec(),
        ready_within: timing.api_ready,
    };
    let get = async |endpoint: &Endpoint, path: &str| {
        let client = client(local_url, Some(&endpoint.token)).map_err(|e| e.to_string())?;
        let request = kube::core::Request::new("")
            .get(
                path.trim_start_matches('/'),
                &kube::api::GetParams::default(),
            )
            .map_err(|error| error.to_string())?;
        client
            .request_text(request)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    Ok(ControlPlane::start(config, |command| start_in(command, host), get).await?)
}

fn client(url: &str, token: Option<&str>) -> Result<Client, ApiError> {
    let mut config = kube::Config::new(url.parse().expect("the lab's own URL is valid"));
    config.accept_invalid_certs = true;
    config.default_namespace = super::objects::NAMESPACE.to_owned();
    config.auth_info.token = token.map(|token| token.to_owned().into());
    Client::try_from(config).map_err(|error| ApiError::Client(Box::new(error)))
}

async fn serve(server: ApiServer, listener: TcpListener) {
    if let Err(error) = server.serve(listener).await {
        tracing::error!(%error, "the embedded API stopped serving");
    }
}

/// Passes connections on to an address inside a namespace.
async fn forward(listener: TcpListener, host: Namespace, to: SocketAddr) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else {
            continue;
        };
        let host = host.clone();
        tokio::spawn(async move {
            let passed = async {
                let mut far = connect(&host, to).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            };
            if let Err(error) = passed.await {
                tracing::debug!(%error, "a forwarded connection to the API ended");
            }
        });
    }
}

async fn connect(host: &Namespace, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = host.within(TcpSocket::new_v4)??;
    socket.connect(to).await
}

fn listen(host: &Namespace, address: SocketAddr) -> Result<TcpListener, ApiError> {
    host.within(|| std::net::TcpListener::bind(address))
        .and_then(|bound| bound)
        .and_then(to_tokio)
        .map_err(io_error(format!("listen on {address} in the lab")))
}

fn listen_here() -> Result<TcpListener, ApiError> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(to_tokio);
    bound.map_err(io_error("listen on the sandbox's loopback"))
}

fn to_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, ApiError> {
    listener
        .local_addr()
        .map_err(io_error("read a listener's address"))
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ApiError {
    let what = what.into();
    move |source| ApiError::Io { what, source }
}
