//! Rooms that answer what a test puts in them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use insula_api::{
    Cause, Counts, DeployRequest, Deployed, Detail, DiskUsage, Footprint, FoundEvents, FoundLogs,
    FoundRequests, Health, Known, LogEntry, LogLine, Observed, Output, RequestWhy, RouteRequest, Routes,
    Status, Summary, TenantUsage, Timestamp, Usage, Usages, Version, Wanted, WeightRequest, Why,
};
use insula_api::{Net, NetSource};
use insula_services::{DeployError, Lease};
use insula_spec::{InstanceId, InstanceName, Limits, NetPolicy, Network, ServiceName, Tenant};
use insula_store::{Cursor, EventQuery, Heads, LogFilter, Whose};
use tokio::sync::watch;

use crate::control::{Action, Commands, ControlError, LogPage, Nets, Operations, Versions};
use crate::public::RequestId;

/// Knows `notes:alice` and nobody else.
pub(super) struct Fake {
    lines: Mutex<Vec<LogLine>>,
    heads: watch::Sender<Heads>,
    acted: Mutex<Vec<(Action, Option<Duration>)>>,
    deployed: Mutex<Vec<DeployRequest>>,
    weights: Mutex<BTreeMap<InstanceId, u8>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let heads = watch::Sender::new(Heads::default());
        Self {
            lines: Mutex::default(),
            heads,
            acted: Mutex::default(),
            deployed: Mutex::default(),
            weights: Mutex::default(),
        }
    }

    /// Writes a line, as the store would.
    pub(super) fn write(&self, text: &str) {
        let mut lines = self.lines.lock().unwrap();
        let cursor = lines.len() as u64 + 1;
        let time = Timestamp::from_micros(cursor);
        lines.push(LogLine::new(cursor, time, Output::Stdout, text.as_bytes().to_vec()));
        self.heads.send_modify(|heads| heads.log = Cursor(cursor));
    }

    pub(super) fn deployed(&self) -> Vec<DeployRequest> {
        self.deployed.lock().unwrap().clone()
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
        disk_bytes: None,
        url: "http://alice.notes.localhost/".into(),
    }]
}

impl Nets for std::sync::Arc<Fake> {
    async fn net(&self, name: &InstanceName) -> Result<Net, ControlError> {
        let name = known(name)?.name;
        Ok(Net { name, rules: NetPolicy::public(), source: NetSource::Configuration, suggested: Vec::new() })
    }

    async fn set_net(&self, name: &InstanceName, rules: Option<NetPolicy>) -> Result<Net, ControlError> {
        let net = self.net(name).await?;
        Ok(Net { rules: rules.unwrap_or_default(), source: NetSource::Operator, ..net })
    }
}

impl Commands for std::sync::Arc<Fake> {
    fn may_run(&self, name: &InstanceName) -> Result<(), ControlError> {
        known(name).map(drop)
    }

    async fn enter(&self, name: &InstanceName) -> Result<Lease, ControlError> {
        Err(ControlError::Stopped { name: name.clone() })
    }
}

impl Versions for std::sync::Arc<Fake> {
    async fn deploy(&self, name: &InstanceName, request: DeployRequest) -> Result<Deployed, ControlError> {
        let status = known(name)?.status;
        self.deployed.lock().unwrap().push(request);
        let url = "http://alice.notes.localhost/".into();
        let (slept, forgotten, versions) = (vec![], vec![], vec![]);
        Ok(Deployed { name: name.clone(), tenant: true, status, url, versions, slept, forgotten })
    }

    async fn routes(&self, service: &ServiceName) -> Result<Routes, ControlError> {
        if service.as_str() != "api" {
            return Err(DeployError::Tenants(service.clone()).into());
        }
        let weights = self.weights.lock().unwrap();
        let version = |(id, weight): (&InstanceId, &u8)| Version {
            id: id.clone(),
            weight: *weight,
            share: f64::from(*weight),
            deployed: None,
            status: summaries().remove(0).status,
            url: format!("http://{id}.api.localhost/"),
        };
        let versions = weights.iter().map(version).collect();
        Ok(Routes { service: service.clone(), url: "http://api.localhost/".into(), versions })
    }

