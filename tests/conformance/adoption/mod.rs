//! When the daemon is killed the program goes on: same process, same memory, every line of its output.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act, lines};

pub(crate) const CLAIM: Claim =
    Claim { name: "adoption", says: "the program outlives a killed daemon", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    assert_eq!(act(&server, "app:a", "count", &[])["count"], 1);
    let (process, worker) = (server.app("app:a"), server.worker());
    act(&server, "app:a", "count_later", &[("n", "500")]);
    worker.kill();
    server.wait_worker_after(&worker);
    let now = act(&server, "app:a", "count", &[]);
    assert!(process.alive() && server.app("app:a").pid == process.pid, "{process:?}");
    let told = wait_until("all lines", || {
        let told = lines(&server, "app:a").remove("stdout").unwrap_or_default();
        (told.len() >= 502).then_some(told)
    });
    let wanted: Vec<_> = (1..=told.len()).map(|n| format!("count {n}")).collect();
    assert_eq!(told, wanted, "{now}");
    Shown::Yes
}
