//! Whom a case would do harm that ran beside it.

use super::{Case, Change};

/// The taint that the cluster autoscaler puts on a node that it is about to remove: load balancers leave
/// the node out, and its proxy says that it is not eligible (KEP-3836).
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Whom the changes of a case do harm: others must not run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Nobody: it changes nothing but its own Service.
    Nobody,
    /// Cases with a [workload](Case::workload): a node takes no pods, or loses those that it has. Endpoints
    /// that the harness writes stay.
    Workloads,
    /// Everybody: a node does not answer, load balancers leave it out, or no proxy runs for a while.
    Everybody,
}

impl Case {
    /// Whom it does harm.
    pub fn harms(&self) -> Harm {
        let left_out = || self.tainted().any(|(_, key)| key == TO_BE_DELETED);
        let without_pods = || self.tainted().next().is_some() || self.drained().next().is_some();
        let restarts = || {
            self.changes()
                .any(|change| *change == Change::RestartProxies)
        };
        if self.stopped().next().is_some() || left_out() || restarts() {
            Harm::Everybody
        } else if without_pods() {
            Harm::Workloads
        } else {
            Harm::Nobody
        }
    }

    /// Whether neither harms the other.
    pub fn may_run_beside(&self, other: &Self) -> bool {
        let harms = |one: &Self, other: &Self| match one.harms() {
            Harm::Nobody => false,
            // Two of them would take back what the other has done to the same node.
            Harm::Workloads => other.workload.is_some() || other.harms() == Harm::Workloads,
            Harm::Everybody => true,
        };
        !harms(self, other) && !harms(other, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Deployment, Service, TaintEffect};

    fn case(changes: &[Change]) -> Case {
        let case = Case::new("subject/case", "claim", Service::node_port(), &[]);
        changes.iter().cloned().fold(case, Case::change)
    }

    fn harms(changes: &[Change]) -> Harm {
        case(changes).harms()
    }

    #[test]
    fn a_case_harms_those_that_its_changes_do() {
        let taint = |key| Change::Taint {
            node: "vm1",
            key,
            effect: TaintEffect::NoExecute,
        };
        let stop = |stopped| Change::Stop {
            node: "vm1",
            stopped,
        };
        assert_eq!(harms(&[]), Harm::Nobody);
        assert_eq!(
            harms(&[Change::Roll, taint(None), stop(false)]),
            Harm::Nobody
        );
        assert_eq!(harms(&[taint(Some("full"))]), Harm::Workloads);
        assert_eq!(harms(&[Change::Drain("vm1")]), Harm::Workloads);
        assert_eq!(harms(&[taint(Some(TO_BE_DELETED))]), Harm::Everybody);
        assert_eq!(harms(&[Change::Drain("vm1"), stop(true)]), Harm::Everybody);
        assert_eq!(harms(&[Change::RestartProxies]), Harm::Everybody);
    }

    #[test]
    fn neither_of_two_that_run_side_by_side_harms_the_other() {
        let plain = case(&[]);
        let workload = case(&[]).workload(1, &[Deployment::new("one", &["vm1"], 1)]);
        let drains = case(&[Change::Drain("vm1")]);
        let stops = case(&[Change::Stop {
            node: "vm1",
            stopped: true,
        }]);
        for (one, other, may) in [
            (&plain, &workload, true),
            (&workload, &workload, true),
            (&plain, &drains, true),
            (&workload, &drains, false),
            (&drains, &drains, false),
            (&plain, &stops, false),
        ] {
            assert_eq!(one.may_run_beside(other), may);
            assert_eq!(other.may_run_beside(one), may);
        }
    }
}
