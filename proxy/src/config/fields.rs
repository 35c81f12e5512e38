//! From the document to the configuration, field by field.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::error::{ConfigError, Problem};
use super::gates::{Gate, gate};
use super::reader::Reader;
use super::tree::{Found, Node, Section, Value};
use super::values::{bind_address, cluster_cidrs, interface_name, node_name};
use super::{Config, Conntrack, HEALTHZ_PORT, LocalDetector, METRICS_PORT, NodePortAddresses};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// The sections of what this proxy is not, with all of their fields. kube-proxy ignores them in nftables mode, so they
/// have no effect here either.
const OTHER_MODES: [(&str, &[&str]); 3] = [
    (
        "iptables",
        &[
            "localhostNodePorts",
            "masqueradeAll",
            "masqueradeBit",
            "minSyncPeriod",
            "snatNodeInternalIP",
            "syncPeriod",
        ],
    ),
    (
        "ipvs",
        &[
            "excludeCIDRs",
            "minSyncPeriod",
            "scheduler",
            "strictARP",
            "syncPeriod",
            "tcpFinTimeout",
            "tcpTimeout",
            "udpTimeout",
        ],
    ),
    (
        "winkernel",
        &[
            "enableDSR",
            "forwardHealthCheckVip",
            "networkName",
            "rootHnsEndpointName",
            "sourceVip",
        ],
    ),
];

/// Reads a document.
pub(super) fn read(document: Node) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let section = Section::document(document, &mut problems);
    let mut reader = Reader {
        problems,
        ..Reader::default()
    };
    reader.document(section);
    if reader.problems.is_empty() {
        reader.config.notices.sort_by_key(|notice| notice.place);
        return Ok(reader.config);
    }
    reader.problems.sort_by_key(|problem| problem.place);
    Err(ConfigError::Fields(reader.problems))
}

impl Reader {
    fn document(&mut self, mut top: Section) {
        self.type_of(&mut top);
        self.gates(&mut top);
        self.client(&mut top);
        self.logging(&mut top);
        self.node(&mut top);
        self.servers(&mut top);
        self.modes(&mut top);
        self.nftables(&mut top);
        self.detector(&mut top);
        self.node_ports(&mut top);
        self.conntrack(&mut top);
        self.no_effect(
            &mut top,
            "configSyncPeriod",
            "since this proxy does not list again what it watches",
        );
        self.no_effect(&mut top, "portRange", "as in kube-proxy");
        self.refused(
            &mut top,
            "enableProfiling",
            "there is no Go in it to profile",
        );
        self.refused(
            &mut top,
            "showHiddenMetricsForVersion",
            "none of its metrics is hidden",
        );
        self.refused(&mut top, "windowsRunAsService", "it runs on Linux");
        top.finish(&mut self.problems);
    }

