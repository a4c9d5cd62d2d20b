//! Gathers what is known of one request.

use std::time::{Duration, SystemTime};

use insula_api::{FoundRequests, Known, RequestEntry, RequestWhy};
use insula_spec::InstanceName;
use insula_store::{EventRow, RequestQuery, RequestRecord};

use super::{ControlError, EVENTS, Live};
use crate::control::why::{self, RequestCase, Source};
use crate::public::{Origin, RequestId};

/// How long before a request something may have happened that still has to do with it.
const BEFORE: Duration = Duration::from_secs(60);
/// How long after it the end of a workload may become known.
const AFTER: Duration = Duration::from_secs(2);

impl Live {
    pub(super) async fn explain_request(&self, id: RequestId) -> Result<RequestWhy, ControlError> {
        let text = id.to_string();
        // The record is whole; in the ring, paths are cut.
        let source = match self.store.request(&text).await? {
            Some(record) => Source::Found(Known::Recorded, record),
            None => self.unrecorded(id),
        };
        let mut case = RequestCase {
            id: text,
            source,
            spec: None,
            slow: self.config.observability.slow_request,
            events: Vec::new(),
            stderr: Vec::new(),
        };
        if let Source::Found(_, record) = &case.source
            && let Some(name) = record.instance.clone()
        {
            case.spec = self.config.services.get(&name.service);
            (case.events, case.stderr) = self.around(&name, record).await?;
        }
        Ok(why::explain_request(case))
    }

    /// Those in the store, newest first.
    pub(super) async fn remembered(&self, query: RequestQuery) -> Result<FoundRequests, ControlError> {
        let records = self.store.requests(query).await?;
        let entry = |record: RequestRecord| {
            let (id, skipped) = (record.id.clone(), record.skipped);
            RequestEntry { id, request: why::request(record), skipped }
        };
        Ok(FoundRequests { requests: records.into_iter().map(entry).collect() })
    }

    fn unrecorded(&self, id: RequestId) -> Source {
        if let Some(record) = self.observe.find(id) {
            return Source::Found(Known::Held, record);
        }
        match self.observe.origin(id) {
            Origin::Ours => Source::AgedOut(self.observe.held()),
            Origin::Earlier(epoch) => {
                Source::Earlier { epoch, ours: self.place.epoch, since: self.place.since }
            }
            Origin::Foreign => Source::Never,
        }
    }

    /// What happened to the instance around a request, newest first, and what it wrote before that was over.
    async fn around(
        &self,
        name: &InstanceName,
        record: &RequestRecord,
    ) -> Result<(Vec<EventRow>, Vec<String>), ControlError> {
        let spec = self.config.services.get(&name.service);
        let slack = match record.error.as_deref() {
            // The start goes on, and may end in a failure that explains it.
            Some("wake_timed_out") => spec.map_or(AFTER, |spec| spec.startup_timeout + AFTER),
            _ => AFTER,
        };
        let (first, last) = (record.time.checked_sub(BEFORE), record.time + record.total + slack);
        let near = |time: SystemTime| time <= last && first.is_none_or(|first| time >= first);
        let mut events = self.services.history(name, EVENTS).await?;
        events.retain(|row| row.event.time <= last);
        // An instance that had failed before refuses at once; then its last failure is older.
        let recent = events.iter().take_while(|row| near(row.event.time)).count();
        let keep = if record.error.as_deref() == Some("failed") { events.len().min(12) } else { recent };
        events.truncate(keep.max(recent));
        let lines = self.stderr(name).await?;
        let lines = lines.into_iter().filter(|(time, _)| near(*time) || recent == 0).map(|(_, line)| line);
        Ok((events, lines.collect()))
    }
}
