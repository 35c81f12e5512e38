//! Faults of the health contracts.

use std::time::Duration;

use super::{PROXY_HEALTH, SERVICE_HEALTH};
use crate::faults::{Deed, Fault, answers, plans, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "health-port-says-200-always",
        breaks: "healthCheckNodePort: 200 only with a local endpoint, else 503.",
        sources: &[SERVICE_HEALTH, "k#44311"],
        caught_by: &[
            "health-check/counts-local-endpoints",
            "health-check/follows-the-last-pod",
            "load-balancer/node-port/local/shares-follow-the-nodes",
            "load-balancer/proxy/local/shares-follow-the-nodes",
            "load-balancer/proxy/local/source-is-the-balancer",
            "health-check/moved-pod-moves-the-traffic",
            "live/gone-at-once-behind-a-load-balancer",
        ],
        deed: Deed::Answer(answers::always_fine),
    },
    Fault {
        name: "health-port-counts-terminating-pods",
        breaks: "healthCheckNodePort: terminating endpoints count 0.",
        sources: &[SERVICE_HEALTH, "c#21062"],
        caught_by: &[
            "health-check/terminating-pods-serve-uncounted",
            "load-balancer/weighted/local/weights-follow-the-endpoints",
            "live/terminating-behind-a-load-balancer",
        ],
        deed: Deed::Plan(plans::health_counts_terminating),
    },
    Fault {
        name: "health-port-counts-all-nodes",
        breaks: "healthCheckNodePort: local endpoints count, and no others.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::Plan(plans::health_counts_all_nodes),
    },
    Fault {
        name: "health-port-counts-each-port",
        breaks: "healthCheckNodePort: two ports on one address count 1.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/several-ports-count-once"],
        deed: Deed::Plan(plans::health_counts_ports),
    },
    Fault {
        name: "health-port-gives-no-weight",
        breaks: "healthCheckNodePort: header X-Load-Balancing-Endpoint-Weight, also when 503.",
        sources: &[SERVICE_HEALTH, "KEP-1669"],
        caught_by: &[
            "health-check/counts-local-endpoints",
            "load-balancer/weighted/local/shares-are-even-by-weight",
            "distribution/many-pods-on-few-nodes/local-by-weight",
            "distribution/about-as-many-of-each/local-by-weight",
        ],
        deed: Deed::Answer(answers::no_weight),
    },
    Fault {
        name: "health-port-lets-types-be-guessed",
        breaks: "healthCheckNodePort: header X-Content-Type-Options: nosniff.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::Answer(answers::no_nosniff),
    },
    Fault {
        name: "health-port-says-nothing",
        breaks: "healthCheckNodePort: a body with the Service, its count, and the proxy's health.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::Answer(answers::no_body),
    },
    Fault {
        name: "health-port-knows-one-path",
        breaks: "healthCheckNodePort: answers by any path.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/any-path"],
        deed: Deed::Answer(answers::one_path),
    },
    Fault {
        name: "health-port-is-ahead-of-the-rules",
        breaks: "healthCheckNodePort: 200 once the node serves, and no sooner.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["live/first-pod-behind-a-load-balancer"],
        deed: Deed::HealthFirst(Duration::from_millis(500)),
    },
    Fault {
        name: "health-port-is-behind-the-rules",
        breaks: "healthCheckNodePort: 503 as soon as the node drops.",
        sources: &[SERVICE_HEALTH, "metallb#2577"],
        caught_by: &["live/gone-at-once-behind-a-load-balancer"],
        deed: Deed::HealthLast(Duration::from_secs(2)),
    },
    Fault {
        name: "health-port-never-opens",
        breaks: "healthCheckNodePort exists for type LoadBalancer under Local.",
        sources: &[SERVICE_HEALTH, "kr#455"],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::World(worlds::no_health_port),
    },
    Fault {
        name: "health-port-never-closes",
        breaks: "healthCheckNodePort: closed unless type LoadBalancer and Local.",
        sources: &[SERVICE_HEALTH, "kr#455", "k#53657"],
        caught_by: &[
            "health-check/allocated-for-load-balancer-and-local-only",
            "health-check/policy-switch-moves-the-balancer",
        ],
        deed: Deed::World(worlds::health_port_stays),
    },
    Fault {
        name: "health-port-outlives-its-service",
        breaks: "healthCheckNodePort: closed once its Service is deleted.",
        sources: &[SERVICE_HEALTH, "kr#455"],
        caught_by: &[
            "health-check/counts-local-endpoints",
            "load-balancer/vip/local/client-ip-kept",
        ],
        deed: Deed::HealthOutlives,
    },
    Fault {
        name: "health-port-is-ipv4-alone",
        breaks: "healthCheckNodePort answers in each family of the Service.",
        sources: &[SERVICE_HEALTH, "k#114702"],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::Plan(plans::health_port_is_v4),
    },
    Fault {
        name: "health-port-counts-one-family-for-both",
        breaks: "healthCheckNodePort counts the pods of each family by itself.",
        sources: &[SERVICE_HEALTH, "KEP-563"],
        caught_by: &["families/pods-of-one/health-check"],
        deed: Deed::Plan(plans::health_port_counts_for_both),
    },
    Fault {
        name: "healthz-ignores-the-autoscaler",
        breaks: "/healthz: 503 on a node that is about to be removed.",
        sources: &["KEP-3836", PROXY_HEALTH],
        caught_by: &[
            "proxy-health/node-about-to-be-removed",
            "proxy-health/decides-behind-a-load-balancer",
        ],
        deed: Deed::OwnAnswer(answers::ignores_taints),
    },
    Fault {
        name: "livez-follows-the-node",
        breaks: "/livez: the proxy's health alone, whatever becomes of the node.",
        sources: &["KEP-3836", PROXY_HEALTH],
        caught_by: &["proxy-health/node-about-to-be-removed"],
        deed: Deed::OwnAnswer(answers::not_live_unless_eligible),
    },
    Fault {
        name: "health-port-calls-its-body-text",
        breaks: "healthCheckNodePort: header Content-Type: application/json.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["health-check/counts-local-endpoints"],
        deed: Deed::Answer(answers::plain_text),
    },
];