    fn type_of(&mut self, top: &mut Section) {
        for (field, must_be) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            let problem = match top.text(field, &mut self.problems) {
                Some(found) if found.value == must_be => continue,
                Some(found) => found.problem(format!("must be {must_be}, and is {}", found.value)),
                None => Problem {
                    field: field.to_owned(),
                    place: None,
                    what: format!("is missing; it must be {must_be}"),
                },
            };
            self.problems.push(problem);
        }
    }

    fn gates(&mut self, top: &mut Section) {
        let mut gates = top.section("featureGates", &mut self.problems);
        for found in gates.rest() {
            let Value::Bool(wanted) = found.value else {
                self.problems.push(found.problem("must be true or false"));
                continue;
            };
            let name = found.field.rsplit('.').next().unwrap_or_default();
            match gate(name) {
                Some(Gate::Always(is)) if is == wanted => {}
                Some(Gate::Always(is)) => self.problems.push(found.problem(format!(
                    "cannot be {wanted}: this proxy always behaves as if it were {is}; remove it"
                ))),
                Some(Gate::Nothing) => {
                    let notice = found.problem(
                        "has no effect: it is about something that this proxy does not have",
                    );
                    self.config.notices.push(notice);
                }
                None => self
                    .problems
                    .push(found.problem("is not a feature gate that this proxy knows; remove it")),
            }
        }
    }

    fn client(&mut self, top: &mut Section) {
        let mut client = top.section("clientConnection", &mut self.problems);
        let kubeconfig = client.text("kubeconfig", &mut self.problems);
        self.config.kubeconfig = kubeconfig.map(|found| found.value.into());
        let speaks_json = "since this proxy speaks JSON with the API, which every API server does";
        self.no_effect(&mut client, "acceptContentTypes", speaks_json);
        self.no_effect(&mut client, "contentType", speaks_json);
        let unlimited = "since this proxy does not limit its own requests, of which there are few";
        self.no_effect(&mut client, "qps", unlimited);
        self.no_effect(&mut client, "burst", unlimited);
        client.finish(&mut self.problems);
    }

    fn logging(&mut self, top: &mut Section) {
        let mut logging = top.section("logging", &mut self.problems);
        if let Some(format) = logging.text("format", &mut self.problems)
            && format.value != "text"
        {
            self.problems.push(format.problem(
                "is not supported by this proxy, which logs text; write text, or remove it",
            ));
        }
        self.no_effect(
            &mut logging,
            "flushFrequency",
            "since this proxy does not hold its log back",
        );
        let verbosity = logging.integer("verbosity", &mut self.problems);
        self.config.verbosity = self
            .in_range(verbosity, 0, i128::from(u32::MAX))
            .unwrap_or(0);
        self.refused(&mut logging, "vmodule", "it has none of kube-proxy's files");
        self.refused(&mut logging, "options", "it writes its log to one place");
        logging.finish(&mut self.problems);
    }

    fn node(&mut self, top: &mut Section) {
        let name = top.text("hostnameOverride", &mut self.problems);
        self.config.node_name = self.parsed(name, node_name);
        let score = top.integer("oomScoreAdj", &mut self.problems);
        self.config.oom_score_adj = self.in_range(score, -1000, 1000);
    }

    fn servers(&mut self, top: &mut Section) {
        let bind = top.text("bindAddress", &mut self.problems);
        let bind: Option<IpAddr> = self.parsed(bind, |text| {
            text.parse()
                .map_err(|_| format!("must be an address, and is {text:?}"))
        });
        if bind.is_some_and(|address| address.is_ipv6()) {
            self.config.healthz = Some((Ipv6Addr::UNSPECIFIED, HEALTHZ_PORT).into());
            self.config.metrics = Some((Ipv6Addr::LOCALHOST, METRICS_PORT).into());
        }
        self.config.bind_address = bind.filter(|address| !address.is_unspecified());
        for (field, port) in [
            ("healthzBindAddress", HEALTHZ_PORT),
            ("metricsBindAddress", METRICS_PORT),
        ] {
            let found = top.text(field, &mut self.problems);
            let address: Option<SocketAddr> = self.parsed(found, |text| bind_address(text, port));
            let server = if port == HEALTHZ_PORT {
                &mut self.config.healthz
            } else {
                &mut self.config.metrics
            };
            *server = address.or(*server);
        }
        let hard_fail = top.boolean("bindAddressHardFail", &mut self.problems);
        self.config.bind_hard_fail = hard_fail.is_some_and(|found| found.value);
    }

    fn modes(&mut self, top: &mut Section) {
        let mode = top.text("mode", &mut self.problems);
        if let Some(mode) = mode.as_ref().filter(|mode| mode.value != "nftables") {
            let what = format!(
                "cannot be {}: this proxy has nftables alone; write nftables, or remove it",
                mode.value
            );
            self.problems.push(mode.problem(what));
        }
        for (name, fields) in OTHER_MODES {
            let mut section = top.section(name, &mut self.problems);
            for field in fields {
                let Some(found) = section.take(field).filter(|found| !found.value.is_zero()) else {
                    continue;
                };
                // Without a mode kube-proxy would be in iptables mode, where this decides about packets.
                if mode.is_none() && found.field == "iptables.masqueradeAll" {
                    self.problems.push(
                        found.problem("is for the mode iptables; write nftables.masqueradeAll"),
                    );
                } else {
                    self.config.notices.push(
                        found.problem("has no effect in the mode nftables, as in kube-proxy"),
                    );
                }
            }
            section.finish(&mut self.problems);
        }
    }

    fn nftables(&mut self, top: &mut Section) {
        let mut nftables = top.section("nftables", &mut self.problems);
        let bit = nftables.integer("masqueradeBit", &mut self.problems);
        if let Some(bit) = self.in_range(bit, 0, 31) {
            self.config.masquerade_bit = bit;
        }
        let all = nftables.boolean("masqueradeAll", &mut self.problems);
        self.config.masquerade_all = all.is_some_and(|found| found.value);
        let (period, _) = self.duration(&mut nftables, "syncPeriod");
        self.config.sync_period = period.unwrap_or(self.config.sync_period);
        let (least, found) = self.duration(&mut nftables, "minSyncPeriod");
        self.config.min_sync_period = least.unwrap_or(self.config.min_sync_period);
        if let Some(found) = found.filter(|_| self.config.min_sync_period > self.config.sync_period)
        {
            let what = format!(
                "must not be longer than nftables.syncPeriod, which is {:?}",
                self.config.sync_period
            );
            self.problems.push(found.problem(what));
        }
        nftables.finish(&mut self.problems);
    }

    fn detector(&mut self, top: &mut Section) {
        let cidr = top.text("clusterCIDR", &mut self.problems);
        let mode = top.text("detectLocalMode", &mut self.problems);
        let mut local = top.section("detectLocal", &mut self.problems);
        let bridge = local.text("bridgeInterface", &mut self.problems);
        let prefix = local.text("interfaceNamePrefix", &mut self.problems);
        local.finish(&mut self.problems);

        let (unused, detector) = match mode {
            Some(mode) if mode.value == "BridgeInterface" => {
                let name = self.interface(&mode, bridge, "bridgeInterface");
                ([cidr, prefix, None], LocalDetector::BridgeInterface(name))
            }
            Some(mode) if mode.value == "InterfaceNamePrefix" => {
                let name = self.interface(&mode, prefix, "interfaceNamePrefix");
                (
                    [cidr, bridge, None],
                    LocalDetector::InterfaceNamePrefix(name),
                )
            }
            Some(mode) if mode.value == "NodeCIDR" => {
                ([cidr, bridge, prefix], LocalDetector::NodeCidr)
            }
            mode => {
                if let Some(mode) = mode.filter(|mode| mode.value != "ClusterCIDR") {
                    let what = format!(
                        "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix, and is {}",
                        mode.value
                    );
                    self.problems.push(mode.problem(what));
                }
                let networks = self.parsed(cidr, cluster_cidrs).unwrap_or_default();
                ([bridge, prefix, None], LocalDetector::ClusterCidr(networks))
            }
        };
        self.config.local_detector = detector;
        for found in unused.into_iter().flatten() {
            let notice =
                found.problem("has no effect under this detectLocalMode, as in kube-proxy");
            self.config.notices.push(notice);
        }
    }

    /// The interface that a detector needs, which is in a field of `detectLocal`.
    fn interface(
        &mut self,
        mode: &Found<String>,
        found: Option<Found<String>>,
        field: &str,
    ) -> String {
        if found.is_none() {
            let what = format!("is {}, so that detectLocal.{field} must be set", mode.value);
            self.problems.push(mode.problem(what));
        }
        self.parsed(found, interface_name).unwrap_or_default()
    }

    fn node_ports(&mut self, top: &mut Section) {
        let entries = top.texts("nodePortAddresses", &mut self.problems);
        if entries.is_empty() {
            return;
        }
        let mut addresses = NodePortAddresses {
            primary: false,
            networks: Vec::new(),
        };
        for entry in entries {
            let before = addresses.networks.len();
            if let Err(what) = addresses.add(&entry.value) {
                self.problems.push(entry.problem(what));
            }
            let mut added = addresses.networks[before..].iter();
            if added.any(|network| network.addr().is_loopback()) {
                let notice = entry.problem("serves no node port in the mode nftables, as in kube-proxy: packets to loopback do not pass there");
                self.config.notices.push(notice);
            }
        }
        self.config.node_port_addresses = addresses;
    }

    fn conntrack(&mut self, top: &mut Section) {
        let mut section = top.section("conntrack", &mut self.problems);
        let [max_per_core, min] = ["maxPerCore", "min"].map(|name| {
            let found = section.integer(name, &mut self.problems);
            self.in_range::<u32>(found, 0, i128::from(i32::MAX))
                .filter(|number| *number > 0)
        });
        let be_liberal = section.boolean("tcpBeLiberal", &mut self.problems);
        let [
            tcp_established_timeout,
            tcp_close_wait_timeout,
            udp_timeout,
            udp_stream_timeout,
        ] = [
            "tcpEstablishedTimeout",
            "tcpCloseWaitTimeout",
            "udpTimeout",
            "udpStreamTimeout",
        ]
        .map(|name| self.whole_seconds(&mut section, name));
        section.finish(&mut self.problems);
        self.config.conntrack = Conntrack {
            max_per_core,
            min,
            tcp_established_timeout,
            tcp_close_wait_timeout,
            tcp_be_liberal: be_liberal.is_some_and(|found| found.value),
            udp_timeout,
            udp_stream_timeout,
        };
    }
}
