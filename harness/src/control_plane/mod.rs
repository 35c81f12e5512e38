//! A real Kubernetes API for the lab: one etcd and one kube-apiserver, as child processes.
//!
//! It is made to start fast and to be thrown away: nothing is synced to disk, every client with the token may do
//! everything, and the API server signs its own certificate, which clients do not verify. Controllers do not run:
//! the harness writes Nodes and EndpointSlices itself, as it does with the embedded API.
//!
//! The lab runs it inside another network namespace, so two things come from the caller: a closure that prepares
//! each command before it is spawned, and one that sends the readiness requests.

mod arguments;
mod error;
mod kubeconfig;
mod process;

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::process::Command;
use tokio::sync::OnceCell;

pub use error::ControlPlaneError;
pub use kubeconfig::kubeconfig;

use process::Process;

/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(10);

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// What etcd logs when it listens.
const ETCD_READY: &str = "ready to serve client requests";

/// How long the API server waits for etcd to say so. An API server that finds no etcd retries after a second,
/// which is more than etcd takes; and one whose etcd logs something else must still start.
const ETCD_HEAD_START: Duration = Duration::from_secs(1);

/// What is asked, in this order, before the API counts as ready.
///
/// The check that is left out waits a second before it makes priority classes, which nothing in the lab uses.
/// `/readyz` says yes a moment before the namespace in which everybody creates their Services exists.
const READY_PATHS: [&str; 2] = [
    "/readyz?exclude=poststarthook/scheduling/bootstrap-system-priority-classes",
    "/api/v1/namespaces/default",
];

/// Where and how a control plane runs.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// The folder with etcd and kube-apiserver.
    pub assets: PathBuf,
    /// A folder of its own, for data, keys and logs.
    pub dir: PathBuf,
    /// The address of the API server, of the family of the first Service range.
    pub address: SocketAddr,
    /// The ports of etcd on 127.0.0.1: for clients, and for peers that it does not have.
    pub etcd_ports: (u16, u16),
    /// The Service ranges, the primary family first.
    pub service_cidrs: Vec<IpNet>,
    /// How long the start may take.
    pub ready_within: Duration,
}

/// How clients reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://ADDRESS:PORT`.
    pub url: String,
    /// The bearer token; without it nothing is allowed.
    pub token: String,
    /// The path of a kubeconfig with both.
    pub kubeconfig: PathBuf,
}

/// A running control plane. Dropping it kills its processes; and so does the kernel, when the thread on which it
/// was started ends. That thread must therefore outlive it.
#[derive(Debug)]
pub struct ControlPlane {
    endpoint: Endpoint,
    started_in: Duration,
    // The API server is dropped first: it has nothing to say about an etcd that went away.
    apiserver: Process,
    etcd: Process,
}

