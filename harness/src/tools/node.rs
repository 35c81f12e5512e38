//! What a node needs beside Kubernetes itself: etcd, and the programs of CNI.

use std::fs;
use std::path::Path;

use super::build::{compile, timed};
use super::go::Go;
use super::{Step, ToolError};

/// The etcd of a control plane. The API server of every supported release works with it.
const ETCD_VERSION: &str = "v3.6.8";

/// etcd's module has no main package that can be installed from outside; this is all that is missing.
const ETCD_MAIN: &str = r#"package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"#;

/// The version of the CNI plugins: that of kind's own node images.
const CNI_VERSION: &str = "v1.9.1";

/// A plugin of CNI, and its package in their module.
const CNI_PLUGINS: [(&str, &str); 4] = [
    ("ptp", "plugins/main/ptp"),
    ("host-local", "plugins/ipam/host-local"),
    ("loopback", "plugins/main/loopback"),
    ("portmap", "plugins/meta/portmap"),
];

/// Builds etcd.
pub(super) fn build_etcd(go: &mut Go<'_>, module: &Path, out: &Path) -> Result<(), ToolError> {
    let resolving = Step::Resolving("etcd");
    timed(go, resolving, |go| {
        begin_module(go, resolving, module, "onehop/third-party/etcd")?;
        let main = module.join("main.go");
        fs::write(&main, ETCD_MAIN).map_err(ToolError::io("write", &main))?;
        let wanted = format!("go.etcd.io/etcd/server/v3@{ETCD_VERSION}");
        go.run(resolving, module, &["get", &wanted])
    })?;
    compile(go, module, "etcd", ".", "-s -w", out)
}

/// Builds one plugin of CNI.
///
/// # Panics
/// If no plugin of that name is known.
pub(super) fn build_cni(
    go: &mut Go<'_>,
    module: &Path,
    plugin: &str,
    out: &Path,
) -> Result<(), ToolError> {
    let (plugin, path) = CNI_PLUGINS
        .into_iter()
        .find(|(name, _)| *name == plugin)
        .expect("every plugin of a tool has a package");
    let package = format!("github.com/containernetworking/plugins/{path}");
    let resolving = Step::Resolving(plugin);
    timed(go, resolving, |go| {
        begin_module(go, resolving, module, "onehop/third-party/cni")?;
        let wanted = format!("{package}@{CNI_VERSION}");
        go.run(resolving, module, &["get", "-tool", &wanted])
    })?;
    fs::create_dir_all(out).map_err(ToolError::io("create", out))?;
    compile(go, module, plugin, &package, "-s -w", out)
}

/// Makes a folder a module of this name, unless it is one.
fn begin_module(go: &mut Go<'_>, step: Step, module: &Path, name: &str) -> Result<(), ToolError> {
    fs::create_dir_all(module).map_err(ToolError::io("create", module))?;
    if !module.join("go.mod").exists() {
        go.run(step, module, &["mod", "init", name])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Tool;

    #[test]
    fn every_plugin_of_a_node_has_a_package() {
        let plugins: Vec<&str> = Tool::Node
            .binaries()
            .iter()
            .filter_map(|binary| binary.strip_prefix("cni/"))
            .collect();
        assert_eq!(plugins, CNI_PLUGINS.map(|(name, _)| name));
    }
}
