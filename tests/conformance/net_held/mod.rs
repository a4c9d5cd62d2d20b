//! An outgoing stream goes on when the daemon's worker is killed, and when another one takes its place.

use insula_tests::Internet;

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "net_held", says: "outgoing streams outlive workers", from: "process", run };

const SERVER: &str = "93.184.216.34:5432";

fn run(ground: &Ground) -> Shown {
    let mut internet = Internet::new();
    internet.server(SERVER, "outside");
    let server = ground.serve_in(&internet, include_str!("act.py"), "", &["a"]);
    let place = if ground.below("namespace") { internet.place(SERVER) } else { SERVER.parse().unwrap() };
    let (host, port) = (place.ip().to_string(), place.port().to_string());
    let said = act(&server, "app:a", "hold", &[("host", &host), ("port", &port)]);
    assert_eq!(said["said"], "hello from outside\n", "at {}", ground.level());
    let echo = |word: &str| assert_eq!(act(&server, "app:a", "echo", &[("word", word)])["said"], word);
    echo("before");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    echo("killed");
    server.take_over().ok();
    echo("taken-over");
    Shown::Yes
}
