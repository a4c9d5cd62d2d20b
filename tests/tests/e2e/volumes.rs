//! Directories that an image wants to be kept (`VOLUME`): writable, each instance's own, there after every end.

use std::fs;
use std::process::Command;

use insula_isolation::DiskProbe;
use insula_tests::{Answer, Options, Place, Server, skip};

use crate::common::lacks;
use crate::container::rootfs;

/// An image of [`rootfs`] with one volume, as builders of images make it.
const BUILD: &str = "
umoci --log=error init --layout layout
umoci --log=error new --image layout:one
umoci --log=error insert --rootless --image layout:one rootfs /
umoci --log=error config --image layout:one --config.volume /var/lib/kept
";

/// Each start adds a line to a file in the volume, and to one outside of it.
const START: &str = "echo {id} >>/var/lib/kept/starts; echo {id} >>/srv/starts; mkdir -p /tmp/www; \
                     ln -s /var/lib/kept /tmp/www/kept; ln -s /srv /tmp/www/srv; \
                     exec httpd -f -p {port} -h /tmp/www";

/// A place with that image; what is missing here, if anything.
fn place() -> Result<Place, &'static str> {
    let place = Place::new();
    let root = rootfs(&place).ok_or("no /bin/busybox (package busybox-static)")?;
    for name in ["mkdir", "ln"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let built = Command::new("sh").args(["-euc", BUILD]).current_dir(place.path()).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let layout = place.path().join("layout");
    Answer::of(&place.home(), &["image", "load", layout.to_str().unwrap(), "--name", "own/web:1"]).ok();
    Ok(place)
}

fn config(level: &str, keys: &str, tenants: &[&str]) -> String {
    format!(
        "[service.web]\ncommand = [\"sh\", \"-c\", \"{START}\"]\nimage = \"own/web:1\"\nisolation = \"{level}\"\n\
         idle_timeout = \"500ms\"\n{keys}\n[instances]\nweb = {tenants:?}\n"
    )
}

/// How many starts are counted in a file of the instance.
fn starts(server: &Server, tenant: &str, file: &str) -> usize {
    server.get(tenant, file).expect(200).text().lines().count()
}

#[test]
fn a_volume_is_kept_for_each_instance_and_nothing_else_of_the_root_is() {
    for level in ["container", "gvisor"] {
        let place = match place() {
            Ok(place) => place,
            Err(why) => skip!("{why}"),
        };
        let server = Server::with(place, &config(level, "", &["a", "b"]), &Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        let starts = || starts(&server, "web:a", "/kept/starts");
        let first = starts();
        assert!(first > 0, "at {level}");
        server.wait_observed("web:a", "asleep");
        let second = starts();
        assert!(second > first, "at {level}, after sleep: {second}");
        server.cli(&["restart", "web:a"]).ok();
        let third = starts();
        assert!(third > second, "at {level}, after a restart: {third}");
        server.wait_observed("web:a", "asleep");
        server.worker().kill();
        assert!(starts() > third, "at {level}, under the next worker");
        // The controls: the rest of the root is fresh, and the neighbour's volume another one.
        assert_eq!(server.get("web:a", "/srv/starts").expect(200).text(), "a\n", "at {level}");
        let other = server.get("web:b", "/kept/starts").expect(200).text();
        assert!(!other.is_empty() && !other.contains('a'), "at {level}: {other}");
    }
}

#[test]
fn a_disk_limit_beside_a_volume_is_as_hard_as_it_can_be_and_says_so() {
    if let Err(why) = DiskProbe::of(&std::env::temp_dir()).image {
        skip!("{why}");
    }
    if DiskProbe::of(&std::env::temp_dir()).project.is_ok() {
        skip!("a project quota holds beside a volume here");
    }
    for level in ["container", "gvisor"] {
        let place = match place() {
            Ok(place) => place,
            Err(why) => skip!("{why}"),
        };
        let limit = "disk_limit = \"16MiB\"";
        let server = Server::with(place, &config(level, limit, &["a"]), &Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        assert_eq!(starts(&server, "web:a", "/kept/starts"), 1, "at {level}");
        let bound = server.inspect("web:a")["disk_bound"].clone();
        assert_eq!(bound["mechanism"], "soft", "at {level}: {bound}");
        assert!(bound["why"].as_str().unwrap().contains("volumes"), "at {level}: {bound}");
        let said = server.cli(&["inspect", "web:a"]).ok().stdout;
        assert!(said.contains("soft") && said.contains("volumes"), "at {level}: {said}");
        let images = server.place().data().join("web/.quota/a.ext4");
        assert!(!images.exists(), "at {level} its data went into an image");
    }
}

#[test]
fn a_disk_limit_that_must_be_hard_is_refused_beside_a_volume() {
    if let Err(why) = DiskProbe::of(&std::env::temp_dir()).image {
        skip!("{why}");
    }
    if DiskProbe::of(&std::env::temp_dir()).project.is_ok() {
        skip!("a project quota holds beside a volume here");
    }
    let place = match place() {
        Ok(place) => place,
        Err(why) => skip!("{why}"),
    };
    let hard = "disk_limit = \"16MiB\"\ndisk_limit_mode = \"hard\"";
    let server = Server::with(place, &config("container", hard, &["a"]), &Options::default());
    server.get("web:a", "/kept/starts").expect(503);
    let why = server.cli(&["why", "web:a"]).ok().stdout;
    assert!(why.contains("declares volumes") && why.contains("disk_limit_mode = \"auto\""), "{why}");
    assert!(!fs::exists(server.place().data().join("web/a/volumes")).unwrap(), "it was started");
}

/// The same holds for changes to a root that stay; data that an image has already is not left behind in it.
#[test]
fn a_persistent_root_takes_no_image_and_leaves_none_behind() {
    if let Err(why) = DiskProbe::of(&std::env::temp_dir()).image {
        skip!("{why}");
    }
    if DiskProbe::of(&std::env::temp_dir()).project.is_ok() {
        skip!("a project quota holds beside changes of a root here");
    }
    let place = Place::new();
    let Some(_) = rootfs(&place) else { skip!("no /bin/busybox (package busybox-static)") };
    let service = |name: &str, persistent: bool| {
        format!(
            "[service.{name}]\ncommand = \"httpd -f -p {{port}} -h /srv\"\nrootfs = \"$ROOT/rootfs\"\n\
             isolation = \"container\"\ndisk_limit = \"16MiB\"\npersistent_root = {persistent}\n"
        )
    };
    let config = |persistent| {
        service("kept", true)
            + &service("other", persistent)
            + "[instances]\nkept = [\"a\"]\nother = [\"a\"]\n"
    };
    let mut server = Server::with(place, &config(false), &Options::default());
    let bound = |server: &Server, instance: &str| {
        server.get(instance, "/index.html").expect(200);
        let bound = server.inspect(instance)["disk_bound"].clone();
        (bound["mechanism"].as_str().unwrap().to_owned(), bound["why"].as_str().unwrap().to_owned())
    };
    let (mechanism, why) = bound(&server, "kept:a");
    assert!(mechanism == "soft" && why.contains("persistent_root"), "{mechanism}: {why}");
    // The control: without that key the limit is hard.
    assert_eq!(bound(&server, "other:a"), ("hard (image)".to_owned(), String::new()));
    server.terminate();
    let configured = server.place().configure(&config(true));
    assert!(configured.exists());
    server.start_again();
    server.get("other:a", "/index.html").expect(503);
    let why = server.cli(&["why", "other:a"]).ok().stdout;
    assert!(why.contains("other/.quota/a.ext4") && why.contains("mount -o loop"), "{why}");
}
