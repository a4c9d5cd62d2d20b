//! A stop ends everything that the program started, whatever it did to hide.

use insula_tests::Process;

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "end_of_all", says: "a stop leaves no process", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let word = format!("left-behind-{}-{}", std::process::id(), ground.level());
    act(&server, "app:a", "hide", &[("word", &word)]);
    let app = server.app("app:a");
    server.cli(&["stop", "app:a"]).ok();
    let left: Vec<_> = Process::all().into_iter().filter(|p| p.command.contains(&word)).collect();
    assert!(left.is_empty() && !app.alive(), "{left:?}");
    Shown::Yes
}
