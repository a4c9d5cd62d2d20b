//! One `[service.NAME]` table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::kind::ProblemKind;
use super::super::problem::At;
use super::super::raw::{RawDuration, RawHealth, RawService};
use super::super::read::{Entries, Entry, Given, Integer};
use super::super::template::{Piece, pieces};
use super::super::{HealthCheck, Protocol, RestartMode, RestartPolicy, ServiceSpec, SleepMode};
use super::image::floor_of_images;
use super::scalars::human;
use super::{Check, Defaults};
use crate::{DiskMode, InstanceId, Level, LevelChoice, Limits, Network, ServiceName};

/// No time at all.
const ZERO: Duration = Duration::ZERO;
/// Shortest duration where nothing at all would make no sense.
pub(super) const MS: Duration = Duration::from_millis(1);
/// Shortest time between two health checks.
pub(super) const CHECK_MIN: Duration = Duration::from_millis(100);
/// Most processes that a kernel can number (`PID_MAX_LIMIT`).
const PIDS_MAX: u32 = 4_194_304;
/// Fewest open files with which an ordinary runtime starts.
const FILES_MIN: u32 = 16;
/// Most open files of a process by the kernel's default (`fs.nr_open`).
const FILES_MAX: u32 = 1_048_576;
/// Most requests that can be held back for one instance.
const HOLD_MAX: u32 = 65_536;
/// Most instances that can be a bound.
const INSTANCES_MAX: u32 = 1_000_000;
/// Most restarts or failures that can be waited for.
pub(super) const COUNT_MAX: u32 = 10_000;

const NETWORKS: (&[&str], &[Network]) =
    (&["isolated", "host", "routed"], &[Network::Isolated, Network::Host, Network::Routed]);
const PROTOCOLS: (&[&str], &[Protocol]) = (&["http1", "h2c"], &[Protocol::Http1, Protocol::H2c]);
const SLEEPS: (&[&str], &[SleepMode]) = (&["stop", "freeze"], &[SleepMode::Stop, SleepMode::Freeze]);
const DISK_MODES: (&[&str], &[DiskMode]) =
    (&["auto", "hard", "soft"], &[DiskMode::Auto, DiskMode::Hard, DiskMode::Soft]);
const RESTARTS: (&[&str], &[RestartMode]) =
    (&["on-failure", "always", "never"], &[RestartMode::OnFailure, RestartMode::Always, RestartMode::Never]);

