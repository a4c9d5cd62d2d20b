//! Before every handler: who asks, whether they may, and what is written down of it.
//!
//! ```text
//! outer: request id, and no answer of any other form than ours
//!   route ──► guard: caller ──► scope ──► audit (changes only) ──► handler ──► audit ──► less for a tenant
//! ```
//! The guard knows endpoints by [`endpoints`]. One that is not described there is for admins alone and is
//! written down, so that nothing new is open by being forgotten.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use insula_api::{PROBLEM_JSON, Problem};
use insula_spec::InstanceName;
use insula_store::AuditEntry;

use super::caller::{Address, Caller, Origin};
use super::endpoints::{self, Access};
use super::error::ControlError;
use super::keys::{Admission, Keys};
use super::redact::ForTenant;
use super::respond::Code;
use super::trail::Trail;

/// The name of a request, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("insula-request-id");

/// What the public proxy says of a client. It takes this field from nobody.
pub(crate) const CLIENT: &str = "insula-client";

/// Longest problem that is looked through, in bytes.
const PROBLEM_MAX: usize = 64 << 10;

/// Longest target that is written down, in characters.
const TARGET_MAX: usize = 200;

/// The name of this request.
#[derive(Debug, Clone)]
pub(super) struct Id(pub(super) String);

/// Names the request, and turns what the router itself refuses into a problem.
pub(super) async fn outer(State(keys): State<Arc<Keys>>, mut request: Request, next: Next) -> Response {
    let network = request.extensions().get() == Some(&Origin::Network);
    let told = network.then(|| text(request.headers(), &REQUEST_ID)).flatten().map(str::to_owned);
    let id = told.unwrap_or_else(|| keys.ids.next().to_string());
    request.extensions_mut().insert(Id(id.clone()));
    let mut response = as_problem(next.run(request).await);
    let fields = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        fields.insert(REQUEST_ID, id);
    }
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that says no must say why, in our form.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || is_problem(&response) {
        return response;
    }
    let (parts, _) = response.into_parts();
    let mut answer = ControlError::Refused { status }.into_response();
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = parts.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON)
}

/// Lets a request through to its handler, or not.
pub(super) async fn guard(
    State(keys): State<Arc<Keys>>,
    matched: MatchedPath,
    params: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let values: Vec<_> = match &params {
        Ok(params) => params.iter().map(|(_, value)| value.to_owned()).collect(),
        Err(e) => return ControlError::Malformed { part: "path", why: e.body_text() }.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    let access = endpoints::access(&parts.method, matched.as_str());
    let caller = match caller(&keys, &mut parts, access).await {
        Ok(caller) => caller,
        Err(refusal) => return for_tenant(refusal.into_response()).await,
    };
    let template = matched.as_str().to_owned();
    let trail = match begin(&keys, &caller, &parts, (template, &values)).await {
        Ok(trail) => trail,
        Err(error) => return for_tenant(error.into_response()).await,
    };
    let admin = caller.is_admin();
    let response = match permit(&caller, access, &values) {
        Ok(()) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    };
    if let Some(trail) = trail {
        trail.finish(response.status().as_u16(), code(&response)).await;
    }
    if admin { response } else { for_tenant(response).await }
}

/// Who asks.
async fn caller(keys: &Keys, request: &mut Parts, access: Access) -> Result<Caller, ControlError> {
    match request.extensions.get() {
        Some(Origin::Unix { uid }) => return Ok(Caller::Unix { uid: *uid }),
        Some(Origin::Network) => {}
        // No way in: a transport that says nothing lets nobody in.
        None => return Err(ControlError::NoToken),
    }
    let address = request.headers.get(CLIENT).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let address: IpAddr = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    request.extensions.insert(Address(address));
    let fields = &request.headers;
    if keys.admission == Admission::Anybody {
        let page = fields.contains_key(header::ORIGIN) && !request.method.is_safe();
        return if page { Err(ControlError::CrossSite) } else { Ok(Caller::Anybody) };
    }
    let caller = match fields.get(header::AUTHORIZATION) {
        Some(field) => {
            let bearer = field.to_str().ok().and_then(bearer).unwrap_or_default().to_owned();
            keys.check(&bearer, address).await?
        }
        None if access == Access::Public => Caller::Nobody,
        None => return Err(ControlError::NoToken),
    };
    Ok(caller)
}

/// The token of an `Authorization` field (RFC 6750, section 2.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether this caller may do it.
fn permit(caller: &Caller, access: Access, values: &[String]) -> Result<(), ControlError> {
    let allowed = match access {
        Access::Public => true,
        Access::Admin => caller.is_admin(),
        Access::Narrowed => caller.is_admin() || caller.tenant().is_some(),
        Access::Tenant => caller.is_admin() || named(values).is_some_and(|name| caller.may_see(&name)),
    };
    if allowed { Ok(()) } else { Err(ControlError::OutOfScope) }
}

/// The instance that the path names.
fn named(values: &[String]) -> Option<InstanceName> {
    values.first()?.parse().ok()
}

/// Writes a change down before it is done.
async fn begin(
    keys: &Keys,
    caller: &Caller,
    request: &Parts,
    (path, values): (String, &[String]),
) -> Result<Option<Trail>, ControlError> {
    let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(actor) = caller.actor().filter(|_| !safe) else { return Ok(None) };
    let id = request.extensions.get::<Id>().map(|id| id.0.clone());
    let entry = AuditEntry {
        actor,
        address: request.extensions.get::<Address>().map(|address| address.0.to_string()),
        method: request.method.to_string(),
        path,
        target: (!values.is_empty()).then(|| values.join("/").chars().take(TARGET_MAX).collect()),
        request: id.unwrap_or_default(),
    };
    Ok(Some(Trail::begin(&keys.store, entry).await?))
}

fn code(response: &Response) -> &'static str {
    match response.extensions().get::<Code>() {
        Some(Code(code)) => code,
        None if response.status().is_success() => "ok",
        None if response.status() == StatusCode::SWITCHING_PROTOCOLS => "ok",
        None => "refused",
    }
}

/// Takes what is about the host out of a problem.
async fn for_tenant(response: Response) -> Response {
    if !is_problem(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let problem = to_bytes(body, PROBLEM_MAX).await.ok();
    let problem = problem.and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    let told = problem.and_then(|problem| serde_json::to_vec(&problem.for_tenant()).ok());
    parts.headers.remove(header::CONTENT_LENGTH);
    match told {
        Some(told) => Response::from_parts(parts, Body::from(told)),
        None => ControlError::Refused { status: StatusCode::INTERNAL_SERVER_ERROR }.into_response(),
    }
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name).and_then(|value| value.to_str().ok())
}
