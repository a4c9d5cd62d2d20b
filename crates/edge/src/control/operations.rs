//! What the control API can ask of the rooms below it.

use std::future::Future;
use std::time::Duration;

use insula_api::{
    Alerts, Detail, FoundEvents, FoundLogs, FoundRequests, Health, LogLine, RequestWhy, Summary, Usages, Why,
};
use insula_spec::config::MetricsAccess;
use insula_spec::{InstanceName, Tenant};
use insula_store::{EventQuery, LogFilter, RequestQuery};
use tokio::sync::watch;

use super::action::Action;
use super::error::ControlError;
use super::exec::Commands;
use super::net::Nets;
use super::versions::Versions;
use crate::public::RequestId;

/// Some captured lines and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Ask for the lines behind this one next.
    pub next: u64,
}

/// What the control API can ask.
pub trait Operations: Nets + Versions + Commands + Send + Sync + 'static {
    /// How the daemon is.
    fn health(&self) -> impl Future<Output = Result<Health, ControlError>> + Send;

    /// Every known instance, by name.
    fn list(&self) -> impl Future<Output = Result<Vec<Summary>, ControlError>> + Send;

    /// Everything about one instance.
    fn inspect(&self, name: &InstanceName) -> impl Future<Output = Result<Detail, ControlError>> + Send;

    /// What tenants use: all, those of one service, or one.
    fn usage(&self, of: Option<Tenant>) -> impl Future<Output = Result<Usages, ControlError>> + Send;

    /// Why it is as it is.
    fn why(&self, name: &InstanceName) -> impl Future<Output = Result<Why, ControlError>> + Send;

    /// What happened to a request.
    fn why_request(&self, id: RequestId) -> impl Future<Output = Result<RequestWhy, ControlError>> + Send;

    /// Requests worth remembering.
    fn requests(
        &self,
        query: RequestQuery,
    ) -> impl Future<Output = Result<FoundRequests, ControlError>> + Send;

    /// Who may ask over the network for what is counted.
    fn metrics_access(&self) -> MetricsAccess;

    /// Everything that is counted, in the text format of Prometheus.
    fn metrics(&self) -> impl Future<Output = Result<String, ControlError>> + Send;

    /// Does something to it, and waits for the outcome, at most for `timeout`.
    fn act(
        &self,
        name: &InstanceName,
        action: Action,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Summary, ControlError>> + Send;

    /// Captured lines: the last `tail` ones, or those behind `after`, or the oldest kept.
    fn logs(
        &self,
        name: &InstanceName,
        tail: Option<usize>,
        after: Option<u64>,
    ) -> impl Future<Output = Result<LogPage, ControlError>> + Send;

    /// Captured lines of any instances that fit.
    fn find_logs(&self, filter: LogFilter) -> impl Future<Output = Result<FoundLogs, ControlError>> + Send;

    /// Events that fit.
    fn find_events(
        &self,
        query: EventQuery,
    ) -> impl Future<Output = Result<FoundEvents, ControlError>> + Send;

    /// How far each receiver of alerts is.
    fn alerts(&self) -> impl Future<Output = Result<Alerts, ControlError>> + Send;

    /// Changes whenever new lines may be there.
    fn follow(&self) -> watch::Receiver<insula_store::Heads>;
}
