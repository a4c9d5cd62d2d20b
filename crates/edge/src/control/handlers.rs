//! One handler for each path. They parse, ask, and wrap the answer; failures go to [`super::respond`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use insula_api::{ActionRequest, Detail, Health, Instances, LogsQuery, Summary, Why};
use insula_spec::InstanceName;
use tokio_util::sync::CancellationToken;

use super::action::Action;
use super::error::ControlError;
use super::logs;
use super::operations::Operations;

/// Longest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;

/// What handlers share.
#[derive(Debug)]
pub(super) struct Shared<O> {
    pub(super) operations: O,
    /// Ends streams that would go on for ever.
    pub(super) stop: CancellationToken,
}

type App<O> = State<Arc<Shared<O>>>;
type Answer<T> = Result<Json<T>, ControlError>;

pub(super) fn router<O: Operations>(shared: Arc<Shared<O>>) -> Router {
    let at = |path: &str| format!("{}{path}", insula_api::PREFIX);
    Router::new()
        .route(&at("/health"), get(health::<O>))
        .route(&at("/instances"), get(list::<O>))
        .route(&at("/instances/{name}"), get(inspect::<O>))
        .route(&at("/instances/{name}/why"), get(why::<O>))
        .route(&at("/instances/{name}/logs"), get(logs::<O>))
        .route(&at("/instances/{name}/spawn"), post(spawn::<O>))
        .route(&at("/instances/{name}/stop"), post(stop::<O>))
        .route(&at("/instances/{name}/restart"), post(restart::<O>))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

async fn no_route(uri: Uri) -> ControlError {
    ControlError::NoRoute { path: uri.path().to_owned() }
}

async fn wrong_method(method: Method, uri: Uri) -> ControlError {
    ControlError::Method { method: method.to_string(), path: uri.path().to_owned() }
}

async fn health<O: Operations>(State(app): App<O>) -> Answer<Health> {
    app.operations.health().await.map(Json)
}

async fn list<O: Operations>(State(app): App<O>) -> Answer<Instances> {
    app.operations.list().await.map(|instances| Json(Instances { instances }))
}

async fn inspect<O: Operations>(State(app): App<O>, Path(name): Path<String>) -> Answer<Detail> {
    app.operations.inspect(&parse(&name)?).await.map(Json)
}

async fn why<O: Operations>(State(app): App<O>, Path(name): Path<String>) -> Answer<Why> {
    app.operations.why(&parse(&name)?).await.map(Json)
}

async fn spawn<O: Operations>(State(app): App<O>, Path(name): Path<String>, body: Bytes) -> Answer<Summary> {
    act(&app, &name, Action::Spawn, &body).await
}

async fn stop<O: Operations>(State(app): App<O>, Path(name): Path<String>, body: Bytes) -> Answer<Summary> {
    act(&app, &name, Action::Stop, &body).await
}

async fn restart<O: Operations>(
    State(app): App<O>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<Summary> {
    act(&app, &name, Action::Restart, &body).await
}

async fn act<O: Operations>(app: &Shared<O>, name: &str, action: Action, body: &Bytes) -> Answer<Summary> {
    let request = if body.is_empty() {
        ActionRequest::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|e| ControlError::Malformed { part: "body", why: e.to_string() })?
    };
    let timeout = request.timeout_ms.map(Duration::from_millis);
    app.operations.act(&parse(name)?, action, timeout).await.map(Json)
}

async fn logs<O: Operations>(
    State(app): App<O>,
    Path(name): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, ControlError> {
    let malformed = |why: String| ControlError::Malformed { part: "query", why };
    let Query(query) = query.map_err(|e| malformed(e.body_text()))?;
    if query.tail.is_some() && query.after.is_some() {
        return Err(malformed("`tail` and `after` exclude each other".to_owned()));
    }
    let stream = logs::stream(Arc::clone(&app), parse(&name)?, query).await?;
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], stream).into_response())
}

fn parse(name: &str) -> Result<InstanceName, ControlError> {
    name.parse().map_err(ControlError::Name)
}
