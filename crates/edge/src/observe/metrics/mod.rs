//! The page of metrics. `docs/reference/observability.md` has every family; a test compares.
//!
//! Labels are bounded: at most 200 services have a name of their own, all others are `_other`, which no
//! service can be called. Instances are labels only if the operator wants that.

mod text;

use std::collections::BTreeMap;

use insula_api::{Footprint, Timestamp, Usage};
use insula_services::{EXIT_REASONS, Fill, Overview, ServiceCounts};
use insula_spec::ServiceName;

use self::text::{Kind, Page, seconds};
use super::tally::{CLASSES, Histogram, Row, Tally};
use super::{Held, Losses};

/// Label of services without a name of their own, and of requests that reached none.
const OTHER: &str = "_other";
const STATUS: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Everything that the page is made of.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) version: &'a str,
    pub(crate) epoch: u64,
    pub(crate) since: Timestamp,
    pub(crate) tally: Tally,
    pub(crate) losses: Losses,
    pub(crate) held: Held,
    pub(crate) counts: BTreeMap<ServiceName, ServiceCounts>,
    pub(crate) instances: Vec<(Overview, Option<Usage>)>,
    /// Whether there are families with one sample for each instance.
    pub(crate) each_instance: bool,
    pub(crate) store_queue: usize,
    /// How often `max_instances` was in the way.
    pub(crate) refused: u64,
    pub(crate) footprint: Footprint,
}

/// The page as text.
pub(crate) fn page(sources: &Sources<'_>) -> String {
    let mut page = Page::default();
    daemon(&mut page, sources);
    requests(&mut page, sources.tally.rows());
    failures(&mut page, sources.tally.rows());
    let services = services(sources);
    instances(&mut page, &services);
    lives(&mut page, &services);
    if sources.each_instance {
        each_instance(&mut page, &sources.instances);
    }
    page.finish()
}

fn daemon(page: &mut Page, s: &Sources<'_>) {
    use Kind::{Counter, Gauge};
    page.family(Gauge, "insula_build_info", "Version of the running program; the value is 1.")
        .sample(&[("version", s.version)], 1);
    page.family(Gauge, "insula_worker_start_time_seconds", "When this worker was ready, since 1970.")
        .sample(&[], seconds(s.since.micros() * 1000));
    page.family(Counter, "insula_workers_total", "Workers that this home has had.").sample(&[], s.epoch);
    page.family(Gauge, "insula_store_queue_length", "Writes that wait for the store.")
        .sample(&[], s.store_queue);
    let help = "Wishes for one more instance up than `max_instances` allows.";
    page.family(Counter, "insula_instances_refused_total", help).sample(&[], s.refused);
    page.family(Gauge, "insula_shells", "Blank walls ready for the next start.")
        .sample(&[], s.footprint.shells);
    if let Some(bytes) = s.footprint.shells_memory_bytes {
        page.family(Gauge, "insula_shells_memory_bytes", "Memory of those (proportional set size).")
            .sample(&[], bytes);
    }
    if let Some(bytes) = s.footprint.daemon_memory_bytes {
        page.family(
            Gauge,
            "insula_daemon_memory_bytes",
            "Memory of parent and worker (proportional set size).",
        )
        .sample(&[], bytes);
    }
    page.family(Gauge, "insula_exchanges_held", "Last exchanges that `insula why` can still tell of.")
        .sample(&[], s.held.count);
    page.family(Counter, "insula_access_log_lines_lost_total", "Access lines that could not be written.")
        .sample(&[], s.losses.lines);
    page.family(
        Counter,
        "insula_request_records_lost_total",
        "Notable requests that were too many to record.",
    )
    .sample(&[], s.losses.records);
}

