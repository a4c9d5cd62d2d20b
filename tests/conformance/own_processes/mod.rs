//! A program sees its own processes and the agent; no other command line or environment of the host.

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "own_processes", says: "only its own processes are to be seen", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a", "b"]);
    act(&server, "app:b", "see", &[("word", "nothing")]);
    held(ground, "namespace", &act(&server, "app:a", "see", &[("word", "word-of-b")]));
    Shown::Yes
}
