//! What two looks say together.

use std::collections::HashMap;

use insula_api::{Observed, Summary, Timestamp};
use serde::Serialize;

use super::sample::Sample;
use crate::cli::TopSort;

/// What there is to show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Frame {
    /// When the later look was.
    time: Timestamp,
    /// Sums over all instances.
    pub(super) totals: Totals,
    /// One row for each instance.
    pub(super) instances: Vec<Row>,
}

/// Sums over all instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Totals {
    pub(super) instances: usize,
    pub(super) running: usize,
    pub(super) asleep: usize,
    pub(super) failed: usize,
    /// 100 for one processor.
    pub(super) cpu_percent: f64,
    pub(super) memory_bytes: u64,
    pub(super) pids: u64,
    /// Of all services; `None` where this client may not know.
    pub(super) requests_per_second: Option<f64>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: Observed,
    /// 100 for one processor; `None` where it cannot be known.
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) pids: Option<u64>,
    /// Held by its directory when it was last counted.
    pub(super) disk_bytes: Option<u64>,
    /// Of the whole service: how many wait for an instance at this moment.
    pub(super) service_requests_waiting: Option<u64>,
    /// Of the whole service: requests are counted by service.
    pub(super) service_requests_per_second: Option<f64>,
    pub(super) restarts: u64,
    pub(super) wakes: u64,
}

impl Frame {
    /// Rates are those between the two looks.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.time.since(before.time).as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { tenths(as_f64(count) / seconds) } else { 0.0 };
        let earlier: HashMap<_, _> = before.instances.iter().map(|i| (&i.name, i)).collect();
        let requests = |service: &str| {
            let now = after.requests.get(service)?;
            Some(rate(now.saturating_sub(before.requests.get(service).copied().unwrap_or(0))))
        };
        let row = |now: &Summary| {
            let used = now.usage.cpu_micros.map(|cpu| {
                let then = earlier.get(&now.name).and_then(|then| then.usage.cpu_micros);
                // A new run begins at zero.
                cpu.saturating_sub(then.filter(|then| *then <= cpu).unwrap_or(cpu))
            });
            Row {
                name: now.name.to_string(),
                state: now.status.observed,
                cpu_percent: used.map(|micros| tenths(rate(micros) / 10_000.0)),
                memory_bytes: now.usage.memory_bytes,
                pids: now.usage.pids,
                disk_bytes: now.disk_bytes,
                service_requests_waiting: after.waiting.get(now.name.service.as_str()).copied(),
                service_requests_per_second: requests(&now.name.service.to_string()),
                restarts: now.restarts,
                wakes: now.wakes,
            }
        };
        let instances: Vec<_> = after.instances.iter().map(row).collect();
        let all = (!after.requests.is_empty()).then(|| {
            let sum = |sample: &Sample| sample.requests.values().sum::<u64>();
            rate(sum(after).saturating_sub(sum(before)))
        });
        Self { time: after.time, totals: totals(&instances, all), instances }
    }

    /// The largest first; of equals, by name.
    pub(super) fn sort(&mut self, by: TopSort) {
        let key = |row: &Row| match by {
            TopSort::Cpu => row.cpu_percent.unwrap_or(-1.0),
            TopSort::Mem => row.memory_bytes.map_or(-1.0, as_f64),
            TopSort::Req => row.service_requests_per_second.unwrap_or(-1.0),
            TopSort::Name => 0.0,
        };
        self.instances.sort_by(|a, b| key(b).total_cmp(&key(a)).then_with(|| a.name.cmp(&b.name)));
    }
}

fn totals(rows: &[Row], requests_per_second: Option<f64>) -> Totals {
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    Totals {
        instances: rows.len(),
        running: count(Observed::Running),
        asleep: count(Observed::Asleep) + count(Observed::Frozen),
        failed: count(Observed::Failed),
        cpu_percent: tenths(rows.iter().filter_map(|row| row.cpu_percent).sum()),
        memory_bytes: rows.iter().filter_map(|row| row.memory_bytes).sum(),
        pids: rows.iter().filter_map(|row| row.pids).sum(),
        requests_per_second,
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Exact up to 2^53, which no counter here reaches.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use insula_api::{Status, Usage, Wanted};

    use super::*;

    fn instance(name: &str, observed: Observed, cpu: Option<u64>) -> Summary {
        let status = Status {
            observed,
            wanted: Wanted::Up,
            since: Timestamp::from_micros(0),
            why: String::new(),
            health: None,
        };
        let usage = Usage { cpu_micros: cpu, memory_bytes: cpu.map(|_| 1 << 20), pids: cpu.map(|_| 2) };
        let (name, url) = (name.parse().unwrap(), String::new());
        Summary {
            name,
            status,
            level: None,
            app_pid: None,
            restarts: 0,
            wakes: 0,
            usage,
            disk_bytes: None,
            url,
        }
    }

    fn sample(at: u64, cpu: [Option<u64>; 3], requests: u64) -> Sample {
        let [a, b, c] = cpu;
        let instances = vec![
            instance("s:a", Observed::Running, a),
            instance("s:b", Observed::Running, b),
            instance("s:c", Observed::Asleep, c),
        ];
        let requests = HashMap::from([("s".to_owned(), requests)]);
        let waiting = HashMap::from([("s".to_owned(), 3)]);
        Sample { time: Timestamp::from_micros(at), instances, requests, waiting }
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let before = sample(0, [Some(0), Some(9_000_000), None], 100);
        let after = sample(2_000_000, [Some(1_000_000), Some(500), None], 105);
        let mut frame = Frame::between(&before, &after);
        let cpu: Vec<_> = frame.instances.iter().map(|row| row.cpu_percent).collect();
        // The second one began anew, the third one sleeps.
        assert_eq!(cpu, [Some(50.0), Some(0.0), None]);
        assert_eq!(frame.totals.requests_per_second, Some(2.5));
        assert_eq!(frame.instances[0].service_requests_waiting, Some(3));
        assert_eq!((frame.totals.running, frame.totals.asleep, frame.totals.pids), (2, 1, 4));
        frame.sort(TopSort::Cpu);
        assert_eq!(frame.instances[0].name, "s:a");
        let still = Frame::between(&after, &after);
        assert_eq!(still.instances[0].cpu_percent, Some(0.0));
    }
}
