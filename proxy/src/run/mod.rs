//! The proxy at work: what the API says and what happens on the machine, in; one sync after the other, out.
//!
//! Changes that have come in are taken together, the Services that they concern are planned anew, and one
//! transaction brings all of it to the kernel. Health check ports, connection tracking and metrics follow when
//! the kernel has accepted it. What fails is repeated, and meanwhile the old rules stay.

mod addresses;
mod alone;
mod comparing;
mod foreign;
mod pace;
mod proxy;
mod settings;
mod stale_flows;
mod syncer;
mod told;
mod without_local;
pub(crate) mod world;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures::{FutureExt, Stream, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::dataplane::{DataplaneError, cleanup};
use crate::events::{Event, Events};
use crate::health::{self, HealthAddresses, HealthState, ServiceHealth};
use crate::host::{Host, SettingError};
use crate::metrics::{self, Metrics};
use crate::server::{ListenError, raise_open_files};
use crate::watch::{self, ClientError, Connection, Observed};

use addresses::Interfaces;
use foreign::Foreign;
use pace::Backoff;
use proxy::Proxy;
use stale_flows::StaleFlows;
use syncer::Surroundings;

/// Observations that are taken together at most, so that other work comes in between.
const TOGETHER: usize = 4096;

/// Why a proxy ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The API cannot be addressed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A setting of the kernel cannot be written.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The kernel's rules cannot be opened.
    #[error("failed to open nftables; it needs CAP_NET_ADMIN")]
    Dataplane(#[source] DataplaneError),
    /// The kernel reports no changes of its rules.
    #[error("failed to listen to changes of nftables")]
    Foreign(#[source] onehop_nft::Error),
    /// The kernel does not list addresses.
    #[error("failed to read the machine's addresses")]
    Interfaces(#[source] rtnetlink::Error),
    /// A socket cannot be made.
    #[error("failed to {what}")]
    System {
        /// What for.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A port cannot be listened on, and the configuration forbids to go on without it.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The detector goes by the ranges of the node's pods, and the Node never got any.
    #[error(
        "node {node} has no podCIDRs after {minutes} minutes, which detectLocalMode NodeCIDR needs"
    )]
    NoPodCidrs {
        /// The node.
        node: String,
        /// How long was waited.
        minutes: u64,
    },
}

/// Runs a proxy for the node of a name, until the process is asked to end. Its rules stay.
///
/// # Errors
/// When it cannot begin. Once it has begun, whatever fails is repeated.
pub async fn run(config: Config, connection: Connection, node: &str) -> Result<(), RunError> {
    let system = |what| move |source| RunError::System { what, source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("handle signals"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("handle signals"))?;
    for notice in &config.notices {
        tracing::warn!("the configuration: {notice}");
    }
    let _alone = tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        alone = alone::become_alone() => alone.map_err(system("tell whether another proxy runs"))?,
    };
    prepare(&config)?;
    let client = watch::connect(&connection).await?;

    let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new()));
    let state = Arc::new(HealthState::new(clock.clone(), config.sync_period));
    let (events, sending) =
        Events::to_api(client.clone(), node, clock.clone(), Arc::clone(&metrics));
    tokio::spawn(sending);
    events.send(Event::starting(node));
    let mut servers = serve(&config, &state, &metrics);
    let flows = StaleFlows::of_kernel();
    let flows_judged = flows.ended();
    let around = Surroundings {
        flows,
        ports: ServiceHealth::new(node, Arc::clone(&state), HealthAddresses::all()),
        clock,
        metrics,
        state,
        events,
    };
    let mut interfaces = Interfaces::open().map_err(system("listen to changes of addresses"))?;
    // While somebody listens, the kernel reports each of a cluster's elements: not before they are in.
    let mut foreign: Option<Foreign> = None;
    let own = interfaces.addresses().await.map_err(RunError::Interfaces)?;
    let mut listing = Backoff::new(config.sync_period);
    let mut proxy = Proxy::new(config, node, around, own);
    let mut api = pin!(watch::observe(&client, node));
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            Some(ended) = servers.join_next() => return Err(ended.expect("it does not panic").into()),
            cause = foreign::changed(&mut foreign) => proxy.rules_changed(cause),
            () = interfaces.changed() => read_addresses(&interfaces, &mut proxy, &mut listing).await,
            () = until(listing.due()) => read_addresses(&interfaces, &mut proxy, &mut listing).await,
            () = flows_judged.notified() => {}
            () = until(proxy.due()) => {}
            Some(observed) = api.next() => {
                proxy.observe(observed);
                take_waiting(&mut api, &mut proxy).await;
            }
        }
        proxy.work().await?;
        // It may have opened the tables anew, with a socket of another port.
        let port = proxy.synced_as();
        if foreign.as_ref().map(|foreign| foreign.own) != port {
            foreign = port.map(Foreign::subscribe).transpose()?;
            if foreign.is_some() {
                proxy.listens();
            }
        }
    }
    tracing::info!("asked to end; the rules stay");
    Ok(())
}

