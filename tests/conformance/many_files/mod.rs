//! Ten thousand files are made, listed, read and removed.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim = Claim { name: "many_files", says: "10,000 files", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let count = |function: &str| act(&server, "app:a", function, &[("n", "10000")])["count"].clone();
    assert_eq!((count("make"), count("look"), count("clear")), (10_000.into(), 10_000.into(), 0.into()));
    Shown::Yes
}
