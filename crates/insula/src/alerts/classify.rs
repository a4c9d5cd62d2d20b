//! From an event to what it is an alert about.

use insula_services::{DiskEvent, Exit, Failure, Fill};
use insula_spec::config::AlertKind;
use insula_store::{Event, EventKind, EventQuery, EventRow, ReadError, Store};

/// Kinds of events that can be an alert.
pub(super) const KINDS: &[EventKind] = &[
    EventKind::Health,
    EventKind::Failed,
    EventKind::Exited,
    EventKind::StartFailed,
    EventKind::Lost,
    EventKind::Disk,
    EventKind::LogGap,
    EventKind::DeployFailed,
    EventKind::WorkerStarted,
];

/// Kinds that say how a run began.
const BEGINNINGS: &[EventKind] = &[EventKind::Spawned, EventKind::Woken, EventKind::Restarted];

/// How many beginnings are looked at to find the one before an event.
const BACK: usize = 100;

/// What an event is an alert about, the most telling first; empty for none. `looped` says of `failed`
/// whether the instance had been started again before.
pub(super) fn kinds(event: &Event, looped: bool) -> Vec<AlertKind> {
    let oom = matches!(Failure::of(event), Some(Failure::Ended { exit: Exit::Oom }));
    let with_oom = |kind| if oom { vec![AlertKind::Oom, kind] } else { vec![kind] };
    match event.kind {
        EventKind::Health => match Failure::of(event) {
            Some(Failure::Unhealthy { ill: true, .. }) => vec![AlertKind::Unhealthy],
            _ => Vec::new(),
        },
        EventKind::Failed if looped => vec![AlertKind::RestartLoop, AlertKind::Failed],
        EventKind::Failed => vec![AlertKind::Failed],
        EventKind::Exited => match Failure::of(event) {
            Some(Failure::Ended { exit }) if exit.success() => Vec::new(),
            _ => with_oom(AlertKind::Crashed),
        },
        EventKind::StartFailed => with_oom(AlertKind::StartFailed),
        EventKind::Lost => vec![AlertKind::Lost],
        EventKind::Disk => match DiskEvent::of(event) {
            Some(told) if told.disk != Fill::Room && !told.started => vec![AlertKind::Disk],
            _ => Vec::new(),
        },
        EventKind::LogGap => vec![AlertKind::LogGap],
        EventKind::DeployFailed => vec![AlertKind::DeployFailed],
        EventKind::WorkerStarted => vec![AlertKind::WorkerStarted],
        _ => Vec::new(),
    }
}

/// Whether the run that ended in this event was a restart already.
pub(super) async fn looped(store: &Store, row: &EventRow) -> Result<bool, ReadError> {
    if row.event.kind != EventKind::Failed || row.instance.is_none() {
        return Ok(false);
    }
    let query = EventQuery {
        instance: row.instance.clone(),
        kinds: BEGINNINGS.to_vec(),
        limit: Some(BACK),
        newest_first: true,
        ..EventQuery::default()
    };
    let before = store.events(query).await?.into_iter().find(|earlier| earlier.id < row.id);
    Ok(before.is_some_and(|earlier| earlier.event.kind == EventKind::Restarted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: EventKind, detail: serde_json::Value) -> Vec<AlertKind> {
        kinds(&Event::new(kind, "words").detail(detail), false)
    }

    #[test]
    fn an_event_is_told_apart_by_its_data() {
        let ill = |ill| json!({"failure": "unhealthy", "failures": 3, "ill": ill});
        let ended = |exit| serde_json::to_value(Failure::Ended { exit }).unwrap();
        assert_eq!(of(EventKind::Health, ill(true)), [AlertKind::Unhealthy]);
        assert_eq!(of(EventKind::Health, ill(false)), []);
        assert_eq!(of(EventKind::Health, json!(null)), []);
        assert_eq!(of(EventKind::Exited, ended(Exit::Oom)), [AlertKind::Oom, AlertKind::Crashed]);
        assert_eq!(of(EventKind::Exited, ended(Exit::Code(3))), [AlertKind::Crashed]);
        assert_eq!(of(EventKind::Exited, ended(Exit::Code(0))), []);
        assert_eq!(of(EventKind::StartFailed, ended(Exit::Code(3))), [AlertKind::StartFailed]);
        let disk = |disk: &str, started: bool| json!({"disk": disk, "used": 9, "limit": 10, "mechanism": "soft", "started": started});
        for fill in ["near", "full"] {
            assert_eq!(of(EventKind::Disk, disk(fill, false)), [AlertKind::Disk]);
        }
        assert_eq!(of(EventKind::Disk, disk("room", false)), []);
        assert_eq!(of(EventKind::Disk, disk("full", true)), [], "it was told when it became full");
        assert_eq!(of(EventKind::Woken, json!(null)), []);
        let failed = Event::new(EventKind::Failed, "words");
        assert_eq!(kinds(&failed, true), [AlertKind::RestartLoop, AlertKind::Failed]);
        assert_eq!(kinds(&failed, false), [AlertKind::Failed]);
    }

    #[test]
    fn only_kinds_that_are_asked_for_can_be_alerts() {
        for kind in EventKind::ALL {
            let told = !kinds(&Event::new(*kind, ""), false).is_empty()
                || matches!(*kind, EventKind::Health | EventKind::Disk);
            assert_eq!(told, KINDS.contains(kind), "{kind}");
        }
    }

    #[tokio::test]
    async fn a_failure_after_a_restart_is_a_loop() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let (a, b) = ("api:a".parse().unwrap(), "api:b".parse().unwrap());
        let story = [
            (&a, EventKind::Spawned),
            (&b, EventKind::Spawned),
            (&a, EventKind::Restarted),
            (&a, EventKind::Failed),
            (&b, EventKind::Failed),
            (&b, EventKind::Restarted),
        ];
        for (name, kind) in story {
            store.note(Some(name), Event::new(kind, "words")).await.unwrap();
        }
        let rows = store.events(EventQuery::default()).await.unwrap();
        let mut found = Vec::new();
        for row in &rows {
            found.push(looped(&store, row).await.unwrap());
        }
        assert_eq!(found, [false, false, false, true, false, false]);
    }
}
