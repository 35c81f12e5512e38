//! A kind cluster: made, or found, and removed again.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use super::KindError;
use super::command::Run;
use super::docker::Docker;
use crate::tools::{self, Cache, Tool, ToolRef, find_in_path};

/// What a cluster's file says while a run makes it; then the id of its control plane's container follows,
/// by which it is known from another one of the same name; and once it is kept.
const MADE: &str = "made";
const KEPT: &str = "kept";

/// The command line of kind.
#[derive(Clone, Debug)]
pub struct Kind {
    program: PathBuf,
}

impl Kind {
    /// Finds it in `PATH`, or among the installed tools.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find() -> Result<Self, KindError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = || {
            let (tool, version) = (Tool::Kind, Tool::Kind.project().default_version());
            let tool = ToolRef { tool, version };
            tools::locate(tool, None).ok().map(|located| located.path)
        };
        let program = find_in_path("kind", &path).or_else(installed);
        let program = program.ok_or_else(|| KindError::missing("kind"))?;
        Ok(Self { program })
    }

    fn run(&self, what: &str) -> Run {
        Run::new("kind", &self.program, what)
    }

    /// The names of all clusters.
    ///
    /// # Errors
    /// When kind cannot tell.
    pub(super) async fn clusters(&self) -> Result<Vec<String>, KindError> {
        let listed = self
            .run("list the clusters")
            .args(["get", "clusters"])
            .output()
            .await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// The kubeconfig of a cluster: for this machine, or for its own network.
    pub(super) async fn kubeconfig(&self, name: &str, internal: bool) -> Result<String, KindError> {
        let get = self
            .run("get the kubeconfig")
            .args(["get", "kubeconfig", "--name", name]);
        get.args(internal.then_some("--internal")).output().await
    }

    /// Gives every node of a cluster an image that the engine has.
    pub(super) async fn load(&self, name: &str, image: &str) -> Result<(), KindError> {
        let load = self.run(&format!("load the image {image} into the cluster"));
        let load = load.args(["load", "docker-image", image, "--name", name]);
        load.output().await.map(drop)
    }
}

/// A cluster in use by this run. One that the run has made is removed with it.
#[derive(Debug)]
pub(super) struct KindCluster {
    pub(super) name: String,
    kind: Kind,
    docker: Docker,
    /// The id of its control plane's container.
    id: String,
    lock: Flock<File>,
    /// Whether it is removed when this is dropped.
    ends: bool,
}

impl KindCluster {
    /// Makes a cluster. One that a killed run has left by this name is removed before.
    ///
    /// # Errors
    /// When there is somebody's cluster of this name, or it cannot be made; nothing is left then.
    pub(super) async fn create(
        kind: &Kind,
        docker: &Docker,
        name: &str,
        config: &str,
        image: &str,
        kubeconfig: &Path,
    ) -> Result<Self, KindError> {
        let mut lock = take_lock(name)?;
        let mut said = String::new();
        lock.read_to_string(&mut said).map_err(lock_error(name))?;
        if kind.clusters().await?.iter().any(|known| known == name) {
            let there = docker.id(&format!("{name}-control-plane")).await?;
            let name = name.to_owned();
            match said.split_once(' ') {
                // A run that was killed while it made the cluster did not come to know the id.
                None if said == MADE => {}
                Some((MADE, id)) if Some(id) == there.as_deref() => {}
                Some((KEPT, id)) if Some(id) == there.as_deref() => {
                    return Err(KindError::Kept { name });
                }
                _ => return Err(KindError::Exists { name }),
            }
            delete(kind, &name);
        }
        docker.remove_containers(name)?;
        write(&mut lock, MADE).map_err(lock_error(name))?;
        // From here on, whatever is there of it is removed.
        let cluster = Self {
            name: name.to_owned(),
            kind: kind.clone(),
            docker: docker.clone(),
            id: String::new(),
            lock,
            ends: true,
        };
        let create = kind.run(&format!("make the kind cluster {name} of {image}"));
        let create = create.args(["create", "cluster", "--name", name, "--image", image]);
        let create = create
            .arg_path("--kubeconfig", kubeconfig)
            .args(["--config", "-"]);
        create.input(config).output().await?;
        let mut cluster = cluster;
        cluster.id = docker
            .id(&cluster.control_plane())
            .await?
            .unwrap_or_default();
        let made = format!("{MADE} {}", cluster.id);
        write(&mut cluster.lock, &made).map_err(lock_error(name))?;
        Ok(cluster)
    }

    /// Uses a cluster that is there.
    ///
    /// # Errors
    /// When there is none of this name, or another run uses it.
    pub(super) async fn attach(
        kind: &Kind,
        docker: &Docker,
        name: &str,
    ) -> Result<Self, KindError> {
        let known = kind.clusters().await?;
        if !known.iter().any(|known| known == name) {
            let known = match known[..] {
                [] => "none".to_owned(),
                _ => known.join(", "),
            };
            let name = name.to_owned();
            return Err(KindError::Unknown { name, known });
        }
        Ok(Self {
            name: name.to_owned(),
            kind: kind.clone(),
            docker: docker.clone(),
            id: String::new(),
            lock: take_lock(name)?,
            ends: false,
        })
    }

    /// The container of its control plane.
    pub(super) fn control_plane(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// Leaves it behind, for whoever wants to look around in it.
    pub(super) fn keep(&mut self) -> Result<(), KindError> {
        self.ends = false;
        write(&mut self.lock, &format!("{KEPT} {}", self.id)).map_err(lock_error(&self.name))
    }
}

impl Drop for KindCluster {
    fn drop(&mut self) {
        if !self.ends {
            return;
        }
        // What stays is removed by the next run: the file goes on to say whose it is.
        let removed = self.docker.remove_containers(&self.name).is_ok();
        if delete(&self.kind, &self.name)
            && removed
            && let Err(error) = write(&mut self.lock, "")
        {
            tracing::error!(%error, "the file of the cluster stays");
        }
    }
}

/// Removes a cluster, and waits until it is gone; whether it is. What is left is removed by the next run.
fn delete(kind: &Kind, name: &str) -> bool {
    let deleted = Command::new(&kind.program)
        .args(["delete", "cluster", "--name", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let why = match deleted {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("onehop: the kind cluster {name} is left behind: {why}");
    false
}

/// A file of the cluster's name that is locked for as long as a run uses it.
fn take_lock(name: &str) -> Result<Flock<File>, KindError> {
    let path = lock_path(name)?;
    let folder = path.parent().expect("it is in a folder");
    fs::create_dir_all(folder).map_err(lock_error(name))?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(lock_error(name))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => KindError::InUse {
            name: name.to_owned(),
        },
        other => lock_error(name)(other.into()),
    })
}

fn lock_path(name: &str) -> Result<PathBuf, KindError> {
    let cache = Cache::from_environment().map_err(|error| KindError::Home(error.to_string()))?;
    Ok(cache.root().join("kind").join(format!("{name}.lock")))
}

fn lock_error(name: &str) -> impl FnOnce(std::io::Error) -> KindError {
    let path = lock_path(name).unwrap_or_default();
    move |source| KindError::File {
        what: "use",
        path,
        source,
    }
}

fn write(lock: &mut Flock<File>, text: &str) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(text.as_bytes())
}
