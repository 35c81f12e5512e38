//! Other Services beside the one that a case is about.

use super::progress::Progress;
use super::runner::CaseRun;
use crate::case::{Backend, Change, Service};
use crate::lab::{LabError, join_results};

/// Services that are made or deleted at the same time.
const TOGETHER: usize = 8;

impl CaseRun {
    /// Makes or deletes others until there are so many.
    pub(super) async fn crowd(
        &self,
        name: &str,
        count: u16,
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        let before = std::mem::replace(&mut progress.crowd, count);
        let backends = self.case.backends.get(..1).unwrap_or_default();
        let more: Vec<_> = (before..count).collect();
        for together in more.chunks(TOGETHER) {
            let made = together
                .iter()
                .map(|number| self.make(member(name, *number), backends));
            join_results(made).await?;
        }
        self.disperse(name, count..before).await
    }

    /// Deletes all that the case ever had.
    pub(super) async fn end_crowd(&self, name: &str) -> Result<(), LabError> {
        let crowds = self.case.changes().filter_map(|change| match change {
            Change::Crowd(count) => Some(*count),
            _ => None,
        });
        self.disperse(name, 0..crowds.max().unwrap_or_default())
            .await
    }

    async fn make(&self, name: String, backends: &[Backend]) -> Result<(), LabError> {
        let (objects, spec) = (self.lab.objects(), Service::cluster_ip());
        let made = objects.create_service(&name, spec, self.lab.world(), backends, self.port());
        made.await
            .map(drop)
            .map_err(LabError::object("create a Service of the crowd"))
    }

    async fn disperse(&self, name: &str, numbers: std::ops::Range<u16>) -> Result<(), LabError> {
        let numbers: Vec<_> = numbers.collect();
        for together in numbers.chunks(TOGETHER) {
            let gone = together.iter().map(async |number| {
                let name = member(name, *number);
                let deleted = self.lab.objects().delete_service(&name).await;
                deleted.map_err(LabError::object("delete a Service of the crowd"))
            });
            join_results(gone).await?;
        }
        Ok(())
    }
}

fn member(name: &str, number: u16) -> String {
    format!("{name}-{number}")
}
