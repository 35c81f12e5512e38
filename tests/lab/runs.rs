//! Runs that are interrupted, have a proxy that does not start, or may not have a sandbox: results
//! are written, and say why.

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use onehop_harness::lab::Netns;
use onehop_harness::profile::Profile;
use onehop_harness::run::{lacking, unsupported};

use crate::support::{Home, Running, eventually, run};

/// An interrupted run judges what it has begun, skips the rest, and writes its results. At a
/// terminal, the signal goes to the whole process group.
pub(crate) fn interrupted(at_terminal: bool) -> Result<(), Failed> {
    let home = Home::new();
    let mut run = Running::start(&mut home.onehop(&["run", "--jobs", "1"]));
    run.wait_for("PASS")?;
    if at_terminal {
        run.signal_group(Signal::SIGINT);
    } else {
        run.signal(Signal::SIGINT);
    }
    let ended = run.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.matches("interrupted").count(), 1, "{ended:?}");
    let results = home.results("onehop-out");
    let cases = results["results"][0]["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), onehop_suites::catalogue().len());
    let verdict = |wanted: &str| cases.iter().filter(|c| c["verdict"] == wanted).count();
    let (passed, skipped) = (verdict("pass") + verdict("known"), verdict("skip"));
    let declared = |case: &&serde_json::Value| {
        let profile = Profile::load("kube-proxy-nftables").expect("a built-in profile");
        let catalogue = onehop_suites::catalogue();
        let known = catalogue.iter().find(|known| case["id"] == *known.id);
        let known = known.expect("of the catalogue");
        unsupported(known, &profile).is_some() || lacking(known, &Netns::lacks()).is_some()
    };
    // The one under way was judged to its end: the proxy did not die of the interrupt.
    assert_eq!(passed + skipped, cases.len(), "{ended:?}");
    assert!(
        passed >= 1 && skipped >= cases.len() / 2,
        "{passed} passed, {skipped} skipped"
    );
    let skips = cases.iter().filter(|case| case["verdict"] == "skip");
    for case in skips.filter(|case| !declared(case)) {
        assert_eq!(case["reason"], "the run was interrupted");
    }
    assert_eq!(results["results"][0]["proxy"]["restarts"], 0);
    assert_eq!(results["summary"]["skipped"], skipped);
    Ok(())
}

/// Interrupted while the proxy is still expected to get ready, for which it would have 1000 s.
pub(crate) fn too_early() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("touch started; exec sleep 1000");
    let arguments = ["run", "--proxy", profile, "--proxy-ready-seconds", "1000"];
    let run = Running::start(&mut home.onehop(&arguments));
    eventually("the proxy runs", || home.path().join("started").exists())?;
    run.signal(Signal::SIGTERM);
    let ended = run.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let results = home.results("onehop-out");
    assert_eq!(
        results["summary"]["skipped"],
        onehop_suites::catalogue().len()
    );
    Ok(())
}

/// Two proxies of which one is wrong, a part of the cases on one and then on the other: what fails on the second alone is worse.
pub(crate) fn compared() -> Result<(), Failed> {
    let home = Home::new();
    let right = include_str!("../../profiles/bundled.yaml");
    let masquerades = "nodePortAddresses: [primary]\n      nftables:\n        masqueradeAll: true";
    let wrong = right.replacen("nodePortAddresses: [primary]", masquerades, 1);
    fs::write(home.path().join("wrong.yaml"), wrong)?;
    let compare = |one: &str, other: &str, format: &str| {
        run(&mut home.onehop(&[
            "compare",
            "--proxy",
            one,
            "--proxy",
            other,
            "--case",
            "internal/cluster/pod-reaches-all",
            "--case",
            "external/cluster/shares-are-even",
            "--case",
            "external/cluster/every-node-answers",
            "--case",
            "external/local/node-without-pods-drops",
            "--converge-seconds",
            "5",
            "--format",
            format,
        ]))
    };
    let ended = compare("bundled", "./wrong.yaml", "json");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let comparison: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    assert_eq!(comparison["schema"], "onehop.comparison/v1");
    // The half of the cases on one and on the other, then the rest; results are in the catalogue's order all the same.
    assert_eq!(comparison["proxies"][0]["turns"], 2);
    for side in ["onehop-out/base", "onehop-out/head"] {
        let results = home.results(side);
        let cases = results["results"][0]["cases"].as_array().expect("a list");
        let ids: Vec<_> = cases
            .iter()
            .filter_map(|case| case["id"].as_str())
            .collect();
        let catalogue = onehop_suites::catalogue();
        let wanted = catalogue.iter().map(|case| case.id.as_str());
        let wanted: Vec<_> = wanted.filter(|id| ids.contains(id)).collect();
        assert_eq!(ids, wanted);
        assert_eq!(ids.len(), 4);
    }
    let [change] = &comparison["proxies"][0]["verdicts"]
        .as_array()
        .expect("a list")[..]
    else {
        return Err(format!("{comparison}").into());
    };
    assert_eq!(change["case"], "internal/cluster/pod-reaches-all");
    assert_eq!([&change["base"], &change["head"]], ["pass", "fail"]);
    assert!(
        comparison["proxies"][0]["distributions"].as_u64() > Some(1),
        "{comparison}"
    );
    assert_eq!(home.results("onehop-out/base")["summary"]["failed"], 0);
    assert_eq!(home.results("onehop-out/head")["summary"]["failed"], 1);
    let ended = compare("./wrong.yaml", "bundled", "text");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("0 worse, 1 mended"), "{ended:?}");
    assert!(ended.stdout.ends_with("nothing is worse\n"), "{ended:?}");

    // Where one does not start, both have results that say so, in place of those from before.
    let broken = home.profile("exit 3");
    let ended = compare("bundled", broken, "text");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for side in ["onehop-out/base", "onehop-out/head"] {
        let results = home.results(side);
        assert_eq!(results["summary"]["errors"], 4, "{side}");
        let error = results["results"][0]["error"].as_str().expect("a reason");
        assert!(error.starts_with("head did not start: "), "{error}");
    }
    Ok(())
}

