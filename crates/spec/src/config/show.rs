//! The effective values, each with where it comes from.
//!
//! What the file has is shown as it holds: brought into range, with paths made absolute. What nobody set is
//! shown with its default. Values of an `env` are never shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::check::human;
use super::origin::{HIDDEN, Origin};
use super::{Config, Protocol, RestartMode, ServiceSpec, SleepMode};
use crate::{ByteSize, CpuQuota, Limits, Network};

/// One value that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Path of the key under its present name, such as `service.notes.memory`.
    pub key: String,
    /// The value: what one would write into the file, `null` where it is not limited or not set.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// One key of a service: its name, other keys that set it too (those with a dot are of the whole file), and
/// its value.
type Row = (&'static str, &'static [&'static str], fn(&ServiceSpec) -> Value);

/// Keys of a service that have a default, or that are changed on the way from the file.
const ROWS: &[Row] = &[
    ("command", &["args"], |s| json!(s.command)),
    ("image", &[], |s| json!(s.image.as_ref().map(ToString::to_string))),
    ("workdir", &[], |s| json!(s.workdir)),
    ("isolation", &["runtime", ".isolation"], isolation),
    ("min_isolation", &[".min_isolation"], |s| json!(s.min_isolation.map(|level| level.to_string()))),
    ("network", &[], |s| network(s.network)),
    ("read_only_root", &[], |s| json!(s.root.read_only)),
    ("persistent_root", &[], |s| json!(s.root.persistent)),
    ("seccomp", &[], |s| json!(s.seccomp)),
    ("net", &[], |s| json!(s.net)),
    ("reachable_from", &[], |s| json!(s.reachable_from)),
    ("memory", &["memory_limit_mb", "memory_mb"], |s| size(s.limits.memory)),
    ("cpu_weight", &["cpu_shares"], |s| weight(&s.limits)),
    ("cpu_quota", &["vcpus"], |s| quota(s.limits.cpu_quota)),
    ("pids_limit", &[], |s| json!(s.limits.pids)),
    ("open_files", &[], |s| json!(s.limits.open_files)),
    ("disk_limit", &["storage_quota_mb"], |s| size(s.limits.disk)),
    ("disk_limit_mode", &[], |s| json!(s.limits.disk_mode.as_str())),
    ("bandwidth_limit", &[], |s| size(s.limits.bandwidth)),
    ("health.path", &["health"], |s| json!(s.health.as_ref().map(|h| &h.path))),
    ("health.interval", &[".settings.health_check_interval"], |s| {
        s.health.as_ref().map_or(Value::Null, |health| time(health.interval))
    }),
    ("health.timeout", &[], |s| s.health.as_ref().map_or(Value::Null, |health| time(health.timeout))),
    ("health.failures", &[], |s| json!(s.health.as_ref().map(|health| health.failures))),
    ("startup_timeout", &[], |s| time(s.startup_timeout)),
    ("stop_timeout", &[], |s| time(s.stop_timeout)),
    ("request_timeout", &[], |s| time(s.request_timeout)),
    ("idle_timeout", &[], |s| s.idle_timeout.map_or(Value::Null, time)),
    ("sleep", &[], |s| sleep(s.sleep)),
    ("restart", &[], |s| restart(s.restart.mode)),
    ("restart_backoff", &[".settings.backoff_base_ms"], |s| time(s.restart.backoff)),
    ("restart_backoff_max", &[".settings.backoff_max_ms"], |s| time(s.restart.backoff_max)),
    ("max_restarts", &[".settings.max_restarts"], |s| json!(s.restart.max_restarts)),
    ("restart_window", &[".settings.restart_window"], |s| time(s.restart.window)),
    ("hold_queue", &[], |s| json!(s.hold_queue)),
    ("max_instances", &[], |s| json!(s.max_instances)),
    ("versions", &[], |s| json!(s.versions)),
    ("protocol", &[], |s| protocol(s.protocol)),
];

impl Config {
    /// Every value that holds, in the order of the tables; `defaults` adds those that nobody set.
    #[must_use]
    pub fn show(&self, defaults: bool) -> Vec<Shown> {
        let mut shown = self.shown_settings();
        for spec in self.services.values() {
            shown.extend(ROWS.iter().map(|row| self.shown(spec, row)));
        }
        shown.retain(|one| defaults || one.origin != Origin::Default);
        self.add_rest(&mut shown);
        shown
    }

    fn shown_settings(&self) -> Vec<Shown> {
        let settings = &self.settings;
        let rows = [
            ("settings.data_dir", json!(settings.data_dir)),
            ("settings.domain", json!(settings.domain)),
            ("settings.port", json!(settings.port)),
            ("settings.trusted_proxies", json!(settings.trusted_proxies)),
            ("settings.routed_range", json!(settings.routed_range.to_string())),
            ("settings.max_instances", json!(settings.max_instances)),
            ("logs.keep", self.logs.keep.map_or(Value::Null, time)),
            ("logs.max_size_per_instance", size(Some(self.logs.max_size_per_instance))),
            ("logs.max_size", size(Some(self.logs.max_size))),
        ];
        let row = |(key, value): (&str, Value)| {
            let named = self.named.iter().find(|(other, _)| *other == key).map(|(_, origin)| *origin);
            let origin = named.unwrap_or_else(|| self.line(key).unwrap_or(Origin::Default));
            Shown { key: key.to_owned(), value, origin }
        };
        rows.map(row).into()
    }

    fn shown(&self, spec: &ServiceSpec, (key, others, value): &Row) -> Shown {
        let keys = std::iter::once(key).chain(*others);
        let origin = keys.flat_map(|key| self.places(spec, key)).find_map(|key| self.line(&key));
        let key = format!("service.{}.{key}", spec.name);
        Shown { key, value: value(spec), origin: origin.unwrap_or(Origin::Default) }
    }

    /// Where a key of a service may stand in the file.
    fn places(&self, spec: &ServiceSpec, key: &str) -> Vec<String> {
        match key.strip_prefix('.') {
            Some(whole) => vec![whole.to_owned()],
            None => ["service", "process"].map(|table| format!("{table}.{}.{key}", spec.name)).into(),
        }
    }

    fn line(&self, key: &str) -> Option<Origin> {
        self.written.get(key).map(|(line, _)| Origin::File(*line))
    }

    /// What the file has beside that, as it was written.
    fn add_rest(&self, shown: &mut Vec<Shown>) {
        for (key, line, value) in self.written.iter() {
            let present = match key.strip_prefix("process.") {
                Some(rest) => format!("service.{rest}"),
                None => key.to_owned(),
            };
            if !is_row(&present) && !shown.iter().any(|one| one.key == present) {
                shown.push(Shown { key: present, value: value.clone(), origin: Origin::File(line) });
            }
        }
    }
}

/// Whether a key of a service is shown by a row already, under this name or another.
fn is_row(key: &str) -> bool {
    let mut parts = key.splitn(3, '.');
    let (table, _, key) = (parts.next(), parts.next(), parts.next());
    let here = |row: &Row| Some(row.0) == key || row.1.iter().any(|other| Some(*other) == key);
    table == Some("service") && ROWS.iter().any(here)
}

fn time(duration: Duration) -> Value {
    json!(human(duration))
}

fn size(bytes: Option<ByteSize>) -> Value {
    bytes.map_or(Value::Null, |bytes| json!(bytes.to_string()))
}

fn weight(limits: &Limits) -> Value {
    json!(limits.cpu_weight.map(|weight| weight.get()))
}

fn quota(quota: Option<CpuQuota>) -> Value {
    quota.map_or(Value::Null, |quota| json!(f64::from(quota.millis()) / 1000.0))
}

fn isolation(spec: &ServiceSpec) -> Value {
    match &spec.runner {
        Some(runner) => json!(format!("external:{}", runner.name)),
        None => json!(spec.isolation.to_string()),
    }
}

fn network(network: Network) -> Value {
    json!(network.as_str())
}

fn protocol(protocol: Protocol) -> Value {
    match protocol {
        Protocol::Http1 => json!("http1"),
        Protocol::H2c => json!("h2c"),
    }
}

fn sleep(mode: SleepMode) -> Value {
    match mode {
        SleepMode::Stop => json!("stop"),
        SleepMode::Freeze => json!("freeze"),
    }
}

fn restart(mode: RestartMode) -> Value {
    match mode {
        RestartMode::Always => json!("always"),
        RestartMode::OnFailure => json!("on-failure"),
        RestartMode::Never => json!("never"),
    }
}

impl Shown {
    /// Whether the value is kept from view.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.value == HIDDEN
    }
}
