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

/// How many events are looked at to find the one before another.
const BACK: usize = 100;

/// What had happened to the instance before an event, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// Of `failed`: it had been started again.
    restarted: bool,
    /// Of a check that succeeded: it had counted as ill, and had not been healthy since.
    ill: bool,
}

/// What an event is an alert about, the most telling first; empty for none.
pub(super) fn kinds(event: &Event, before: Before) -> Vec<AlertKind> {
    let oom = matches!(Failure::of(event), Some(Failure::Ended { exit: Exit::Oom }));
    let with_oom = |kind| if oom { vec![AlertKind::Oom, kind] } else { vec![kind] };
    match event.kind {
        EventKind::Health => match Failure::of(event) {
            Some(Failure::Unhealthy { ill: true, .. }) => vec![AlertKind::Unhealthy],
            None if before.ill => vec![AlertKind::Healthy],
            _ => Vec::new(),
        },
        EventKind::Failed if before.restarted => vec![AlertKind::RestartLoop, AlertKind::Failed],
        EventKind::Failed => vec![AlertKind::Failed],
        EventKind::Exited => match Failure::of(event) {
            Some(Failure::Ended { exit }) if exit.success() => Vec::new(),
            _ => with_oom(AlertKind::Crashed),
        },
        EventKind::StartFailed => with_oom(AlertKind::StartFailed),
        EventKind::Lost => vec![AlertKind::Lost],
        EventKind::Disk => match DiskEvent::of(event) {
            Some(told) if told.started => Vec::new(),
            Some(told) if told.disk == Fill::Room => vec![AlertKind::DiskRoom],
            Some(_) => vec![AlertKind::Disk],
            None => Vec::new(),
        },
        EventKind::LogGap => vec![AlertKind::LogGap],
        EventKind::DeployFailed => vec![AlertKind::DeployFailed],
        EventKind::WorkerStarted => vec![AlertKind::WorkerStarted],
        _ => Vec::new(),
    }
}

/// Looks at what was before an event.
pub(super) async fn before(store: &Store, row: &EventRow) -> Result<Before, ReadError> {
    match row.event.kind {
        EventKind::Failed => Ok(Before { restarted: restarted(store, row).await?, ill: false }),
        EventKind::Health if Failure::of(&row.event).is_none() => {
            Ok(Before { restarted: false, ill: ill(store, row).await? })
        }
        _ => Ok(Before::default()),
    }
}

/// Whether the run that ended in this event was a restart already.
async fn restarted(store: &Store, row: &EventRow) -> Result<bool, ReadError> {
    let rows = earlier(store, row, BEGINNINGS).await?;
    Ok(rows.first().is_some_and(|earlier| earlier.event.kind == EventKind::Restarted))
}

/// Whether the last thing that its checks said, beside that some of them failed, is that it is ill.
async fn ill(store: &Store, row: &EventRow) -> Result<bool, ReadError> {
    let rows = earlier(store, row, &[EventKind::Health]).await?;
    let said = rows.iter().map(|earlier| Failure::of(&earlier.event));
    let mut decided = said.filter(|said| !matches!(said, Some(Failure::Unhealthy { ill: false, .. })));
    Ok(matches!(decided.next(), Some(Some(Failure::Unhealthy { .. }))))
}