impl Check<'_> {
    /// Checks one service; `None` if its name cannot be one.
    pub(super) fn service(
        &mut self,
        entry: Entry<RawService>,
        defaults: &Defaults,
    ) -> Option<(ServiceName, ServiceSpec)> {
        let name = entry.key.value.parse::<ServiceName>();
        let name = name.map_err(|e| self.problem(&entry.key.at, ProblemKind::Name(e))).ok();
        let mut raw = entry.value.value;
        self.translate(&mut raw, &entry.key.value);
        let runner = self.runner(&mut raw, &defaults.external);
        let limits = self.limits(&raw);
        let restart = self.restart(&raw, &defaults.restart);
        let (isolation, floor) = self.service_levels(&raw, defaults);
        let image = self.image(raw.image.as_ref(), isolation);
        let floor = if image.is_some() { floor_of_images(floor) } else { floor };
        let command = self.command_or_image(&mut raw, &entry.key.at);
        let by_program = command.first().is_some_and(|program| names_id(program));
        let env = self.env(raw.env.take().map(|table| table.value).unwrap_or_default());
        let mounts = self.mounts(list(raw.mounts.take()));
        let root = self.root(&mut raw);
        let protocol = self.protocol(&raw);
        let health = raw.health.take().and_then(|health| self.health(health, defaults.check_interval));
        let name = name?;
        let spec = ServiceSpec {
            command,
            env,
            image,
            workdir: self.workdir(raw.workdir.as_ref(), &entry.key.at),
            data_dir: self.data_dir.join(name.as_str()),
            isolation,
            runner,
            min_isolation: floor,
            network: self.word(raw.network.as_ref(), NETWORKS).unwrap_or_default(),
            net: self.net(&raw),
            net_given: raw.net.is_some(),
            reachable_from: self.reachable_from(&raw),
            mounts,
            root,
            seccomp: self.seccomp(raw.seccomp.as_ref(), isolation),
            limits,
            protocol,
            health,
            startup_timeout: self.time(raw.startup_timeout.as_ref(), ServiceSpec::STARTUP_TIMEOUT),
            stop_timeout: self.duration_or(raw.stop_timeout.as_ref(), ZERO, ServiceSpec::STOP_TIMEOUT),
            request_timeout: self.time(raw.request_timeout.as_ref(), ServiceSpec::REQUEST_TIMEOUT),
            idle_timeout: self.idle_timeout(raw.idle_timeout.as_ref()),
            sleep: self.sleep(&raw),
            restart,
            hold_queue: self.hold_queue(raw.hold_queue.as_ref()),
            max_instances: self.max_instances(raw.max_instances.as_ref()),
            versions: self.versions(raw.versions.take(), by_program, &entry.key.at, defaults),
            listen_tcp: ports(raw.listen_tcp.map(|table| table.value).unwrap_or_default()),
            name: name.clone(),
        };
        Some((name, spec))
    }

    /// A duration of at least a millisecond.
    fn time(&mut self, given: Option<&Given<RawDuration>>, default: Duration) -> Duration {
        self.duration_or(given, MS, default)
    }

    fn service_levels(&mut self, raw: &RawService, defaults: &Defaults) -> (LevelChoice, Option<Level>) {
        let isolation = self.isolation(raw.isolation.as_ref()).unwrap_or(defaults.isolation);
        let floor = self.floor(raw.min_isolation.as_ref()).or(defaults.floor);
        self.levels_agree(isolation, floor, raw.isolation.as_ref().or(raw.min_isolation.as_ref()));
        (isolation, floor)
    }

    fn limits(&mut self, raw: &RawService) -> Limits {
        Limits {
            memory: self.size(raw.memory.as_ref(), raw.memory_limit_mb.as_ref(), "memory"),
            cpu_weight: raw.cpu_weight.as_ref().map(|given| self.cpu_weight(given)),
            cpu_quota: raw.cpu_quota.as_ref().and_then(|given| self.cpu_quota(given)),
            pids: raw.pids_limit.as_ref().and_then(|given| self.number(given, 1..=PIDS_MAX)),
            open_files: raw.open_files.as_ref().and_then(|given| self.number(given, FILES_MIN..=FILES_MAX)),
            disk: self.size(raw.disk_limit.as_ref(), raw.storage_quota_mb.as_ref(), "disk_limit"),
            disk_mode: self.disk_mode(raw),
            bandwidth: self.bandwidth(raw),
        }
    }

    fn restart(&mut self, raw: &RawService, default: &RestartPolicy) -> RestartPolicy {
        let max_restarts = raw.max_restarts.as_ref().and_then(|given| self.number(given, 0..=COUNT_MAX));
        let policy = RestartPolicy {
            mode: self.word(raw.restart.as_ref(), RESTARTS).unwrap_or(default.mode),
            backoff: self.time(raw.restart_backoff.as_ref(), default.backoff),
            backoff_max: self.time(raw.restart_backoff_max.as_ref(), default.backoff_max),
            max_restarts: max_restarts.unwrap_or(default.max_restarts),
            window: self.time(raw.restart_window.as_ref(), default.window),
        };
        let given = raw.restart_backoff.as_ref().or(raw.restart_backoff_max.as_ref());
        if let Some(given) = given
            && policy.backoff > policy.backoff_max
        {
            let (backoff, max) = (human(policy.backoff), human(policy.backoff_max));
            self.problem(&given.at, ProblemKind::BackoffOrder { backoff, max });
        }
        policy
    }

    /// Whether its instances are versions. All of them answer for a service that a route names as a whole, and
    /// for one that a file of tenement's lists.
    fn versions(
        &mut self,
        given: Option<Given<bool>>,
        by_program: bool,
        at: &At,
        defaults: &Defaults,
    ) -> bool {
        let shared = defaults.shared.get(at.key.rsplit('.').next().unwrap_or_default());
        if let (None, Some(why), false) = (&given, shared, by_program) {
            self.note(at, why);
        }
        given.map_or(by_program || shared.is_some(), |given| given.value)
    }

    /// tenement's quota only warned, and so it does here, unless the file says otherwise.
    fn disk_mode(&mut self, raw: &RawService) -> DiskMode {
        if let (Some(mode), None, None) = (&raw.disk_limit_mode, &raw.disk_limit, &raw.storage_quota_mb) {
            self.note(&mode.at, "no effect without `disk_limit`");
        }
        let warns = raw.disk_limit.is_none() && raw.storage_quota_mb.is_some();
        let default = if warns { DiskMode::Soft } else { DiskMode::Auto };
        self.word(raw.disk_limit_mode.as_ref(), DISK_MODES).unwrap_or(default)
    }

    /// What it speaks. A health check asks in HTTP/1.1, so it goes with nothing else.
    fn protocol(&mut self, raw: &RawService) -> Protocol {
        let protocol = self.word(raw.protocol.as_ref(), PROTOCOLS).unwrap_or_default();
        if protocol == Protocol::H2c
            && let Some(health) = &raw.health
        {
            self.problem(&health.at, ProblemKind::HealthOfH2c);
        }
        protocol
    }

    fn health(&mut self, given: Given<RawHealth>, interval: Duration) -> Option<HealthCheck> {
        let default = HealthCheck { interval, ..HealthCheck::at(String::new()) };
        let raw = match given.value {
            RawHealth::Path(value) => {
                let path = self.url_path(&Given { at: given.at, value });
                return Some(HealthCheck { path, ..default });
            }
            RawHealth::Table(table) => *table,
        };
        if raw.path.is_none() {
            self.missing(&given.at, "path");
        }
        let failures = raw.failures.as_ref().and_then(|given| self.number(given, 1..=COUNT_MAX));
        Some(HealthCheck {
            path: raw.path.map(|path| self.url_path(&path))?,
            interval: self.duration_or(raw.interval.as_ref(), CHECK_MIN, default.interval),
            timeout: self.time(raw.timeout.as_ref(), default.timeout),
            failures: failures.unwrap_or(default.failures),
        })
    }

    /// Zero is never, like no value at all.
    fn idle_timeout(&mut self, given: Option<&Given<RawDuration>>) -> Option<Duration> {
        self.duration(given?, ZERO).filter(|timeout| !timeout.is_zero())
    }

    fn sleep(&mut self, raw: &RawService) -> SleepMode {
        if let (Some(sleep), None) = (&raw.sleep, &raw.idle_timeout) {
            self.note(&sleep.at, "without `idle_timeout` this service never sleeps");
        }
        self.word(raw.sleep.as_ref(), SLEEPS).unwrap_or_default()
    }

    /// A bound on instances that are up at once.
    pub(super) fn max_instances(&mut self, given: Option<&Given<Integer>>) -> Option<usize> {
        let asked = given.and_then(|given| self.number(given, 1..=INSTANCES_MAX));
        asked.and_then(|asked| usize::try_from(asked).ok())
    }

    fn hold_queue(&mut self, given: Option<&Given<Integer>>) -> usize {
        let asked = given.and_then(|given| self.number(given, 1..=HOLD_MAX));
        asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(ServiceSpec::HOLD_QUEUE)
    }
}

/// Whether a template holds `{id}`: a program of another name for each instance is another version of it.
fn names_id(template: &str) -> bool {
    pieces(template).any(|piece| piece == Piece::Slot("id"))
}

/// The items of an optional array.
fn list<T>(given: Option<Given<Vec<T>>>) -> Vec<T> {
    given.map(|list| list.value).unwrap_or_default()
}

/// The ports whose problems, if any, were reported when all services were compared.
fn ports(table: Entries<Integer>) -> BTreeMap<InstanceId, u16> {
    let port = |entry: Entry<Integer>| {
        Some((entry.key.value.parse().ok()?, u16::try_from(entry.value.value.0).ok()?))
    };
    table.0.into_iter().filter_map(port).collect()
}
