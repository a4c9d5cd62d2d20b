//! Deploys and weights.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use insula_spec::{InstanceId, InstanceName, ServiceName};
use serde::Serialize;

use super::{Client, ClientError};
use crate::{DeployRequest, Deployed, PREFIX, RouteRequest, Routes, WeightRequest};

impl Client {
    /// Brings an instance up, waits until it is healthy, and gives it its share of the requests.
    ///
    /// # Errors
    /// When it did not become healthy, or what was asked for cannot be; the weights are as before then.
    pub async fn deploy(
        &self,
        name: &InstanceName,
        request: &DeployRequest,
    ) -> Result<Deployed, ClientError> {
        self.ask(Method::POST, format!("{PREFIX}/instances/{name}/deploy"), json(request)?).await
    }

    /// The versions of a service.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the service has none.
    pub async fn routes(&self, service: &ServiceName) -> Result<Routes, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/services/{service}/route"), String::new()).await
    }

    /// Gives all of one version's weight to another one, once that is healthy.
    ///
    /// # Errors
    /// When it did not become healthy, or one of them is not known; the weights are as before then.
    pub async fn route(
        &self,
        service: &ServiceName,
        (from, to): (InstanceId, InstanceId),
        timeout: Option<Duration>,
    ) -> Result<Routes, ClientError> {
        let timeout_ms = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let body = json(&RouteRequest { from, to, timeout_ms })?;
        self.ask(Method::POST, format!("{PREFIX}/services/{service}/route"), body).await
    }

    /// Sets weights, all at once.
    ///
    /// # Errors
    /// When a version is not known, or nobody would have a weight.
    pub async fn weight(
        &self,
        service: &ServiceName,
        weights: BTreeMap<InstanceId, u8>,
    ) -> Result<Routes, ClientError> {
        let body = json(&WeightRequest { weights })?;
        self.ask(Method::POST, format!("{PREFIX}/services/{service}/weight"), body).await
    }
}

fn json<T: Serialize>(request: &T) -> Result<String, ClientError> {
    serde_json::to_string(request).map_err(ClientError::Decode)
}