    async fn route(&self, service: &ServiceName, request: RouteRequest) -> Result<Routes, ControlError> {
        let weights = [(request.from, 0), (request.to, 100)];
        self.weights.lock().unwrap().extend(weights);
        self.routes(service).await
    }

    async fn weight(&self, service: &ServiceName, request: WeightRequest) -> Result<Routes, ControlError> {
        self.weights.lock().unwrap().extend(request.weights);
        self.routes(service).await
    }
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
            footprint: Footprint { shells: 2, shells_memory_bytes: Some(4096), ..Footprint::default() },
        })
    }

    async fn alerts(&self) -> Result<insula_api::Alerts, ControlError> {
        Ok(insula_api::Alerts { webhooks: vec![] })
    }

    async fn list(&self) -> Result<Vec<Summary>, ControlError> {
        Ok(summaries())
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Detail, ControlError> {
        Ok(Detail {
            summary: known(name)?,
            floor: None,
            command: vec!["app".into()],
            network: Network::Isolated,
            limits: Limits::default(),
            disk_bound: None,
            in_force: None,
            notes: vec!["`service.notes.cpu_weight`: 20000 is too much".into()],
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

    async fn usage(&self, of: Option<Tenant>) -> Result<Usages, ControlError> {
        let of = of.unwrap_or(Tenant::Service("notes".parse().unwrap()));
        let own = |summary: &Summary| of.covers(&summary.name);
        let tenant = |summary: Summary| TenantUsage {
            name: summary.name,
            disk: DiskUsage::default(),
            memory_bytes: None,
            cpu_micros: 0,
            restarts: 0,
            wakes: 1,
            requests: 0,
            open_requests: 0,
        };
        let tenants = summaries().into_iter().filter(own).map(tenant).collect();
        Ok(Usages { since: Timestamp::from_micros(0), tenants })
    }

    async fn why(&self, name: &InstanceName) -> Result<Why, ControlError> {
        let finding = Cause { code: "running".into(), cause: "x".into(), remediation: String::new() };
        let status = known(name)?.status;
        Ok(Why { name: name.clone(), status, finding, stderr: vec![], events: vec![], text: "x".into() })
    }

    async fn why_request(&self, id: RequestId) -> Result<RequestWhy, ControlError> {
        let finding = Cause { code: "aged_out".into(), cause: "x".into(), remediation: String::new() };
        let (id, known) = (id.to_string(), Known::AgedOut);
        let text = "x".into();
        Ok(RequestWhy { id, known, request: None, finding, stderr: vec![], events: vec![], text })
    }

    async fn requests(&self, _: insula_store::RequestQuery) -> Result<FoundRequests, ControlError> {
        Ok(FoundRequests { requests: vec![] })
    }

    fn metrics_access(&self) -> insula_spec::config::MetricsAccess {
        insula_spec::config::MetricsAccess::Token
    }

    async fn metrics(&self) -> Result<String, ControlError> {
        Ok("insula_build_info{version=\"0\"} 1\n".into())
    }

    async fn act(
        &self,
        name: &InstanceName,
        action: Action,
        timeout: Option<Duration>,
    ) -> Result<Summary, ControlError> {
        if name.id.as_str() == "slow" {
            std::future::pending::<()>().await;
        }
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

    async fn find_logs(&self, filter: LogFilter) -> Result<FoundLogs, ControlError> {
        if let Some(Whose::Instance(name)) = filter.whose.first() {
            known(name)?;
        }
        let lines = self.lines.lock().unwrap();
        let head = lines.len() as u64;
        let word = filter.search.map(|search| format!("{search:?}"));
        let fits = |l: &&LogLine| {
            filter.after.is_none_or(|after| l.cursor > after.0)
                && word.as_ref().is_none_or(|word| word.contains(&format!("{:?}", l.text)))
        };
        let instance: InstanceName = "notes:alice".parse().unwrap();
        let entry = |line: &LogLine| LogEntry { instance: instance.clone(), line: line.clone() };
        let lines = lines.iter().filter(fits).map(entry).collect();
        Ok(FoundLogs { lines, next: None, head, incomplete: false })
    }

    async fn find_events(&self, _: EventQuery) -> Result<FoundEvents, ControlError> {
        Ok(FoundEvents { events: vec![], head: 0 })
    }

    fn follow(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }
}
