//! Tenants are told apart: host name, own directory, command line; no capability, no way to new privileges.

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "identity", says: "each tenant has an identity, and no privilege", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["alice", "bob"]);
    for id in ["alice", "bob"] {
        let me = act(&server, &format!("app:{id}"), "me", &[]);
        assert_eq!(
            (&me["argument"], &me["new_privileges"]),
            (&format!("word-of-{id}").into(), &"1".into()),
            "{me}"
        );
        assert_eq!(me["capabilities"].as_str().unwrap().trim_start_matches('0'), "", "{me}");
        if ground.below("namespace") {
            // The control: without a wall it has the name of the host.
            assert_eq!(me["host"], rustix::system::uname().nodename().to_str().unwrap(), "{me}");
        } else {
            assert_eq!((&me["host"], &me["uid"]), (&id.into(), &1000.into()), "{me}");
        }
    }
    Shown::Yes
}
