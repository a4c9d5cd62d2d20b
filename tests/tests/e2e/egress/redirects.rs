//! A server that may be reached sends its client where it may not go: the second request is judged like any other.

use insula_tests::Internet;

use super::{GOOD, fails, reaches, refused, start};
use crate::common::escaped;

/// Where clients are sent: the metadata service, a private address, a name that leads to one.
const INSIDE: [(&str, &str); 3] =
    [("169.254.169.254", "169.254.169.254"), ("10.0.0.5", "10.0.0.5"), ("inside.example.com", "10.0.0.5")];

fn follow(name: &str) -> String {
    format!("/follow?url={}", escaped(&format!("http://{name}/")))
}

#[test]
fn a_redirect_to_the_inside_is_refused_at_its_second_request() {
    for (to, address) in INSIDE {
        let mut internet = Internet::new();
        internet.redirect(&format!("{GOOD}:80"), &format!("http://{to}/"));
        internet.page(&format!("{address}:80"), "inside");
        internet.name("good.example.com", &[&[GOOD]]);
        internet.name("inside.example.com", &[&["10.0.0.5"]]);
        let listed = format!(r#"["*.example.com:80", "{address}:80"]"#);
        let services =
            [("public", None), ("named", Some(r#"["*.example.com:80"]"#)), ("listed", Some(listed.as_str()))];
        let server = start(&internet, &services);
        let what = follow("good.example.com");
        for instance in ["public:a", "named:a"] {
            fails(&server, instance, &what);
            // The first one was answered: nothing else leads there.
            refused(&server, instance, &[address]);
        }
        // The control: where the address is named, the same redirect is followed to its end.
        reaches(&server, "listed:a", &what, "inside");
    }
}

#[test]
fn a_redirect_to_a_name_that_no_rule_names_is_refused() {
    let mut internet = Internet::new();
    internet.redirect(&format!("{GOOD}:80"), "http://other.org/");
    internet.page(&format!("{}:80", super::OTHER), "other");
    internet.name("good.example.com", &[&[GOOD]]);
    internet.name("other.org", &[&[super::OTHER]]);
    let server = start(&internet, &[("named", Some(r#"["*.example.com:80"]"#)), ("public", None)]);
    fails(&server, "named:a", &follow("good.example.com"));
    refused(&server, "named:a", &["other.org"]);
    reaches(&server, "public:a", &follow("good.example.com"), "other");
}
