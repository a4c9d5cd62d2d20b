//! Standard input is there, and at its end: nobody waits for what never comes.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "input", says: "standard input is at its end", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    assert_eq!(act(&server, "app:a", "read", &[])["got"], "");
    Shown::Yes
}
