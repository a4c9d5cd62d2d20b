//! `insula doctor` names the container engines that are there, and says that none is used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use insula_tests::{Answer, Place, program};

/// What it says of engines with this search path.
fn engines(place: &Place, path: &Path) -> String {
    let output = Command::new(program())
        .args(["doctor", "--json"])
        .env("INSULA_HOME", place.home())
        .env("PATH", path)
        .output()
        .unwrap();
    let report = Answer::from(output).json();
    let checks = report["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["what"] == "container engines").unwrap();
    assert_eq!(check["verdict"], "good", "{check}");
    check["found"].as_str().unwrap().to_owned()
}

#[test]
fn engines_that_are_there_are_named_and_others_are_not() {
    let place = Place::new();
    let path = place.path().join("bin");
    fs::create_dir(&path).unwrap();
    assert_eq!(engines(&place, &path), "none, and none is needed");
    for (name, mode, expected) in [
        ("podman", 0o644, "none, and none is needed"),
        ("podman", 0o755, "podman: not used, images are run without"),
        ("docker", 0o755, "docker, podman: not used, images are run without"),
    ] {
        // It is looked for, not run: what it is does not matter.
        fs::write(path.join(name), "#!/bin/false\n").unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(engines(&place, &path), expected, "{name} {mode:o}");
    }
    fs::remove_file(path.join("docker")).unwrap();
    fs::create_dir(path.join("docker")).unwrap();
    assert_eq!(
        engines(&place, &path),
        "podman: not used, images are run without",
        "a directory is no program"
    );
}
