//! The harmless devices work; no other is there.

use serde_json::json;

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "devices", says: "only harmless devices are there", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let used = act(&server, "app:a", "use", &[]);
    assert_eq!(used, json!({ "null": true, "zero": true, "random": true, "shm": true, "full": "ENOSPC" }));
    let names = act(&server, "app:a", "names", &[]);
    let strange: Vec<_> = names["strange"].as_array().unwrap().iter().collect();
    assert_eq!(!strange.is_empty(), ground.below("namespace"), "{names}");
    Shown::Yes
}
