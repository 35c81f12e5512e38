//! What a run changes on a machine, and changes back.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::AgentError;
use crate::netns::{Host, Namespace, NetworkError};

/// A way to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The gateway.
    pub via: IpAddr,
}

/// What a machine of a cluster needs for as long as it is probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Kernel parameters, by their paths below `/proc/sys`.
    pub parameters: Vec<(String, String)>,
    /// Addresses that loopback gets.
    pub addresses: Vec<IpNet>,
    /// Ways out of `interface`.
    pub routes: Vec<Route>,
    /// The machine's interface to the others.
    pub interface: String,
}

const LOOPBACK: &str = "lo";

/// What was changed, and what it was before.
#[derive(Debug)]
pub(super) struct Changed {
    host: Host,
    before: Vec<(String, String)>,
    settings: NodeSettings,
}

impl Changed {
    /// Nothing yet, on the machine that this process runs on.
    pub(super) fn none() -> Result<Self, AgentError> {
        let own = Namespace::own("this machine");
        let own = own.map_err(AgentError::host("this machine", "enter the network"))?;
        Ok(Self {
            host: Host::of(own)?,
            before: Vec::new(),
            settings: NodeSettings::default(),
        })
    }

    /// Makes these changes, and notes each before it is made.
    pub(super) async fn make(&mut self, wanted: NodeSettings) -> Result<(), AgentError> {
        self.settings.interface = wanted.interface;
        for (key, value) in wanted.parameters {
            // A parameter that this kernel does not have is none that it could be wrong about.
            let Some(before) = read(&key)? else { continue };
            if before != value {
                self.before.push((key.clone(), before));
                write(&key, &value)?;
            }
        }
        let own = self.host.addresses().await?;
        for address in wanted.addresses {
            if !own.contains(&address.addr()) {
                self.settings.addresses.push(address);
                self.host.add_address(LOOPBACK, address).await?;
            }
        }
        for route in wanted.routes {
            self.settings.routes.push(route.clone());
            let interface = &self.settings.interface;
            self.host
                .route(route.to, Some(route.via), interface)
                .await?;
        }
        Ok(())
    }

    /// Undoes all of it, as far as it can be.
    pub(super) async fn undo(self) {
        let report = |undone: Result<(), NetworkError>| {
            if let Err(error) = undone {
                tracing::error!(
                    error = crate::error::chain(&error),
                    "something is left behind"
                );
            }
        };
        for route in &self.settings.routes {
            report(self.host.unroute(route.to, &self.settings.interface).await);
        }
        for address in &self.settings.addresses {
            report(self.host.remove_address(LOOPBACK, *address).await);
        }
        for (key, value) in self.before {
            if let Err(error) = write(&key, &value) {
                tracing::error!(
                    error = crate::error::chain(&error),
                    "something is left behind"
                );
            }
        }
    }
}

fn read(key: &str) -> Result<Option<String>, AgentError> {
    match fs::read_to_string(format!("/proc/sys/{key}")) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AgentError::host("this machine", format!("read {key}"))(
            error,
        )),
    }
}

fn write(key: &str, value: &str) -> Result<(), AgentError> {
    let written = fs::write(format!("/proc/sys/{key}"), value);
    written.map_err(AgentError::host(
        "this machine",
        format!("set {key} to {value}"),
    ))
}
