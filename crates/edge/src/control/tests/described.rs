//! What is described is what is there.

use std::collections::BTreeSet;

use http::Method;

use super::fake::Fake;
use super::network::Net;
use crate::control::handlers::routes;
use crate::control::{Admission, document, endpoints};

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Every method and path that the router takes. Without a token a handler is never reached: whatever is not
/// `405` is a route.
async fn routed() -> BTreeSet<String> {
    let net = Net::start(Admission::Token).await;
    let (_, paths) = routes::<std::sync::Arc<Fake>>().into_parts();
    let mut all = BTreeSet::new();
    for path in paths {
        let real = path.replace("{name}", "notes:alice").replace(['{', '}'], "");
        for method in METHODS {
            let head = format!(
                "{method} {real} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let reply = net.raw(head).await;
            assert_ne!(reply.status, 404, "{method} {real} leads nowhere: {}", reply.body);
            if reply.status != 405 {
                all.insert(format!("{method} {path}"));
            }
        }
    }
    all
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(described, routed().await, "left: described in `endpoints`; right: taken by the router");
    assert_eq!(described.len(), endpoints::all().len(), "an endpoint is described twice");
}

#[test]
fn the_description_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(schemas.contains_key(name), "`{name}` is nowhere");
    }
    let ids: BTreeSet<_> = endpoints::all().iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), endpoints::all().len(), "two operations have one id");
    for endpoint in endpoints::all() {
        assert!(!endpoint.summary.is_empty(), "`{}` says nothing", endpoint.id);
    }
    let parameters = document["paths"]["/v1/audit"]["get"]["parameters"].as_array().unwrap();
    let named =
        |name: &str| parameters.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no `{name}`"));
    assert_eq!(named("limit")["schema"]["maximum"], 1000);
    for filter in ["who", "target", "since", "until", "result", "after"] {
        assert_eq!((&named(filter)["in"], &named(filter)["required"]), (&"query".into(), &false.into()));
    }
    let actions = named("action")["description"].as_str().unwrap();
    for (action, _, _) in insula_api::AUDIT_ACTIONS {
        assert!(actions.contains(&format!("`{action}`")), "`{action}` is not in {actions}");
    }
}

/// Every `(StatusCode::NAME, "code")` of the one table from errors to HTTP, as numbers and words.
fn codes() -> BTreeSet<(u16, String)> {
    const TABLE: &str = include_str!("../respond.rs");
    let named = |name: &str| {
        let is = |status: &http::StatusCode| {
            status.canonical_reason().is_some_and(|reason| reason.to_uppercase().replace(' ', "_") == name)
        };
        let all = (400..600).filter_map(|number| http::StatusCode::from_u16(number).ok());
        all.into_iter().find(is).unwrap_or_else(|| panic!("what is `{name}`?")).as_u16()
    };
    let mut codes = BTreeSet::new();
    for after in TABLE.split("(StatusCode::").skip(1) {
        let Some((name, rest)) = after.split_once(", \"") else { continue };
        if name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            codes.insert((named(name), rest.split('"').next().unwrap().to_owned()));
        }
    }
    codes
}

#[test]
fn every_code_of_a_problem_is_on_the_page_beside_its_status() {
    const PAGE: &str = include_str!("../../../../../docs/reference/control-api.md");
    let codes = codes();
    assert!(codes.len() > 40 && codes.contains(&(500, "not_encoded".to_owned())), "{codes:?}");
    let told = |status: u16, code: &str| {
        let (number, word) = (status.to_string(), format!("`{code}`"));
        PAGE.lines().any(|line| line.contains(&number) && line.contains(&word))
    };
    let missing: Vec<_> = codes.iter().filter(|(status, code)| !told(*status, code)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    assert!(PAGE.contains("`refused`"), "what has any status");
    // The control: a code that there is not is found missing.
    assert!(!told(500, "not_there") && !told(599, "not_encoded"));
}
