//! The command line: what is wrong is said in one message that says what to do, with exit code 2.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::{Ended, Home, Running, run};

/// Asserts that nothing was judged, and that the message has each of these texts, once: it is one
/// message.
#[track_caller]
fn refused(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for text in texts {
        let times = ended.stderr.matches(text).count();
        assert_eq!(times, 1, "`{text}` is there {times} times: {ended:?}");
    }
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

/// The proxy that people run cannot be told to misbehave.
#[cfg(not(feature = "faults"))]
#[test]
fn a_build_without_faults_knows_none_and_says_how_to_get_one() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["faults"]));
    refused(&ended, &["no faults", "--features faults"]);
    let ended = run(&mut home.onehop(&["proxy", "--fault", "ignores-hints"]));
    refused(&ended, &["unexpected argument"]);
    let help = run(&mut home.onehop(&["proxy", "--help"])).stdout;
    assert!(
        help.contains("--masquerade-all") && !help.contains("--fault"),
        "{help}"
    );
}

#[test]
fn an_unknown_pattern_is_named_and_the_catalogue_pointed_at() {
    let home = Home::new();
    for command in ["run", "list"] {
        let arguments = [command, "external/local", "no/such", "nor/this"];
        let ended = run(&mut home.onehop(&arguments));
        refused(
            &ended,
            &["no case matches no/such, nor/this", "onehop list"],
        );
        assert_eq!(ended.stdout, "");
    }
}

/// What an earlier run has found is not what a run that judged nothing has found.
#[test]
fn results_of_an_earlier_run_do_not_survive_a_run_that_selects_nothing() {
    let home = Home::new();
    let path = home.path().join("onehop-out/results.json");
    fs::create_dir(home.path().join("onehop-out")).expect("created");
    for (arguments, text) in [
        (&["no/such"][..], "no case matches no/such"),
        (&["--feature", "telepathy"], "no feature telepathy"),
        (
            &["internal", "--feature", "sctp"],
            "no selected case needs sctp",
        ),
    ] {
        fs::write(&path, "{\"summary\": {\"passed\": 55}}").expect("written");
        let ended = run(&mut home.onehop(&[&["run"], arguments].concat()));
        refused(&ended, &[text]);
        let results = home.results("onehop-out");
        assert_eq!(results["results"][0]["error"], text);
        assert_eq!(results["summary"]["passed"], 0);
    }
}

#[test]
fn an_unknown_feature_lists_the_known_ones() {
    let home = Home::new();
    for command in ["run", "list"] {
        let ended = run(&mut home.onehop(&[command, "--feature", "telepathy"]));
        refused(
            &ended,
            &["no feature telepathy", "external-traffic-policy", "sctp"],
        );
    }
}

#[test]
fn an_unknown_case_is_named() {
    let ended = run(&mut Home::new().onehop(&["show", "external/local"]));
    refused(&ended, &["no case external/local", "onehop list"]);
}

#[test]
fn an_unknown_proxy_gets_a_suggestion() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["run", "--proxy", "kube-proxy-nftable"]));
    refused(
        &ended,
        &[
            "unknown proxy `kube-proxy-nftable`",
            "did you mean `kube-proxy-nftables`?",
            "kube-proxy-iptables",
        ],
    );
    for command in [&["lab", "up"][..], &["trace", "--to", "vip"]] {
        let arguments = [command, &["--proxy", "ipvs"]].concat();
        refused(
            &run(&mut home.onehop(&arguments)),
            &["unknown proxy `ipvs`"],
        );
    }
}

#[test]
fn a_wrong_profile_is_reported_by_file_line_column_and_field() {
    let home = Home::new();
    let wrong = [
        (
            "name: mine\nnetns:\n  command: [./p]\n  redy: 1\n",
            "./wrong.yaml:4:3: netns.redy: unknown field `redy`",
        ),
        (
            "name: mine\nnetns:\n  command: [./p\n",
            "./wrong.yaml:3:12: netns.command: unclosed bracket",
        ),
    ];
    for (text, message) in wrong {
        fs::write(home.path().join("wrong.yaml"), text).expect("written");
        let ended = run(&mut home.onehop(&["run", "--proxy", "./wrong.yaml"]));
        refused(&ended, &[message]);
    }
    let ended = run(&mut home.onehop(&["run", "--proxy", "./missing.yaml"]));
    refused(
        &ended,
        &["cannot read the profile ./missing.yaml", "No such file"],
    );
}

