//! Handlers of tokens and of the audit log.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use insula_api::{Audit, AuditQuery, TokenInfo, TokenRequest, Tokens};

use super::error::ControlError;
use super::extract::{Asked, Given, Text};
use super::handlers::{Answer, App};
use super::operations::Operations;
use super::trail;

pub(super) async fn tokens<O: Operations>(State(app): App<O>) -> Answer<Tokens> {
    app.keys.list().await.map(|tokens| Json(Tokens { tokens }))
}

pub(super) async fn create<O: Operations>(
    State(app): App<O>,
    Given(request): Given<TokenRequest>,
) -> Result<Response, ControlError> {
    let missing =
        || ControlError::Malformed { part: "body", why: "there is none; `name` is needed".to_owned() };
    let made = app.keys.create(request.ok_or_else(missing)?).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

pub(super) async fn revoke<O: Operations>(State(app): App<O>, Text(id): Text) -> Answer<TokenInfo> {
    app.keys.revoke(&id).await.map(Json)
}

pub(super) async fn audit<O: Operations>(
    State(app): App<O>,
    Asked(query): Asked<AuditQuery>,
) -> Answer<Audit> {
    trail::read(&app.keys.store, query).await.map(Json)
}
