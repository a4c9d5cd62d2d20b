//! What the user typed: every table of the file, key by key, before anything is known about its meaning.
//!
//! The macro makes each struct, the list of its keys and its reader from one list of fields. A key that is
//! not in the list is a problem. `docs/reference/config.md` has every key; a test compares.

use toml::de::DeValue;

use super::kind::{KeyAdvice, ProblemKind};
use super::problem::{At, Problems};
use super::read::{Entries, Given, Integer, Read, below, given, integer, mismatch, table};
use super::similar::similar;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident at $place:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default)]
            pub(super) struct $name {
                $(pub(super) $field: Option<Given<$type>>,)*
            }

            impl Read for $name {
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
    };
}

tables! {
    /// The whole file.
    RawConfig at "the top level" {
        did: String,
        isolation: String,
        min_isolation: String,
        settings: RawSettings,
        routing: RawRouting,
        service: Entries<RawService>,
        instances: Entries<Vec<Given<String>>>,
    }

    /// Settings of the installation.
    RawSettings at "`[settings]`" {
        data_dir: String,
        domain: String,
        port: Integer,
        trusted_proxies: Vec<Given<String>>,
        max_instances: Integer,
    }

    /// What answers where no name of a service does.
    RawRouting at "`[routing]`" {
        default: String,
        path: Entries<String>,
        host: Entries<String>,
    }

    /// One service.
    RawService at "`[service.NAME]`" {
        command: RawCommand,
        args: Vec<Given<String>>,
        env: Entries<String>,
        workdir: String,
        isolation: String,
        min_isolation: String,
        network: String,
        mounts: Vec<Given<RawMount>>,
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

/// Tables of later versions. Ignoring them would leave a policy that nobody enforces.
pub(super) const LATER: &[&str] = &["runtimes", "access", "observability"];

/// Keys that other systems have, and what serves here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cmd", "use `command`"),
    ("cpu_shares", "use `cpu_weight`, from 1 to 10000; 100 is the default of the kernel"),
    ("cpus", "use `cpu_quota`"),
    ("cwd", "use `workdir`"),
    ("environment", "use `env`"),
    ("health_check_interval", "use `health = { path = \"/health\", interval = \"30s\" }` in the service"),
    ("port", "remove it; Insula chooses a port for every instance and sets `PORT` (`{port}`)"),
    ("services", "use `[service.NAME]`"),
    ("socket", "remove it; Insula chooses a path for every instance and sets `SOCKET_PATH` (`{socket}`)"),
    ("storage_persist", "remove it; a tenant's directory always outlives sleep, crashes and upgrades"),
    ("storage_quota_mb", "remove it; this version cannot enforce a limit on storage"),
    ("timeout", "use `startup_timeout`, `request_timeout`, `stop_timeout` or `idle_timeout`"),
    ("volumes", "use `mounts`"),
];

/// Finds out what was meant by a key that is not there.
fn unknown_key(place: &'static str, name: &str) -> ProblemKind {
    let here = TABLES.iter().find(|(other, _)| *other == place).map_or(&[][..], |(_, keys)| keys);
    let elsewhere = TABLES.iter().find(|(_, keys)| keys.contains(&name));
    let instead = ELSEWHERE.iter().find(|(key, _)| *key == name);
    let advice = match (instead, similar(name, here.iter().copied()), elsewhere) {
        _ if place == "the top level" && LATER.contains(&name) => return ProblemKind::NotYet,
        (Some(_), _, Some((table, _))) if place == "the top level" => KeyAdvice::BelongsIn(table),
        (Some((_, instead)), _, _) => KeyAdvice::Instead(instead),
        (_, Some(key), _) => KeyAdvice::Similar(key.to_owned()),
        (_, _, Some((table, _))) => KeyAdvice::BelongsIn(table),
        _ => KeyAdvice::Known(here),
    };
    ProblemKind::UnknownKey(advice)
}

/// A duration: text with a unit, or whole seconds.
#[derive(Debug)]
pub(super) enum RawDuration {
    /// `"5m"`
    Text(String),
    /// `300`
    Seconds(Integer),
}

impl Read for RawDuration {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.as_ref().to_owned())),
            DeValue::Integer(number) => integer(at, number, out).map(Self::Seconds),
            other => {
                mismatch(at, other, ("a duration", "\"5m\", or 300 for seconds"), out);
                None
            }
        }
    }
}

/// A size: text, because a bare number would leave its unit to guessing.
#[derive(Debug)]
pub(super) struct RawSize(pub(super) String);

impl Read for RawSize {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self(text.as_ref().to_owned())),
            other => {
                mismatch(at, other, ("a size", "\"256M\" or \"2G\""), out);
                None
            }
        }
    }
}

/// A command: one line, or its words.
#[derive(Debug)]
pub(super) enum RawCommand {
    /// `"python3 app.py"`
    Line(String),
    /// `["python3", "app.py"]`
    Words(Vec<Given<String>>),
}

impl Read for RawCommand {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Array(_) => Vec::read(at, value, out).map(Self::Words),
            DeValue::String(_) => String::read(at, value, out).map(Self::Line),
            other => {
                let example = "\"python3 app.py\" or [\"python3\", \"app.py\"]";
                mismatch(at, other, ("text or an array", example), out);
                None
            }
        }
    }
}

/// An amount of CPU time: text with a percent sign, or a number of CPUs as it was written.
#[derive(Debug)]
pub(super) enum RawQuota {
    /// `"150%"`
    Text(String),
    /// `1.5`
    Cpus(String),
}

impl Read for RawQuota {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.as_ref().to_owned())),
            DeValue::Integer(number) => integer(at, number, out).map(|n| Self::Cpus(n.0.to_string())),
            DeValue::Float(number) => Some(Self::Cpus(number.as_str().to_owned())),
            other => {
                mismatch(at, other, ("an amount of CPU time", "\"150%\" or 1.5"), out);
                None
            }
        }
    }
}

/// A health check: its path, or all of it.
#[derive(Debug)]
pub(super) enum RawHealth {
    /// `"/health"`
    Path(String),
    /// `{ path = "/health", interval = "10s" }`
    Table(Box<RawCheck>),
}

impl Read for RawHealth {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Table(_) => RawCheck::read(at, value, out).map(|check| Self::Table(Box::new(check))),
            DeValue::String(_) => String::read(at, value, out).map(Self::Path),
            other => {
                let example = "\"/health\" or { path = \"/health\", interval = \"10s\" }";
                mismatch(at, other, ("a path or a table", example), out);
                None
            }
        }
    }
}

/// A mount: one text, or a table.
#[derive(Debug)]
pub(super) enum RawMount {
    /// `"/srv/models:/models:ro"`
    Text(String),
    /// `{ source = "/srv/models", target = "/models" }`
    Table(Box<RawBind>),
}

impl Read for RawMount {
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Table(_) => RawBind::read(at, value, out).map(|bind| Self::Table(Box::new(bind))),
            DeValue::String(_) => String::read(at, value, out).map(Self::Text),
            other => {
                let example = "\"/on/host:/inside\" or { source = \"/on/host\", target = \"/inside\" }";
                mismatch(at, other, ("text or a table", example), out);
                None
            }
        }
    }
}
