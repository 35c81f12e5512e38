//! The lab of these tests: the world of the story with no proxy, and rules made by hand.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use onehop_harness::agent::Kept;
use onehop_harness::lab::{ApiKind, BASELINE_PORT, Lab, LabOptions};
use onehop_harness::probe::{self, Batch, Connection, ProbeError};
use onehop_harness::timing::Timing;
use onehop_harness::world::{Family, Length, Protocol, World};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A lab without a proxy, and what keeps it running.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) runtime: Runtime,
    _dir: TempDir,
}

impl Bench {
    pub(crate) fn build() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let dir = TempDir::new().expect("a temporary directory");
        let options = LabOptions {
            world: World::story(),
            api: ApiKind::Embedded,
            proxy: None,
            dir: dir.path().to_owned(),
            timing: Timing::default(),
        };
        let lab = runtime.block_on(Lab::start(options)).expect("a lab");
        Self {
            lab,
            runtime,
            _dir: dir,
        }
    }

    pub(crate) fn world(&self) -> &World {
        self.lab.world()
    }

    /// The address of a node, pod or client.
    pub(crate) fn address(&self, name: &str, family: Family) -> IpAddr {
        let world = self.world();
        let dual = world.node(name).map(|node| node.address);
        let dual = dual.or_else(|| world.pod(name).map(|pod| pod.address));
        let dual = dual.or_else(|| world.client(name).map(|client| client.address));
        dual.expect("a host with an address").of(family)
    }

    pub(crate) fn at(&self, name: &str, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(name, family), port)
    }

    /// Every host that calls in cases: clients, pods and nodes.
    pub(crate) fn callers(&self) -> Vec<String> {
        let world = self.world();
        let names = world.clients.iter().map(|client| &client.name);
        let names = names.chain(world.pods.iter().map(|pod| &pod.name));
        let names = names.chain(world.nodes.iter().map(|node| &node.name));
        names.cloned().collect()
    }

    /// A listener in a pod of each node, as the lab itself chooses its fences.
    pub(crate) fn fences(&self, from: &str, family: Family) -> Vec<SocketAddr> {
        let world = self.world();
        let first_on = |node: &str| {
            let mut pods = world.pods.iter().filter(|pod| pod.node == node);
            pods.find(|pod| pod.name != from)
        };
        let pods = world.nodes.iter().filter_map(|node| first_on(&node.name));
        pods.map(|pod| SocketAddr::new(pod.address.of(family), BASELINE_PORT))
            .collect()
    }

    /// Calls these addresses of one family, with the fences of the lab.
    pub(crate) fn call(
        &self,
        from: &str,
        remotes: &[SocketAddr],
        timing: &Timing,
    ) -> Result<Vec<Connection>, ProbeError> {
        let brief = (Protocol::Tcp, Length::Brief);
        self.call_by(brief, from, remotes, &[], timing)
    }

    /// As [`Self::call`], by either protocol and with datagrams of any length, with these fences more.
    pub(crate) fn call_by(
        &self,
        (protocol, length): (Protocol, Length),
        from: &str,
        remotes: &[SocketAddr],
        more: &[SocketAddr],
        timing: &Timing,
    ) -> Result<Vec<Connection>, ProbeError> {
        let mut fences = self.fences(from, Family::of(remotes[0].ip()));
        fences.extend(more);
        let batch = Batch {
            protocol,
            remotes: remotes.to_vec(),
            length,
            mark: None,
            fences,
        };
        probe::call(self.lab.netns().namespace(from), &batch, timing)
    }

    /// Opens a backend in each of these pods, which answers from the runtime of the lab.
    pub(crate) fn listen(&self, pods: &[&str], port: u16) -> Result<Vec<Kept>, Failed> {
        Ok(self.runtime.block_on(self.lab.listen(pods, port))?)
    }

    /// Adds these rules to a host.
    pub(crate) fn rules(&self, host: &str, rules: &str) -> Result<(), Failed> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped());
        let mut nft = self
            .lab
            .netns()
            .namespace(host)
            .within(|| command.spawn())??;
        let mut input = nft.stdin.take().expect("a pipe");
        input.write_all(rules.as_bytes())?;
        drop(input);
        if !nft.wait()?.success() {
            return Err(format!("nft refused these rules on {host}:\n{rules}").into());
        }
        Ok(())
    }
}

/// The word of the nftables language for a family's addresses.
pub(crate) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Numbers that look random and are the same in every run (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits") % limit
    }
}