#[test]
fn a_proxy_binary_that_is_not_there_is_named_with_its_option() {
    let home = Home::new();
    let kube_proxy = ["run", "--proxy", "kube-proxy-nftables"];
    let arguments = [&kube_proxy[..], &["--proxy-binary", "./nowhere"]].concat();
    refused(
        &run(&mut home.onehop(&arguments)),
        &["./nowhere (from --proxy-binary) is not an executable file"],
    );
    let profile = home.profile("exit 0");
    let arguments = ["run", "--proxy", profile, "--proxy-binary", "./nowhere"];
    let ended = run(&mut home.onehop(&arguments));
    refused(&ended, &["no program `./nowhere` (from --proxy-binary)"]);
}

#[test]
fn what_the_bundled_proxy_cannot_use_is_named() {
    let home = Home::new();
    let file = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    let wrong = format!("{file}mode: ipvs\nnoSuchField: 1\n");
    fs::write(home.path().join("wrong.yaml"), wrong).expect("written");
    for (arguments, texts) in [
        (
            &["--config", "wrong.yaml"][..],
            &[
                "wrong.yaml",
                "line 3, column 1: mode cannot be ipvs",
                "line 4, column 1: noSuchField",
            ][..],
        ),
        (
            &["--config", "missing.yaml"],
            &["missing.yaml", "No such file"],
        ),
        (
            &["--config", "wrong.yaml", "--masquerade-all"],
            &["cannot be used with '--masquerade-all'"],
        ),
        (&["--proxy-mode", "iptables"], &["invalid value 'iptables'"]),
        (
            &["--cluster-cidr", "10.0.0.0"],
            &["--cluster-cidr must be a network", "10.0.0.0/32"],
        ),
        (
            &["--nodeport-addresses", "primary,x"],
            &["--nodeport-addresses must be", "\"x\""],
        ),
        (
            &["--healthz-bind-address", "x"],
            &["--healthz-bind-address must be", "\"x\""],
        ),
        (
            &["--detect-local-mode", "BridgeInterface"],
            &["not provided: --pod-bridge-interface"],
        ),
        (
            &["--kubeconfig", "missing"],
            &["failed to read the kubeconfig missing"],
        ),
    ] {
        let arguments = [&["proxy"], arguments].concat();
        let ended = run(home
            .onehop(&arguments)
            .env_remove("KUBERNETES_SERVICE_HOST"));
        refused(&ended, texts);
    }
}

#[test]
fn what_a_profile_requires_is_named_with_its_package_and_the_results_say_so() {
    let home = Home::new();
    let profile = home.profile_with("exit 0", "requires: [no-such-helper, iptables]");
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("created");
    // The program that is missing on every machine; the others may be in the system's folders.
    let text = "no-such-helper";

    let arguments = ["run", "internal", "external/local", "--proxy", profile];
    let mut command = home.onehop(&arguments);
    refused(
        &run(command.env("PATH", &empty)),
        &["not in PATH: ", text, "install what is missing"],
    );
    let results = home.results("onehop-out");
    assert_eq!(results["schema"], "onehop.results/v1");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.starts_with("not in PATH: ") && error.contains(text));
    assert_eq!(results["results"][0]["proxy"]["name"], profile);
    assert_eq!(results["summary"]["passed"], 0);
    let selected = onehop_suites::matching(&["internal".to_owned(), "external/local".to_owned()]);
    let selected = selected.expect("the patterns match").len();
    assert_eq!(results["summary"]["errors"], selected);
    let cases = results["results"][0]["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), selected);
    for case in cases {
        assert_eq!(
            (&case["verdict"], &case["reason"]),
            (&"error".into(), &error.into())
        );
    }

    for command in [&["lab", "up"][..], &["trace", "--to", "vip"]] {
        let arguments = [command, &["--proxy", profile]].concat();
        refused(&run(&mut home.onehop(&arguments)), &[text]);
    }
}