fn requests(page: &mut Page, rows: &[Row]) {
    page.family(Kind::Counter, "insula_requests_total", "Requests that are over, by class of their status.");
    for row in rows {
        for (class, status) in row.requests.iter().zip(STATUS) {
            let count: u64 = class.buckets.iter().sum();
            page.sample(&[("service", label(row)), ("status", status)], count);
        }
    }
    let help = "Time from the complete head of a request to the last byte of its answer.";
    page.family(Kind::Histogram, "insula_request_duration_seconds", help);
    for row in rows {
        let mut all = Histogram::default();
        row.requests.iter().for_each(|class| all.merge(class));
        page.histogram(&[("service", label(row))], &all);
    }
    let help = "Time that those requests waited for their instance which had to.";
    page.family(Kind::Histogram, "insula_request_wait_seconds", help);
    rows.iter().for_each(|row| page.histogram(&[("service", label(row))], &row.waits));
    page.family(Kind::Counter, "insula_request_bytes_total", "Bytes of bodies, from clients and to them.");
    for row in rows {
        page.sample(&[("service", label(row)), ("direction", "in")], row.bytes_in);
        page.sample(&[("service", label(row)), ("direction", "out")], row.bytes_out);
    }
    page.family(Kind::Counter, "insula_tcp_connections_total", "Raw TCP connections that are over.");
    rows.iter().for_each(|row| {
        page.sample(&[("service", label(row))], row.connections);
    });
}

fn failures(page: &mut Page, rows: &[Row]) {
    page.family(Kind::Counter, "insula_requests_woke_total", "Requests whose instance had to be started.");
    rows.iter().for_each(|row| {
        page.sample(&[("service", label(row))], row.woke);
    });
    page.family(Kind::Counter, "insula_request_retries_total", "Requests sent to a workload more than once.");
    rows.iter().for_each(|row| {
        page.sample(&[("service", label(row))], row.retried);
    });
    let help = "Requests that did not end with the answer of a workload, by code (see http.md).";
    page.family(Kind::Counter, "insula_request_errors_total", help);
    for row in rows {
        for (code, count) in &row.errors {
            page.sample(&[("service", label(row)), ("code", code)], *count);
        }
    }
}

fn label(row: &Row) -> &str {
    row.service.as_ref().map_or(OTHER, ServiceName::as_str)
}

/// What is known of the instances of one service.
#[derive(Debug, Default)]
struct Service {
    states: BTreeMap<&'static str, u64>,
    in_flight: u64,
    /// Instances with a disk limit, in the order of [`Fill::ALL`].
    disks: [u64; Fill::ALL.len()],
    counts: ServiceCounts,
}

/// By label; every service that has one is there.
fn services<'a>(s: &'a Sources<'_>) -> BTreeMap<&'a str, Service> {
    let known = s.tally.rows().iter().map(|row| (label(row), Service::default()));
    let mut all: BTreeMap<_, _> = known.collect();
    for (overview, _) in &s.instances {
        if let Some(service) = slot(&mut all, overview.name.service.as_str()) {
            *service.states.entry(overview.status.observed.as_str()).or_default() += 1;
            service.in_flight += overview.leases;
            let fill = overview.disk_fill.and_then(|fill| Fill::ALL.iter().position(|one| *one == fill));
            if let Some(count) = fill.and_then(|at| service.disks.get_mut(at)) {
                *count += 1;
            }
        }
    }
    for (name, counts) in &s.counts {
        if let Some(service) = slot(&mut all, name.as_str()) {
            service.counts = sum(service.counts, *counts);
        }
    }
    all
}

fn slot<'m>(all: &'m mut BTreeMap<&str, Service>, name: &str) -> Option<&'m mut Service> {
    let name = if all.contains_key(name) { name } else { OTHER };
    all.get_mut(name)
}

fn sum(a: ServiceCounts, b: ServiceCounts) -> ServiceCounts {
    ServiceCounts {
        wakes: a.wakes + b.wakes,
        spawns: a.spawns + b.spawns,
        restarts: a.restarts + b.restarts,
        start_failures: a.start_failures + b.start_failures,
        thaws: a.thaws + b.thaws,
        exits: std::array::from_fn(|at| a.exits[at] + b.exits[at]),
        log_lines: a.log_lines + b.log_lines,
        log_lines_lost: a.log_lines_lost + b.log_lines_lost,
        waiting: a.waiting + b.waiting,
    }
}

