//! Programs of the system and of the tenant cannot be changed from inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "read_only", says: "programs cannot be changed from inside", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let apps = server.place().apps();
    // Open to everybody, so that only a wall can refuse it.
    fs::set_permissions(&apps, fs::Permissions::from_mode(0o777)).unwrap();
    held(ground, "namespace", &act(&server, "app:a", "write", &[("folder", apps.to_str().unwrap())]));
    for folder in ["/usr/bin", "/etc"] {
        assert_eq!(act(&server, "app:a", "write", &[("folder", folder)])["through"], false, "{folder}");
    }
    Shown::Yes
}
