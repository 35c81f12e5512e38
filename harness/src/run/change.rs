//! What changes while a case runs.

use serde_json::json;

use super::progress::Progress;
use super::runner::CaseRun;
use crate::case::Change;
use crate::lab::{Allocated, LabError, affinity, policy, service_spec, source_ranges};

/// The label that leaves a Service to the proxy of that name.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

impl CaseRun {
    /// Makes a change to the world, by the API.
    pub(super) async fn change(
        &self,
        name: &str,
        change: &Change,
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        let objects = self.lab.objects();
        let patched = LabError::object("change the Service");
        let spec = match change {
            Change::Backends(backends) => {
                let before = std::mem::replace(&mut progress.backends, backends.clone());
                let (world, both) = (self.lab.world(), (&before[..], &backends[..]));
                let replaced = objects
                    .replace_backends(name, progress.spec, world, both, self.port())
                    .await;
                return replaced.map_err(LabError::object("replace the endpoints"));
            }
            Change::IpMode(mode) => {
                let vip = progress.service.vip.expect("a load balancer's Service");
                let done = objects.set_ip_mode(name, vip, *mode).await;
                return done.map(drop).map_err(patched);
            }
            Change::ProxyName(value) => {
                let done = objects.label_service(name, PROXY_NAME_LABEL, *value).await;
                return done.map(drop).map_err(patched);
            }
            Change::Taint { node, key, effect } => {
                let taint = key.map(|key| (key, *effect));
                let done = objects.taint_node(self.object(node), taint).await;
                return done.map_err(LabError::object("taint the node"));
            }
            Change::Scale {
                deployment,
                replicas,
            } => return self.scale(name, (deployment, *replicas), progress).await,
            Change::Readiness { deployment, ready } => {
                return self.say_ready(name, deployment, *ready).await;
            }
            Change::Roll => return self.roll(name, progress).await,
            Change::Drain(node) => return self.drain(name, node).await,
            Change::Uncordon(node) => {
                return Ok(self.lab.cluster().cordon(self.object(node), false).await?);
            }
            Change::Crowd(count) => return self.crowd(name, *count, progress).await,
            Change::RestartProxies => return self.lab.restart_proxies().await,
            Change::Stop { node, stopped } => return self.lab.stop_node(node, *stopped).await,
            Change::Affinity(seconds) => {
                progress.spec.affinity = *seconds;
                affinity(*seconds)
            }
            Change::SourceRanges(ranges) => {
                progress.spec.source_ranges = ranges;
                json!({ "loadBalancerSourceRanges": source_ranges(ranges, self.lab.world()) })
            }
            Change::ExternalPolicy(to) => {
                progress.spec.external = *to;
                json!({ "externalTrafficPolicy": policy(*to) })
            }
            Change::InternalPolicy(to) => {
                progress.spec.internal = *to;
                json!({ "internalTrafficPolicy": policy(*to) })
            }
            Change::Families(to) => {
                let before = std::mem::replace(&mut progress.spec.families, *to);
                let (world, backends) = (self.lab.world(), &progress.backends[..]);
                let both = (before, backends);
                let set = objects.set_families(name, progress.spec, world, both, self.port());
                let set = set.await.map_err(patched)?;
                return self.take(name, set, progress).await;
            }
            Change::Type(kind) => {
                progress.spec.kind = *kind;
                service_spec(progress.spec, self.lab.world())
            }
        };
        let patched = objects.patch_service(name, spec).await.map_err(patched)?;
        self.take(name, patched, progress).await
    }

    /// Takes in a Service that has changed. Addresses and node ports that it had are still asked about: nobody may serve
    /// them.
    async fn take(
        &self,
        name: &str,
        changed: Allocated,
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        let before = progress.service.clone();
        progress.service = self.with_vip(name, progress.spec.kind, changed).await?;
        let Allocated {
            cluster_ip,
            vip,
            other_vip,
            ports,
            health_check_node_port,
            ..
        } = &mut progress.service;
        for (now, before) in [
            (cluster_ip, before.cluster_ip),
            (vip, before.vip),
            (other_vip, before.other_vip),
        ] {
            if let (Some(now), Some(before)) = (now, before) {
                now.complete_from(before);
            }
        }
        for (now, before) in ports.iter_mut().zip(before.ports) {
            now.node_port = now.node_port.or(before.node_port);
        }
        progress.health_port = health_check_node_port.or(progress.health_port);
        Ok(())
    }
}
