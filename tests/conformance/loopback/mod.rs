//! The loopback inside is not that of the host, and not that of a neighbour.

use std::io::Write;
use std::net::TcpListener;

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "loopback", says: "loopback is one tenant's own", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a", "b"]);
    let port = act(&server, "app:b", "listen", &[])["port"].to_string();
    // The control at every level: whoever it belongs to reaches it.
    assert_eq!(act(&server, "app:b", "ask", &[("port", &port)])["through"], true);
    held(ground, "namespace", &act(&server, "app:a", "ask", &[("port", &port)]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    if ground.below("namespace") {
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"word").unwrap());
        held(ground, "namespace", &act(&server, "app:a", "ask", &[("port", &port)]));
        return Shown::Yes;
    }
    held(ground, "namespace", &act(&server, "app:a", "ask", &[("port", &port)]));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it reached the host");
    Shown::Yes
}
