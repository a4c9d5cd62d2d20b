//! From what the rooms say to what is sent.

use std::time::Duration;

use insula_api::{Condition, Counts, InForce, Observed, Status, Summary, Usage, Wanted};
use insula_services::{
    ControlError as ServicesError, InForce as Read, Observed as Seen, Overview, Status as Known,
};
use insula_spec::{Config, InstanceName, ServiceName};

use crate::control::error::ControlError;

pub(super) fn in_force(read: &Read) -> InForce {
    InForce {
        program: read.program.clone(),
        capabilities: format!("{:x}", read.capabilities),
        no_new_privs: read.no_new_privs,
        filters: read.filters,
        profile: read.profile.clone(),
        id_map: read.id_map.clone(),
        root: read.root.clone(),
        memory_max: read.memory_max,
        pids_max: read.pids_max,
        cpu_weight: read.cpu_weight,
        cpu_quota: read.cpu_quota,
        namespaces: read.namespaces.clone(),
    }
}

/// What the configuration says of this service that is not taken as written.
pub(super) fn notes(config: &Config, service: &ServiceName) -> Vec<String> {
    let own = format!("service.{service}.");
    let notes = config.notes.iter().filter(|note| note.key.starts_with(&own));
    notes.map(ToString::to_string).collect()
}

pub(super) fn summary(o: &Overview, usage: Usage, url: String) -> Summary {
    Summary {
        name: o.name.clone(),
        status: status(&o.status),
        level: o.level,
        app_pid: o.record.as_ref().map(|r| r.app_pid),
        restarts: o.restarts,
        wakes: o.wakes,
        usage,
        disk_bytes: o.disk_bytes,
        url,
    }
}

pub(in crate::control) fn status(s: &Known) -> Status {
    let (observed, health) = observed(s.observed);
    let wanted = match s.wanted {
        insula_store::Wanted::Up => Wanted::Up,
        insula_store::Wanted::Asleep => Wanted::Asleep,
        insula_store::Wanted::Stopped => Wanted::Stopped,
    };
    Status { observed, wanted, since: s.since.into(), why: s.why.clone().unwrap_or_default(), health }
}

/// What it does and how well are two things on the wire.
fn observed(seen: Seen) -> (Observed, Option<Condition>) {
    match seen {
        Seen::Asleep => (Observed::Asleep, None),
        Seen::Starting => (Observed::Starting, None),
        Seen::Running => (Observed::Running, None),
        Seen::Healthy => (Observed::Running, Some(Condition::Healthy)),
        Seen::Degraded => (Observed::Running, Some(Condition::Degraded)),
        Seen::Unhealthy => (Observed::Running, Some(Condition::Unhealthy)),
        Seen::Frozen => (Observed::Frozen, None),
        Seen::Thawing => (Observed::Thawing, None),
        Seen::Stopping => (Observed::Stopping, None),
        Seen::BackingOff => (Observed::BackingOff, None),
        Seen::Failed => (Observed::Failed, None),
        Seen::Stopped => (Observed::Stopped, None),
    }
}

pub(super) fn counts(all: impl Iterator<Item = Seen>) -> Counts {
    all.fold(Counts::default(), |mut n, seen| {
        match observed(seen).0 {
            Observed::Running | Observed::Frozen => n.up += 1,
            Observed::Asleep => n.asleep += 1,
            Observed::Stopped => n.stopped += 1,
            Observed::Failed => n.failed += 1,
            Observed::Starting | Observed::Thawing | Observed::Stopping | Observed::BackingOff => {
                n.moving += 1
            }
        }
        n
    })
}

pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn error(name: &InstanceName, e: ServicesError) -> ControlError {
    let name = name.clone();
    match e {
        ServicesError::UnknownService(_) => ControlError::UnknownService(name),
        ServicesError::UnknownInstance(_) => ControlError::UnknownInstance(name),
        ServicesError::Failed { why, hint } => not_started(name, why, hint),
        ServicesError::Stopped => ControlError::Stopped { name },
        ServicesError::TooMany { key, limit } => ControlError::TooMany { name, key, limit },
        ServicesError::Busy(_) => ControlError::Busy { name },
        ServicesError::Store { source, .. } => ControlError::Write(source),
        ServicesError::Ids { why, .. } => ControlError::Ids { name, why },
        ServicesError::ShuttingDown => ControlError::ShuttingDown,
    }
}

/// The hint is that of whoever knew it best.
fn not_started(name: InstanceName, why: String, hint: Option<String>) -> ControlError {
    let hint = hint.unwrap_or_else(|| format!("run `insula why {name}` for the whole story"));
    ControlError::NotStarted { name, why, hint }
}
