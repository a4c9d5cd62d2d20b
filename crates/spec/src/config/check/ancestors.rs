//! Keys of tenement's files: read with tenement's meaning where Insula has one, else with a note that says
//! what happens instead. Nothing here opens more than the file would without it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::kind::ProblemKind;
use super::super::problem::At;
use super::super::raw::{RawCommand, RawConfig, RawDuration, RawQuota, RawService, RawSettings, RawTls};
use super::super::read::{Entries, Entry, Given, Integer};
use super::super::{HealthCheck, RestartPolicy};
use super::Check;
use super::service::{CHECK_MIN, COUNT_MAX, MS};
use crate::{Level, LevelChoice};

/// Longest back-off, in milliseconds: a year.
const BACKOFF_MAX_MS: u64 = 365 * 86_400_000;
/// Most processors of a virtual machine.
const VCPUS_MAX: u32 = 1024;

/// Why the instances of a service share its requests: tenement has all of them answer, and these are named in
/// the file, so they are no tenants who come and go.
pub(super) const LISTED: &str = "`[instances]` of a file with keys of tenement's lists it: its instances share the \
                                 requests to its own name (`versions = true`); write `versions = false` where they \
                                 are tenants";

/// `[service.NAME]` tables.
type Tables = Entries<RawService>;

/// The services that a file of tenement's lists under `[instances]`; none of any other file.
pub(super) fn listed(raw: &RawConfig) -> BTreeSet<String> {
    let instances = raw.instances.as_ref().filter(|_| is_of_tenement(raw));
    let entries = instances.iter().flat_map(|table| &table.value.0);
    entries.map(|entry| entry.key.value.clone()).collect()
}

/// Whether a file has a key that is there for the sake of tenement's files alone.
fn is_of_tenement(raw: &RawConfig) -> bool {
    let old = |entry: &Entry<RawService>| has_old_key(&entry.value.value);
    let services = raw.service.iter().flat_map(|table| &table.value.0);
    raw.process.is_some()
        || raw.routing.as_ref().is_some_and(|table| table.value.subdomain.is_some())
        || raw.settings.as_ref().is_some_and(|table| table.value.tls.is_some())
        || services.into_iter().any(old)
}

fn has_old_key(raw: &RawService) -> bool {
    let numbers =
        [&raw.port, &raw.cpu_shares, &raw.storage_quota_mb, &raw.memory_mb, &raw.vcpus, &raw.vsock_port];
    let texts = [&raw.runtime, &raw.socket, &raw.kernel];
    numbers.into_iter().any(Option::is_some)
        || texts.into_iter().any(Option::is_some)
        || raw.storage_persist.is_some()
}

