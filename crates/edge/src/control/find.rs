//! `GET /v1/logs` and `GET /v1/events`: a page, or what comes as it comes; and `GET /v1/requests`, a page.
//!
//! ```text
//! query, scope ──► filter ──► Accept? ── application/json ──► one page
//!                                     └─ text/event-stream ──► sse::stream
//! ```

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, header};
use insula_api::{EventsQuery, FindQuery, FoundRequests, Order, RequestsQuery};
use insula_spec::Tenant;
use insula_store::{Cursor, EventQuery, LogFilter, LogOrder, Output, RequestQuery, Whose};

use super::caller::Caller;
use super::error::ControlError;
use super::extract::Asked;
use super::handlers::{Answer, App};
use super::operations::Operations;
use super::sse::{self, Events, Lines};

/// Lines of a page where the query names no limit.
const LIMIT: usize = 100;
/// Most lines of a page.
const LIMIT_MAX: usize = 1000;

pub(super) async fn logs<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(query): Asked<FindQuery>,
) -> Result<Response, ControlError> {
    let whose = within(&caller, whose(&query)?)?;
    let follow = follows(&headers);
    if follow
        && (query.limit.is_some() || query.before.is_some() || query.until.is_some() || query.order.is_some())
    {
        return Err(malformed("`limit`, `before`, `until` and `order` are not for a stream".to_owned()));
    }
    let filter = filter(query, whose)?;
    if !follow {
        return Ok(Json(app.operations.find_logs(filter).await?).into_response());
    }
    let after = start(&headers, filter.after.map(|cursor| cursor.0))?;
    let lines = Lines { filter, admin: caller.is_admin() };
    Ok(sse::stream(app, lines, after).await?.into_response())
}

pub(super) async fn events<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, ControlError> {
    let asked = query.instance.clone().map(Whose::Instance).into_iter().collect();
    let whose = within(&caller, asked)?;
    let follow = follows(&headers);
    if follow && (query.limit.is_some() || query.order.is_some()) {
        return Err(malformed("`limit` and `order` are not for a stream".to_owned()));
    }
    let query = event_query(query, whose)?;
    if !follow {
        return Ok(Json(app.operations.find_events(query).await?).into_response());
    }
    let after = start(&headers, query.after)?;
    Ok(sse::stream(app, Events { query }, after).await?.into_response())
}

pub(super) async fn requests<O: Operations>(
    State(app): App<O>,
    Asked(query): Asked<RequestsQuery>,
) -> Answer<FoundRequests> {
    let query = RequestQuery {
        whose: query.of.map(|of| match of {
            Tenant::Service(name) => Whose::Service(name),
            Tenant::Instance(name) => Whose::Instance(name),
        }),
        since: query.since.map(|moment| moment.before(SystemTime::now())),
        limit: Some(page(query.limit)),
    };
    app.operations.requests(query).await.map(Json)
}

fn malformed(why: String) -> ControlError {
    ControlError::Malformed { part: "query", why }
}

fn follows(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(sse::EVENT_STREAM))
    })
}

/// Where a stream begins: behind what a reader that lost its connection has seen, or as the query says.
fn start(headers: &HeaderMap, asked: Option<u64>) -> Result<Option<u64>, ControlError> {
    let Some(seen) = headers.get("last-event-id") else { return Ok(asked) };
    let seen = seen.to_str().ok().and_then(|text| text.parse().ok());
    let why = "`Last-Event-ID` is not a cursor; leave it out, or send back the last `id`";
    seen.map(Some).ok_or_else(|| ControlError::Malformed { part: "header", why: why.to_owned() })
}

fn whose(query: &FindQuery) -> Result<Vec<Whose>, ControlError> {
    let list = |text: &Option<String>| -> Vec<String> {
        text.iter().flat_map(|text| text.split(',')).map(|name| name.trim().to_owned()).collect()
    };
    let mut all = Vec::new();
    for name in list(&query.instance) {
        all.push(Whose::Instance(name.parse()?));
    }
    for name in list(&query.service) {
        all.push(Whose::Service(name.parse()?));
    }
    Ok(all)
}

/// What was asked for, as far as the caller may see it: nothing named is everything that it may see, and a
/// name beyond that is refused.
pub(super) fn within(caller: &Caller, asked: Vec<Whose>) -> Result<Vec<Whose>, ControlError> {
    let Some(tenant) = caller.tenant() else { return Ok(asked) };
    if asked.is_empty() {
        return Ok(vec![match tenant {
            Tenant::Service(name) => Whose::Service(name.clone()),
            Tenant::Instance(name) => Whose::Instance(name.clone()),
        }]);
    }
    let covered = |one: &Whose| match (one, tenant) {
        (Whose::Instance(name), tenant) => tenant.covers(name),
        (Whose::Service(name), Tenant::Service(own)) => name == own,
        (Whose::Service(_), Tenant::Instance(_)) => false,
    };
    if asked.iter().all(covered) { Ok(asked) } else { Err(ControlError::OutOfScope) }
}

/// How many are given to who asked for so many.
fn page(limit: Option<u32>) -> usize {
    limit.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(LIMIT_MAX)).min(LIMIT_MAX)
}

fn filter(query: FindQuery, whose: Vec<Whose>) -> Result<LogFilter, ControlError> {
    let now = SystemTime::now();
    Ok(LogFilter {
        whose,
        search: query.search.map(|text| text.parse()).transpose()?,
        output: query.stream.map(|stream| match stream {
            insula_api::Output::Stdout => Output::Stdout,
            insula_api::Output::Stderr => Output::Stderr,
        }),
        since: query.since.map(|moment| moment.before(now)),
        until: query.until.map(|moment| moment.before(now)),
        after: query.after.map(Cursor),
        before: query.before.map(Cursor),
        limit: Some(page(query.limit)),
        order: match query.order {
            None | Some(Order::Newest) => LogOrder::Newest,
            Some(Order::Oldest) => LogOrder::Oldest,
        },
    })
}

fn event_query(query: EventsQuery, whose: Vec<Whose>) -> Result<EventQuery, ControlError> {
    let kinds = query.kind.iter().flat_map(|text| text.split(',')).map(|word| word.trim().parse());
    Ok(EventQuery {
        instance: None,
        whose,
        kinds: kinds.collect::<Result<_, _>>()?,
        since: query.since.map(|moment| moment.before(SystemTime::now())),
        after: query.after,
        limit: Some(page(query.limit)),
        newest_first: query.order != Some(Order::Oldest),
    })
}
