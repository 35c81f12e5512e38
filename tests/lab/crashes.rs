//! A proxy that exits after it was ready. Its rules stay, so that cases pass all the same.

use std::fs;

use libtest_mimic::Failed;
use onehop_harness::tools::{Tool, ToolRef, Version, locate};

use crate::support::{Home, Running};

/// The built-in profile, for a program that wraps kube-proxy.
const PROFILE: &str = include_str!("../../profiles/kube-proxy-nftables.yaml");

/// While its rules serve cases one by one, kube-proxy on vm2 is ended by its wrapper, once, and
/// started again.
pub(crate) fn after_it_was_ready(allowed: bool) -> Result<(), Failed> {
    let home = Home::new();
    let profile = wrapped_kube_proxy(&home, allowed)?;
    let arguments = ["run", "internal/cluster", "external/cluster", "--jobs", "1"];
    let mut run =
        Running::start(&mut home.onehop(&[&arguments[..], &["--proxy", profile]].concat()));
    run.wait_for("PASS")?;
    fs::write(home.path().join("crash"), "")?;
    let ended = run.end();

    let results = home.results("onehop-out");
    let result = &results["results"][0];
    let failed = result["summary"]["failed"].as_u64().expect("a number");
    assert_eq!(result["proxy"]["exits"], 1, "{ended:?}");
    assert_eq!(result["summary"]["errors"], 0, "{ended:?}");
    if allowed {
        assert_eq!(ended.code, Some(i32::from(failed > 0)), "{ended:?}");
        assert_eq!(result["error"], serde_json::Value::Null);
        return Ok(());
    }
    assert_eq!(
        ended.code,
        Some(if failed > 0 { 1 } else { 2 }),
        "{ended:?}"
    );
    let error = result["error"].as_str().expect("a text");
    let said = "the proxy on vm2 exited 1 times after it was ready, last with exit status: 3";
    for text in [said, "out of patience"] {
        assert!(error.contains(text), "no `{text}` in: {error}");
        assert!(ended.stdout.contains(text), "no `{text}` in: {ended:?}");
    }
    Ok(())
}

/// Writes a profile whose program runs kube-proxy until there is a file `crash` beside it.
fn wrapped_kube_proxy(home: &Home, may_restart: bool) -> Result<&'static str, Failed> {
    let version = Version::DEFAULT;
    let tool = Tool::KubeProxy;
    let kube_proxy = locate(ToolRef { tool, version }, None)?.path;
    let (kube_proxy, crash) = (kube_proxy.display(), home.path().join("crash"));
    let crash = crash.display();
    home.program(&format!(
        "node=$1; shift\n\
         [ $node = vm2 ] || exec {kube_proxy} \"$@\"\n\
         {kube_proxy} \"$@\" &\n\
         while [ ! -e {crash} ]; do sleep 0.05; done\n\
         rm {crash}; kill -9 $!; wait; echo out of patience; exit 3"
    ));
    let mut text = PROFILE.to_owned();
    let program = "command: [kube-proxy, --config";
    for (from, to) in [
        ("name: kube-proxy-nftables", "name: mine"),
        ("tool: kube-proxy\nversion: [kube-proxy, --version]\n", ""),
        (program, "command: [./proxy.sh, \"{node}\", --config"),
        (
            "netns:\n",
            &*format!("netns:\n  mayRestart: {may_restart}\n"),
        ),
    ] {
        assert!(text.contains(from), "the built-in profile has no `{from}`");
        text = text.replace(from, to);
    }
    fs::write(home.path().join("mine.yaml"), text)?;
    Ok("./mine.yaml")
}