impl Check<'_> {
    /// Services under both names of their table, each once.
    pub(super) fn all_services(
        &mut self,
        service: Option<Given<Tables>>,
        process: Option<Given<Tables>>,
    ) -> Tables {
        let mut tables = service.map(|table| table.value).unwrap_or_default();
        for entry in process.map(|table| table.value).unwrap_or_default().0 {
            let name = entry.key.value.clone();
            if let Some(other) = tables.0.iter().find(|other| other.key.value == name) {
                let line = self.lines.of(other.key.at.span.start);
                self.problem(&entry.key.at, ProblemKind::DeclaredTwice { name, line });
                continue;
            }
            let text = format!("`[process.{name}]` is deprecated; write `[service.{name}]`");
            self.note(&entry.key.at, &text);
            tables.0.push(entry);
        }
        tables
    }

    /// Gives every key its present name and place; says what has no effect.
    pub(super) fn translate(&mut self, raw: &mut RawService, name: &str) {
        if let Some(given) = raw.runtime.take() {
            self.note(&given.at, &format!("`runtime` is deprecated; write isolation = {:?}", given.value));
            self.instead(&mut raw.isolation, given, "isolation");
        }
        if let Some(given) = raw.cpu_shares.take() {
            self.instead(&mut raw.cpu_weight, given, "cpu_weight");
        }
        if let Some(given) = &raw.storage_quota_mb {
            let text = "warns, as in tenement, and refuses nothing; `disk_limit` is as hard as the host can";
            self.note(&given.at, text);
        }
        self.places(raw);
        self.machine(raw);
        self.tenant_paths(raw, name);
    }

    /// Fills a key in from another name of it, unless both are there.
    fn instead<T>(&mut self, slot: &mut Option<Given<T>>, given: Given<T>, key: &'static str) {
        match slot {
            Some(_) => self.problem(&given.at, ProblemKind::SaidTwice(key)),
            None => *slot = Some(given),
        }
    }

    /// Port, socket and data are given by Insula.
    fn places(&mut self, raw: &mut RawService) {
        if let Some(given) = raw.port.take()
            && let Some(port) = self.number(&given, 1..=u16::MAX)
        {
            let text = format!(
                "{port} is not used: every instance has a port of its own, in `PORT` and `{{port}}`, so that \
                 two instances do not want the same one"
            );
            self.note(&given.at, &text);
        }
        if let Some(given) = raw.socket.take() {
            let text = "not used: every instance has a socket of its own, in `SOCKET_PATH` and `{socket}`, \
                        which nobody else can reach";
            self.note(&given.at, text);
        }
        if let Some(given) = raw.storage_persist.take()
            && !given.value
        {
            let text = "a tenant's directory is kept all the same: stopping an instance never removes data";
            self.note(&given.at, text);
        }
    }

    /// Virtual machines: their size counts at level `vm`, as in tenement.
    fn machine(&mut self, raw: &mut RawService) {
        let level = raw.isolation.as_ref().and_then(|given| given.value.parse().ok());
        let is_vm = level == Some(LevelChoice::Fixed(Level::Vm));
        let below = "no effect, because it counts at `isolation = \"vm\"` alone";
        if let Some(given) = raw.memory_mb.take() {
            match is_vm {
                true if raw.memory.is_none() && raw.memory_limit_mb.is_none() => {
                    raw.memory_limit_mb = Some(given);
                }
                true => self.problem(&given.at, ProblemKind::SaidTwice("memory")),
                false => self.note(&given.at, below),
            }
        }
        if let Some(given) = raw.vcpus.take()
            && self.number(&given, 1..=VCPUS_MAX).is_some()
        {
            match is_vm {
                true => {
                    let cpus = given.value.0.to_string();
                    let given = Given { at: given.at, value: RawQuota::Cpus(cpus) };
                    self.instead(&mut raw.cpu_quota, given, "cpu_quota");
                }
                false => self.note(&given.at, below),
            }
        }
        let text = "no effect: a level brings what it boots, and the agent in it has its own channel";
        let image = if is_vm { raw.rootfs.take() } else { None };
        let unused = [raw.kernel.take(), image].into_iter().flatten().map(|given| given.at);
        for at in unused.chain(raw.vsock_port.take().map(|given| given.at)) {
            self.note(&at, text);
        }
    }

    /// `{data_dir}` is the root of all data in tenement, and that of one service here. Both ways of writing
    /// the tenant's own directory are understood.
    fn tenant_paths(&mut self, raw: &mut RawService, name: &str) {
        match raw.command.as_mut().map(|given| (given.at.clone(), &mut given.value)) {
            Some((at, RawCommand::Line(line))) => self.own_path(&at, line, name),
            Some((_, RawCommand::Words(words))) => {
                for word in words {
                    self.own_path(&word.at, &mut word.value, name);
                }
            }
            None => {}
        }
        for word in raw.args.iter_mut().flat_map(|list| &mut list.value) {
            self.own_path(&word.at, &mut word.value, name);
        }
        for entry in raw.env.iter_mut().flat_map(|table| &mut table.value.0) {
            let given = &mut entry.value;
            self.own_path(&given.at, &mut given.value, name);
            if given.value.trim_end_matches('/') == "{data_dir}" {
                given.value = "{data_dir}/{id}".to_owned();
                self.note(
                    &given.at,
                    "`{data_dir}` alone is read as `{data_dir}/{id}`, the tenant's directory",
                );
            }
        }
    }

    fn own_path(&mut self, at: &At, text: &mut String, name: &str) {
        for long in ["{data_dir}/{name}/{id}".to_owned(), format!("{{data_dir}}/{name}/{{id}}")] {
            if text.contains(&long) {
                *text = text.replace(&long, "{data_dir}/{id}");
                self.note(at, &format!("`{long}` is read as `{{data_dir}}/{{id}}`, the tenant's directory"));
            }
        }
    }

    /// Restarts, for all services that say nothing about them.
    pub(super) fn restart_settings(&mut self, raw: &RawSettings) -> RestartPolicy {
        let default = RestartPolicy::default();
        let base = self.millis(raw.backoff_base_ms.as_ref());
        let max = self.millis(raw.backoff_max_ms.as_ref());
        if let (Some(base), Some(max), Some(given)) = (base, max, &raw.backoff_base_ms)
            && base > max
        {
            self.note(&given.at, "longer than `backoff_max_ms`, which is used instead");
        }
        let backoff_max = max.unwrap_or_else(|| default.backoff_max.max(base.unwrap_or_default()));
        RestartPolicy {
            mode: default.mode,
            backoff: base.unwrap_or(default.backoff).min(backoff_max),
            backoff_max,
            max_restarts: raw
                .max_restarts
                .as_ref()
                .and_then(|given| self.number(given, 0..=COUNT_MAX))
                .unwrap_or(default.max_restarts),
            window: self.duration_or(raw.restart_window.as_ref(), MS, default.window),
        }
    }

    fn millis(&mut self, given: Option<&Given<Integer>>) -> Option<Duration> {
        self.number(given?, 1..=BACKOFF_MAX_MS).map(Duration::from_millis)
    }

    /// Time between two health checks, for all services that say nothing about it.
    pub(super) fn check_interval(&mut self, raw: &RawSettings) -> Duration {
        let given: Option<&Given<RawDuration>> = raw.health_check_interval.as_ref();
        self.duration_or(given, CHECK_MIN, HealthCheck::at(String::new()).interval)
    }

    /// Certificates: checked, and said to be missing where they were asked for.
    pub(super) fn tls(&mut self, given: Option<Given<RawTls>>) {
        let Some(Given { at, value: raw }) = given else { return };
        if let Some(domain) = &raw.domain {
            self.domain(domain);
        }
        if let Some(dir) = &raw.cache_dir {
            self.path(dir);
        }
        for port in [&raw.https_port, &raw.http_port].into_iter().flatten() {
            self.number(port, 1..=u16::MAX);
        }
        let enabled = raw.enabled.is_some_and(|given| given.value);
        let text = match enabled {
            true => {
                "not in force: this version serves plain HTTP on `settings.port`; put a proxy with TLS in \
                 front, and name its address in `trusted_proxies`"
            }
            false => "no effect: this version has no TLS of its own",
        };
        self.note(&at, text);
    }
}
