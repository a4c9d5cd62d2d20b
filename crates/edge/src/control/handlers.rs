//! One handler for each path. They parse, ask, and wrap the answer; failures go to [`super::respond`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::{HeaderValue, Method, Uri, header};
use insula_api::{
    ActionRequest, Alerts, Detail, HealthAnswer, Instances, LogsQuery, RequestWhy, Summary, Why,
};
use insula_spec::InstanceName;
use insula_spec::config::MetricsAccess;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::access;
use super::action::Action;
use super::caller::Caller;
use super::error::ControlError;
use super::exec::{self, Sessions};
use super::extract::{Asked, Given, Named, Text};
use super::find;
use super::guard::{guard, outer};
use super::keys::Keys;
use super::logs;
use super::net;
use super::openapi;
use super::operations::Operations;
use super::redact::ForTenant;
use super::routes::Routes;
use super::usage;
use super::versions;

/// Longest body of a request, in bytes.
pub(super) const BODY_MAX: usize = 64 << 10;

/// What handlers share.
#[derive(Debug)]
pub(super) struct Shared<O> {
    pub(super) operations: Arc<O>,
    pub(super) keys: Arc<Keys>,
    /// Ends streams that would go on for ever.
    pub(super) stop: CancellationToken,
    /// Commands that run.
    pub(super) sessions: Sessions,
}

pub(super) type App<O> = State<Arc<Shared<O>>>;
pub(super) type Answer<T> = Result<Json<T>, ControlError>;

/// Every route. Each is described in [`endpoints`](super::endpoints); the guard lets only admins use one that
/// is not.
pub(super) fn routes<O: Operations>() -> Routes<Arc<Shared<O>>> {
    let at = |path: &str| format!("{}{path}", insula_api::PREFIX);
    Routes::new()
        .route(&at("/health"), get(health::<O>))
        .route(&at("/instances"), get(list::<O>))
        .route(&at("/usage"), get(usage::usage::<O>))
        .route(&at("/instances/{name}"), get(inspect::<O>))
        .route(&at("/instances/{name}/why"), get(why::<O>))
        .route(&at("/instances/{name}/logs"), get(logs::<O>))
        .route(&at("/instances/{name}/spawn"), post(spawn::<O>))
        .route(&at("/instances/{name}/stop"), post(stop::<O>))
        .route(&at("/instances/{name}/restart"), post(restart::<O>))
        .route(&at("/instances/{name}/exec"), post(exec::exec::<O>))
        .route(&at("/instances/{name}/net"), get(net::show::<O>).post(net::set::<O>))
        .route(&at("/instances/{name}/deploy"), post(versions::deploy::<O>))
        .route(&at("/services/{service}/route"), get(versions::routes::<O>).post(versions::route::<O>))
        .route(&at("/services/{service}/weight"), post(versions::weight::<O>))
        .route(&at("/tokens"), get(access::tokens::<O>).post(access::create::<O>))
        .route(&at("/tokens/{id}"), delete(access::revoke::<O>))
        .route(&at("/audit"), get(access::audit::<O>))
        .route(&at("/alerts"), get(alerts::<O>))
        .route(&at("/logs"), get(find::logs::<O>))
        .route(&at("/events"), get(find::events::<O>))
        .route(&at("/requests"), get(find::requests::<O>))
        .route(&at("/requests/{id}/why"), get(why_request::<O>))
        .route("/metrics", get(metrics::<O>))
        .route("/openapi.json", get(description))
}

pub(super) fn router<O: Operations>(shared: Arc<Shared<O>>) -> Router {
    let (router, _) = routes().into_parts();
    let keys = Arc::clone(&shared.keys);
    router
        .route_layer(from_fn_with_state(Arc::clone(&keys), guard))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(keys, outer))
        .with_state(shared)
}

async fn no_route(uri: Uri) -> ControlError {
    ControlError::NoRoute { path: uri.path().to_owned() }
}

async fn wrong_method(method: Method, uri: Uri) -> ControlError {
    ControlError::Method { method: method.to_string(), path: uri.path().to_owned() }
}

async fn description() -> Json<Value> {
    Json(openapi::document())
}

async fn health<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
) -> Answer<HealthAnswer> {
    let health = app.operations.health().await?;
    Ok(Json(if caller.is_admin() { HealthAnswer::Full(health) } else { HealthAnswer::Alive(health.into()) }))
}

async fn list<O: Operations>(State(app): App<O>) -> Answer<Instances> {
    app.operations.list().await.map(|instances| Json(Instances { instances }))
}

async fn inspect<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Answer<Detail> {
    app.operations.inspect(&name).await.map(|detail| Json(detail.seen_by(&caller)))
}

async fn why<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Answer<Why> {
    app.operations.why(&name).await.map(|why| Json(why.seen_by(&caller)))
}

async fn why_request<O: Operations>(State(app): App<O>, Text(id): Text) -> Answer<RequestWhy> {
    app.operations.why_request(id.parse().map_err(ControlError::RequestId)?).await.map(Json)
}

/// Prometheus asks here; the version is that of the text format.
async fn metrics<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ControlError> {
    match (&caller, app.operations.metrics_access()) {
        (Caller::Unix { .. }, _) | (_, MetricsAccess::Public) => {}
        (_, MetricsAccess::Off) => return Err(ControlError::NoRoute { path: "/metrics".to_owned() }),
        (Caller::Nobody, MetricsAccess::Token) => return Err(ControlError::NoToken),
        (caller, MetricsAccess::Token) if caller.is_admin() => {}
        (_, MetricsAccess::Token) => return Err(ControlError::OutOfScope),
    }
    let page = app.operations.metrics().await?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

async fn alerts<O: Operations>(State(app): App<O>) -> Answer<Alerts> {
    app.operations.alerts().await.map(Json)
}

async fn spawn<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Given(request): Given<ActionRequest>,
) -> Answer<Summary> {
    act(&app, &name, Action::Spawn, request).await.map(Json)
}

async fn stop<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Given(request): Given<ActionRequest>,
) -> Answer<Summary> {
    act(&app, &name, Action::Stop, request).await.map(Json)
}

async fn restart<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    Given(request): Given<ActionRequest>,
) -> Answer<Summary> {
    act(&app, &name, Action::Restart, request).await.map(|summary| Json(summary.seen_by(&caller)))
}

async fn act<O: Operations>(
    app: &Shared<O>,
    name: &InstanceName,
    action: Action,
    request: Option<ActionRequest>,
) -> Result<Summary, ControlError> {
    let timeout = request.unwrap_or_default().timeout_ms.map(Duration::from_millis);
    app.operations.act(name, action, timeout).await
}

async fn logs<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Asked(query): Asked<LogsQuery>,
) -> Result<Response, ControlError> {
    if query.tail.is_some() && query.after.is_some() {
        let why = "`tail` and `after` exclude each other".to_owned();
        return Err(ControlError::Malformed { part: "query", why });
    }
    let stream = logs::stream(Arc::clone(&app), name, query).await?;
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], stream).into_response())
}