impl ControlPlane {
    /// Starts a control plane in the calling thread's network namespace; if that is not the one of the other
    /// threads, the runtime must be a current-thread one.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_here(config: ControlPlaneConfig) -> Result<ControlPlane, ControlPlaneError> {
        let client = OnceCell::new();
        let get = async |endpoint: &Endpoint, path: &str| {
            let client = client.get_or_try_init(|| endpoint.client()).await?;
            get(client, path).await
        };
        ControlPlane::start(config, |_| {}, get).await
    }

    /// Starts a control plane, and returns when it is ready.
    ///
    /// `prepare` is applied to each command before it is spawned. `get` sends one GET request with the endpoint's
    /// token, ignoring the server's certificate; it succeeds if the answer is 200, and otherwise says what came
    /// instead. It should give up by itself within a second or so.
    ///
    /// # Errors
    /// A program is missing, ends, or is not ready in time; the error quotes its last lines.
    pub async fn start(
        config: ControlPlaneConfig,
        prepare: impl Fn(&mut Command),
        get: impl AsyncFn(&Endpoint, &str) -> Result<(), String>,
    ) -> Result<ControlPlane, ControlPlaneError> {
        let started = Instant::now();
        let endpoint = write_files(&config)?;
        let spawn = |program: &'static str, arguments: Vec<String>| {
            Process::spawn(&config.assets, &config.dir, program, &arguments, &prepare)
        };
        let mut etcd = spawn("etcd", arguments::etcd(&config))?;
        etcd.wait_for_line(ETCD_READY, ETCD_HEAD_START).await?;
        let mut control_plane = ControlPlane {
            apiserver: spawn("kube-apiserver", arguments::apiserver(&config))?,
            etcd,
            endpoint,
            started_in: Duration::ZERO,
        };
        for path in READY_PATHS {
            control_plane
                .wait_for(path, &get, started + config.ready_within)
                .await?;
        }
        control_plane.started_in = started.elapsed();
        Ok(control_plane)
    }

    /// How clients reach it.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How long the start took.
    #[must_use]
    pub const fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Fails if one of the processes has ended, with its last lines.
    ///
    /// # Errors
    /// One of them has ended.
    pub fn check(&mut self) -> Result<(), ControlPlaneError> {
        self.etcd.check()?;
        self.apiserver.check()
    }

    /// Ends the processes, the API server first, and kills what does not end by itself.
    ///
    /// # Errors
    /// A process could not be waited for.
    pub async fn shutdown(mut self) -> Result<(), ControlPlaneError> {
        let apiserver = self.apiserver.end(GRACE).await;
        self.etcd.end(GRACE).await?;
        apiserver
    }

    async fn wait_for(
        &mut self,
        path: &str,
        get: &impl AsyncFn(&Endpoint, &str) -> Result<(), String>,
        deadline: Instant,
    ) -> Result<(), ControlPlaneError> {
        loop {
            self.check()?;
            let Err(answer) = get(&self.endpoint, path).await else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(ControlPlaneError::NotReady {
                    url: self.endpoint.url.clone(),
                    answer,
                    said: self.apiserver.last_lines(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Endpoint {
    /// A client for the API, in the network namespace of the calling thread.
    async fn client(&self) -> Result<kube::Client, String> {
        let url = self.url.parse().map_err(|error| format!("{error}"))?;
        let mut config = kube::Config::new(url);
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(self.token.clone().into());
        config.connect_timeout = Some(Duration::from_secs(1));
        config.read_timeout = Some(Duration::from_secs(2));
        kube::Client::try_from(config).map_err(|error| error.to_string())
    }
}

async fn get(client: &kube::Client, path: &str) -> Result<(), String> {
    let path = path.trim_start_matches('/');
    let request = kube::core::Request::new("")
        .get(path, &kube::api::GetParams::default())
        .map_err(|error| error.to_string())?;
    let answer = client.request_text(request).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// Writes what the processes and the clients read.
fn write_files(config: &ControlPlaneConfig) -> Result<Endpoint, ControlPlaneError> {
    fs::create_dir_all(&config.dir).map_err(ControlPlaneError::io("create", &config.dir))?;
    let write = |path: &Path, text: &str| {
        fs::write(path, text).map_err(ControlPlaneError::io("write", path))
    };
    let token = random_token()?;
    write(
        &arguments::token_file(&config.dir),
        &format!("{token},onehop,onehop,\"system:masters\"\n"),
    )?;
    let key = rcgen::KeyPair::generate().map_err(ControlPlaneError::Key)?;
    write(&arguments::private_key(&config.dir), &key.serialize_pem())?;
    write(&arguments::public_key(&config.dir), &key.public_key_pem())?;

    let url = format!("https://{}", config.address);
    let path = config.dir.join("kubeconfig");
    write(&path, &kubeconfig(&url, Some(&token)))?;
    Ok(Endpoint {
        url,
        token,
        kubeconfig: path,
    })
}

/// A token that no other user of the machine can guess: everything is allowed to whoever has it.
fn random_token() -> Result<String, ControlPlaneError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ControlPlaneError::io("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
