//! Every endpoint of the API: what it is for, who may use it, what goes in and what comes out.
//!
//! The guard reads who may, [`openapi`](super::openapi) writes the rest down. A test holds the list and the
//! router against each other.

use std::sync::LazyLock;

use http::Method;
use insula_api::{
    ActionRequest, Alerts, Audit, AuditQuery, DeployRequest, Deployed, Detail, EventsQuery, FindQuery,
    FoundEvents, FoundLogs, FoundRequests, HealthAnswer, Instances, LogsQuery, Net, NetRequest, RequestWhy,
    RequestsQuery, RouteRequest, Routes, Summary, TokenInfo, TokenMade, TokenRequest, Tokens, UsageQuery,
    Usages, WeightRequest, Why,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody; a handler may say less to those who showed no token.
    Public,
    /// Admins, and tenants for the instance that is the first placeholder of the path.
    Tenant,
    /// Admins, and tenants, to whom the handler shows what is theirs.
    Narrowed,
    /// Admins.
    Admin,
}

/// Writes a type as a JSON schema.
pub(super) type Type = fn(&mut SchemaGenerator) -> Schema;

/// What an answer consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// JSON of one type.
    Json(Type),
    /// JSON of any form.
    AnyJson,
    /// Text of this media type.
    Text(&'static str),
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) access: Access,
    /// Groups endpoints for people.
    pub(super) tag: &'static str,
    /// Unique among all.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Option<Type>,
    pub(super) body: Option<(Type, bool)>,
    pub(super) status: u16,
    pub(super) content: Content,
    /// Statuses of problems beyond those that any endpoint may answer.
    pub(super) problems: &'static [u16],
}

impl Endpoint {
    fn new(method: Method, path: &str, (tag, id): (&'static str, &'static str), access: Access) -> Self {
        let path = path.to_owned();
        Self {
            method,
            path,
            access,
            tag,
            id,
            summary: "",
            query: None,
            body: None,
            status: 200,
            content: Content::AnyJson,
            problems: &[],
        }
    }

    /// An endpoint under `/v1` that changes nothing.
    pub(super) fn get(path: &str, name: (&'static str, &'static str), access: Access) -> Self {
        Self::new(Method::GET, &format!("{}{path}", insula_api::PREFIX), name, access)
    }

    /// An endpoint under `/v1` that does something.
    pub(super) fn post(path: &str, name: (&'static str, &'static str), access: Access) -> Self {
        Self::new(Method::POST, &format!("{}{path}", insula_api::PREFIX), name, access)
    }

    /// An endpoint under `/v1` that removes something.
    pub(super) fn delete(path: &str, name: (&'static str, &'static str), access: Access) -> Self {
        Self::new(Method::DELETE, &format!("{}{path}", insula_api::PREFIX), name, access)
    }

    /// What it does, in one line.
    pub(super) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Takes this query.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|g| T::json_schema(g));
        self
    }

    /// Takes this body, or none.
    pub(super) fn may_take<T: JsonSchema>(mut self) -> Self {
        self.body = Some((|g| g.subschema_for::<T>(), false));
        self
    }

    /// Takes this body.
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some((|g| g.subschema_for::<T>(), true));
        self
    }

    /// Answers this as JSON.
    pub(super) fn json<T: JsonSchema>(mut self) -> Self {
        self.content = Content::Json(|g| g.subschema_for::<T>());
        self
    }

    /// Answers text of this media type.
    pub(super) fn text(mut self, kind: &'static str) -> Self {
        self.content = Content::Text(kind);
        self
    }

    /// Answers with this status when all went well.
    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// May also answer with problems of these statuses.
    pub(super) fn problems(mut self, statuses: &'static [u16]) -> Self {
        self.problems = statuses;
        self
    }
}

static ALL: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let mut all = vec![
        Endpoint::get("/health", ("daemon", "health"), Access::Public)
            .says("How the daemon is; without an admin's token only that it works")
            .json::<HealthAnswer>(),
        Endpoint::new(Method::GET, "/metrics", ("daemon", "metrics"), Access::Public)
            .says(
                "What is counted, in the text format of Prometheus; for whom, `[observability] metrics` says",
            )
            .text("text/plain")
            .problems(&[401, 403, 404]),
        Endpoint::get("/requests", ("requests", "find_requests"), Access::Admin)
            .says("Requests that waited, failed, were refused, sent again or slow, newest first")
            .query::<RequestsQuery>()
            .json::<FoundRequests>(),
        Endpoint::get("/requests/{id}/why", ("requests", "why_request"), Access::Admin)
            .says("What happened to a request")
            .json::<RequestWhy>(),
        Endpoint::new(Method::GET, "/openapi.json", ("daemon", "openapi"), Access::Public)
            .says("This description"),
    ];
    all.extend(instances());
    all.extend(output());
    all.extend(versions());
    all.extend(access_and_audit());
    all
});

