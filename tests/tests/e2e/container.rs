//! One word changes the level: the same service at `container` and `gvisor`, with a root file system of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use insula_tests::{Answer, Place, Server, is_root, skip, wait_until};

use crate::common::{app, lacks, number};

/// A root file system of one static program.
pub(crate) fn rootfs(place: &Place) -> Option<PathBuf> {
    let busybox = Path::new("/bin/busybox");
    let root = place.path().join("rootfs");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).ok()?;
    for name in ["sh", "cat", "httpd", "ls"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::create_dir_all(root.join("srv")).unwrap();
    fs::write(root.join("srv/index.html"), "from the layer\n").unwrap();
    Some(root)
}

#[test]
fn one_word_changes_the_level_and_nothing_else() {
    for level in ["namespace", "container", "gvisor"] {
        let keys = format!("isolation = \"{level}\"\nidle_timeout = \"500ms\"");
        let server = Server::start(&app("serve", &keys, &["a"]));
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        assert_eq!(number(&server.get("app:a", "/write?n=7").expect(200), "size"), 7, "at {level}");
        assert_eq!(server.inspect("app:a")["level"], level);
        server.wait_observed("app:a", "asleep");
        assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 7, "at {level}");
        let before = server.app("app:a");
        server.worker().kill();
        server.wait_observed("app:a", "running");
        assert_eq!(server.app("app:a"), before, "at {level} it was not adopted");
        drop(server.try_get("app:a", "/exit?code=5"));
        let why = server.cli(&["why", "app:a"]).ok().stdout;
        assert!(why.contains("status 5"), "at {level}: {why}");
    }
}

#[test]
fn a_root_file_system_of_its_own_serves() {
    for level in ["container", "gvisor"] {
        let place = Place::new();
        let Some(_) = rootfs(&place) else { skip!("no /bin/busybox (package busybox-static)") };
        let config = format!(
            "[service.web]\ncommand = \"httpd -f -p {{port}} -h /srv\"\nrootfs = \"$ROOT/rootfs\"\n\
             isolation = \"{level}\"\n[instances]\nweb = [\"a\", \"b\"]\n"
        );
        let server = Server::with(place, &config, &insula_tests::Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        for tenant in ["web:a", "web:b"] {
            assert_eq!(
                server.get(tenant, "/index.html").expect(200).text(),
                "from the layer\n",
                "at {level}"
            );
        }
    }
}

#[test]
fn a_root_file_system_at_level_process_is_refused() {
    let place = Place::new();
    let Some(_) = rootfs(&place) else { skip!("no /bin/busybox (package busybox-static)") };
    let config = "[service.web]\ncommand = \"httpd -f -p {port}\"\nrootfs = \"$ROOT/rootfs\"\n\
                  isolation = \"process\"\n[instances]\nweb = [\"a\"]\n";
    let server = Server::with(place, config, &insula_tests::Options::default());
    server.get("web:a", "/").expect(503);
    let why = server.cli(&["why", "web:a"]).ok().stdout;
    assert!(why.contains("`rootfs` cannot be enforced at level `process`"), "{why}");
    assert!(is_root() || !why.contains("panicked"));
}

#[test]
fn guests_wait_before_anybody_asks_for_one() {
    // The control: at a level whose walls are those of any other, no more wait than always.
    for (level, expected) in [("container", 2), ("gvisor", 4)] {
        let config = format!("[service.web]\ncommand = \"true\"\nisolation = \"{level}\"\n");
        let server = Server::with(Place::new(), &config, &insula_tests::Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        let shells = || server.cli(&["health", "--json"]).json()["shells"].as_u64();
        wait_until("all shells that are expected wait", || (shells() == Some(expected)).then_some(()));
    }
}

#[test]
fn a_persistent_root_survives_sleep_restart_and_a_crash_of_the_daemon() {
    for (level, kept, expected) in
        [("container", true, 3), ("container", false, 1), ("gvisor", true, 3), ("gvisor", false, 1)]
    {
        let place = Place::new();
        let Some(_) = rootfs(&place) else { skip!("no /bin/busybox (package busybox-static)") };
        let config = format!(
            "[service.web]\ncommand = [\"sh\", \"-c\", \"echo start >>/srv/starts; exec httpd -f -p {{port}} -h \
             /srv\"]\nrootfs = \"$ROOT/rootfs\"\nisolation = \"{level}\"\npersistent_root = {kept}\nuser = \"0\"\n\
             idle_timeout = \"500ms\"\n[instances]\nweb = [\"a\"]\n"
        );
        let server = Server::with(place, &config, &insula_tests::Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        let starts = || server.get("web:a", "/starts").expect(200).text().lines().count();
        assert_eq!(starts(), 1, "at {level}");
        server.wait_observed("web:a", "asleep");
        assert_eq!(starts(), expected - usize::from(kept), "at {level}");
        server.worker().kill();
        server.wait_observed("web:a", "running");
        server.cli(&["restart", "web:a"]).ok();
        assert_eq!(starts(), expected, "at {level}");
    }
}

/// A name is looked up at each start, and never changes what runs.
#[test]
fn an_image_under_an_old_name_counts_from_the_next_start() {
    let place = Place::new();
    let Some(root) = rootfs(&place) else { skip!("no /bin/busybox (package busybox-static)") };
    let config = "[service.web]\ncommand = \"httpd -f -p {port} -h /srv\"\nimage = \"own/web:1\"\n\
                  isolation = \"container\"\n[instances]\nweb = [\"a\", \"b\"]\n";
    let home = place.home();
    let load = |text: &str| {
        fs::write(root.join("srv/index.html"), text).unwrap();
        Answer::of(&home, &["image", "load", root.to_str().unwrap(), "--name", "own/web:1"]).ok();
    };
    load("one");
    let server = Server::with(place, config, &insula_tests::Options::default());
    if let Some(why) = lacks(&server, "container") {
        skip!("container: {why}");
    }
    let page = |tenant: &str| server.get(tenant, "/index.html").expect(200).text();
    assert_eq!(page("web:a"), "one");
    load("two");
    // What runs from the old one keeps it, with or without a name.
    Answer::of(&home, &["image", "gc"]).ok();
    server.cli(&["restart", "web:b"]).ok();
    assert_eq!((page("web:a"), page("web:b")), ("one".to_owned(), "two".to_owned()));
    server.cli(&["restart", "web:a"]).ok();
    assert_eq!(page("web:a"), "two");
    Answer::of(&home, &["image", "gc"]).ok();
    assert_eq!(fs::read_dir(home.join("images/layers")).unwrap().count(), 1, "the old layer is still there");
}
