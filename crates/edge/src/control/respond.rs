//! The one table from errors of the control API to HTTP.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use insula_api::{PROBLEM_JSON, Problem};

use super::error::ControlError;

impl ControlError {
    /// Status and stable word.
    fn table(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotOwner { .. } => (StatusCode::FORBIDDEN, "not_owner"),
            Self::NoRoute { .. } => (StatusCode::NOT_FOUND, "no_route"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Name(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
            Self::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed"),
            Self::UnknownService(_) => (StatusCode::NOT_FOUND, "unknown_service"),
            Self::UnknownInstance(_) => (StatusCode::NOT_FOUND, "unknown_instance"),
            Self::NotStarted { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "not_started"),
            Self::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            Self::Stopped { .. } => (StatusCode::CONFLICT, "stopped"),
            Self::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Ids { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "ids_unknown"),
            Self::Read(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unreadable"),
            Self::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_unwritable"),
        }
    }

    /// The problem that the peer is told. It is the operator, so nothing is held back.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code) = self.table();
        Problem::new(status.as_u16(), code, chain(self), self.hint())
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let (status, _) = self.table();
        if status.is_server_error() {
            tracing::warn!(error = chain(&self), "a control request failed");
        }
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        (status, [(header::CONTENT_TYPE, kind)], Json(self.problem())).into_response()
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
