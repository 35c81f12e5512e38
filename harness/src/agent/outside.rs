//! Everything outside of a cluster, on one machine that is linked to its nodes: two clients, the
//! router, and the load balancer, whose network is the machine's own.

use crate::balancer::{Balancer, BalancerError};
use crate::netns::{Host, Namespace, Network};
use crate::timing::Timing;
use crate::world::{LOAD_BALANCER, World};

use super::error::AgentError;

/// The outside of a cluster. It is there until dropped.
#[derive(Debug)]
pub struct Outside {
    network: Network,
    world: World,
}

impl Outside {
    /// Builds it around this process's own network, which must have an interface `eth0` to the
    /// nodes.
    ///
    /// # Errors
    /// When the kernel refuses a part.
    pub async fn build(world: World) -> Result<Self, AgentError> {
        let own = Namespace::own(LOAD_BALANCER);
        let own = own.map_err(AgentError::host(LOAD_BALANCER, "enter the network"))?;
        let network = Network::outside(&world, own).await?;
        Ok(Self { network, world })
    }

    /// Its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Namespace> {
        self.network.hosts().map(Host::namespace)
    }

    /// Starts the load balancer, for the Services of the API that a kubeconfig leads to.
    ///
    /// # Errors
    /// When the kernel refuses a route, or has no nftables.
    pub async fn balance(
        &self,
        client: kube::Client,
        timing: &Timing,
    ) -> Result<Balancer, BalancerError> {
        let host = self.network.host(LOAD_BALANCER).expect("it was built");
        Balancer::start(host, &self.world, client, timing).await
    }
}
