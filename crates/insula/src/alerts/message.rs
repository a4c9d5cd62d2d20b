//! What is sent.

use std::time::SystemTime;

use insula_api::Timestamp;
use insula_services::Failure;
use insula_spec::config::AlertKind;
use insula_store::EventRow;
use serde::Serialize;

use crate::home::Home;

/// Who sends alerts.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The name of the home, which no other has.
    home: String,
    /// The name of the host (`uname(2)`).
    node: String,
}

impl Origin {
    /// This host and this home.
    pub(crate) fn of(home: &Home) -> anyhow::Result<Self> {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { home: home.id()?, node })
    }

    /// The same for a home that need not exist yet; nothing is made for it.
    pub(crate) fn perhaps(home: &Home) -> anyhow::Result<Self> {
        if home.path().is_dir() {
            return Self::of(home);
        }
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { home: "no-home".to_owned(), node })
    }
}

/// The body of an alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Message {
    /// The same for every attempt to deliver this alert, and for no other alert.
    pub(crate) id: String,
    /// When it happened.
    time: Timestamp,
    /// What it is about; `test` for a test.
    pub(crate) kind: String,
    /// The service, if it is about one.
    service: Option<String>,
    /// The instance, if it is about one.
    instance: Option<String>,
    /// What happened, in words.
    cause: String,
    /// What to do about it.
    remediation: String,
    /// What happened, for programs.
    detail: serde_json::Value,
    /// The host.
    node: String,
}

impl Message {
    /// An alert about an event.
    pub(super) fn about(row: &EventRow, kind: AlertKind, origin: &Origin) -> Self {
        let name = row.instance.as_ref();
        let own = Failure::of(&row.event).and_then(|failure| failure.hint().map(str::to_owned));
        Self {
            id: format!("{}-{}", origin.home, row.id),
            time: row.event.time.into(),
            kind: kind.to_string(),
            service: name.map(|name| name.service.to_string()),
            instance: name.map(ToString::to_string),
            cause: row.event.cause.clone(),
            remediation: own.unwrap_or_else(|| remediation(kind, name.map(ToString::to_string).as_deref())),
            detail: row.event.detail.clone(),
            node: origin.node.clone(),
        }
    }

    /// An alert about nothing.
    pub(crate) fn test(origin: &Origin, number: u64) -> Self {
        Self {
            id: format!("{}-test-{number:016x}", origin.home),
            time: SystemTime::now().into(),
            kind: "test".to_owned(),
            service: None,
            instance: None,
            cause: "a test, asked by the operator".to_owned(),
            remediation: "nothing needs doing".to_owned(),
            detail: serde_json::Value::Null,
            node: origin.node.clone(),
        }
    }
}

/// What to do, where the event itself does not say.
fn remediation(kind: AlertKind, name: Option<&str>) -> String {
    let name = name.unwrap_or("SERVICE:ID");
    match kind {
        AlertKind::Oom => format!("raise `memory` of the service, or run `insula logs {name}`"),
        AlertKind::LogGap => format!("let `{name}` write less, or see `insula events {name}`"),
        AlertKind::DeployFailed => format!("what was before still answers; run `insula why {name}`"),
        AlertKind::WorkerStarted => "if nobody restarted it, read what the daemon said before".to_owned(),
        AlertKind::Unhealthy
        | AlertKind::Failed
        | AlertKind::RestartLoop
        | AlertKind::Crashed
        | AlertKind::StartFailed
        | AlertKind::Lost => format!("run `insula why {name}`"),
        AlertKind::Healthy => format!("nothing needs doing; `insula why {name}` tells what had happened"),
        AlertKind::DiskRoom => "nothing needs doing".to_owned(),
        AlertKind::Disk => format!("run `insula usage {name}`; remove data, or raise `disk_limit`"),
    }
}