pub(crate) fn proxy_exits() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("echo broken config >&2; exit 3");
    for command in [&["run"][..], &["lab", "up"], &["trace", "--to", "vip"]] {
        let arguments = [command, &["--proxy", profile]].concat();
        let ended = run(&mut home.onehop(&arguments));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = [ended.stdout, ended.stderr].concat();
        for text in [
            "exited 4 times and was never ready, last with exit status: 3",
            "broken config",
        ] {
            assert!(said.contains(text), "{command:?}: {said}");
        }
    }
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.starts_with("the proxy on vm"), "{error}");
    assert!(error.contains("exit status: 3") && error.contains("broken config"));
    assert_eq!(
        results["summary"]["errors"],
        onehop_suites::catalogue().len()
    );
    Ok(())
}

/// A lab empties what an earlier one left, and nothing of anybody else's.
pub(crate) fn directories() -> Result<(), Failed> {
    let home = Home::new();
    let lab = home.path().join("out/lab");
    fs::create_dir_all(&lab)?;
    fs::write(lab.join("precious"), "data")?;
    let arguments = ["lab", "up", "--no-proxy", "--out", "out"];
    let ended = run(&mut home.onehop(&arguments));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let advice = "out/lab holds something, and has no file .onehop";
    assert!(ended.stderr.contains(advice), "{ended:?}");
    assert!(
        ended.stderr.contains("name another with --out"),
        "{ended:?}"
    );
    assert_eq!(fs::read_to_string(lab.join("precious"))?, "data");

    // Evidence, and two proxies of one name in one run.
    let profile = home.profile("exit 3");
    for round in 0..2 {
        let arguments = [
            "run",
            "internal/local",
            "--proxy",
            profile,
            "--proxy",
            profile,
        ];
        let ended = run(&mut home.onehop(&arguments));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let out = home.path().join("onehop-out");
        for proxy in ["mine", "mine-2"] {
            assert!(out.join(proxy).join("lab/vm1/proxy.log").exists());
            let old = out.join(proxy).join("evidence/old");
            assert!(!old.exists(), "round {round}");
            fs::create_dir(old)?;
        }
    }
    fs::remove_file(home.path().join("onehop-out/mine/evidence/.onehop"))?;
    let ended = run(&mut home.onehop(&["run", "internal/local", "--proxy", profile]));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.contains("mine/evidence holds something"), "{error}");
    assert!(home.path().join("onehop-out/mine/evidence/old").exists());
    Ok(())
}

pub(crate) fn proxy_hangs() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("echo thinking; exec sleep 1000");
    let arguments = ["run", "--proxy", profile, "--proxy-ready-seconds", "1"];
    let ended = run(&mut home.onehop(&arguments));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    for text in [
        "was not ready after 1 s",
        "is refused",
        "it runs",
        "thinking",
    ] {
        assert!(error.contains(text), "no `{text}` in: {error}");
        assert!(
            ended.stdout.contains(text),
            "no `{text}` in: {}",
            ended.stdout
        );
    }
    Ok(())
}