fn instances(page: &mut Page, services: &BTreeMap<&str, Service>) {
    page.family(Kind::Gauge, "insula_instances", "Known instances by state.");
    for (name, service) in services {
        for (state, count) in &service.states {
            page.sample(&[("service", name), ("state", state)], *count);
        }
    }
    each(
        page,
        services,
        (Kind::Gauge, "insula_requests_in_flight", "Requests inside at this moment."),
        |s| s.in_flight,
    );
    let help = "Requests that wait for an instance at this moment.";
    each(page, services, (Kind::Gauge, "insula_requests_waiting", help), |s| s.counts.waiting);
    let help = "Instances with a disk limit, by how full their directory was when last counted.";
    page.family(Kind::Gauge, "insula_instances_disk", help);
    for (name, service) in services {
        for (fill, count) in Fill::ALL.iter().zip(service.disks) {
            page.sample(&[("service", name), ("fill", fill.as_str())], count);
        }
    }
}

fn lives(page: &mut Page, services: &BTreeMap<&str, Service>) {
    let help = "Starts of instances, by cause.";
    page.family(Kind::Counter, "insula_instance_starts_total", help);
    for (name, service) in services {
        let c = &service.counts;
        for (cause, count) in
            [("wake", c.wakes), ("spawn", c.spawns), ("restart", c.restarts), ("thaw", c.thaws)]
        {
            page.sample(&[("service", name), ("cause", cause)], count);
        }
    }
    let help = "Starts that failed before the workload could end by itself.";
    let family = (Kind::Counter, "insula_instance_start_failures_total", help);
    each(page, services, family, |s| s.counts.start_failures);
    page.family(Kind::Counter, "insula_instance_exits_total", "Ends of workloads, by reason.");
    for (name, service) in services {
        for (reason, count) in EXIT_REASONS.iter().zip(service.counts.exits) {
            page.sample(&[("service", name), ("reason", reason)], count);
        }
    }
    let family = (Kind::Counter, "insula_log_lines_total", "Captured lines that were stored.");
    each(page, services, family, |s| s.counts.log_lines);
    let help = "Captured lines that were lost before they could be stored.";
    each(page, services, (Kind::Counter, "insula_log_lines_lost_total", help), |s| s.counts.log_lines_lost);
}

/// A family with one number for each service.
fn each(
    page: &mut Page,
    services: &BTreeMap<&str, Service>,
    family: (Kind, &'static str, &str),
    number: fn(&Service) -> u64,
) {
    page.family(family.0, family.1, family.2);
    for (name, service) in services {
        page.sample(&[("service", name)], number(service));
    }
}

fn each_instance(page: &mut Page, instances: &[(Overview, Option<Usage>)]) {
    let mut family = |kind, name, help, value: &dyn Fn(&Overview, Option<&Usage>) -> Option<String>| {
        page.family(kind, name, help);
        for (overview, usage) in instances {
            let labels = [("service", overview.name.service.as_str()), ("id", overview.name.id.as_str())];
            if let Some(value) = value(overview, usage.as_ref()) {
                page.sample(&labels, value);
            }
        }
    };
    use Kind::{Counter, Gauge};
    let up = |o: &Overview, _: Option<&Usage>| Some(u8::from(o.record.is_some()).to_string());
    family(Gauge, "insula_instance_up", "Whether a sandbox stands.", &up);
    let leases = |o: &Overview, _: Option<&Usage>| Some(o.leases.to_string());
    family(Gauge, "insula_instance_requests_in_flight", "Requests inside at this moment.", &leases);
    let memory = |_: &Overview, u: Option<&Usage>| Some(u?.memory_bytes?.to_string());
    family(Gauge, "insula_instance_memory_bytes", "Memory that it uses.", &memory);
    let disk = |o: &Overview, _: Option<&Usage>| Some(o.disk_bytes?.to_string());
    family(Gauge, "insula_instance_disk_bytes", "What its directory held when last counted.", &disk);
    let limit = |o: &Overview, _: Option<&Usage>| Some(o.disk_limit?.to_string());
    let help = "What its directory might hold then, where there is a limit.";
    family(Gauge, "insula_instance_disk_limit_bytes", help, &limit);
    let cpu = |_: &Overview, u: Option<&Usage>| Some(seconds(u?.cpu_micros?.saturating_mul(1000)));
    family(Counter, "insula_instance_cpu_seconds_total", "CPU time of its present sandbox.", &cpu);
    let pids = |_: &Overview, u: Option<&Usage>| Some(u?.pids?.to_string());
    family(Gauge, "insula_instance_processes", "Processes in it.", &pids);
}

#[cfg(test)]
mod tests;
