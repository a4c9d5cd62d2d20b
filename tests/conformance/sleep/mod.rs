//! Asleep by `stop` it uses no process, by `freeze` no processor; its data, and frozen its memory, are there on waking.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "sleep", says: "sleep and wake lose nothing", from: "process", run };

fn run(ground: &Ground) -> Shown {
    for (how, counted) in [("stop", 1), ("freeze", 2)] {
        let keys = format!("idle_timeout = \"300ms\"\nsleep = \"{how}\"");
        let server = ground.serve(include_str!("act.py"), &keys, &["a"]);
        act(&server, "app:a", "count", &[]);
        let process = server.app("app:a");
        let asleep = if how == "stop" { "asleep" } else { "frozen" };
        server.wait_observed("app:a", asleep);
        assert_eq!(process.alive(), how == "freeze", "{how}: {process:?}");
        let woken = act(&server, "app:a", "count", &[]);
        assert_eq!((&woken["memory"], &woken["disk"]), (&counted.into(), &2.into()), "{how}: {woken}");
    }
    Shown::Yes
}
