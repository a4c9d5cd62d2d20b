//! Much output loses nothing: 20,000 lines in order, and an answer of 64 MiB to the last byte.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act, lines};

pub(crate) const CLAIM: Claim =
    Claim { name: "big_output", says: "20,000 lines and 64 MiB lose nothing", from: "process", run };

const LINES: usize = 20_000;

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    act(&server, "app:a", "write", &[("lines", &LINES.to_string())]);
    let told = wait_until("all lines", || {
        let told = lines(&server, "app:a").remove("stdout").unwrap_or_default();
        (told.len() >= LINES).then_some(told)
    });
    let wanted = (0..LINES).map(|n| format!("line {n}"));
    assert!(
        told.iter().map(String::as_str).eq(wanted.clone().collect::<Vec<_>>().iter().map(String::as_str))
    );
    let answer = server.get("app:a", "/large?mb=64").expect(200);
    assert_eq!(answer.body.len(), (64 << 20) + 2, "JSON text of 64 MiB in quotes");
    assert!(answer.body[1..answer.body.len() - 1].iter().all(|b| *b == b'x'));
    Shown::Yes
}
