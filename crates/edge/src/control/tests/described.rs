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
    let limit = &document["paths"]["/v1/audit"]["get"]["parameters"][1];
    assert_eq!((&limit["name"], &limit["schema"]["maximum"]), (&"limit".into(), &1000.into()), "{limit}");
}
