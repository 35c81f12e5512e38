//! `onehop proxy`: the bundled Service proxy, started as kube-proxy is.

use std::fs;
use std::process::ExitCode;

use miette::{IntoDiagnostic, Report, Result, WrapErr, miette};
use onehop_proxy::config::{
    self, Config, HEALTHZ_PORT, LocalDetector, METRICS_PORT, NodePortAddresses,
};
use onehop_proxy::run;
use onehop_proxy::watch::Connection;
use tokio::runtime::Builder;

use crate::arguments::{LocalMode, ProxyArguments};
use crate::logging;
use crate::output::say;

/// What is logged at a verbosity of kube-proxy's.
fn log_filter(verbosity: u32) -> &'static str {
    match verbosity {
        // What kube warns of is every end of a connection, which the proxy reports itself.
        0..2 => "info,kube_client=error",
        2..4 => "info,kube_client=error,onehop_proxy=debug",
        _ => "info,onehop_proxy=trace,kube=debug",
    }
}

pub(crate) fn proxy(arguments: ProxyArguments) -> Result<ExitCode> {
    if arguments.cleanup {
        logging::start(log_filter(arguments.verbosity.unwrap_or_default()));
        let removed = run::clean_up().into_diagnostic()?;
        let said = if removed {
            "the proxy's tables are removed"
        } else {
            "there is nothing to remove"
        };
        say!("{said}");
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(feature = "faults")]
    let fault = arguments.fault.clone();
    let master = arguments.master.clone();
    let config = configuration(arguments)?;
    logging::start(log_filter(config.verbosity));
    #[cfg(feature = "faults")]
    if let Some(fault) = &fault {
        onehop_proxy::faults::commit(fault).into_diagnostic()?;
    }
    let connection = Connection {
        kubeconfig: config.kubeconfig.clone(),
        master,
    };
    let node = node_name(&config)?;
    // One thread: the proxy waits for the API and the kernel, and computes little.
    let runtime = Builder::new_current_thread().enable_all().build();
    let running = run::run(config, connection, &node);
    runtime
        .into_diagnostic()?
        .block_on(running)
        .into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

/// What a file says, or else the command line. The name of the node and the verbosity may be given beside a file, and
/// win.
fn configuration(arguments: ProxyArguments) -> Result<Config> {
    let Some(path) = &arguments.config else {
        return from_flags(arguments);
    };
    let text = fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to read {}", path.display()))?;
    let mut config = Config::from_yaml(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to understand {}", path.display()))?;
    config.node_name = hostname_override(arguments.hostname_override)?.or(config.node_name);
    config.verbosity = arguments.verbosity.unwrap_or(config.verbosity);
    Ok(config)
}

fn from_flags(arguments: ProxyArguments) -> Result<Config> {
    let address = |flag, text: &str, port| {
        let address = (!text.is_empty()).then(|| config::bind_address(text, port));
        address.transpose().map_err(wrong(flag))
    };
    let healthz = &arguments.healthz_bind_address;
    let metrics = &arguments.metrics_bind_address;
    let mut config = Config {
        healthz: address("--healthz-bind-address", healthz, HEALTHZ_PORT)?,
        metrics: address("--metrics-bind-address", metrics, METRICS_PORT)?,
        local_detector: detector(&arguments)?,
        node_name: hostname_override(arguments.hostname_override)?,
        kubeconfig: arguments.kubeconfig,
        masquerade_all: arguments.masquerade_all,
        verbosity: arguments.verbosity.unwrap_or_default(),
        ..Config::default()
    };
    if !arguments.nodeport_addresses.is_empty() {
        let mut addresses = NodePortAddresses {
            primary: false,
            networks: Vec::new(),
        };
        for entry in &arguments.nodeport_addresses {
            addresses
                .add(entry)
                .map_err(wrong("--nodeport-addresses"))?;
        }
        config.node_port_addresses = addresses;
    }
    Ok(config)
}

fn detector(arguments: &ProxyArguments) -> Result<LocalDetector> {
    let interface = |flag, name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        config::interface_name(name).map_err(wrong(flag))
    };
    Ok(match arguments.detect_local_mode {
        LocalMode::ClusterCidr => {
            let ranges = arguments.cluster_cidr.as_deref().map(config::cluster_cidrs);
            let ranges = ranges.transpose().map_err(wrong("--cluster-cidr"))?;
            LocalDetector::ClusterCidr(ranges.unwrap_or_default())
        }
        LocalMode::NodeCidr => LocalDetector::NodeCidr,
        LocalMode::BridgeInterface => LocalDetector::BridgeInterface(interface(
            "--pod-bridge-interface",
            &arguments.pod_bridge_interface,
        )?),
        LocalMode::InterfaceNamePrefix => LocalDetector::InterfaceNamePrefix(interface(
            "--pod-interface-name-prefix",
            &arguments.pod_interface_name_prefix,
        )?),
    })
}

/// The error of a flag, from what its value must be.
fn wrong(flag: &str) -> impl FnOnce(String) -> Report {
    move |why| miette!("{flag} {why}")
}

/// The name of a Node that is given; an empty one is none, as for kube-proxy.
fn hostname_override(given: Option<String>) -> Result<Option<String>> {
    let given = given.filter(|name| !name.is_empty());
    let name = given.map(|name| config::node_name(&name)).transpose();
    name.map_err(wrong("--hostname-override"))
}

fn node_name(config: &Config) -> Result<String> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")
        .into_diagnostic()
        .wrap_err("failed to read the machine's hostname")?;
    config::node_name(&hostname).map_err(wrong("--hostname-override"))
}
