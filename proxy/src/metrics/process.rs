//! The process's own numbers, under the names that every Prometheus client gives them.

use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = match Usage::read() {
            Ok(usage) => usage,
            Err(error) => {
                tracing::debug!(%error, "the process's own numbers are missing from the metrics");
                return Ok(());
            }
        };
        let cpu = ConstCounter::new(usage.cpu.as_secs_f64());
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds",
            None,
            cpu.metric_type(),
        )?)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                usage.resident,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                usage.virtual_size,
            ),
            (
                "process_open_fds",
                "Number of open file descriptors",
                usage.open_files,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// What the process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    /// Processor time, in user and in kernel mode.
    cpu: Duration,
    /// Bytes.
    resident: u64,
    /// Bytes.
    virtual_size: u64,
    open_files: u64,
}

impl Usage {
    fn read() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let ticks = constant(SysconfVar::CLK_TCK)?;
        let page = constant(SysconfVar::PAGE_SIZE)?;
        let open_files = std::fs::read_dir("/proc/self/fd")?.count() as u64;
        Self::parse(&stat, ticks, page, open_files).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "/proc/self/stat is not as in proc(5)",
            )
        })
    }

    /// From a line of `/proc/PID/stat`. The program's name, in parentheses, may have any character.
    fn parse(stat: &str, ticks: u64, page: u64, open_files: u64) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = after_name.split(' ').collect();
        // The numbers are those of proc_pid_stat(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        Some(Self {
            cpu: Duration::from_millis((field(14)? + field(15)?) * 1000 / ticks),
            resident: field(24)? * page,
            virtual_size: field(23)?,
            open_files,
        })
    }
}

fn constant(name: SysconfVar) -> io::Result<u64> {
    let value = sysconf(name)?.and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "a constant of the system is missing",
        )
    })
}

#[cfg(test)]
mod tests;
