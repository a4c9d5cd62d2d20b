//! What passes its memory limit is killed with that as the reason; processes and open files end at their limits; the neighbour notices nothing.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act, act_and_end, why};

pub(crate) const CLAIM: Claim =
    Claim { name: "limits", says: "limits hold, with their reasons", from: "process", run };

/// Limits of memory in MiB and on processes. A kernel of one's own is counted with what it serves: some 30 MB, and
/// what a fork writes to, in larger pieces.
fn bounds(level: &str) -> (u32, u64) {
    if level == "gvisor" { (512, 24) } else { (128, 64) }
}

fn run(ground: &Ground) -> Shown {
    if !ground.limits() {
        return Shown::No("limits cannot be set here; one that is asked for refuses the start".to_owned());
    }
    let (memory, pids) = bounds(ground.level());
    let keys =
        format!("restart = \"never\"\nmemory_limit_mb = {memory}\npids_limit = {pids}\nopen_files = 100");
    let server = ground.serve(include_str!("act.py"), &keys, &["a", "b"]);
    act(&server, "app:b", "files", &[("n", "10")]);
    let neighbour = server.app("app:b");
    let files = act(&server, "app:a", "files", &[("n", "200")]);
    assert!(files["opened"].as_u64().unwrap() < 100 && files["error"] == "EMFILE", "{files}");
    let processes = act(&server, "app:a", "processes", &[("n", "200")]);
    assert!(processes["started"].as_u64().unwrap() < pids && processes["error"] == "EAGAIN", "{processes}");
    act_and_end(&server, "app:a", "eat", &[("mb", "900")]);
    let said = wait_until("its end", || Some(why(&server, "app:a")).filter(|w| !w.is_empty()));
    assert!(said.contains("oom"), "{said}");
    assert!(neighbour.alive() && act(&server, "app:b", "files", &[("n", "10")])["opened"] == 10);
    Shown::Yes
}
