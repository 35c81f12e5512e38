//! The Docker engine, by its command line: kind needs that as well.

use std::path::PathBuf;
use std::process::Output;

use ipnet::IpNet;
use serde_json::Value;

use super::KindError;
use super::command::Run;
use crate::image::{Image, LIBRARIES, PROGRAM};
use crate::tools::find_in_path;

/// The label of everything that onehop makes in an engine; its value is the name of the cluster.
pub(super) const LABEL: &str = "dev.onehop.cluster";

/// A Docker engine that answers.
#[derive(Clone, Debug)]
pub struct Docker {
    program: PathBuf,
}

impl Docker {
    /// Finds the command line, and asks the engine whether it is there.
    ///
    /// # Errors
    /// When either is not.
    pub async fn find() -> Result<Self, KindError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = find_in_path("docker", &path);
        let program = program.ok_or_else(|| KindError::missing("docker"))?;
        let docker = Self { program };
        let asked = docker.run("ask the Docker engine").args([
            "version",
            "--format",
            "{{.Server.Version}}",
        ]);
        match asked.output().await {
            Ok(_) => Ok(docker),
            Err(KindError::Failed { said, .. }) => Err(KindError::NoEngine { said }),
            Err(error) => Err(error),
        }
    }

    fn run(&self, what: &str) -> Run {
        Run::new("docker", &self.program, what)
    }

    /// Makes onehop's own image, unless it is there; its name.
    ///
    /// # Errors
    /// When the program cannot be read, or the engine refuses the image.
    pub async fn own_image(&self) -> Result<String, KindError> {
        let image = Image::of_this_program().map_err(KindError::OwnImage)?;
        let name = image.name();
        let inspected = self
            .run("look for onehop's image")
            .args(["image", "inspect", &name]);
        if inspected.raw().await?.status.success() {
            return Ok(name);
        }
        let mut archive = Vec::new();
        image.write(&mut archive).map_err(KindError::OwnImage)?;
        let entry = format!("ENTRYPOINT [\"{PROGRAM}\"]");
        let libraries = format!("ENV LD_LIBRARY_PATH={LIBRARIES}");
        let label = format!("LABEL {LABEL}=");
        let import = ["import", "--change", &entry, "--change", &libraries];
        let import = self.run("import onehop's image").args(import);
        let import = import.args(["--change", &label, "-", &name]);
        import.input(archive).output().await?;
        Ok(name)
    }

    /// The subnets of a network, IPv4 and IPv6 in any order.
    ///
    /// # Errors
    /// When there is no such network.
    pub(super) async fn subnets(&self, network: &str) -> Result<Vec<IpNet>, KindError> {
        let inspect = self
            .run("inspect the network")
            .args(["network", "inspect", network]);
        let text = inspect.output().await?;
        let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
        let configs = parsed[0]["IPAM"]["Config"].as_array();
        let subnets = configs.into_iter().flatten();
        let subnets = subnets.filter_map(|config| config["Subnet"].as_str()?.parse().ok());
        Ok(subnets.collect())
    }

    /// The addresses of a container in a network, IPv4 first.
    ///
    /// # Errors
    /// When there is no such container.
    pub(super) async fn addresses(
        &self,
        container: &str,
        network: &str,
    ) -> Result<[String; 2], KindError> {
        let inspect = self.run("inspect a container").args(["inspect", container]);
        let text = inspect.output().await?;
        let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
        let own = &parsed[0]["NetworkSettings"]["Networks"][network];
        let of = |field: &str| own[field].as_str().unwrap_or_default().to_owned();
        Ok([of("IPAddress"), of("GlobalIPv6Address")])
    }

    /// The id of a container, if there is one of this name.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn id(&self, container: &str) -> Result<Option<String>, KindError> {
        let inspect = self.run("look for a container");
        let inspect = inspect.args(["inspect", "--format", "{{.Id}}", container]);
        let output = inspect.raw().await?;
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(output.status.success().then_some(id))
    }

    /// Runs a command in a container; what it printed, however it ended.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn exec(
        &self,
        container: &str,
        command: &[&str],
    ) -> Result<Output, KindError> {
        let run = self
            .run("run a command in a container")
            .args(["exec", container]);
        run.args(command).raw().await
    }

    /// Stops every process of a container where it is, or lets them go on. Its network goes on in any case, as far as
    /// that is the kernel's.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn pause(&self, container: &str, paused: bool) -> Result<(), KindError> {
        let (what, command) = match paused {
            true => ("stop the processes of a container", "pause"),
            false => ("let the processes of a container go on", "unpause"),
        };
        self.run(what)
            .args([command, container])
            .output()
            .await
            .map(drop)
    }

    /// Lets every stopped node of a kind cluster go on.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn unpause_nodes(&self, cluster: &str) -> Result<(), KindError> {
        let of_cluster = format!("label=io.x-k8s.kind.cluster={cluster}");
        let list =
            self.run("list stopped nodes")
                .args(["ps", "--quiet", "--filter", "status=paused"]);
        let ids = list.args(["--filter", &of_cluster]).output().await?;
        for id in ids.split_whitespace() {
            self.pause(id, false).await?;
        }
        Ok(())
    }

    /// Applies Kubernetes objects by the kubectl of a control plane's container.
    ///
    /// # Errors
    /// When an object is refused.
    pub(super) async fn apply(
        &self,
        control_plane: &str,
        what: &str,
        manifest: &str,
    ) -> Result<(), KindError> {
        let run = self.run(&format!("apply {what}"));
        let run = run.args(["exec", "-i", control_plane, "kubectl"]);
        let run = run.args([
            "--kubeconfig",
            "/etc/kubernetes/admin.conf",
            "apply",
            "-f",
            "-",
        ]);
        run.input(manifest).output().await.map(drop)
    }

    /// Removes the containers that onehop made for a cluster, at once: whoever drops a cluster cannot await.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) fn remove_containers(&self, cluster: &str) -> Result<(), KindError> {
        let filter = format!("label={LABEL}={cluster}");
        let list = ["ps", "--all", "--quiet", "--filter", &filter];
        let ids = self
            .run("list onehop's containers")
            .args(list)
            .output_now()?;
        let ids: Vec<_> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let remove = self.run("remove onehop's containers");
        let remove = remove.args(["rm", "--force"]).args(ids);
        remove.output_now().map(drop)
    }
}
