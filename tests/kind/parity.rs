//! The same proxy of the same version gets the same verdicts, ways and shares wherever it runs.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::Failed;
use serde_json::Value;
use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use crate::clusters::cases;

/// The chance that two equal distributions are taken for different ones, over all flows together.
const FALSE_ALARM: f64 = 1e-6;

/// The one case that fails because of a known defect whenever it is run. Others fail now and then.
const ALWAYS_KNOWN: &str = "external/local/pods-of-other-nodes-are-outside";

/// Whether two verdicts of a case say the same. A known defect may spare it once and hit it another time.
pub(crate) fn same(id: &str, one: &str, other: &str) -> bool {
    let spared = |verdict| ["pass", "known"].contains(&verdict);
    one == other || (id != ALWAYS_KNOWN && spared(one) && spared(other))
}

/// Holds the results of two providers against each other.
pub(crate) fn compare(one: &Value, other: &Value) -> Result<(), Failed> {
    let by_id = |results| -> BTreeMap<String, Value> {
        let cases: &Vec<Value> = cases(results);
        let named = cases.iter().map(|case| (text(&case["id"]), case.clone()));
        named.collect()
    };
    let (one, other) = (by_id(one), by_id(other));
    let mut differences = Vec::new();
    if one.keys().ne(other.keys()) {
        differences.push("the cases are not the same".to_owned());
    }
    let (mut shares, mut without) = (Vec::new(), 0);
    for (id, case) in &one {
        let Some(there) = other.get(id) else { continue };
        // Namespaces have no kubelets: what these decide has nothing to be held against.
        if text(&case["reason"]).contains("needs kubelets and controllers") {
            without += 1;
            continue;
        }
        let verdicts = [case, there].map(|case| text(&case["verdict"]));
        let [own, others] = &verdicts;
        if !same(id, own, others) {
            differences.push(format!("{id}: {own} and {others}"));
        }
        if verdicts.iter().any(|verdict| verdict == "known") {
            // By which ways a defect goes wrong is nobody's promise.
            continue;
        }
        let (here, there) = (flows(case), flows(there));
        if here.keys().ne(there.keys()) {
            differences.push(format!("{id}: the flows are not the same"));
        }
        for (key, flow) in &here {
            let Some(there) = there.get(key) else {
                continue;
            };
            let (own, others) = (way(flow), way(there));
            if own != others {
                differences.push(format!("{id}, {key}: {own:?} and {others:?}"));
            }
            if flow["p_value"].is_number() {
                shares.push((format!("{id}, {key}"), counts(flow), counts(there)));
            }
        }
    }
    if without * 10 > one.len() {
        differences.push(format!("{without} cases were not compared"));
    }
    if shares.len() < 40 {
        differences.push(format!("only {} distributions were compared", shares.len()));
    }
    let limit = FALSE_ALARM / shares.len() as f64;
    for (key, here, there) in &shares {
        let p_value = homogeneity(here, there);
        if p_value < limit {
            differences.push(format!("{key}: {here:?} and {there:?}, p = {p_value:.1e}"));
        }
    }
    println!(
        "{} cases, {} distributions compared",
        one.len() - without,
        shares.len()
    );
    if differences.is_empty() {
        return Ok(());
    }
    Err(differences.join("\n").into())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The flows of a case, by what was asked. Those whose backend is drawn once for all are left out:
/// it is another one in each run. So are those of which only is claimed that no node serves them: where
/// they end is the network's doing, such as the strict `rp_filter` of kind's nodes.
fn flows(case: &Value) -> BTreeMap<String, Value> {
    let flows = case["flows"].as_array().cloned().unwrap_or_default();
    let left_out = |flow: &Value| {
        let expected = text(&flow["expected"]);
        let unclaimed = ["unserved", "left to the load balancer", ", as declared"];
        expected.contains("one of")
            || text(&flow["to"]).contains("held as")
            || unclaimed.iter().any(|ending| expected.contains(ending))
    };
    let mut keyed = BTreeMap::new();
    for flow in flows.into_iter().filter(|flow| !left_out(flow)) {
        let parts = ["check", "from", "to", "family", "protocol"].map(|part| text(&flow[part]));
        let key = parts.join(" ");
        // A question may be asked twice in a check, of different ports.
        let number = keyed
            .keys()
            .filter(|known: &&String| known.starts_with(&key))
            .count();
        keyed.insert(format!("{key} #{number}"), flow);
    }
    keyed
}

/// What the connections of a flow have in common: hops, entry nodes, sources, pods, and how those that
/// reached none ended.
fn way(flow: &Value) -> BTreeMap<&'static str, BTreeSet<String>> {
    let parts = ["hops", "entries", "sources", "reached", "refused", "broken"];
    let keys = |part: &str| -> BTreeSet<String> {
        let counted = flow["tally"][part].as_object();
        counted
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    };
    let mut way: BTreeMap<_, _> = parts.map(|part| (part, keys(part))).into();
    let dropped = flow["tally"]["dropped"].as_u64().unwrap_or_default() > 0;
    way.insert("dropped", dropped.then(String::new).into_iter().collect());
    way
}

/// How often each pod was reached.
fn counts(flow: &Value) -> BTreeMap<String, f64> {
    let reached = flow["tally"]["reached"].as_object();
    let reached = reached.into_iter().flatten();
    reached
        .map(|(pod, count)| (pod.clone(), count.as_f64().unwrap_or_default()))
        .collect()
}

/// The chance that two samples of one distribution differ as much as these (χ² test of homogeneity).
fn homogeneity(one: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>) -> f64 {
    let pods: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    if pods.len() < 2 {
        return 1.0;
    }
    let (here, there): (f64, f64) = (one.values().sum(), other.values().sum());
    let mut statistic = 0.0;
    for pod in &pods {
        let (a, b) = (
            one.get(*pod).copied().unwrap_or_default(),
            other.get(*pod).copied().unwrap_or_default(),
        );
        let all = (a + b) / (here + there);
        statistic += (a - here * all).powi(2) / (here * all);
        statistic += (b - there * all).powi(2) / (there * all);
    }
    let freedom = (pods.len() - 1) as f64;
    ChiSquared::new(freedom)
        .expect("a positive number")
        .sf(statistic)
}
