//! A mount is at its place and nowhere else: what is shared for writing is the host's own, what is not cannot be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insula_tests::Place;

use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "mounts", says: "a read-only mount refuses writes", from: "namespace", run };

const KEYS: &str = "mounts = [\"$ROOT/shared:/srv/shared:rw\", \"$ROOT/fixed:/srv/fixed\"]";

/// Two directories, open to everybody, so that only a wall can refuse something.
fn directories(place: &Place) {
    for name in ["shared", "fixed"] {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(dir.join("of-host"), "the host's").unwrap();
        fs::set_permissions(dir.join("of-host"), fs::Permissions::from_mode(0o666)).unwrap();
    }
}

fn run(ground: &Ground) -> Shown {
    let server = ground.serve_after(directories, include_str!("act.py"), KEYS, &["a", "b"]);
    let host = server.place().path().to_owned();
    // Without a wall there is no other place than the host's.
    let root = if ground.below("namespace") { host.clone() } else { "/srv".into() };
    let path = |dir: &Path, name: &str| dir.join(name).to_str().unwrap().to_owned();
    let read = |tenant, file: &str| act(&server, tenant, "read", &[("path", file)]);
    let write = |tenant, file: &str, text| act(&server, tenant, "write", &[("path", file), ("text", text)]);

    for name in ["shared/of-host", "fixed/of-host"] {
        assert_eq!(read("app:a", &path(&root, name))["text"], "the host's", "{name}");
    }
    assert_eq!(write("app:a", &path(&root, "shared/of-app"), "the app's")["through"], true);
    assert_eq!(fs::read_to_string(host.join("shared/of-app")).unwrap(), "the app's");
    assert_eq!(read("app:b", &path(&root, "shared/of-app"))["text"], "the app's", "the other tenant's view");
    // What the host changes shows, too, in a file that was read before.
    fs::write(host.join("shared/of-host"), "the host's, changed").unwrap();
    assert_eq!(read("app:a", &path(&root, "shared/of-host"))["text"], "the host's, changed");

    for name in ["fixed/of-app", "fixed/of-host"] {
        let answer = write("app:a", &path(&root, name), "the app's");
        held(ground, "namespace", &answer);
        assert!(ground.below("namespace") || answer["errno"] == "EROFS", "{name}: {answer}");
    }
    let kept = fs::read_to_string(host.join("fixed/of-host")).unwrap();
    assert_eq!(kept == "the host's", !ground.below("namespace"), "{kept}");
    // Its place on the host is no place inside.
    held(ground, "namespace", &read("app:a", &path(&host, "shared/of-host")));
    Shown::Yes
}
