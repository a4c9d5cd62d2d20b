//! Rooms that answer what a test puts in them.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use insula_api::{
    Cause, Counts, Detail, Footprint, Health, LogLine, Observed, Output, Status, Summary, Timestamp, Usage,
    Wanted, Why,
};
use insula_spec::{InstanceName, Limits, Network};
use insula_store::{Cursor, Heads};
use tokio::sync::watch;

use crate::control::{Action, ControlError, LogPage, Operations};

/// Knows `notes:alice` and nobody else.
pub(super) struct Fake {
    lines: Mutex<Vec<LogLine>>,
    heads: watch::Sender<Heads>,
    acted: Mutex<Vec<(Action, Option<Duration>)>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let heads = watch::Sender::new(Heads::default());
        Self { lines: Mutex::default(), heads, acted: Mutex::default() }
    }

    /// Writes a line, as the store would.
    pub(super) fn write(&self, text: &str) {
        let mut lines = self.lines.lock().unwrap();
        let cursor = lines.len() as u64 + 1;
        let time = Timestamp::from_micros(cursor);
        lines.push(LogLine::new(cursor, time, Output::Stdout, text.as_bytes().to_vec()));
        self.heads.send_modify(|heads| heads.log = Cursor(cursor));
    }

    pub(super) fn acted(&self) -> Vec<(Action, Option<Duration>)> {
        self.acted.lock().unwrap().clone()
    }
}

fn known(name: &InstanceName) -> Result<Summary, ControlError> {
    let all = summaries();
    let found = all.into_iter().find(|i| i.name == *name);
    found.ok_or_else(|| ControlError::UnknownInstance(name.clone()))
}

fn summaries() -> Vec<Summary> {
    let status = Status {
        observed: Observed::Running,
        wanted: Wanted::Up,
        since: Timestamp::from_micros(5),
        why: "a request came".into(),
        health: None,
    };
    vec![Summary {
        name: "notes:alice".parse().unwrap(),
        status,
        level: None,
        app_pid: Some(1),
        restarts: 0,
        wakes: 1,
        usage: Usage::default(),
        url: "http://alice.notes.localhost/".into(),
    }]
}

impl Operations for std::sync::Arc<Fake> {
    async fn health(&self) -> Result<Health, ControlError> {
        Ok(Health {
            version: "0".into(),
            pid: 1,
            epoch: 1,
            since: Timestamp::from_micros(0),
            url: "http://localhost/".into(),
            config: "/insula.toml".into(),
            instances: Counts { up: 1, ..Counts::default() },
            footprint: Footprint { shells: 2, shells_memory_bytes: Some(4096), daemon_memory_bytes: None },
        })
    }

    async fn list(&self) -> Result<Vec<Summary>, ControlError> {
        Ok(summaries())
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Detail, ControlError> {
        Ok(Detail {
            summary: known(name)?,
            command: vec!["app".into()],
            network: Network::Isolated,
            limits: Limits::default(),
            workdir: Some(PathBuf::from("/w")),
            data_dir: Some(PathBuf::from("/d")),
            mounts: vec![],
            ids: None,
            placement: None,
            processes: None,
            cgroups: vec![],
            idle_timeout_ms: None,
        })
    }

    async fn why(&self, name: &InstanceName) -> Result<Why, ControlError> {
        let finding = Cause { code: "running".into(), cause: "x".into(), remediation: String::new() };
        let status = known(name)?.status;
        Ok(Why { name: name.clone(), status, finding, stderr: vec![], events: vec![], text: "x".into() })
    }

    async fn act(
        &self,
        name: &InstanceName,
        action: Action,
        timeout: Option<Duration>,
    ) -> Result<Summary, ControlError> {
        self.acted.lock().unwrap().push((action, timeout));
        known(name)
    }

    async fn logs(
        &self,
        name: &InstanceName,
        tail: Option<usize>,
        after: Option<u64>,
    ) -> Result<LogPage, ControlError> {
        known(name)?;
        let lines = self.lines.lock().unwrap();
        let next = lines.len() as u64;
        let behind = lines.iter().filter(|l| after.is_none_or(|a| l.cursor > a)).cloned();
        let skip = tail.map_or(0, |n| lines.len().saturating_sub(n));
        Ok(LogPage { lines: behind.skip(skip).collect(), next })
    }

    fn follow(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }
}
