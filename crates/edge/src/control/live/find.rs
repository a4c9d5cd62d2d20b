//! Lines and events of many instances, done by the store.

use insula_api::{EventEntry, FoundEvents, FoundLogs, LogEntry, LogLine, Output};
use insula_store::{EventQuery, EventRow, FoundLine, LogFilter, Whose};

use super::Live;
use crate::control::error::ControlError;

impl Live {
    /// Refuses names that nobody knows, so that a typing error is not an empty answer.
    fn all_known(&self, whose: &[Whose]) -> Result<(), ControlError> {
        whose.iter().try_for_each(|one| match one {
            Whose::Instance(name) => self.known(name),
            Whose::Service(name) if self.config.services.contains_key(name) => Ok(()),
            Whose::Service(name) => Err(ControlError::NoService(name.clone())),
        })
    }

    pub(super) async fn lines(&self, filter: LogFilter) -> Result<FoundLogs, ControlError> {
        self.all_known(&filter.whose)?;
        let page = self.store.find_logs(filter).await?;
        Ok(FoundLogs {
            lines: page.lines.into_iter().map(entry).collect(),
            next: page.next.map(|cursor| cursor.0),
            head: page.head.0,
            incomplete: page.incomplete,
        })
    }

    pub(super) async fn happenings(&self, query: EventQuery) -> Result<FoundEvents, ControlError> {
        // Events outlive their instance, so any name may be asked for.
        let head = self.store.follow().borrow().event;
        let rows = self.store.events(query).await?;
        Ok(FoundEvents { events: rows.into_iter().map(happening).collect(), head })
    }
}

fn entry(found: FoundLine) -> LogEntry {
    let output = match found.output {
        insula_store::Output::Stdout => Output::Stdout,
        insula_store::Output::Stderr => Output::Stderr,
    };
    let line = LogLine::new(found.cursor.0, found.time.into(), output, found.bytes);
    LogEntry { instance: found.instance, line }
}

fn happening(row: EventRow) -> EventEntry {
    let event = row.event;
    EventEntry {
        id: row.id,
        time: event.time.into(),
        instance: row.instance,
        kind: event.kind.as_str().to_owned(),
        cause: event.cause,
        detail: event.detail,
        request: event.request,
    }
}