/// Every phase of a lab's start is in the results. How long they take is for the benchmarks.
pub(crate) fn phases() -> Result<(), Failed> {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["run", "internal/cluster/no-endpoint-refused"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = home.results("onehop-out");
    let phases = results["results"][0]["phases"].as_object().expect("a map");
    let names: Vec<_> = phases.keys().map(String::as_str).collect();
    let expected = [
        "api", "baseline", "cases", "network", "objects", "proxy", "taps",
    ];
    assert_eq!(names, expected);
    let seconds: Vec<_> = phases
        .values()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    assert!(seconds.len() == names.len() && seconds.iter().all(|&s| s > 0.0));
    let total = results["run"]["seconds"].as_f64().expect("a number");
    assert!(
        seconds.iter().sum::<f64>() <= total,
        "{phases:?} in {total} s"
    );
    Ok(())
}

pub(crate) fn forbidden() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("exit 0");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_onehop");
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", script, "sh", program]);
    home.settle(command.args(["run", "external/local", "--proxy", profile]));
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let advice = "user namespaces are off: run 'sysctl user.max_user_namespaces=10000' as root";
    assert!(ended.stderr.contains(advice), "{ended:?}");
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.contains(advice), "{error}");
    Ok(())
}

/// A rule of a stranger's drops what comes to node ports: it is named, with its table and chain.
pub(crate) fn rule_named() -> Result<(), Failed> {
    let home = Home::new();
    let onehop = env!("CARGO_BIN_EXE_onehop");
    home.program(&format!(
        "nft add table ip elsewhere
        nft add chain ip elsewhere early '{{ type filter hook prerouting priority -150; }}'
        nft add rule ip elsewhere early tcp dport 30000-32767 counter drop
        exec {onehop} proxy --config \"$1\""
    ));
    let right = include_str!("../../profiles/bundled.yaml");
    let beside = right
        .replace("version: [onehop, --version]\n", "")
        .replace("name: bundled", "name: beside-another")
        .replace("[onehop, proxy, --config, ", "[./proxy.sh, ");
    fs::write(home.path().join("beside.yaml"), beside)?;
    let case = "external/cluster/every-node-answers";
    let ended = run(&mut home.onehop(&["run", case, "--proxy", "./beside.yaml"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let ended = run(&mut home.onehop(&["explain"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in [
        "the rules of vm2 that one more such call met:",
        "ip elsewhere early: tcp dport 30000-32767 counter packets",
        "=> vm2 dropped it in table ip elsewhere, chain early",
    ] {
        assert!(ended.stdout.contains(text), "no `{text}`: {}", ended.stdout);
    }
    // In IPv6 there is no such rule, and nothing to explain.
    assert!(!ended.stdout.contains("IPv6"), "{}", ended.stdout);

    // The same for a tool.
    let ended = run(&mut home.onehop(&["explain", "--format", "json"]));
    let told: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    assert_eq!(told["schema"], "onehop.explanation/v1");
    let explained = &told["cases"][0];
    assert_eq!(explained["proxy"], "beside-another");
    let rows = explained["explanation"]["rows"].as_array();
    let row = rows.and_then(|rows| rows.iter().find(|row| row["row"]["to"] == "node-port@vm2"));
    let row = row.ok_or_else(|| told.to_string())?;
    let met = &row["rules"][0]["nodes"][0];
    assert_eq!(met["node"], "vm2", "{row}");
    let dropped = met["rules"].as_array().and_then(|rules| rules.last());
    assert_eq!(
        dropped.map(|rule| &rule["verdict"]),
        Some(&"drop".into()),
        "{met}"
    );
    let way = &row["ways"][0];
    assert_eq!(way["sample"]["outcome"], "dropped", "{way}");
    let conclusion = way["conclusion"].as_str().unwrap_or_default();
    assert!(
        conclusion.contains("vm2 should have decided next"),
        "{conclusion}"
    );

    // And where its way parts from that of a proxy alone.
    let both = ["--proxy", "bundled", "--proxy", "./beside.yaml"];
    let what = ["trace", "--to", "node-port@vm1", "--format", "json"];
    let ended = run(&mut home.onehop(&[&what[..], &both].concat()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let traced: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let [alone, beside] = &traced["ways"].as_array().expect("a list")[..] else {
        return Err(traced.to_string().into());
    };
    let pod = alone["answer"]["by"]["pod"].as_str().unwrap_or_default();
    assert!(["web-0", "web-1", "web-2"].contains(&pod), "{alone}");
    assert!(alone["parts_from_the_first"].is_null() && beside["answer"].is_null());
    assert_eq!(beside["way"]["outcome"], "dropped");
    let parts = &beside["parts_from_the_first"];
    assert_eq!(parts["own"], "nothing more was seen", "{beside}");
    assert!(
        parts["first"]
            .as_str()
            .is_some_and(|step| step.contains("vm1")),
        "{parts}"
    );
    Ok(())
}
