//! The clock inside is that of the host, runs forward, and cannot be set.

use std::time::SystemTime;

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "clock", says: "the clock is that of the host", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    act(&server, "app:a", "clock", &[]);
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let before = now();
    let inside = act(&server, "app:a", "clock", &[]);
    let after = now();
    let time = inside["time"].as_f64().unwrap();
    // Within the request, but for the different steps of two clocks.
    assert!(before - 0.01 <= time && time <= after + 0.01, "{before} {inside} {after}");
    let later = act(&server, "app:a", "clock", &[]);
    assert!(later["monotonic"].as_f64() > inside["monotonic"].as_f64(), "{inside} {later}");
    assert_eq!(later["set"], "EPERM", "{later}");
    Shown::Yes
}
