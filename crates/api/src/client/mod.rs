//! The typed client.
//!
//! Each request opens its own connection: a connection that nobody keeps cannot go stale.

mod access;
mod alerts;
mod connection;
mod deploy;
mod error;
mod exec;
mod find;
mod follow;
mod lines;
mod logs;
mod net;
mod target;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use insula_spec::InstanceName;
use serde::de::DeserializeOwned;

pub use error::ClientError;
pub use exec::{ExecEvent, ExecInput, ExecOutput};
pub use follow::Followed;
pub use logs::LogStream;
pub use target::InvalidServer;
use target::Target;

use crate::tls::Trust;

use crate::{
    ActionRequest, Bearer, Detail, Health, HealthAnswer, Instances, LogsQuery, PREFIX, RequestWhy, Summary,
    Why,
};

/// Speaks to one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
}

impl Client {
    /// A client of the daemon behind this Unix socket. Connects only when asked something.
    #[must_use]
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self { target: Target::Unix(socket.into()) }
    }

    /// A client of the daemon at this URL (`http://host:port`, `https://host:port`), as the holder of a token. Connects only when
    /// asked something.
    ///
    /// # Errors
    /// When the URL is not that of a server.
    pub fn http(server: &str, bearer: Option<Bearer>) -> Result<Self, InvalidServer> {
        Ok(Self { target: Target::http(server, bearer)? })
    }

    /// Whose certificates it believes, at a URL of `https`. Without this those of the host's roots.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.target.trusting(trust);
        self
    }

    /// Whether a token would leave this host, which nothing hides on its way.
    #[must_use]
    pub fn exposes_token(&self) -> bool {
        self.target.bearer().is_some() && self.target.is_exposed()
    }

    /// How much of the daemon's health this client may know.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn daemon(&self) -> Result<HealthAnswer, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/health"), String::new()).await
    }

    /// How the daemon is; only an admin is told.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or this client is no admin.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/health"), String::new()).await
    }

    /// Every known instance.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn instances(&self) -> Result<Instances, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/instances"), String::new()).await
    }

    /// Everything about one instance.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or there is no such instance.
    pub async fn inspect(&self, name: &InstanceName) -> Result<Detail, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/instances/{name}"), String::new()).await
    }

    /// Why an instance is as it is.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or there is no such instance.
    pub async fn why(&self, name: &InstanceName) -> Result<Why, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/instances/{name}/why"), String::new()).await
    }

    /// What happened to a request, by its id.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the id is none.
    pub async fn why_request(&self, id: &str) -> Result<RequestWhy, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/requests/{id}/why"), String::new()).await
    }

    /// The metrics of the daemon, in the text format of Prometheus.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let answer = connection::send(&self.target, Method::GET, "/metrics", String::new()).await?;
        let bytes = connection::collect(answer).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Starts an instance, and waits until it accepts connections. One that nobody knew becomes known.
    ///
    /// # Errors
    /// When it could not be started, or not within `timeout`.
    pub async fn spawn(
        &self,
        name: &InstanceName,
        timeout: Option<Duration>,
    ) -> Result<Summary, ClientError> {
        self.act(name, "spawn", timeout).await
    }

    /// Stops an instance, and waits until it is gone. Requests do not wake it afterwards.
    ///
    /// # Errors
    /// When it could not be stopped, or not within `timeout`.
    pub async fn stop(&self, name: &InstanceName, timeout: Option<Duration>) -> Result<Summary, ClientError> {
        self.act(name, "stop", timeout).await
    }

    /// Stops an instance and starts it again, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it could not be restarted, or not within `timeout`.
    pub async fn restart(
        &self,
        name: &InstanceName,
        timeout: Option<Duration>,
    ) -> Result<Summary, ClientError> {
        self.act(name, "restart", timeout).await
    }

    /// The captured output of an instance.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or there is no such instance.
    pub async fn logs(&self, name: &InstanceName, query: LogsQuery) -> Result<LogStream, ClientError> {
        LogStream::open(self.clone(), name.clone(), query).await
    }

    async fn act(
        &self,
        name: &InstanceName,
        verb: &str,
        timeout: Option<Duration>,
    ) -> Result<Summary, ClientError> {
        let timeout_ms = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let body = serde_json::to_string(&ActionRequest { timeout_ms }).map_err(ClientError::Decode)?;
        self.ask(Method::POST, format!("{PREFIX}/instances/{name}/{verb}"), body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: String,
    ) -> Result<T, ClientError> {
        let answer = connection::send(&self.target, method, &path, body).await?;
        let bytes = connection::collect(answer).await?;
        serde_json::from_slice(&bytes).map_err(ClientError::Decode)
    }
}

#[cfg(test)]
mod tests;
