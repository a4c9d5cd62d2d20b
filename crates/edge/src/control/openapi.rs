//! The description of the API (OpenAPI 3.1), made from [`endpoints`] and the wire types.

use insula_api::{PROBLEM_JSON, Problem};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::endpoints::{self, Access, Content, Endpoint};

/// Where the description keeps its schemas.
const SCHEMAS: &str = "/components/schemas";

/// Problems that any endpoint may answer.
const ANY: [u16; 8] = [400, 405, 408, 429, 431, 500, 503, 504];

/// Problems of endpoints that not everybody may use.
const GUARDED: [u16; 2] = [401, 403];

/// The whole description.
#[must_use]
pub fn document() -> Value {
    let mut types = Types::new();
    let problem = types.answers.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints::all() {
        let operation = operation(endpoint, &mut types, &problem);
        let path = paths.entry(endpoint.path.clone()).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Insula control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Operates the services of one Insula daemon.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": types.into_definitions(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Requests and answers are different views of a type: what may be left out of one is always in the other.
struct Types {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Types {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|s| {
                s.definitions_path = SCHEMAS.into();
                s.meta_schema = None;
            })
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        all.extend(self.answers.take_definitions(true));
        all
    }
}

fn operation(endpoint: &Endpoint, types: &mut Types, problem: &Schema) -> Value {
    let mut operation = json!({
        "operationId": endpoint.id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "responses": responses(endpoint, types, problem),
        "security": security(endpoint.access),
    });
    let parameters = parameters(endpoint, types);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((body, required)) = endpoint.body {
        let schema = body(&mut types.requests);
        operation["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([{}, { "token": [] }]),
        Access::Tenant | Access::Narrowed | Access::Admin => json!([{ "token": [] }]),
    }
}

fn responses(endpoint: &Endpoint, types: &mut Types, problem: &Schema) -> Map<String, Value> {
    let content = match endpoint.content {
        Content::Json(schema) => json!({ "application/json": { "schema": schema(&mut types.answers) } }),
        Content::AnyJson => json!({ "application/json": { "schema": {} } }),
        Content::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
    };
    let done = json!({ "description": "Done", "content": content });
    let mut all = Map::from_iter([(endpoint.status.to_string(), done)]);
    for status in ANY.iter().chain(&GUARDED).chain(endpoint.problems) {
        let answer = json!({
            "description": "A problem (RFC 9457)",
            "content": { PROBLEM_JSON: { "schema": problem } },
        });
        all.insert(status.to_string(), answer);
    }
    all
}

fn parameters(endpoint: &Endpoint, types: &mut Types) -> Vec<Value> {
    let placeholders = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<_> = placeholders.map(|name| of_path(endpoint, name)).collect();
    if let Some(query) = endpoint.query {
        all.extend(of_query(&query(&mut types.requests)));
    }
    all
}

fn of_path(endpoint: &Endpoint, name: &str) -> Value {
    const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
    let schema = match (endpoint.tag, name) {
        ("instances", "name") => json!({ "type": "string", "pattern": format!("^{LABEL}:{LABEL}$") }),
        ("requests", "id") => json!({ "type": "string", "pattern": "^[0-9a-fA-F]{16}$" }),
        ("access", "id") => json!({ "type": "string", "pattern": "^[0-9a-f]{12}$" }),
        _ => json!({ "type": "string" }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

/// Each field of the type is a parameter.
fn of_query(schema: &Schema) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let text = schema.as_object_mut().and_then(|s| s.remove("description")).unwrap_or_default();
        not_null(&mut schema);
        let required = required.contains(&Value::from(name.as_str()));
        json!({ "name": name, "in": "query", "required": required, "description": text, "schema": schema })
    };
    properties.into_iter().map(parameter).collect()
}

/// A query has no word for null: what may be null is left out.
fn not_null(schema: &mut Value) {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            schema["type"] = kind.clone();
        }
    }
}