#[test]
fn without_go_the_install_is_named() {
    let home = Home::new();
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("created");
    let mut command = home.onehop(&["tools", "install", "kube-proxy@v1.36.3"]);
    let ended = run(command.env("PATH", &empty).env("XDG_CACHE_HOME", &empty));
    let texts = [
        "kube-proxy@v1.36.3 is built from Go modules, and the `go` command is not in PATH",
        "install Go (the package golang-go, or https://go.dev/dl)",
    ];
    refused(&ended, &texts);
}

#[test]
fn a_profile_does_not_name_a_directory_of_somebody_else() {
    let home = Home::new();
    home.profile("exit 0");
    let path = home.path().join("mine.yaml");
    let text = fs::read_to_string(&path).expect("read");
    fs::write(&path, text.replace("name: mine", "name: ..")).expect("written");
    let ended = run(&mut home.onehop(&["run", "--proxy", "./mine.yaml"]));
    refused(
        &ended,
        &["./mine.yaml:1:7: name: a name begins with a letter or a digit"],
    );
}

#[test]
fn an_out_that_is_a_file_is_refused_and_left_alone() {
    let home = Home::new();
    let file = home.path().join("precious");
    fs::write(&file, "data").expect("written");
    let ended = run(&mut home.onehop(&["run", "--out", "precious"]));
    refused(&ended, &["precious is not a directory", "--out"]);
    assert_eq!(fs::read_to_string(&file).expect("still there"), "data");
}

#[test]
fn numbers_out_of_range_are_refused_by_option() {
    let home = Home::new();
    for (option, range) in [("--jobs", "1..=64"), ("--proxy-ready-seconds", "1..=3600")] {
        let ended = run(&mut home.onehop(&["run", option, "0"]));
        refused(&ended, &["invalid value '0'", option, range]);
    }
}

#[test]
fn a_trace_refuses_places_and_targets_that_are_not_there() {
    let home = Home::new();
    let trace = |from, to| run(&mut home.onehop(&["trace", "--from", from, "--to", to]));
    let ended = trace("moon", "vip");
    refused(&ended, &["no place moon", "external@CLIENT", "pod@POD"]);
    refused(&trace("pod@web-9", "vip"), &["no pod web-9", "web-7"]);
    refused(&trace("node@vm9", "vip"), &["no node vm9", "vm3"]);
    let ended = trace("external", "node-port@vm9");
    refused(&ended, &["no target node-port@vm9", "vm1, vm2, vm3"]);
    refused(&trace("external", "cluster"), &["no target cluster"]);
    let ended = trace("external", "vip@vm1");
    refused(&ended, &["only the load balancer", "--from load-balancer"]);
    for (endpoints, texts) in [
        ("web-0,web-99", ["no pod web-99", "web-7"]),
        ("web-0=tired", ["no state tired", "not-ready"]),
    ] {
        let ended = run(&mut home.onehop(&["trace", "--to", "vip", "--endpoints", endpoints]));
        refused(&ended, &texts);
    }
}

/// Two directories with results in them, or two proxies: anything else is refused, and says what would do.
#[test]
fn a_comparison_takes_two_runs_that_judged_something() {
    let home = Home::new();
    let compare = |arguments: &[&str]| run(&mut home.onehop(&[&["compare"], arguments].concat()));
    for arguments in [&[][..], &["here"]] {
        refused(
            &compare(arguments),
            &["required arguments were not provided"],
        );
    }
    let ended = compare(&["here", "there"]);
    refused(
        &ended,
        &["no run to compare in here", "failed to read here"],
    );
    refused(
        &compare(&["--proxy", "bundled"]),
        &["a comparison takes two, and 1 is given"],
    );
    let both = ["here", "there", "--proxy", "bundled"];
    refused(&compare(&both), &["cannot be used with"]);
    for option in [["--out", "x"], ["--jobs", "2"], ["--case", "external/"]] {
        let ended = compare(&[&["here", "there"], &option[..]].concat());
        refused(&ended, &["cannot be used with", option[0]]);
    }
    for factor in ["0.5", "much"] {
        let ended = compare(&["here", "there", "--slower", factor]);
        refused(&ended, &["invalid value", "--slower"]);
    }
    // A run that ended before it judged anything.
    let ended = run(&mut home.onehop(&["run", "--proxy", "./none.yaml", "--out", "here"]));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    refused(&compare(&["here", "here"]), &["has judged nothing"]);
}

