//! How many Service ports have endpoints, and none that their policy allows on this node. Pure.

use std::collections::HashMap;

use crate::metrics::NoLocalEndpoints;
use crate::model::{Family, ObjectName};
use crate::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan};

/// The counts of both families, kept up to date Service by Service.
#[derive(Debug, Default)]
pub(super) struct WithoutLocal {
    /// Of those Services that have any.
    services: HashMap<ObjectName, [NoLocalEndpoints; 2]>,
    total: [NoLocalEndpoints; 2],
}

impl WithoutLocal {
    /// The count of a family.
    pub(super) fn of(&self, family: Family) -> NoLocalEndpoints {
        self.total[family as usize]
    }

    /// A Service has another plan, or none any more.
    pub(super) fn replace(&mut self, name: &ObjectName, plan: Option<&ServicePlan>) {
        let counts = plan
            .map(count)
            .filter(|counts| *counts != [NoLocalEndpoints::default(); 2]);
        let old = match counts {
            Some(counts) => self.services.insert(name.clone(), counts),
            None => self.services.remove(name),
        };
        let (new, old) = (counts.unwrap_or_default(), old.unwrap_or_default());
        for ((total, new), old) in self.total.iter_mut().zip(new).zip(old) {
            total.internal = total.internal + new.internal - old.internal;
            total.external = total.external + new.external - old.external;
        }
    }
}

fn count(plan: &ServicePlan) -> [NoLocalEndpoints; 2] {
    let mut counts = [NoLocalEndpoints::default(); 2];
    for port in &plan.ports {
        let lacks = |internal| {
            let mut fronts = port.fronts.iter();
            let one = |front: &Front| {
                (front.kind == FrontKind::ClusterIp) == internal && lacks_local(port, front)
            };
            u32::from(fronts.any(one))
        };
        let count = &mut counts[port.family as usize];
        count.internal += lacks(true);
        count.external += lacks(false);
    }
    counts
}

fn lacks_local(port: &PortPlan, front: &Front) -> bool {
    match front.handling {
        Handling::Drop => true,
        Handling::ExternalLocal => port.local.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn plan(local: &[&str], handlings: [Handling; 2]) -> ServicePlan {
        let front = |kind, handling| Front {
            address: None,
            port: 80,
            kind,
            handling,
        };
        let [internal, external] = handlings;
        ServicePlan {
            name: name("web"),
            cluster_ips: Vec::new(),
            ports: vec![PortPlan {
                family: Family::V6,
                protocol: Protocol::Tcp,
                port_name: "".into(),
                cluster: vec!["[fd00::1]:80".parse().expect("an address")],
                local: local
                    .iter()
                    .map(|text| text.parse().expect("an address"))
                    .collect(),
                serving: Vec::new(),
                hairpins: Vec::new(),
                affinity: None,
                source_ranges: None,
                fronts: vec![
                    front(FrontKind::ClusterIp, internal),
                    front(FrontKind::NodePort, external),
                    front(FrontKind::ExternalIp, external),
                ],
            }],
            health: None,
        }
    }

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[test]
    fn ports_are_counted_once_a_policy_and_forgotten_with_their_service() {
        let lacking = plan(&[], [Handling::Drop, Handling::ExternalLocal]);
        let mut counts = WithoutLocal::default();
        counts.replace(&name("a"), Some(&lacking));
        counts.replace(&name("b"), Some(&lacking));
        counts.replace(&name("b"), Some(&lacking));
        let both = |internal, external| NoLocalEndpoints { internal, external };
        assert_eq!(counts.of(Family::V6), both(2, 2));
        assert_eq!(counts.of(Family::V4), both(0, 0));

        let served = plan(
            &["[fd00::1]:80"],
            [Handling::InternalLocal, Handling::ExternalLocal],
        );
        counts.replace(&name("a"), Some(&served));
        assert_eq!(counts.of(Family::V6), both(1, 1));
        counts.replace(&name("b"), None);
        counts.replace(&name("never-seen"), None);
        assert_eq!(counts.of(Family::V6), both(0, 0));
    }
}