/// What happened to the instance of an event before it, newest first.
async fn earlier(store: &Store, row: &EventRow, kinds: &[EventKind]) -> Result<Vec<EventRow>, ReadError> {
    if row.instance.is_none() {
        return Ok(Vec::new());
    }
    let query = EventQuery {
        instance: row.instance.clone(),
        kinds: kinds.to_vec(),
        limit: Some(BACK),
        newest_first: true,
        ..EventQuery::default()
    };
    let mut rows = store.events(query).await?;
    rows.retain(|earlier| earlier.id < row.id);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: EventKind, detail: serde_json::Value) -> Vec<AlertKind> {
        kinds(&Event::new(kind, "words").detail(detail), Before::default())
    }

    #[test]
    fn an_event_is_told_apart_by_its_data() {
        let ill = |ill| json!({"failure": "unhealthy", "failures": 3, "ill": ill});
        let ended = |exit| serde_json::to_value(Failure::Ended { exit }).unwrap();
        assert_eq!(of(EventKind::Health, ill(true)), [AlertKind::Unhealthy]);
        assert_eq!(of(EventKind::Health, ill(false)), []);
        assert_eq!(of(EventKind::Health, json!(null)), [], "it had not been ill");
        let ill_before = Before { restarted: false, ill: true };
        assert_eq!(kinds(&Event::new(EventKind::Health, "words"), ill_before), [AlertKind::Healthy]);
        let again = Event::new(EventKind::Health, "words").detail(ill(false));
        assert_eq!(kinds(&again, ill_before), [], "another failed check is no recovery");
        assert_eq!(of(EventKind::Exited, ended(Exit::Oom)), [AlertKind::Oom, AlertKind::Crashed]);
        assert_eq!(of(EventKind::Exited, ended(Exit::Code(3))), [AlertKind::Crashed]);
        assert_eq!(of(EventKind::Exited, ended(Exit::Code(0))), []);
        assert_eq!(of(EventKind::StartFailed, ended(Exit::Code(3))), [AlertKind::StartFailed]);
        let disk = |disk: &str, started: bool| json!({"disk": disk, "used": 9, "limit": 10, "mechanism": "soft", "started": started});
        for fill in ["near", "full"] {
            assert_eq!(of(EventKind::Disk, disk(fill, false)), [AlertKind::Disk]);
        }
        assert_eq!(of(EventKind::Disk, disk("room", false)), [AlertKind::DiskRoom]);
        assert_eq!(of(EventKind::Disk, disk("full", true)), [], "it was told when it became full");
        assert_eq!(of(EventKind::Woken, json!(null)), []);
        let failed = Event::new(EventKind::Failed, "words");
        assert_eq!(
            kinds(&failed, Before { restarted: true, ill: false }),
            [AlertKind::RestartLoop, AlertKind::Failed]
        );
        assert_eq!(kinds(&failed, Before::default()), [AlertKind::Failed]);
    }

    #[test]
    fn only_kinds_that_are_asked_for_can_be_alerts() {
        for kind in EventKind::ALL {
            let told = !kinds(&Event::new(*kind, ""), Before::default()).is_empty()
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
            found.push(before(&store, row).await.unwrap().restarted);
        }
        assert_eq!(found, [false, false, false, true, false, false]);
    }

    #[tokio::test]
    async fn who_is_healthy_after_it_was_ill_has_recovered_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let (a, b) = ("api:a".parse().unwrap(), "api:b".parse().unwrap());
        let failing = |ill| json!({"failure": "unhealthy", "failures": 1, "ill": ill});
        let well = || json!(null);
        // Who, what the checks say, whether that is a recovery.
        let story = [
            (&a, well(), false),
            (&a, failing(false), false),
            (&a, well(), false),
            (&a, failing(true), false),
            (&b, well(), false),
            (&a, failing(false), false),
            (&a, well(), true),
            (&a, failing(false), false),
            (&a, well(), false),
        ];
        for (name, detail, _) in &story {
            let event = Event::new(EventKind::Health, "words").detail(detail.clone());
            store.note(Some(name), event).await.unwrap();
        }
        let rows = store.events(EventQuery::default()).await.unwrap();
        assert_eq!(rows.len(), story.len());
        for (row, (name, detail, recovered)) in rows.iter().zip(&story) {
            let kinds = kinds(&row.event, before(&store, row).await.unwrap());
            assert_eq!(kinds.contains(&AlertKind::Healthy), *recovered, "{name} {detail}");
        }
    }
}
