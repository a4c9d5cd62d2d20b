//! A program sees the environment that was declared and nothing else; its own is not in any command line.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "environment", says: "the environment is what was declared", from: "process", run };

const KNOWN: [&str; 10] = [
    "DATA",
    "HOME",
    "HOSTNAME",
    "INSULA_INSTANCE",
    "LANG",
    "LC_CTYPE",
    "PATH",
    "PORT",
    "SOCKET_PATH",
    "WORD",
];

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let env = act(&server, "app:a", "environment", &[]);
    let names: Vec<_> = env.as_object().unwrap().keys().collect();
    assert!(names.iter().all(|name| KNOWN.contains(&name.as_str())), "undeclared: {names:?}");
    assert_eq!((&env["WORD"], &env["INSULA_INSTANCE"]), (&"word-of-a".into(), &"app:a".into()));
    assert!(env["DATA"].as_str().unwrap().ends_with("/app/a"));
    // The control: whoever tries has more than that.
    assert!(std::env::vars().any(|(name, _)| !KNOWN.contains(&name.as_str())));
    Shown::Yes
}
