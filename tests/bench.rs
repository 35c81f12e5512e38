//! `onehop bench` from outside, with few Services: every measure is there, and its values are
//! possible. How fast anything was is asserted nowhere.

mod support;

use std::fs;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use onehop_harness::bench::Measure;
use onehop_harness::{netns, prepare};
use serde_json::Value;
use support::{Home, Running, run};

const NFTABLES: &str = "kube-proxy-nftables";
const BUNDLED: &str = "bundled";

/// So few of everything that a bench takes seconds.
const FEW: [&str; 8] = [
    "--services",
    "50",
    "--changes",
    "48",
    "--rounds",
    "1",
    "--connect-millis",
    "20",
];

fn main() -> ExitCode {
    prepare::complete_path();
    let arguments = Arguments::from_args();
    let missing = if arguments.list { None } else { missing() };
    let trial = |name: &str, test: fn() -> Result<(), Failed>| match missing.clone() {
        None => Trial::test(name, test),
        Some(reason) => Trial::test(name, move || Ok(()))
            .with_kind(format!("ignored: {reason}"))
            .with_ignored_flag(true),
    };
    let trials = vec![
        trial("two_proxies_are_compared_in_every_measure", compared),
        trial("one_proxy_has_no_ratio_and_ipv6_works", || alone("ipv6")),
        trial("an_interrupted_bench_reports_what_it_has", interrupted),
        trial("a_proxy_that_exits_ends_the_bench", exits),
        trial("a_proxy_that_serves_nothing_ends_the_bench", serves_nothing),
        trial("an_unknown_measure_is_refused", unknown),
        trial("two_benches_are_held_against_each_other", held_against),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What this machine lacks.
fn missing() -> Option<String> {
    let names = [NFTABLES.to_owned()];
    let proxies = prepare::proxies(&names, None, &mut |_| {});
    let proxies = proxies.err().map(|error| error.to_string());
    proxies.or_else(|| netns::check().err().map(|error| error.to_string()))
}

fn report(home: &Home) -> Value {
    let text = fs::read(home.path().join("out/bench.json")).expect("bench.json is there");
    serde_json::from_slice(&text).expect("bench.json is JSON")
}

fn measure<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let measures = report["measures"].as_array().expect("a list");
    measures.iter().find(|measure| measure["name"] == name)
}

/// Bounds that only a mistake of units or of accounting leaves: a millisecond for what a process
/// cannot start in, a minute for what takes seconds.
fn possible(measure: Measure) -> std::ops::RangeInclusive<f64> {
    match measure {
        Measure::ColdStart | Measure::ColdStartLarge => 1.0..=120_000.0,
        Measure::ColdStartGrowth => 0.001..=1000.0,
        Measure::EndpointChangeP50 | Measure::EndpointChangeP99 => 0.01..=60_000.0,
        Measure::LargeServiceProgram | Measure::LargeServiceSwap | Measure::Burst => {
            0.01..=60_000.0
        }
        // A tick of the kernel's clock may be all that 48 changes take, or none.
        Measure::CpuPer1000Changes => 0.0..=1000.0,
        Measure::PeakMemory => 0.5..=10_000.0,
        Measure::ConnectionsPerSecond => 1.0..=10_000_000.0,
        Measure::ConnectP50 => 1.0..=1_000_000.0,
        Measure::WrongConnections => 0.0..=0.0,
    }
}

fn compared() -> Result<(), Failed> {
    let home = Home::new();
    // These are the proxies of a bench that names none.
    let proxies = ["bench", "--out", "out"];
    let ended = run(&mut home.onehop(&[&proxies[..], &FEW].concat()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&home);
    assert_eq!(report["errors"], serde_json::json!([]));
    assert_eq!(report["run"]["family"], "IPv4");
    assert_eq!(report["run"]["connect_millis"], 20);
    let started = report["run"]["started"].as_str().unwrap_or_default();
    assert!(
        started.starts_with("20") && started.ends_with('Z'),
        "{started}"
    );
    let made = &measure(&report, "wrong-connections").expect("it is there")["made"];
    for proxy in [BUNDLED, NFTABLES] {
        assert!(made[proxy].as_u64() > Some(100), "{made}");
    }
    for wanted in Measure::ALL {
        let found = measure(&report, wanted.name()).ok_or(format!("no {wanted}"))?;
        assert_eq!(found["unit"], wanted.unit());
        let large = wanted == Measure::ColdStartLarge;
        assert_eq!(found["services"], if large { 150 } else { 50 });
        let values = found["values"].as_object().expect("an object");
        let of = |proxy: &str| values.get(proxy).and_then(Value::as_f64);
        // The largest number of Services is for the first alone, unless asked for.
        assert_eq!(values.len(), if large { 1 } else { 2 }, "{found}");
        for (proxy, value) in values {
            let value = value.as_f64().expect("a number");
            assert!(possible(wanted).contains(&value), "{proxy}: {found}");
        }
        let better = if wanted == Measure::ConnectionsPerSecond {
            of(BUNDLED).zip(of(NFTABLES))
        } else {
            of(NFTABLES).zip(of(BUNDLED))
        };
        let expected = better.filter(|(_, by)| *by != 0.0).map(|(a, by)| a / by);
        let ratio = found["ratio"].as_f64();
        let same = match (ratio, expected) {
            (Some(ratio), Some(expected)) => (ratio - expected).abs() <= expected * 1e-9,
            (ratio, expected) => ratio == expected,
        };
        assert!(same, "{expected:?}: {found}");
        assert!(ended.stdout.contains(wanted.name()), "{ended:?}");
    }
    let p50 = &measure(&report, "endpoint-change-p50").expect("it is there")["values"][NFTABLES];
    let p99 = &measure(&report, "endpoint-change-p99").expect("it is there")["values"][NFTABLES];
    assert!(p50.as_f64() <= p99.as_f64(), "{report}");
    Ok(())
}

fn alone(family: &str) -> Result<(), Failed> {
    let home = Home::new();
    let arguments = [
        "bench", "--proxy", NFTABLES, "--out", "out", "--family", family,
    ];
    let measures = [
        "cold-start",
        "endpoint-change-p50",
        "wrong-connections",
        "burst",
    ];
    let mut arguments = [&arguments[..], &FEW].concat();
    for measure in &measures {
        arguments.extend(["--measure", measure]);
    }
    let ended = run(&mut home.onehop(&arguments));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&home);
    assert_eq!(report["run"]["family"], "IPv6");
    let found = report["measures"].as_array().expect("a list");
    let names: Vec<_> = found.iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, measures);
    for measure in found {
        assert!(measure["values"][NFTABLES].is_number(), "{measure}");
        assert!(measure["ratio"].is_null(), "{measure}");
    }
    Ok(())
}

