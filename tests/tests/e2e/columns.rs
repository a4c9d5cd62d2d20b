//! The table in SECURITY.md says what each level stops. Here its rows are tried, so that a `no` which does not
//! hold is found, and a `yes` which is not needed any more, too.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use insula_tests::{cgroups_writable, is_root, skip};

use crate::scene::{SECRET, Scene};

const PAGE: &str = include_str!("../../../SECURITY.md");

/// Probes with their targets.
type Tries = Vec<(&'static str, String)>;

/// The cells of the row that begins with this text: `process` as root, `process` as a user, `namespace`.
fn row(label: &str) -> [String; 3] {
    let line = PAGE.lines().find(|line| line.strip_prefix("| ").is_some_and(|l| l.starts_with(label)));
    let line = line.unwrap_or_else(|| panic!("SECURITY.md has no row `{label}`"));
    let cells: Vec<_> =
        line.trim_matches('|').split('|').skip(1).map(|cell| cell.trim().to_owned()).collect();
    cells.try_into().unwrap_or_else(|cells| panic!("row `{label}` has other columns: {cells:?}"))
}

/// Whether a cell says that it gets through on this host.
fn says_yes(cell: &str) -> bool {
    if cell.ends_with("where control groups can be written to, else no") && !cgroups_writable() {
        return false;
    }
    match (cell.starts_with("no"), cell.starts_with("**yes**")) {
        (no, yes) if no != yes => yes,
        _ => panic!("`{cell}` begins neither with `no` nor with `**yes**`"),
    }
}

/// Tries a row at level `process`, in the column of this user, and at level `namespace`.
#[track_caller]
fn holds(scene: &Scene, label: &str, at_process: Tries, at_namespace: Tries) {
    let [as_root, as_user, namespace] = row(label);
    let process = if is_root() { as_root } else { as_user };
    for (app, cell, tries) in [("bare:a", process, at_process), ("spy:a", namespace, at_namespace)] {
        for (probe, target) in tries {
            let answer = scene.through_app(app, probe, &target);
            assert_eq!(answer["through"], says_yes(&cell), "`{label}`, `{probe}` of {app}: {answer}");
        }
    }
}

#[test]
fn a_neighbours_data() {
    let scene = Scene::set();
    for victim in ["victim:a", "barevictim:a"] {
        scene.server.get(victim, "/write?n=3").expect(200);
    }
    let data = scene.server.place().data();
    let tries = |victim: &str| {
        let folder = data.join(victim).join("a");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![("file", text(&folder.join("kept"))), ("write", text(&folder))]
    };
    holds(&scene, "read or write a neighbour's data", tries("barevictim"), tries("victim"));
}

#[test]
fn a_neighbours_processes() {
    let scene = Scene::set();
    let seen = || vec![("cmdline", SECRET.to_owned())];
    holds(&scene, "see a neighbour's processes", seen(), seen());
}

#[test]
fn a_neighbours_inside() {
    let scene = Scene::set();
    let tries = |victim: &str| {
        let pid = scene.server.app(victim).pid.to_string();
        let mut tries = ["memory", "signal", "ptrace"].map(|probe| (probe, pid.clone())).to_vec();
        tries.push(("environ", format!("INSULA_INSTANCE={victim}")));
        tries
    };
    let label = "read a neighbour's environment or memory, signal it, trace it";
    holds(&scene, label, tries("barevictim:a"), tries("victim:a"));
}

#[test]
fn the_loopback_and_the_abstract_sockets_of_the_host() {
    let scene = Scene::set();
    let name = format!("insula-e2e-columns-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let port = scene.port("barevictim:a");
    let tries = || vec![("tcp", format!("{port} {SECRET}")), ("abstract", name.clone())];
    holds(&scene, "reach the host's loopback and its abstract sockets", tries(), tries());
}

#[test]
fn the_internet() {
    // An address of documentation (RFC 5737), and nothing is sent to it.
    const ADDRESS: &str = "192.0.2.1";
    let scene = Scene::set();
    if scene.outside(&[], "route", ADDRESS)["through"] == false {
        skip!("this host has no way to the internet");
    }
    let tries = || vec![("route", ADDRESS.to_owned())];
    holds(&scene, "send to the internet", tries(), tries());
}

#[test]
fn the_files_of_the_host() {
    let [as_root, as_user, namespace] = row("see the host's files");
    assert_eq!(
        (as_root.as_str(), as_user.as_str()),
        ("**what any user may**", "**what the user may**"),
        "the cells say something that is not tried here"
    );
    assert!(namespace.starts_with("system directories"));
    let scene = Scene::set();
    let state = scene.server.place().home().join("state.db");
    let through = |path: &str| scene.through_app("bare:a", "file", path)["through"].clone();
    assert_eq!(through("/etc/passwd"), true);
    assert_eq!(through(state.to_str().unwrap()), !is_root(), "a file of the user that serves");
    scene.wall_holds("file", state.to_str().unwrap());
}

#[test]
fn a_set_user_id_file() {
    if !is_root() {
        skip!("only root can make a set-user-id file of root");
    }
    let scene = Scene::set();
    let tries = || vec![("setuid", scene.set_user_id_program())];
    holds(&scene, "become root by a set-user-id file", tries(), tries());
}
