//! The one table from errors of the control API to HTTP.

use std::io;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use insula_api::{PROBLEM_JSON, Problem};
use insula_services::{ControlError as ServicesError, DeployError, ExecError};
use insula_store::TokenError;

use super::error::ControlError;

/// The stable word of a problem, beside the response it became.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code(pub(super) &'static str);

impl ControlError {
    /// Status and stable word.
    fn table(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotOwner { .. } => (StatusCode::FORBIDDEN, "not_owner"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no_token"),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "wrong_token"),
            Self::Cooling { .. } => (StatusCode::TOO_MANY_REQUESTS, "cooling_down"),
            Self::OutOfScope => (StatusCode::FORBIDDEN, "out_of_scope"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross_site"),
            Self::UnknownToken { .. } => (StatusCode::NOT_FOUND, "unknown_token"),
            Self::Random(_) => (StatusCode::INTERNAL_SERVER_ERROR, "no_random"),
            Self::Token(TokenError::TooMany) => (StatusCode::CONFLICT, "too_many_tokens"),
            Self::Token(TokenError::Write(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unwritable"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type"),
            Self::Refused { status } => (*status, "refused"),
            Self::NoRoute { .. } => (StatusCode::NOT_FOUND, "no_route"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Name(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
            Self::RequestId(_) => (StatusCode::BAD_REQUEST, "invalid_request_id"),
            Self::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed"),
            Self::UnknownService(_) | Self::NoService(_) => (StatusCode::NOT_FOUND, "unknown_service"),
            Self::Search(_) => (StatusCode::BAD_REQUEST, "invalid_search"),
            Self::Kind(_) => (StatusCode::BAD_REQUEST, "unknown_kind"),
            Self::UnknownAction { .. } => (StatusCode::BAD_REQUEST, "unknown_action"),
            Self::Encode(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_encoded"),
            Self::UnknownInstance(_) => (StatusCode::NOT_FOUND, "unknown_instance"),
            Self::NotStarted { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "not_started"),
            Self::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            Self::Stopped { .. } => (StatusCode::CONFLICT, "stopped"),
            Self::TooMany { .. } => (StatusCode::SERVICE_UNAVAILABLE, "too_many_instances"),
            Self::Deploy(e) => of_deploy(e),
            Self::NoUpgrade => (StatusCode::UPGRADE_REQUIRED, "upgrade_required"),
            Self::Runner { .. } => (StatusCode::CONFLICT, "exec_unsupported"),
            Self::Exec(e) => of_exec(e),
            Self::Ended { .. } => (StatusCode::CONFLICT, "instance_ended"),
            Self::OutOfTime { .. } => (StatusCode::GATEWAY_TIMEOUT, "command_timed_out"),
            Self::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Ids { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "ids_unknown"),
            Self::Read(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unreadable"),
            Self::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unwritable"),
        }
    }

    /// The problem, with nothing held back: what only the operator may know, the guard takes out.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code) = self.table();
        Problem::new(status.as_u16(), code, chain(self), self.hint())
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let (status, code) = self.table();
        if status.is_server_error() {
            tracing::warn!(error = chain(&self), "a control request failed");
        }
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        let mut response = (status, [(header::CONTENT_TYPE, kind)], Json(self.problem())).into_response();
        response.extensions_mut().insert(Code(code));
        let fields = response.headers_mut();
        match self {
            // RFC 6750, section 3.
            Self::NoToken => {
                fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"insula\""));
            }
            Self::WrongToken => {
                let why = "Bearer realm=\"insula\", error=\"invalid_token\"";
                fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(why));
            }
            Self::NoUpgrade => {
                fields.insert(header::UPGRADE, HeaderValue::from_static(insula_api::EXEC_PROTOCOL));
            }
            Self::Cooling { wait } => {
                fields.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
            _ => {}
        }
        response
    }
}

fn of_exec(error: &ExecError) -> (StatusCode, &'static str) {
    match error {
        ExecError::Unsupported { .. } => (StatusCode::CONFLICT, "exec_unsupported"),
        ExecError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_commands"),
        ExecError::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            (StatusCode::UNPROCESSABLE_ENTITY, "command_not_found")
        }
        ExecError::Program { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "command_not_executable"),
        ExecError::Cwd { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_such_directory"),
        ExecError::Walls { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "command_not_started"),
        ExecError::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ExecError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "command_not_started_in_time"),
        ExecError::Gone => (StatusCode::CONFLICT, "instance_ended"),
    }
}

fn of_deploy(error: &DeployError) -> (StatusCode, &'static str) {
    match error {
        DeployError::UnknownService(_) => (StatusCode::NOT_FOUND, "unknown_service"),
        DeployError::UnknownVersion(_) => (StatusCode::NOT_FOUND, "unknown_instance"),
        DeployError::Tenants(_) => (StatusCode::CONFLICT, "has_tenants"),
        DeployError::Busy(_) => (StatusCode::CONFLICT, "deploy_under_way"),
        DeployError::Weight { .. } => (StatusCode::BAD_REQUEST, "malformed"),
        DeployError::Same(_) => (StatusCode::BAD_REQUEST, "malformed"),
        DeployError::NoWeight(_) => (StatusCode::CONFLICT, "no_weight"),
        DeployError::NobodyLeft(_) => (StatusCode::CONFLICT, "nobody_left"),
        DeployError::NotHealthy { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "not_healthy"),
        DeployError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "not_healthy_in_time"),
        DeployError::Control(ServicesError::ShuttingDown) | DeployError::ShuttingDown => {
            (StatusCode::SERVICE_UNAVAILABLE, "shutting_down")
        }
        DeployError::Control(ServicesError::TooMany { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "too_many_instances")
        }
        DeployError::Control(ServicesError::Busy(_)) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        DeployError::Control(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_started"),
        DeployError::Change(_) | DeployError::Write(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "store_unwritable")
        }
        DeployError::Read(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unreadable"),
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text.push_str(": ");
        text.push_str(&e.to_string());
        source = e.source();
    }
    text
}
