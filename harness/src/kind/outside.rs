//! The container that is everything outside of the cluster.

use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::net::TcpStream;

use super::KindError;
use super::docker::LABEL;
use crate::cluster::AGENT_PORT;

/// The network that kind puts its nodes on.
pub(super) const NETWORK: &str = "kind";

/// A container with an agent in it, on the network of the nodes. It ends when this is dropped.
///
/// Clients, router and load balancer are network namespaces in it, joined by pairs of interfaces as in the embedded lab;
/// only the load balancer's is the container's own. Networks of Docker would not do between them: its rules drop what one
/// network routes into another (`raw` table, since Docker 28), and they see bridged packets wherever br_netfilter is
/// loaded.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) name: String,
    container: ContainerAsync<GenericImage>,
}

impl Outside {
    /// Starts it.
    pub(super) async fn start(cluster: &str, image: &str, token: &str) -> Result<Self, KindError> {
        let failed = |error| KindError::Outside(Box::new(error));
        let (repository, tag) = image.split_once(':').expect("the image has a tag");
        let name = format!("{cluster}-outside");
        let listen = format!("0.0.0.0:{AGENT_PORT}");
        let container = GenericImage::new(repository, tag)
            .with_exposed_port(ContainerPort::Tcp(AGENT_PORT))
            .with_wait_for(WaitFor::message_on_stderr("the agent is ready"))
            .with_container_name(&name)
            .with_network(NETWORK)
            .with_privileged(true)
            .with_labels([(LABEL, cluster)])
            .with_env_var("ONEHOP_TOKEN", token)
            .with_cmd(["agent", "--listen", &listen])
            .start()
            .await
            .map_err(failed)?;
        Ok(Self { name, container })
    }

    /// A way to its agent.
    pub(super) async fn connect(&self) -> Result<TcpStream, KindError> {
        let failed = |error| KindError::Outside(Box::new(error));
        let host = self.container.get_host().await.map_err(failed)?;
        let port = self
            .container
            .get_host_port_ipv4(AGENT_PORT)
            .await
            .map_err(failed)?;
        let stream = TcpStream::connect((host.to_string(), port)).await;
        stream.map_err(|source| KindError::Run {
            program: "the agent in its container",
            source,
        })
    }
}
