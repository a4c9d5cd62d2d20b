//! What a rule names is reached, by name and by address, and another instance that allows it. Without a wall the same server is reached where it is.

use insula_tests::Internet;

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "net_allow", says: "what `net` names is reached", from: "namespace", run };

const SERVER: &str = "93.184.216.34:5432";
/// A private address: only a rule for itself leads there.
const INSIDE: &str = "10.0.0.5:5432";

fn run(ground: &Ground) -> Shown {
    let mut internet = Internet::new();
    internet.server(SERVER, "outside");
    internet.server(INSIDE, "inside");
    internet.name("db.example.com", &[&["93.184.216.34"]]);
    let walled = !ground.below("namespace");
    let keys = if walled {
        "net = [\"tcp://db.example.com:5432\", \"10.0.0.5:5432\", \"self:app:b\"]\nreachable_from = [\"app:*\"]\n"
    } else {
        ""
    };
    let server = ground.serve_in(&internet, include_str!("act.py"), keys, &["a", "b"]);
    let reached = |host: &str, port: &str, who: &str| {
        let found = act(&server, "app:a", "ask", &[("host", host), ("port", port)]);
        let said = found["said"].as_str().unwrap_or_default();
        assert!(said.contains(who), "at {}, {host}:{port}: {found}", ground.level());
    };
    if walled {
        reached("db.example.com", "5432", "hello from outside");
        reached("10.0.0.5", "5432", "hello from inside");
        let found = act(&server, "app:a", "fetch", &[("host", "b.app.internal")]);
        assert_eq!(found["said"], "word-of-b", "at {}", ground.level());
    } else {
        let place = internet.place(SERVER);
        reached(&place.ip().to_string(), &place.port().to_string(), "hello from outside");
    }
    Shown::Yes
}
