//! One receiver: what it was told, what it is told next.
//!
//! ```text
//! read a page behind the cursor ──► for each event: not for it ──► passed
//!        ▲       │ empty                            for it ──► attempt ──► accepted, or given up
//!        └ event head moves                                      ▲  └► failed ──► wait ─┐
//!                                                                └──────────────────────┘
//! ```

use std::time::{Duration, SystemTime};

use insula_spec::config::{AlertKind, Webhook};
use insula_store::{AlertStep, EventQuery, EventRow, ReadError, Store};

use super::{Answer, Message, Origin, PostError, Poster, classify, pace};

/// Events read at once.
const PAGE: usize = 64;
/// Events that may pass before this is written down.
const UNWRITTEN: u64 = 1024;
/// Age at which an alert is of no use any more.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// One receiver, and how far it is.
#[derive(Debug)]
pub(super) struct Hook {
    webhook: Webhook,
    store: Store,
    origin: Origin,
}

/// What to do after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Delivered,
    GiveUp(String),
    Again { why: String, asked: Option<Duration> },
}

impl Hook {
    pub(super) fn new(webhook: Webhook, store: Store, origin: Origin) -> Self {
        Self { webhook, store, origin }
    }

    /// Tells the receiver everything, until the store is closed.
    pub(super) async fn run(self) {
        let name = self.webhook.name.as_str();
        match self.follow().await {
            Ok(()) => tracing::debug!(webhook = name, "no more alerts"),
            Err(error) => tracing::error!(webhook = name, %error, "no more alerts are sent"),
        }
    }

    async fn follow(&self) -> anyhow::Result<()> {
        let mut heads = self.store.follow();
        let mut cursor = self.store.alert_cursor(&self.webhook.name).await?;
        let mut written = cursor;
        loop {
            let head = heads.borrow_and_update().event;
            let page = self.page(cursor).await?;
            let whole = page.len() < PAGE;
            for row in page {
                if let Some(kind) = self.kind(&row).await? {
                    self.deliver(&row, kind).await;
                    written = row.id;
                }
                cursor = cursor.max(row.id);
            }
            if !whole {
                continue;
            }
            cursor = cursor.max(head);
            if cursor - written >= UNWRITTEN {
                self.note(cursor, AlertStep::Passed).await;
                written = cursor;
            }
            let newer = heads.wait_for(|heads| heads.event > cursor).await;
            if newer.is_err() {
                return Ok(());
            }
        }
    }

    async fn page(&self, cursor: u64) -> Result<Vec<EventRow>, ReadError> {
        let kinds = classify::KINDS.to_vec();
        let query = EventQuery { kinds, after: Some(cursor), limit: Some(PAGE), ..EventQuery::default() };
        self.store.events(query).await
    }

    /// What the receiver is to be told of this event, if anything.
    async fn kind(&self, row: &EventRow) -> Result<Option<AlertKind>, ReadError> {
        let services = &self.webhook.services;
        let ours =
            |row: &EventRow| row.instance.as_ref().is_some_and(|name| services.contains(&name.service));
        if !services.is_empty() && !ours(row) {
            return Ok(None);
        }
        let kinds = classify::kinds(&row.event, classify::before(&self.store, row).await?);
        Ok(kinds.into_iter().find(|kind| self.webhook.events.contains(kind)))
    }

    /// Sends it until it is settled.
    async fn deliver(&self, row: &EventRow, kind: AlertKind) {
        let message = Message::about(row, kind, &self.origin);
        let poster = Poster::new(&self.webhook);
        let mut failures = 0;
        loop {
            let (why, asked) = match after(poster.send(&message).await) {
                Next::Delivered => return self.note(row.id, AlertStep::Delivered).await,
                Next::GiveUp(why) => return self.give_up(row, why).await,
                Next::Again { why, asked } => (why, asked),
            };
            if row.event.time.elapsed().is_ok_and(|age| age > OLD) {
                return self.give_up(row, format!("a day old: {why}")).await;
            }
            failures += 1;
            let wait = pace::wait(failures, random(), asked);
            tracing::warn!(webhook = self.webhook.name, event = row.id, ?wait, why, "an alert was not taken");
            self.note(row.id, AlertStep::Failed(why)).await;
            tokio::time::sleep(wait).await;
        }
    }

    async fn give_up(&self, row: &EventRow, why: String) {
        tracing::error!(webhook = self.webhook.name, event = row.id, why, "an alert was given up");
        self.note(row.id, AlertStep::GivenUp(why)).await;
    }

    /// Writes down what became of it. When that fails, the next process may send it again.
    async fn note(&self, id: u64, step: AlertStep) {
        if let Err(error) = self.store.alert_step(&self.webhook.name, id, step).await {
            tracing::warn!(webhook = self.webhook.name, event = id, %error, "cannot record what became of an alert");
        }
    }
}

fn after(attempt: Result<Answer, PostError>) -> Next {
    match attempt {
        Ok(answer) if answer.status.is_success() => Next::Delivered,
        Ok(answer) if answer.passes() => Next::Again { why: said(&answer), asked: answer.retry_after },
        Ok(answer) => Next::GiveUp(said(&answer)),
        Err(error) => Next::Again { why: chain(&error), asked: None },
    }
}

fn said(answer: &Answer) -> String {
    let status = answer.status;
    match answer.excerpt.as_str() {
        "" => format!("it answered {status}"),
        text => format!("it answered {status}: {}", text.escape_debug()),
    }
}

/// An error with its causes.
fn chain(error: &PostError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    format!("{text}; {}", error.hint())
}

/// Not for secrets: without any, all waits are equally long.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if got.is_err() {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.subsec_nanos())
    } else {
        u32::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_given_up() {
        let asked = Some(Duration::from_secs(7));
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            after(Ok(Answer { status, retry_after: asked, excerpt: "no\u{1b}".to_owned() }))
        };
        assert_eq!(of(204), Next::Delivered);
        for status in [408, 429, 500, 502, 503] {
            assert!(matches!(of(status), Next::Again { asked: Some(_), .. }), "{status}");
        }
        for status in [301, 302, 400, 401, 404, 410] {
            let Next::GiveUp(why) = of(status) else { panic!("{status} is tried again") };
            assert!(why.contains(&status.to_string()) && !why.contains('\u{1b}'), "{why}");
        }
        let error = PostError::Slow("http://x/".to_owned());
        assert!(matches!(after(Err(error)), Next::Again { asked: None, .. }));
    }
}
