//! The directory of a tenant is a real file system: everything that databases use works in it, and stays.

use std::os::unix::fs::MetadataExt;

use insula_tests::is_root;

use crate::ground::{Claim, Ground, Shown, act, held, on_host};

pub(crate) const CLAIM: Claim =
    Claim { name: "files", says: "the data directory does what databases need", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a", "b"]);
    let used = act(&server, "app:a", "use", &[]);
    // Told by the host: not every kernel inside tells how much of a file is really there.
    let sparse = on_host(&server.place().data().join("app/a/sparse"));
    assert!(sparse.is_none_or(|file| file.len() > 1 << 30 && file.blocks() * 512 < 1 << 24), "{used}");
    for what in ["synced", "renamed", "linked", "symlinked", "locked", "mapped", "permissions", "sqlite"] {
        assert_eq!(used[what], true, "{what}: {used}");
    }
    server.cli(&["restart", "app:a"]).ok();
    assert_eq!(act(&server, "app:a", "rows", &[])["rows"], 1000);
    assert_eq!(act(&server, "app:b", "list", &[])["names"], serde_json::json!([]), "it saw its neighbour's");
    let of_a = server.place().data().join("app/a/rows.db");
    let taken = |by: &str| act(&server, by, "take", &[("path", of_a.to_str().unwrap())]);
    assert_eq!(taken("app:a")["through"], true, "the path is not that of its data");
    // At `process` the ids of tenants keep them apart, which only root can give.
    held(ground, if is_root() { "process" } else { "namespace" }, &taken("app:b"));
    Shown::Yes
}
