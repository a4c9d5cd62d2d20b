//! Deploys, routes and weights: one handler for each path, and what they ask for.

mod live;

use std::future::Future;

use axum::Json;
use axum::extract::State;
use insula_api::{DeployRequest, Deployed, RouteRequest, Routes, WeightRequest};
use insula_spec::{InstanceName, ServiceName};

use super::error::ControlError;
use super::extract::{Given, Named, Text};
use super::handlers::{Answer, App};
use super::operations::Operations;

/// What the control API can ask about versions.
pub trait Versions: Send + Sync + 'static {
    /// Brings an instance up, waits until it is healthy, and gives it its share.
    fn deploy(
        &self,
        name: &InstanceName,
        request: DeployRequest,
    ) -> impl Future<Output = Result<Deployed, ControlError>> + Send;

    /// The versions of a service.
    fn routes(&self, service: &ServiceName) -> impl Future<Output = Result<Routes, ControlError>> + Send;

    /// Gives all of one version's weight to another one.
    fn route(
        &self,
        service: &ServiceName,
        request: RouteRequest,
    ) -> impl Future<Output = Result<Routes, ControlError>> + Send;

    /// Sets weights.
    fn weight(
        &self,
        service: &ServiceName,
        request: WeightRequest,
    ) -> impl Future<Output = Result<Routes, ControlError>> + Send;
}

pub(super) async fn deploy<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Given(request): Given<DeployRequest>,
) -> Answer<Deployed> {
    app.operations.deploy(&name, request.unwrap_or_default()).await.map(Json)
}

pub(super) async fn routes<O: Operations>(State(app): App<O>, Text(service): Text) -> Answer<Routes> {
    app.operations.routes(&service.parse()?).await.map(Json)
}

pub(super) async fn route<O: Operations>(
    State(app): App<O>,
    Text(service): Text,
    Given(request): Given<RouteRequest>,
) -> Answer<Routes> {
    app.operations.route(&service.parse()?, needed(request)?).await.map(Json)
}

pub(super) async fn weight<O: Operations>(
    State(app): App<O>,
    Text(service): Text,
    Given(request): Given<WeightRequest>,
) -> Answer<Routes> {
    app.operations.weight(&service.parse()?, needed(request)?).await.map(Json)
}

fn needed<T>(request: Option<T>) -> Result<T, ControlError> {
    request.ok_or_else(|| ControlError::Malformed { part: "body", why: "there is none".to_owned() })
}