fn interrupted() -> Result<(), Failed> {
    let home = Home::new();
    // Far more rounds than there is time for.
    let arguments = [
        "bench",
        "--proxy",
        NFTABLES,
        "--out",
        "out",
        "--services",
        "10",
    ];
    let more = ["--rounds", "100", "--measure", "cold-start"];
    let mut bench = Running::start(&mut home.onehop(&[&arguments[..], &more].concat()));
    bench.wait_for("cold start with 10 Services")?;
    bench.signal(Signal::SIGINT);
    let ended = bench.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("the bench was interrupted"),
        "{ended:?}"
    );
    let report = report(&home);
    assert_eq!(report["errors"][0], "the bench was interrupted");
    assert!(measure(&report, "cold-start").is_some(), "{report}");
    Ok(())
}

fn exits() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("echo broken config >&2; exit 3");
    let arguments = ["bench", "--proxy", profile, "--out", "out"];
    let ended = run(&mut home.onehop(&[&arguments[..], &FEW].concat()));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for text in ["mine exited", "exit status: 3", "broken config"] {
        assert!(ended.stderr.contains(text), "{ended:?}");
    }
    let report = report(&home);
    assert_eq!(report["measures"], serde_json::json!([]));
    let error = report["errors"][0].as_str().expect("a text");
    assert!(error.contains("exit status: 3"), "{error}");
    Ok(())
}

fn serves_nothing() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("exec sleep 1000");
    let arguments = ["bench", "--proxy", profile, "--patience-seconds", "1"];
    let ended = run(&mut home.onehop(&[&arguments[..], &FEW].concat()));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let text = "mine did not serve service-000049 right within 1 s";
    assert!(ended.stderr.contains(text), "{ended:?}");
    Ok(())
}

fn unknown() -> Result<(), Failed> {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["bench", "--measure", "speed"]));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("cold-start, cold-start-growth"),
        "{ended:?}"
    );
    Ok(())
}

/// A bench against itself, and against one in which changes take a hundred times as long.
fn held_against() -> Result<(), Failed> {
    let home = Home::new();
    let measures = [
        "--measure",
        "endpoint-change-p50",
        "--measure",
        "connect-p50",
    ];
    let proxy = ["bench", "--proxy", BUNDLED, "--out", "out"];
    let ended = run(&mut home.onehop(&[&proxy[..], &measures, &FEW].concat()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let compare = |head: &str| run(&mut home.onehop(&["compare", "out", head]));
    let alike = compare("out/bench.json");
    assert_eq!(alike.code, Some(0), "{alike:?}");
    assert!(alike.stdout.contains("Bench: bundled"), "{alike:?}");
    assert!(alike.stdout.ends_with("nothing is worse\n"), "{alike:?}");

    let mut slow = report(&home);
    let change = slow["measures"].as_array_mut().expect("a list");
    let change = change
        .iter_mut()
        .find(|row| row["name"] == "endpoint-change-p50");
    let change = change.ok_or("no such measure")?;
    let slower = |value: &Value| Value::from(value.as_f64().expect("a number") * 100.0);
    change["values"][BUNDLED] = slower(&change["values"][BUNDLED]);
    for range in ["spread", "interval"] {
        for end in 0..2 {
            change[range][BUNDLED][end] = slower(&change[range][BUNDLED][end]);
        }
    }
    fs::create_dir(home.path().join("slow"))?;
    fs::write(home.path().join("slow/bench.json"), slow.to_string())?;
    let worse = compare("slow");
    assert_eq!(worse.code, Some(1), "{worse:?}");
    assert!(
        worse.stdout.contains("1 worse:\n  endpoint-change-p50: "),
        "{worse:?}"
    );
    assert!(worse.stdout.contains("100.00 times worse"), "{worse:?}");

    // A run beside one of them is not compared, and says so.
    let run_of_none = run(&mut home.onehop(&["run", "no/such", "--out", "both"]));
    assert_eq!(run_of_none.code, Some(2), "{run_of_none:?}");
    fs::copy(
        home.path().join("out/bench.json"),
        home.path().join("both/bench.json"),
    )?;
    let in_part = compare("both");
    assert_eq!(in_part.code, Some(2), "{in_part:?}");
    let text = "not judged: only both has a results.json\nnothing that was judged is worse\n";
    assert!(in_part.stdout.ends_with(text), "{in_part:?}");

    fs::write(home.path().join("slow/bench.json"), "{}")?;
    let none = compare("slow");
    assert_eq!(none.code, Some(2), "{none:?}");
    for text in ["no bench to compare in slow/bench.json", "missing field"] {
        assert!(none.stderr.contains(text), "{none:?}");
    }
    Ok(())
}
