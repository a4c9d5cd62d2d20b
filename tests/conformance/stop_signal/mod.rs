//! A stop is SIGTERM first, with time to end in order; whoever does not take it is killed.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "stop_signal", says: "a stop asks before it kills", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "stop_timeout = \"2s\"", &["polite", "deaf"]);
    for name in ["polite", "deaf"] {
        act(&server, &format!("app:{name}"), "prepare", &[("how", name)]);
    }
    let (polite, deaf) = (server.app("app:polite"), server.app("app:deaf"));
    server.cli(&["stop", "app:polite"]).ok();
    server.cli(&["stop", "app:deaf"]).ok();
    assert!(!polite.alive() && !deaf.alive(), "{polite:?} {deaf:?}");
    // Asked of the next run, since not everybody may look into the directory of a tenant.
    for (instance, words) in [("app:polite", "in order"), ("app:deaf", "heard, and stayed")] {
        server.cli(&["spawn", instance]).ok();
        assert_eq!(act(&server, instance, "said", &[])["text"], words);
    }
    Shown::Yes
}