fn instances() -> Vec<Endpoint> {
    let one = |verb: &str| format!("/instances/{{name}}{verb}");
    let act = |verb: &'static str, access| {
        Endpoint::post(&one(&format!("/{verb}")), ("instances", verb), access)
            .may_take::<ActionRequest>()
            .json::<Summary>()
            .problems(&[404, 409, 413, 415])
    };
    vec![
        Endpoint::get("/instances", ("instances", "list"), Access::Admin)
            .says("Every known instance")
            .json::<Instances>(),
        Endpoint::get("/usage", ("instances", "usage"), Access::Narrowed)
            .says("What tenants use: disk, memory, CPU time")
            .query::<UsageQuery>()
            .json::<Usages>()
            .problems(&[404]),
        Endpoint::get(&one(""), ("instances", "inspect"), Access::Tenant)
            .says("Everything about one instance; to a tenant nothing about the host")
            .json::<Detail>()
            .problems(&[404]),
        Endpoint::get(&one("/why"), ("instances", "why"), Access::Tenant)
            .says("Why an instance is as it is")
            .json::<Why>()
            .problems(&[404]),
        Endpoint::get(&one("/logs"), ("instances", "logs"), Access::Tenant)
            .says("Captured output, one JSON object a line")
            .query::<LogsQuery>()
            .text("application/x-ndjson")
            .problems(&[404]),
        Endpoint::get(&one("/net"), ("instances", "net"), Access::Admin)
            .says("What an instance may reach outside, and rules for what it was refused")
            .json::<Net>()
            .problems(&[404]),
        Endpoint::post(&one("/net"), ("instances", "set_net"), Access::Admin)
            .says("Sets what an instance may reach outside, from now on")
            .takes::<NetRequest>()
            .json::<Net>()
            .problems(&[404, 413, 415]),
        Endpoint::post(&one("/exec"), ("instances", "exec"), Access::Admin)
            .says("Runs a command beside an instance, over a connection upgraded to `insula-exec`")
            .status(101)
            .text("application/octet-stream")
            .problems(&[404, 409, 426]),
        act("spawn", Access::Admin).says("Starts an instance and waits until it accepts connections"),
        act("stop", Access::Admin).says("Stops an instance and waits until it is gone"),
        act("restart", Access::Tenant).says("Stops an instance and starts it again"),
    ]
}

fn output() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/logs", ("output", "find_logs"), Access::Narrowed)
            .says("Captured lines of any instances, or what comes, as server-sent events")
            .query::<FindQuery>()
            .json::<FoundLogs>()
            .problems(&[404]),
        Endpoint::get("/events", ("output", "find_events"), Access::Admin)
            .says("What happened, or what happens, as server-sent events")
            .query::<EventsQuery>()
            .json::<FoundEvents>(),
        Endpoint::get("/alerts", ("output", "alerts"), Access::Admin)
            .says("Receivers of alerts, and how far each of them is")
            .json::<Alerts>(),
    ]
}

fn versions() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/instances/{name}/deploy", ("versions", "deploy"), Access::Admin)
            .says("Brings up a version, or a tenant anew, and gives it its share once it is healthy")
            .may_take::<DeployRequest>()
            .json::<Deployed>()
            .problems(&[404, 409, 413, 415]),
        Endpoint::get("/services/{service}/route", ("versions", "routes"), Access::Admin)
            .says("The versions of a service and their weights")
            .json::<Routes>()
            .problems(&[404, 409]),
        Endpoint::post("/services/{service}/route", ("versions", "route"), Access::Admin)
            .says("Gives all of one version's weight to another one, once that is healthy")
            .takes::<RouteRequest>()
            .json::<Routes>()
            .problems(&[404, 409, 413, 415]),
        Endpoint::post("/services/{service}/weight", ("versions", "weight"), Access::Admin)
            .says("Sets weights of versions, all at once")
            .takes::<WeightRequest>()
            .json::<Routes>()
            .problems(&[404, 409, 413, 415]),
    ]
}

fn access_and_audit() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/tokens", ("access", "list_tokens"), Access::Admin)
            .says("Every token that is live, or was until lately")
            .json::<Tokens>(),
        Endpoint::post("/tokens", ("access", "create_token"), Access::Admin)
            .says("Makes a token; this answer is the only one that shows it")
            .takes::<TokenRequest>()
            .json::<TokenMade>()
            .status(201)
            .problems(&[409, 413, 415]),
        Endpoint::delete("/tokens/{id}", ("access", "revoke_token"), Access::Admin)
            .says("Ends a token, for good")
            .json::<TokenInfo>()
            .problems(&[404]),
        Endpoint::get("/audit", ("access", "audit"), Access::Admin)
            .says("What was changed, by whom, and how it ended")
            .query::<AuditQuery>()
            .json::<Audit>(),
    ]
}

/// Every endpoint.
pub(super) fn all() -> &'static [Endpoint] {
    &ALL
}

/// Who may use an endpoint: admins alone, where nothing else is said.
pub(super) fn access(method: &Method, path: &str) -> Access {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let found = ALL.iter().find(|e| e.method == *method && e.path == path);
    found.map_or(Access::Admin, |e| e.access)
}
