//! What no rule names is not reached: an address of the internet, private ranges, the metadata service, the loopback of
//! the host, a sibling. Where there is no wall, loopback and sibling are within reach; and at every level with one, what
//! is refused is reached once a rule names it.

use std::io::Write;
use std::net::TcpListener;

use insula_tests::{Internet, Server};
use serde_json::Value;

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "net_deny", says: "what `net` does not name is not reached", from: "namespace", run };

/// Where servers are, if the wall lets through: on the internet, in private ranges, the metadata service of clouds.
const PLACES: [&str; 6] =
    ["151.101.1.69", "10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"];

fn ask(server: &Server, host: &str, port: u16) -> Value {
    act(server, "app:a", "ask", &[("host", host), ("port", &port.to_string())])
}

fn run(ground: &Ground) -> Shown {
    let mut internet = Internet::new();
    for place in PLACES {
        internet.server(&format!("{place}:5432"), "there");
    }
    let walled = !ground.below("namespace");
    let keys = if walled { "net = [\"93.184.216.34:5432\"]\n" } else { "" };
    let server = ground.serve_in(&internet, include_str!("act.py"), keys, &["a", "b"]);
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = loopback.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in loopback.incoming().map_while(Result::ok) {
            // A probe that gave up has hung up.
            drop(stream.write_all(b"hello from the host"));
        }
    });
    held(ground, "namespace", &ask(&server, "127.0.0.1", port));
    if !walled {
        return Shown::Yes;
    }
    for place in PLACES {
        held(ground, "namespace", &ask(&server, place, 5432));
    }
    for sibling in ["b.app.internal", "app.internal"] {
        held(ground, "namespace", &ask(&server, sibling, 5432));
    }
    // The control: the same attempts, with rules.
    let rules = PLACES.map(|place| format!("{place}:5432"));
    let set = ["policy", "set", "app:a"].into_iter().chain(rules.iter().map(String::as_str));
    server.cli(&set.collect::<Vec<_>>()).ok();
    for place in PLACES {
        let found = ask(&server, place, 5432);
        assert_eq!(found["through"], true, "at {}, {place}: {found}", ground.level());
    }
    Shown::Yes
}