#[test]
fn without_a_lab_the_command_that_brings_one_up_is_named() {
    let home = Home::new();
    for arguments in [
        &["lab", "exec", "vm1", "--", "true"][..],
        &["lab", "down"][..],
    ] {
        let ended = run(&mut home.onehop(arguments));
        refused(&ended, &["no lab is up; onehop lab up brings one up"]);
    }
}

#[test]
fn the_state_file_of_a_stranger_or_of_a_dead_lab_is_not_followed() {
    let home = Home::new();
    let uid = nix::unistd::Uid::effective();
    let path = home.path().join(format!("onehop-lab-{uid}.json"));
    // Process 1 is there, and did not start when this says: the id was given anew.
    let state = r#"{"pid": 1, "started": 7, "hosts": {"vm1": 3}, "kubeconfig": "/none"}"#;
    fs::write(&path, state).expect("written");
    for arguments in [
        &["lab", "exec", "vm1", "--", "true"][..],
        &["lab", "down"][..],
    ] {
        refused(&run(&mut home.onehop(arguments)), &["no lab is up"]);
    }
    if uid.is_root() {
        let other = nix::unistd::Uid::from_raw(65534);
        nix::unistd::chown(&path, Some(other), None).expect("root may");
        let ended = run(&mut home.onehop(&["lab", "exec", "vm1", "--", "true"]));
        refused(&ended, &["belongs to another user"]);
    }
}

#[test]
fn list_prints_every_case_with_its_claim() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["list"]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let catalogue = onehop_suites::catalogue();
    for case in &catalogue {
        let own = [&*case.id, &*case.claim]
            .into_iter()
            .chain(case.sources.iter().copied());
        for text in own {
            assert!(ended.stdout.contains(text), "{}: no {text}", case.id);
        }
    }
    assert_eq!(listed(&ended.stdout).len(), catalogue.len());

    let ended = run(&mut home.onehop(&["list", "internal", "--feature", "node-port"]));
    let mut selected = onehop_suites::matching(&["internal".to_owned()]).expect("a match");
    selected.retain(|case| case.features.iter().any(|f| f.name() == "node-port"));
    assert!(!selected.is_empty() && selected.len() < catalogue.len());
    let ids: BTreeSet<_> = listed(&ended.stdout).into_iter().collect();
    let expected: BTreeSet<_> = selected.iter().map(|case| &*case.id).collect();
    assert_eq!(ids, expected);
}

/// The ids in a list for people.
fn listed(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let ids = lines.filter(|line| !line.starts_with(' '));
    ids.collect()
}

#[test]
fn list_has_a_form_for_tools() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["list", "external/local", "--format", "json"]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let read: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(read["schema"], "onehop.catalogue/v1");
    let cases = read["cases"].as_array().expect("a list");
    let expected = onehop_suites::matching(&["external/local".to_owned()]).expect("a match");
    assert_eq!(cases.len(), expected.len());
    for (read, case) in cases.iter().zip(&expected) {
        assert_eq!(read["id"], *case.id);
        assert_eq!(read["sources"], serde_json::json!(case.sources));
    }
}

#[test]
fn the_page_of_the_catalogue_is_what_list_prints() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["list", "--format", "markdown"]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/catalogue.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    assert!(
        page == ended.stdout,
        "docs/catalogue.md is not current: cargo run -- list --format markdown > docs/catalogue.md"
    );
}