/// Removes what a proxy made, and says whether there was anything.
///
/// # Errors
/// When the kernel refuses.
pub fn clean_up() -> Result<bool, DataplaneError> {
    cleanup()
}

/// Tells the proxy which addresses the machine has, or tries again later.
async fn read_addresses(interfaces: &Interfaces, proxy: &mut Proxy, listing: &mut Backoff) {
    let listed = interfaces.addresses().await;
    listing.ended(Instant::now(), listed.is_ok());
    match listed {
        Ok(own) => proxy.addresses_changed(own),
        Err(error) => {
            tracing::warn!("failed to read the machine's addresses: {}", chain(&error));
        }
    }
}

/// Takes what has come in already. The connection's own task runs twice meanwhile, so that what the
/// machine has received and not read yet is among it.
async fn take_waiting(api: &mut (impl Stream<Item = Observed> + Unpin), proxy: &mut Proxy) {
    let mut room = TOGETHER;
    for _ in 0..2 {
        while let Some(Some(observed)) = api.next().now_or_never() {
            proxy.observe(observed);
            room -= 1;
            if room == 0 {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Starts what is served besides health check ports. A server ends only if it must not fail to listen.
fn serve(
    config: &Config,
    state: &Arc<HealthState>,
    metrics: &Arc<Metrics>,
) -> JoinSet<ListenError> {
    let mut servers = JoinSet::new();
    let hard_fail = config.bind_hard_fail;
    if let Some(address) = config.healthz {
        let (state, metrics) = (Arc::clone(state), Arc::clone(metrics));
        servers.spawn(health::serve(address, hard_fail, state, metrics));
    }
    if let Some(address) = config.metrics {
        servers.spawn(metrics::serve(address, hard_fail, Arc::clone(metrics)));
    }
    servers
}

/// Settings of the process, and those of the machine that are configured. There are none by default: no
/// sysctl is needed. Translation to loopback, which needs `route_localnet`, is not done, and forwarding is
/// the network plugin's to switch on.
fn prepare(config: &Config) -> Result<(), SettingError> {
    let host = Host::this();
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    if let Some(score) = config.oom_score_adj
        && let Err(error) = host.apply_oom_score(score)
    {
        // Upstream goes on without it, too.
        tracing::warn!(%error, score, "oomScoreAdj stays as it is");
    }
    let conntrack = config.conntrack.clone();
    #[cfg(feature = "faults")]
    let conntrack = crate::faults::conntrack(conntrack);
    host.apply_conntrack(&conntrack)
}

/// Whether connection tracking takes packets of TCP for valid that are out of its window.
fn tcp_is_liberal(config: &Config) -> bool {
    let read = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal");
    config.conntrack.tcp_be_liberal || read().is_ok_and(|text| text.trim() != "0")
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// An error with its causes, on one line. Some say their cause themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
