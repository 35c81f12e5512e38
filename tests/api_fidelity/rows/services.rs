//! Services: defaults, allocation, validation, updates and type changes.

use super::{Row, SERVICES, WEB, web};

pub(super) fn rows() -> Vec<Row> {
    [
        created(),
        refused(),
        updated(),
        update_refused(),
        statuses(),
    ]
    .concat()
}

/// Specs that are accepted, and what they become.
fn created() -> Vec<Row> {
    [
        ("cluster_ip", r#"{"ports":[{"port":80}]}"#),
        ("target_port_name", r#"{"selector":{"a":"b"},"ports":[{"port":80,"targetPort":"http","protocol":"UDP"}]}"#),
        ("node_port", r#"{"type":"NodePort","ports":[{"port":80}]}"#),
        ("node_port_tcp_udp", r#"{"type":"NodePort","ports":[{"name":"t","port":53},{"name":"u","port":53,"protocol":"UDP"}]}"#),
        ("load_balancer", r#"{"type":"LoadBalancer","ports":[{"port":80}]}"#),
        ("load_balancer_local", r#"{"type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":80}]}"#),
        ("load_balancer_no_node_ports", r#"{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"ports":[{"port":80}]}"#),
        ("load_balancer_class", r#"{"type":"LoadBalancer","loadBalancerClass":"example.com/lb","loadBalancerSourceRanges":["10.0.0.0/8"],"ports":[{"port":80}]}"#),
        ("load_balancer_ip", r#"{"type":"LoadBalancer","loadBalancerIP":"192.0.2.1","ports":[{"port":80}]}"#),
        ("internal_local", r#"{"internalTrafficPolicy":"Local","ports":[{"port":80}]}"#),
        ("external_ips", r#"{"externalIPs":["192.0.2.1"],"ports":[{"port":80}]}"#),
        ("external_ips_local", r#"{"externalIPs":["192.0.2.1"],"externalTrafficPolicy":"Local","ports":[{"port":80}]}"#),
        ("client_ip_affinity", r#"{"sessionAffinity":"ClientIP","ports":[{"port":80}]}"#),
        ("client_ip_affinity_timeout", r#"{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},"ports":[{"port":80}]}"#),
        ("no_affinity_drops_config", r#"{"sessionAffinity":"None","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},"ports":[{"port":80}]}"#),
        ("headless", r#"{"clusterIP":"None","selector":{"a":"b"},"ports":[{"port":80}]}"#),
        ("headless_without_selector", r#"{"clusterIP":"None"}"#),
        ("external_name", r#"{"type":"ExternalName","externalName":"example.com"}"#),
        ("prefer_dual_stack", r#"{"ipFamilyPolicy":"PreferDualStack","ports":[{"port":80}]}"#),
        ("require_dual_stack_v6_first", r#"{"ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv6"],"ports":[{"port":80}]}"#),
        ("single_v6", r#"{"ipFamilies":["IPv6"],"ports":[{"port":80}]}"#),
        ("empty_values", r#"{"clusterIP":"","externalIPs":[],"loadBalancerIP":"","publishNotReadyAddresses":false,"selector":{},"ports":[{"port":80,"name":""}]}"#),
        ("publish_not_ready", r#"{"publishNotReadyAddresses":true,"trafficDistribution":"PreferSameNode","ports":[{"port":80,"appProtocol":"kubernetes.io/h2c"}]}"#),
        ("sctp", r#"{"ports":[{"port":80,"protocol":"SCTP"}]}"#),
    ]
    .into_iter()
    .map(|(name, spec)| Row::new(leak("create", name)).web(spec).answers(201, ""))
    .collect()
}

/// Specs that are refused, with their causes.
fn refused() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("no_ports", r"{}"),
        ("port_zero", r#"{"ports":[{"port":0}]}"#),
        ("port_too_large", r#"{"ports":[{"port":65536}]}"#),
        ("missing_port", r#"{"ports":[{"name":"a"}]}"#),
        ("protocol", r#"{"ports":[{"port":80,"protocol":"ICMP"}]}"#),
        ("target_port_name", r#"{"ports":[{"port":80,"targetPort":"Not_A_Name"}]}"#),
        ("unnamed_ports", r#"{"ports":[{"port":80},{"port":81}]}"#),
        ("duplicate_port_names", r#"{"ports":[{"name":"a","port":80},{"name":"a","port":81}]}"#),
        ("duplicate_ports", r#"{"ports":[{"name":"a","port":80},{"name":"b","port":80}]}"#),
        ("node_port_on_cluster_ip", r#"{"ports":[{"port":80,"nodePort":30001}]}"#),
        ("node_port_out_of_range", r#"{"type":"NodePort","ports":[{"port":80,"nodePort":20000}]}"#),
        ("type", r#"{"type":"Internal","ports":[{"port":80}]}"#),
        ("external_policy_on_internal", r#"{"externalTrafficPolicy":"Local","ports":[{"port":80}]}"#),
        ("external_policy_value", r#"{"type":"NodePort","externalTrafficPolicy":"Global","ports":[{"port":80}]}"#),
        ("internal_policy_value", r#"{"internalTrafficPolicy":"Global","ports":[{"port":80}]}"#),
        ("health_check_on_cluster_policy", r#"{"type":"LoadBalancer","healthCheckNodePort":30002,"ports":[{"port":80}]}"#),
        ("affinity", r#"{"sessionAffinity":"Cookie","ports":[{"port":80}]}"#),
        ("affinity_timeout_zero", r#"{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}},"ports":[{"port":80}]}"#),
        ("affinity_timeout_large", r#"{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":86401}},"ports":[{"port":80}]}"#),
        ("source_ranges_on_cluster_ip", r#"{"loadBalancerSourceRanges":["10.0.0.0/8"],"ports":[{"port":80}]}"#),
        ("source_ranges_value", r#"{"type":"LoadBalancer","loadBalancerSourceRanges":["10.0.0.0"],"ports":[{"port":80}]}"#),
        ("class_on_cluster_ip", r#"{"loadBalancerClass":"a/b","ports":[{"port":80}]}"#),
        ("allocate_on_node_port", r#"{"type":"NodePort","allocateLoadBalancerNodePorts":true,"ports":[{"port":80}]}"#),
        ("external_ip_loopback", r#"{"externalIPs":["127.0.0.1"],"ports":[{"port":80}]}"#),
        ("external_ip_text", r#"{"externalIPs":["a.b.c.d"],"ports":[{"port":80}]}"#),
        ("cluster_ip_out_of_range", r#"{"clusterIP":"192.0.2.1","ports":[{"port":80}]}"#),
        ("cluster_ip_text", r#"{"clusterIP":"address","ports":[{"port":80}]}"#),
        ("cluster_ips_only", r#"{"clusterIPs":["10.96.0.201"],"ports":[{"port":80}]}"#),
        ("cluster_ips_differ", r#"{"clusterIP":"10.96.0.201","clusterIPs":["10.96.0.202"],"ports":[{"port":80}]}"#),
        ("two_families_single_stack", r#"{"ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4","IPv6"],"ports":[{"port":80}]}"#),
        ("family_twice", r#"{"ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv4","IPv4"],"ports":[{"port":80}]}"#),
        ("family_name", r#"{"ipFamilies":["IPv5"],"ports":[{"port":80}]}"#),
        ("family_policy_name", r#"{"ipFamilyPolicy":"Both","ports":[{"port":80}]}"#),
        ("headless_node_port", r#"{"type":"NodePort","clusterIP":"None","ports":[{"port":80}]}"#),
        ("headless_load_balancer", r#"{"type":"LoadBalancer","clusterIP":"None","ports":[{"port":80}]}"#),
        ("external_name_missing", r#"{"type":"ExternalName"}"#),
        ("external_name_with_cluster_ip", r#"{"type":"ExternalName","externalName":"example.com","clusterIP":"10.96.0.203"}"#),
        ("external_name_shape", r#"{"type":"ExternalName","externalName":"Not A Name"}"#),
        ("selector", r#"{"selector":{"a b":"c d"},"ports":[{"port":80}]}"#),
        ("traffic_distribution", r#"{"trafficDistribution":"PreferFar","ports":[{"port":80}]}"#),
        ("app_protocol", r#"{"ports":[{"port":80,"appProtocol":"a b"}]}"#),
    ]
    .into_iter()
    .map(|(name, spec)| Row::new(leak("refuse", name)).web(spec).answers(422, "Invalid"))
    .collect();
    rows.push(
        Row::new("service/refuse/health_check_port_taken")
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30011}]}"#)
            .post(SERVICES, r#"{"metadata":{"name":"two"},"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":30011,"ports":[{"port":80}]}}"#)
            .answers(500, "InternalError"),
    );
    rows.push(
        Row::new("service/refuse/node_port_taken")
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30012}]}"#)
            .post(SERVICES, r#"{"metadata":{"name":"two"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30012}]}}"#)
            .answers(422, "Invalid"),
    );
    rows.push(
        Row::new("service/refuse/cluster_ip_taken")
            .web(r#"{"clusterIP":"10.96.0.209","ports":[{"port":80}]}"#)
            .post(SERVICES, r#"{"metadata":{"name":"two"},"spec":{"clusterIP":"10.96.0.209","ports":[{"port":80}]}}"#)
            .answers(422, "Invalid"),
    );
    rows.push(
        Row::new("service/refuse/name")
            .post(
                SERVICES,
                r#"{"metadata":{"name":"Web_1"},"spec":{"ports":[{"port":80}]}}"#,
            )
            .answers(422, "Invalid"),
    );
    rows
}

const CLUSTER_IP: &str = r#"{"ports":[{"port":80}]}"#;
const NODE_PORT: &str = r#"{"type":"NodePort","ports":[{"port":80}]}"#;
const LOCAL: &str =
    r#"{"type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":80}]}"#;
const LOAD_BALANCER: &str = r#"{"type":"LoadBalancer","ports":[{"port":80}]}"#;
const EXTERNAL_NAME: &str = r#"{"type":"ExternalName","externalName":"example.com"}"#;
const HEADLESS: &str = r#"{"clusterIP":"None","ports":[{"port":80}]}"#;
const DUAL: &str = r#"{"ipFamilyPolicy":"RequireDualStack","ports":[{"port":80}]}"#;
const PREFER: &str = r#"{"ipFamilyPolicy":"PreferDualStack","ports":[{"port":80}]}"#;
const SINGLE: &str = r#"{"ipFamilyPolicy":"SingleStack","ports":[{"port":80}]}"#;

/// A PUT that leaves out what the server allocated.
fn updated() -> Vec<Row> {
    [
        ("same", NODE_PORT, NODE_PORT),
        ("cluster_ip_to_node_port", CLUSTER_IP, NODE_PORT),
        ("cluster_ip_to_local", CLUSTER_IP, LOCAL),
        ("node_port_to_cluster_ip", NODE_PORT, CLUSTER_IP),
        ("local_to_cluster", LOCAL, LOAD_BALANCER),
        ("local_kept", LOCAL, LOCAL),
        ("local_to_node_port", LOCAL, NODE_PORT),
        ("to_external_name", NODE_PORT, EXTERNAL_NAME),
        ("from_external_name", EXTERNAL_NAME, NODE_PORT),
        ("single_to_dual", CLUSTER_IP, DUAL),
        ("single_to_prefer", CLUSTER_IP, PREFER),
        ("dual_to_single", DUAL, SINGLE),
        ("dual_kept", DUAL, CLUSTER_IP),
        (
            "port_renamed",
            NODE_PORT,
            r#"{"type":"NodePort","ports":[{"name":"http","port":81}]}"#,
        ),
        (
            "port_added",
            NODE_PORT,
            r#"{"type":"NodePort","ports":[{"name":"a","port":80},{"name":"b","port":81}]}"#,
        ),
        ("headless_kept", HEADLESS, HEADLESS),
        (
            "affinity_added",
            CLUSTER_IP,
            r#"{"sessionAffinity":"ClientIP","ports":[{"port":80}]}"#,
        ),
    ]
    .into_iter()
    .map(|(name, before, after)| {
        let row = Row::new(leak("update", name)).web(before).put_web(after);
        if name == "dual_kept" {
            // The body names fewer fields than before, and all that it leaves out is carried over.
            row.differs(
                200,
                "",
                "that others manage fields is a change upstream, with a new version",
            )
        } else {
            row
        }
    })
    .collect()
}

fn update_refused() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("cluster_ip_changed", CLUSTER_IP, r#"{"clusterIP":"10.96.0.211","ports":[{"port":80}]}"#),
        ("to_headless", CLUSTER_IP, HEADLESS),
        ("from_headless", HEADLESS, r#"{"clusterIP":"10.96.0.212","ports":[{"port":80}]}"#),
        ("health_check_port_changed", LOCAL, r#"{"type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":30021,"ports":[{"port":80}]}"#),
        ("class_changed", LOAD_BALANCER, r#"{"type":"LoadBalancer","loadBalancerClass":"a/b","ports":[{"port":80}]}"#),
        ("primary_family_changed", CLUSTER_IP, r#"{"ipFamilies":["IPv6"],"ports":[{"port":80}]}"#),
        ("dual_reduced_without_policy", DUAL, r#"{"ipFamilies":["IPv4"],"ports":[{"port":80}]}"#),
        ("local_to_cluster_ip_keeps_policy", LOCAL, r#"{"type":"ClusterIP","externalTrafficPolicy":"Cluster","ports":[{"port":80}]}"#),
    ]
    .into_iter()
    .map(|(name, before, after)| {
        Row::new(leak("update_refuse", name)).web(before).put_web(after).answers(422, "Invalid")
    })
    .collect();
    rows.push(
        Row::new("service/update_refuse/outdated")
            .web(CLUSTER_IP)
            .put(WEB, r#"{"metadata":{"name":"web","resourceVersion":"1"},"spec":{"ports":[{"port":80}]}}"#)
            .answers(409, "Conflict"),
    );
    rows.push(
        Row::new("service/update_refuse/other_uid")
            .web(CLUSTER_IP)
            .put(WEB, r#"{"metadata":{"name":"web","uid":"b8b8a7a0-0000-4000-8000-000000000000"},"spec":{"ports":[{"port":80}]}}"#)
            .answers(409, "Conflict"),
    );
    rows.push(
        Row::new("service/update_refuse/other_name")
            .web(CLUSTER_IP)
            .put(
                WEB,
                r#"{"metadata":{"name":"other"},"spec":{"ports":[{"port":80}]}}"#,
            )
            .answers(400, "BadRequest"),
    );
    rows.push(
        Row::new("service/update/creates_missing")
            .put_web(CLUSTER_IP)
            .answers(201, ""),
    );
    rows.push(
        Row::new("service/refuse/exists")
            .web(CLUSTER_IP)
            .web(CLUSTER_IP)
            .answers(409, "AlreadyExists"),
    );
    rows.push(
        Row::new("service/a_failed_create_leaks_nothing")
            .web(r#"{"type":"NodePort","externalTrafficPolicy":"Global","ports":[{"port":80,"nodePort":30031}]}"#)
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30031}]}"#)
            .answers(201, ""),
    );
    rows.push(
        Row::new("service/a_dry_run_leaks_nothing")
            .post(
                "/api/v1/namespaces/$NS/services?dryRun=All",
                &web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30032}]}"#),
            )
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30032}]}"#)
            .answers(201, ""),
    );
    rows.push(
        Row::new("service/a_deleted_service_frees_its_ports")
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30033}]}"#)
            .delete(WEB, "")
            .web(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30033}]}"#)
            .answers(201, ""),
    );
    rows
}

fn statuses() -> Vec<Row> {
    let path = "/api/v1/namespaces/$NS/services/web/status";
    let status = |status: &str| {
        format!(
            r#"{{"metadata":{{"name":"web"}},"spec":{{"ports":[{{"port":9}}]}},"status":{status}}}"#
        )
    };
    let ingress =
        |ingress: &str| status(&format!(r#"{{"loadBalancer":{{"ingress":[{ingress}]}}}}"#));
    vec![
        Row::new("service/status/ingress_of_a_load_balancer")
            .web(LOCAL)
            .put(path, r#"{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#),
        Row::new("service/status/ingress_patched")
            .web(LOCAL)
            .patch(path, super::MERGE, r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#),
        Row::new("service/status/ingress").web(LOCAL).put(path, &ingress(r#"{"ip":"192.0.2.1"}"#)).answers(422, "Invalid"),
        Row::new("service/status/ingress_proxy").web(LOCAL).put(path, &ingress(r#"{"ip":"192.0.2.1","ipMode":"Proxy","ports":[{"port":80,"protocol":"TCP"}]}"#)),
        Row::new("service/status/get").web(LOCAL).get(path),
        Row::new("service/status/ingress_text").web(LOCAL).put(path, &ingress(r#"{"ip":"x"}"#)).answers(422, "Invalid"),
        Row::new("service/status/ingress_mode").web(LOCAL).put(path, &ingress(r#"{"ip":"192.0.2.1","ipMode":"X"}"#)).answers(422, "Invalid"),
        Row::new("service/status/mode_without_ip").web(LOCAL).put(path, &ingress(r#"{"hostname":"a.example","ipMode":"VIP"}"#)).answers(422, "Invalid"),
        Row::new("service/status/on_cluster_ip").web(CLUSTER_IP).put(path, &ingress(r#"{"ip":"192.0.2.1"}"#)).answers(422, "Invalid"),
        Row::new("service/status/not_by_main_put")
            .web(LOCAL)
            .put(WEB, r#"{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer","ports":[{"port":80}]},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#),
        Row::new("service/status/condition")
            .web(LOCAL)
            .put(path, &status(r#"{"conditions":[{"type":"Ready","status":"True","reason":"Ok","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}"#)),
    ]
}

/// Names live as long as the process, as the table does.
fn leak(group: &str, name: &str) -> &'static str {
    format!("service/{group}/{name}").leak()
}