#[test]
fn the_published_schema_is_what_report_prints() {
    let ended = run(&mut Home::new().onehop(&["report", "--schema"]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let published = include_str!("../docs/results.schema.json");
    assert!(
        published == ended.stdout,
        "docs/results.schema.json is not current: cargo run -- report --schema > docs/results.schema.json"
    );
}

#[test]
fn shells_and_manuals_know_every_command() {
    let home = Home::new();
    let said = |arguments: &[&str]| {
        let ended = run(&mut home.onehop(arguments));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}");
        ended.stdout
    };
    let manual = said(&["manual"]);
    for shell in ["bash", "zsh", "fish"] {
        let completions = said(&["completions", shell]);
        for word in ["run", "survey", "trace", "--shard"] {
            assert!(
                completions.contains(word.trim_start_matches("--")),
                "{shell}: {word}"
            );
            // Dashes are escaped in roff.
            assert!(manual.contains(&word.replace('-', "\\-")), "manual: {word}");
        }
    }
    assert!(
        !manual.contains("agent \\- "),
        "what is hidden is not in the manual"
    );
}

/// A run that could not begin has reports as well, and they can be made again.
#[test]
fn reports_are_there_whatever_became_of_the_run_and_are_made_again() {
    let home = Home::new();
    refused(&run(&mut home.onehop(&["run", "no/such"])), &["no case"]);
    let out = home.path().join("onehop-out");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("there");
    assert!(read("summary.md").contains("no case matches no/such"));
    assert!(read("report.html").contains("no case matches no/such"));
    assert!(read("conformance.yaml").contains("result: incomplete"));
    let junit = read("junit.xml");
    assert!(junit.contains("errors=\"1\"") && junit.contains("no case matches no/such"));
    fs::remove_file(out.join("junit.xml")).expect("removed");
    let ended = run(&mut home.onehop(&["report"]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert_eq!(ended.stdout.lines().count(), 4);
    assert_eq!(read("junit.xml"), junit);
}

/// A run that ended before it began has cases that could not be judged, and each says why.
#[test]
fn what_failed_is_explained_and_what_is_not_there_is_refused() {
    let home = Home::new();
    let explain = |arguments: &[&str]| run(&mut home.onehop(&[&["explain"], arguments].concat()));
    refused(&explain(&[]), &["onehop-out/results.json", "No such file"]);
    let arguments = [
        "run",
        "external/local/client-ip-kept",
        "--proxy-binary",
        "/none",
    ];
    let ended = run(&mut home.onehop(&arguments));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = explain(&[]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for text in ["bundled", "ERROR  external/local/client-ip-kept", "/none"] {
        assert!(ended.stdout.contains(text), "{ended:?}");
    }
    let ended = explain(&["external/local"]);
    assert!(
        ended
            .stdout
            .contains("ERROR  external/local/client-ip-kept"),
        "{ended:?}"
    );
    let nothing = run(&mut home.onehop(&["run", "no/such", "--out", "nothing"]));
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    let ended = explain(&["--dir", "nothing"]);
    assert!(
        ended.stdout.contains("no case matches no/such"),
        "{ended:?}"
    );
    let ended = explain(&["no/such"]);
    refused(
        &ended,
        &["has no case no/such", "summary.md names those that failed"],
    );
}

#[test]
fn what_has_no_results_is_no_report() {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["report"]));
    refused(&ended, &["onehop-out/results.json", "No such file"]);
    let path = home.path().join("results.json");
    for (text, words) in [
        ("{}", "follows schema none"),
        ("{", "./results.json has no results of onehop"),
    ] {
        fs::write(&path, text).expect("written");
        refused(&run(&mut home.onehop(&["report", "."])), &[words]);
    }
}

/// What a command says on a terminal, its output and its errors.
fn on_a_terminal(command: &mut Command) -> String {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let end = || Stdio::from(terminal.slave.try_clone().expect("another one"));
    let mut child = command
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("it runs");
    // Its own ends are all that are open now.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(terminal.slave);
    let mut said = Vec::new();
    // It ends with an error when nobody has the other end any more.
    let _ = File::from(terminal.master).read_to_end(&mut said);
    child.wait().expect("it ends");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let home = Home::new();
    // A cluster that nobody serves: what is tried is logged.
    let kubeconfig = "{clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}], \
                      contexts: [{name: none, context: {cluster: none, user: none}}], users: [{name: none, user: {}}]}";
    fs::write(home.path().join("kubeconfig"), kubeconfig).expect("written");
    let said = |no_color: Option<&str>| {
        let mut command =
            home.onehop(&["clean", "--context", "none", "--kubeconfig", "kubeconfig"]);
        command.env("TERM", "xterm").env("ONEHOP_LOG", "trace");
        match no_color {
            Some(value) => command.env("NO_COLOR", value),
            None => command.env_remove("NO_COLOR"),
        };
        on_a_terminal(&mut command)
    };
    let (coloured, plain) = (said(None), said(Some("1")));
    assert!(coloured.contains("\u{1b}[35mTRACE"), "{coloured}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(plain.contains("TRACE"), "{plain}");
}

/// As `head` does. Nobody has to hear of it.
#[test]
fn whoever_has_read_enough_ends_nothing() {
    let home = Home::new();
    for arguments in [
        &["list"][..],
        &["show", "live/churn/local"],
        &["manual"],
        &["tools", "list"],
    ] {
        let mut command = home.onehop(arguments);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command.stdout(writer).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*said),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn show_prints_what_a_case_expects() {
    let home = Home::new();
    for case in onehop_suites::catalogue() {
        let ended = run(&mut home.onehop(&["show", &case.id]));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", case.id);
        for text in [&*case.id, &*case.claim].iter().chain(&case.sources) {
            assert!(ended.stdout.contains(text), "{}: no {text}", case.id);
        }
        for check in case.checks() {
            assert!(ended.stdout.contains(&check.label), "{}", case.id);
        }
    }
    let ended = run(&mut home.onehop(&["show", "external/local/node-without-pods-drops"]));
    let expected = "external(client-private) -> node-port@vm2: dropped";
    assert!(ended.stdout.contains(expected), "{ended:?}");
    let id = "external/local/node-without-pods-drops";
    let for_tools = run(&mut home.onehop(&["show", id, "--format", "json"]));
    let shown: serde_json::Value = serde_json::from_str(&for_tools.stdout).expect("JSON");
    assert_eq!(shown["schema"], "onehop.catalogue/v1");
    assert_eq!(shown["cases"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["cases"][0]["id"], id);
    // The drawing has the clients above the nodes, and each pod below its own.
    let line = |text: &str| ended.stdout.lines().position(|line| line.contains(text));
    let lines = [
        "client-private   client-public",
        "router",
        "vm3  │",
        "web-2 │",
    ]
    .map(line);
    assert!(lines.is_sorted() && lines[0].is_some(), "{}", ended.stdout);
}

/// The JSON that a URL answers.
fn get(url: &str) -> serde_json::Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answered = runtime.block_on(async {
        // A proxy of the machine has no way to its loopback.
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(url).send().await?;
        answer.error_for_status()?.json().await
    });
    answered.unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn the_embedded_api_serves_until_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let home = Home::new();
        let arguments = ["apiserver", "--listen", "127.0.0.1:0", "--kubeconfig", "kc"];
        let mut server = Running::start(&mut home.onehop(&arguments));
        let line = server.wait_for("http://").expect("it serves");
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(';').next());
        let address = address.expect("an address");

        let version = get(&format!("http://{address}/version"));
        assert!(version["gitVersion"].is_string(), "{version}");
        let kubeconfig = fs::read_to_string(home.path().join("kc")).expect("written");
        assert!(
            kubeconfig.contains(&format!("http://{address}")),
            "{kubeconfig}"
        );

        server.signal(signal);
        let ended = server.end();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{signal}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(&mut Home::new().onehop(&["apiserver", "--listen", &address]));
    refused(
        &ended,
        &[&format!("failed to listen on {address}"), "in use"],
    );
}
