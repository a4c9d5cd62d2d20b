//! What the user typed: every table of the file, key by key, before anything is known about its meaning.
//!
//! The macro makes each struct, the list of its keys and its reader from one list of fields. A key that is
//! not in the list is a problem. `docs/reference/config.md` has every key; a test compares.

use toml::de::DeValue;

use super::kind::{KeyAdvice, ProblemKind};
use super::problem::{At, Problems};
use super::read::{Entries, Given, Integer, Read, below, given, table};
use super::schema::{Form, Table};
use super::similar::similar;

pub(super) use super::forms::{RawCommand, RawDuration, RawHealth, RawMount, RawQuota, RawSize};

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident at $place:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default)]
            pub(super) struct $name {
                $(pub(super) $field: Option<Given<$type>>,)*
            }

            impl Read for $name {
                const FORM: Form = Form::Table($place);

                fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
                    let mut this = Self::default();
                    for (key, item) in table(at, value, out)? {
                        let name = key.get_ref().as_ref();
                        match name {
                            $(stringify!($field) => {
                                this.$field = given(below(at, name, item), item.get_ref(), out);
                            })*
                            _ => out.push(&below(at, name, key), unknown_key($place, name)),
                        }
                    }
                    Some(this)
                }
            }
        )*

        /// Every table of fixed keys: its place in the file, and its keys.
        pub(super) const TABLES: &[(&str, &[&str])] =
            &[$(($place, &[$(stringify!($field)),*])),*];

        /// The same, with the forms of the values.
        pub(super) const FORMS: &[Table] =
            &[$(($place, &[$((stringify!($field), <$type as Read>::FORM)),*])),*];
    };
}

tables! {
    /// The whole file.
    RawConfig at "the top level" {
        did: String,
        handle: String,
        isolation: String,
        min_isolation: String,
        settings: RawSettings,
        routing: RawRouting,
        logs: RawLogs,
        service: Entries<RawService>,
        process: Entries<RawService>,
        instances: Entries<Vec<Given<String>>>,
        runtimes: Entries<String>,
        access: RawAccess,
        observability: RawObservability,
        alerts: RawAlerts,
        levels: RawLevels,
    }

    /// Settings of single levels.
    RawLevels at "`[levels]`" {
        container: RawContainer,
        gvisor: RawGvisor,
        external: Entries<RawExternal>,
    }

    /// Settings of level `container`.
    RawContainer at "`[levels.container]`" {
        driver: String,
        path: String,
    }

    /// A program of the operator's that runs workloads.
    RawExternal at "`[levels.external.NAME]`" {
        program: String,
        args: Vec<Given<String>>,
        walls: String,
    }

    /// Settings of level `gvisor`.
    RawGvisor at "`[levels.gvisor]`" {
        path: String,
        platform: String,
    }

    /// Settings of the installation.
    RawSettings at "`[settings]`" {
        data_dir: String,
        domain: String,
        port: Integer,
        trusted_proxies: Vec<Given<String>>,
        routed_range: String,
        max_instances: Integer,
        health_check_interval: RawDuration,
        max_restarts: Integer,
        restart_window: RawDuration,
        backoff_base_ms: Integer,
        backoff_max_ms: Integer,
        tls: RawTls,
    }

    /// Certificates, as tenement has them.
    RawTls at "`[settings.tls]`" {
        enabled: bool,
        acme_email: String,
        domain: String,
        cache_dir: String,
        staging: bool,
        https_port: Integer,
        http_port: Integer,
        dns_provider: String,
    }

    /// Whose functions may run here.
    RawAccess at "`[access]`" {
        mode: String,
        allowlist: Vec<Given<String>>,
        blocklist: Vec<Given<String>>,
    }

    /// What is told to whom about the work.
    RawObservability at "`[observability]`" {
        otlp_endpoint: String,
        access_log: String,
        access_log_format: String,
        access_log_query: bool,
        access_log_size: RawSize,
        access_log_files: Integer,
        slow_request: RawDuration,
        metrics: String,
        instance_metrics: bool,
        log_format: String,
        log_level: String,
    }

    /// Who is told when something goes wrong.
    RawAlerts at "`[alerts]`" {
        webhook: Vec<Given<RawWebhook>>,
    }

    /// One receiver of alerts.
    RawWebhook at "`[[alerts.webhook]]`" {
        name: String,
        url: String,
        secret_file: String,
        events: Vec<Given<String>>,
        services: Vec<Given<String>>,
    }

    /// What answers where no name of a service does.
    RawRouting at "`[routing]`" {
        default: String,
        path: Entries<String>,
        host: Entries<String>,
        subdomain: Entries<String>,
    }

    /// What is kept of captured output.
    RawLogs at "`[logs]`" {
        keep: RawDuration,
        max_size_per_instance: RawSize,
        max_size: RawSize,
    }

    /// One service.
    RawService at "`[service.NAME]`" {
        command: RawCommand,
        args: Vec<Given<String>>,
        env: Entries<String>,
        image: String,
        workdir: String,
        isolation: String,
        min_isolation: String,
        network: String,
        net: Vec<Given<String>>,
        reachable_from: Vec<Given<String>>,
        mounts: Vec<Given<RawMount>>,
        rootfs: String,
        read_only_root: bool,
        persistent_root: bool,
        user: String,
        seccomp: String,
        memory_limit_mb: Integer,
        memory: RawSize,
        cpu_weight: Integer,
        cpu_quota: RawQuota,
        pids_limit: Integer,
        open_files: Integer,
        protocol: String,
        health: RawHealth,
        startup_timeout: RawDuration,
        stop_timeout: RawDuration,
        request_timeout: RawDuration,
        idle_timeout: RawDuration,
        sleep: String,
        restart: String,
        restart_backoff: RawDuration,
        restart_backoff_max: RawDuration,
        max_restarts: Integer,
        restart_window: RawDuration,
        hold_queue: Integer,
        max_instances: Integer,
        versions: bool,
        listen_tcp: Entries<Integer>,
        disk_limit: RawSize,
        disk_limit_mode: String,
        bandwidth_limit: RawSize,
        runtime: String,
        port: Integer,
        socket: String,
        cpu_shares: Integer,
        storage_quota_mb: Integer,
        storage_persist: bool,
        memory_mb: Integer,
        vcpus: Integer,
        vsock_port: Integer,
        kernel: String,
    }

    /// A health check, written out.
    RawCheck at "`health`" {
        path: String,
        interval: RawDuration,
        timeout: RawDuration,
        failures: Integer,
    }

    /// A mount, written out.
    RawBind at "`mounts`" {
        source: String,
        target: String,
        mode: String,
    }
}

