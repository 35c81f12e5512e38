//! The command line: what is wrong is said in one message that says what to do, with exit code 2.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

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
    // Usage errors leave nothing behind.
    assert!(!home.path().join("onehop-out").exists());
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
    let ended = run(&mut home.onehop(&["run", "--proxy-binary", "./nowhere"]));
    refused(
        &ended,
        &["./nowhere (from --proxy-binary) is not an executable file"],
    );
    let profile = home.profile("exit 0");
    let arguments = ["run", "--proxy", profile, "--proxy-binary", "./nowhere"];
    let ended = run(&mut home.onehop(&arguments));
    refused(&ended, &["no program `./nowhere` (from --proxy-binary)"]);
}

#[test]
fn without_nft_the_package_is_named_and_the_results_say_so() {
    let home = Home::new();
    let profile = home.profile("exit 0");
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("created");
    let texts = ["nft is not in PATH; install it: the package nftables"];

    let arguments = ["run", "internal", "external/local", "--proxy", profile];
    let mut command = home.onehop(&arguments);
    refused(&run(command.env("PATH", &empty)), &texts);
    let results = home.results("onehop-out");
    assert_eq!(results["schema"], "onehop.results/v1");
    assert_eq!(results["results"][0]["error"], texts[0]);
    assert_eq!(results["results"][0]["proxy"]["name"], profile);
    assert_eq!(results["summary"]["passed"], 0);
    let selected = onehop_suites::matching(&["internal".to_owned(), "external/local".to_owned()]);
    let selected = selected.expect("the patterns match").len();
    assert_eq!(results["summary"]["errors"], selected);

    let mut command = home.onehop(&["lab", "up", "--no-proxy"]);
    refused(&run(command.env("PATH", &empty)), &texts);
}

#[test]
fn without_go_the_install_is_named_and_old_results_do_not_survive() {
    let home = Home::new();
    let (empty, out) = (
        home.path().join("empty"),
        home.path().join("out/results.json"),
    );
    fs::create_dir(&empty).expect("created");
    fs::create_dir(home.path().join("out")).expect("created");
    fs::write(&out, "{\"summary\": {\"passed\": 55}}").expect("written");
    let arguments = ["run", "--proxy", "kube-proxy-nftables@v1.36.3"];
    let mut command = home.onehop(&[&arguments[..], &["--out", "out"]].concat());
    let ended = run(command.env("PATH", &empty).env("XDG_CACHE_HOME", &empty));
    let texts = [
        "kube-proxy@v1.36.3 is built from Go modules, and the `go` command is not in PATH",
        "install Go (the package golang-go, or https://go.dev/dl)",
    ];
    refused(&ended, &texts);
    let results = home.results("out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.starts_with(texts[0]), "{error}");
    assert_eq!(results["summary"]["passed"], 0);
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
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), catalogue.len());
    for (line, case) in lines.iter().zip(&catalogue) {
        let (id, claim) = line.split_once(' ').expect("two columns");
        assert_eq!((id, claim.trim()), (&*case.id, &*case.claim));
    }

    let ended = run(&mut home.onehop(&["list", "internal", "--feature", "node-port"]));
    let mut selected = onehop_suites::matching(&["internal".to_owned()]).expect("a match");
    selected.retain(|case| case.features.iter().any(|f| f.name() == "node-port"));
    assert!(!selected.is_empty() && selected.len() < catalogue.len());
    let ids: Vec<_> = ended
        .stdout
        .lines()
        .filter_map(|l| l.split(' ').next())
        .collect();
    let expected: Vec<_> = selected.iter().map(|case| &*case.id).collect();
    assert_eq!(ids, expected);
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

        let mut stream = TcpStream::connect(address).expect("the API listens");
        let request =
            format!("GET /version HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("gitVersion"), "{answer}");
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
