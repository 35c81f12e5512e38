//! The container that is everything outside of the cluster.

use std::net::IpAddr;
use std::time::Duration;

use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::KindError;
use super::docker::LABEL;
use crate::cluster::{AGENT_PORT, ClusterError, until};
use crate::timing::Timing;

/// The network that kind puts its nodes on.
pub(super) const NETWORK: &str = "kind";
/// How long one attempt to reach the agent may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A container with an agent in it, on the network of the nodes. It ends when this is dropped.
///
/// Clients, router and load balancer are network namespaces in it, joined by pairs of interfaces as in the embedded lab;
/// only the load balancer's is the container's own. Networks of Docker would not do between them: its rules drop what one
/// network routes into another (`raw` table, since Docker 28), and they see bridged packets wherever br_netfilter is
/// loaded.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) name: String,
    _container: ContainerAsync<GenericImage>,
}

impl Outside {
    /// Starts it.
    pub(super) async fn start(cluster: &str, image: &str, token: &str) -> Result<Self, KindError> {
        let failed = |error| KindError::Outside(Box::new(error));
        let (repository, tag) = image.split_once(':').expect("the image has a tag");
        let name = format!("{cluster}-outside");
        let listen = format!("0.0.0.0:{AGENT_PORT}");
        let container = GenericImage::new(repository, tag)
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
        Ok(Self {
            name,
            _container: container,
        })
    }

    /// A way to its agent, by the container's own address: no port of this machine is opened for it.
    ///
    /// The machine may take some seconds to find it: where another container had the address before, it goes on
    /// sending to that one until it has asked for it in vain.
    pub(super) async fn connect(
        &self,
        address: IpAddr,
        timing: &Timing,
    ) -> Result<TcpStream, ClusterError> {
        let what = "the agent in its container did not answer";
        until(what, timing.outside_ready, async || {
            let connected = timeout(ATTEMPT, TcpStream::connect((address, AGENT_PORT))).await;
            Ok(match connected {
                Ok(connected) => connected.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {ATTEMPT:?}")),
            })
        })
        .await
    }
}