/// Keys of `[service.NAME]` that are read for the sake of old files, and recommended to nobody.
const OLD: &[&str] = &[
    "runtime",
    "port",
    "socket",
    "cpu_shares",
    "storage_quota_mb",
    "storage_persist",
    "memory_mb",
    "vcpus",
    "vsock_port",
    "kernel",
];

/// Whether a key is there for the sake of old files, in the table that has these keys.
pub(super) fn is_old(key: &str, table: &[&str]) -> bool {
    key == "process" || table.contains(&"command") && OLD.contains(&key)
}

/// Keys that other systems have, and what serves here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cmd", "use `command`"),
    ("cpus", "use `cpu_quota`"),
    ("cwd", "use `workdir`"),
    ("environment", "use `env`"),
    ("health_check_interval", "use `health = { path = \"/health\", interval = \"30s\" }` here"),
    ("services", "use `[service.NAME]`"),
    ("timeout", "use `startup_timeout`, `request_timeout`, `stop_timeout` or `idle_timeout`"),
    ("volumes", "use `mounts`"),
];

/// Finds out what was meant by a key that is not there.
fn unknown_key(place: &'static str, name: &str) -> ProblemKind {
    let here = TABLES.iter().find(|(other, _)| *other == place).map_or(&[][..], |(_, keys)| keys);
    // A receiver of alerts is described in words of many meanings; nothing is moved there.
    let elsewhere = TABLES.iter().find(|(at, keys)| *at != "`[[alerts.webhook]]`" && keys.contains(&name));
    let instead = ELSEWHERE.iter().find(|(key, _)| *key == name);
    let advice = match (instead, similar(name, here.iter().copied()), elsewhere) {
        (Some(_), _, Some((table, _))) if place == "the top level" => KeyAdvice::BelongsIn(table),
        (Some((_, instead)), _, _) => KeyAdvice::Instead(instead),
        (_, Some(key), _) => KeyAdvice::Similar(key.to_owned()),
        (_, _, Some((table, _))) => KeyAdvice::BelongsIn(table),
        _ => KeyAdvice::Known(here),
    };
    ProblemKind::UnknownKey(advice)
}
