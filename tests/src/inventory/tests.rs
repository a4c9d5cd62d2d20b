//! The negative controls of every claim that nothing is left: what is there is found.

use std::os::unix::net::UnixListener;

use super::*;
use crate::{OwnNetwork, skip, wait_until};

#[test]
fn a_process_a_socket_and_a_run_dir_are_found() {
    let place = Place::new();
    assert!(Inventory::take(&place).is_empty());
    fs::create_dir_all(place.home().join("run/walls/some")).unwrap();
    let listener = UnixListener::bind(place.path().join("a.sock")).unwrap();
    let mut child = Command::new("sleep").arg("1000").current_dir(place.path()).spawn().unwrap();
    let found = Inventory::take(&place);
    assert_eq!(found.processes.len(), 1, "{found:?}");
    assert_eq!((found.sockets.len(), found.run_dirs.len()), (1, 1), "{found:?}");
    found.remove();
    child.wait().unwrap();
    drop(listener);
    fs::remove_dir(place.home().join("run/walls/some")).unwrap();
    assert!(Inventory::take(&place).is_empty());
}

/// Runs a tool that must succeed.
fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn an_interface_and_rules_that_nobody_needs_are_found() {
    if !is_root() {
        skip!("networks and their rules are root's");
    }
    let (place, other) = (Place::new(), Place::new());
    OwnNetwork::new().within(|| {
        assert!(Inventory::take(&place).is_empty());
        let pair = ["ip", "link", "add", "insula0ad50000", "type", "veth", "peer", "name", "eth0"];
        run(&pair);
        let folder = place.path().file_name().unwrap().to_str().unwrap();
        run(&["ip", "link", "set", "insula0ad50000", "alias", &format!("{folder} n1")]);
        run(&["nft", "add", "table", "inet", "insula"]);
        // Not ours, by name.
        run(&["nft", "add", "table", "inet", "another"]);
        let found = Inventory::take(&place);
        assert_eq!(found.interfaces, BTreeSet::from(["insula0ad50000".to_owned()]), "{found:?}");
        // Another home may not call it its own, and the rules are needed.
        assert!(found.tables.is_empty() && Inventory::take(&other).is_empty(), "{found:?}");
        run(&["ip", "link", "delete", "insula0ad50000"]);
        let found = Inventory::take(&place);
        assert_eq!((found.interfaces.len(), found.tables.len()), (0, 1), "{found:?}");
        run(&["nft", "delete", "table", "inet", "insula"]);
        assert!(Inventory::take(&place).is_empty());
    });
}

#[test]
fn an_overlay_and_a_loop_device_are_found() {
    if !is_root() || !Path::new("/dev/loop-control").exists() {
        skip!("loop devices and mounts that the host sees are root's");
    }
    let (place, other) = (Place::new(), Place::new());
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    run(&["mount", "-t", "overlay", "overlay", "-o", &options, &at("merged")]);
    fs::File::create(at("image")).unwrap().set_len(1 << 20).unwrap();
    let device = run(&["losetup", "--show", "--find", &at("image")]);
    let found = Inventory::take(&place);
    let neighbour = Inventory::take(&other);
    run(&["losetup", "--detach", &device]);
    run(&["umount", &at("merged")]);
    assert_eq!((found.mounts.len(), found.loops.len()), (1, 1), "{found:?}");
    assert!(neighbour.is_empty(), "{neighbour:?}");
    wait_until("both are gone", || Inventory::take(&place).is_empty().then_some(()));
}
