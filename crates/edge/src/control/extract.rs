//! Parts of a request, taken out so that whatever is wrong with them is answered as a problem.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use insula_spec::InstanceName;
use serde::de::DeserializeOwned;

use super::error::ControlError;

/// The instance that the path names.
#[derive(Debug)]
pub(super) struct Named(pub(super) InstanceName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ControlError> {
        let Text(name) = Text::from_request_parts(parts, state).await?;
        Ok(Self(name.parse()?))
    }
}

/// The one placeholder of the path, as text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Text {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ControlError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|e| ControlError::Malformed { part: "path", why: e.body_text() })?;
        Ok(Self(text))
    }
}

/// The query, as a type that refuses what it does not know.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ControlError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(query) =
            query.map_err(|e| ControlError::Malformed { part: "query", why: e.body_text() })?;
        Ok(Self(query))
    }
}

/// The body, as JSON; `None` where there is none.
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ControlError> {
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = Bytes::from_request(request, state).await.map_err(|e| unread(&e))?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        // A web page of elsewhere can send other types without asking; JSON it cannot.
        if kind.as_ref().is_some_and(|kind| !is_json(kind.as_bytes())) {
            return Err(ControlError::MediaType);
        }
        let parsed = serde_json::from_slice(&body);
        parsed
            .map(|value| Self(Some(value)))
            .map_err(|e| ControlError::Malformed { part: "body", why: e.to_string() })
    }
}

fn unread(rejection: &BytesRejection) -> ControlError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ControlError::TooLarge { limit: super::handlers::BODY_MAX },
        _ => ControlError::Malformed { part: "body", why: rejection.body_text() },
    }
}

fn is_json(kind: &[u8]) -> bool {
    let essence = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}
