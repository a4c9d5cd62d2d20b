//! What a tenant puts into /tmp no other one sees, and its own next start finds it empty.

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim = Claim {
    name: "private_tmp",
    says: "/tmp is one tenant's, and empty at each start",
    from: "namespace",
    run,
};

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a", "b"]);
    let name = format!("insula-conformance-{}", std::process::id());
    let call = |instance: &str, function: &str| act(&server, instance, function, &[("name", &name)]);
    assert_eq!(call("app:a", "put")["through"], true);
    let (neighbour, own) = (call("app:b", "find"), call("app:a", "find"));
    assert_eq!(own["through"], true);
    server.cli(&["restart", "app:a"]).ok();
    let after = call("app:a", "find");
    if ground.below("namespace") {
        assert_eq!(call("app:a", "clear")["through"], true);
    }
    held(ground, "namespace", &neighbour);
    held(ground, "namespace", &after);
    Shown::Yes
}
