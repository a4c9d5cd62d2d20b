//! Images of every shape, made with the tools that others use, are what those tools say they are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use insula_images::{Images, LoadOptions, SourceKind, StoreError};
use insula_spec::ImageSource;
use support::{World, chain, listing, make_layout, merged, run};

fn only(only: &str) -> LoadOptions {
    LoadOptions { only: Some(only.to_owned()), ..LoadOptions::default() }
}

fn named(name: &str) -> LoadOptions {
    LoadOptions { name: Some(name.parse().unwrap()), ..LoadOptions::default() }
}

/// The whole truth about whiteouts, opaque directories, links, long names and modes: what overlayfs shows of our
/// layers is what `umoci` unpacks into one directory.
#[test]
fn overlayfs_shows_what_umoci_unpacks() {
    skip_without!("umoci", "unshare");
    let world = World::new();
    make_layout(world.dir.path(), 100);
    let options = LoadOptions { only: Some("two".to_owned()), ..named("app:two") };
    let loaded = world.images.load(&world.path("layout"), &options, &()).unwrap().remove(0);
    assert_eq!(loaded.kind, SourceKind::OciLayout);
    let image = world.images.get(&"app:two".parse().unwrap()).unwrap().unwrap();
    assert_eq!(image.layers.len(), 2);
    let seen = merged(&image, world.dir.path());
    assert!(seen.contains("keep/sub/new") && seen.contains("bin/link d"), "{seen}");
    for gone in ["gone", "keep/sub/old"] {
        assert!(!seen.contains(gone), "{gone} is back: {seen}");
        assert!(image.layers[0].path.join(gone).exists(), "the lower layer never had {gone}");
    }
    assert_eq!(seen, listing(&world.path("bundle/rootfs")));
}

#[test]
fn an_image_tells_how_it_wants_to_be_run() {
    skip_without!("umoci");
    let world = World::new();
    make_layout(world.dir.path(), 100);
    let options = LoadOptions { only: Some("two".to_owned()), ..named("app:two") };
    world.images.load(&world.path("layout"), &options, &()).unwrap();
    let config = world.images.find("app:two").unwrap().config;
    assert_eq!(
        (config.entrypoint.as_slice(), config.cmd.as_slice()),
        (&["/bin/app".to_owned()][..], &["serve".to_owned()][..])
    );
    assert!(config.env.contains(&"A=b".to_owned()));
    assert_eq!((config.user.as_str(), config.workdir.as_str()), ("1000:1000", "/etc"));
    assert_eq!((config.exposed_ports, config.volumes), (vec!["80/tcp".to_owned()], vec!["/data".to_owned()]));
    assert_eq!((config.stop_signal.as_deref(), config.labels["k"].as_str()), (Some("SIGQUIT"), "v"));
}

/// One image in four wrappings has the same layers, and they are unpacked once.
#[test]
fn every_wrapping_has_the_same_layers() {
    skip_without!("umoci", "skopeo");
    let world = World::new();
    let dir = world.dir.path();
    make_layout(dir, 1000);
    let copy = |more: &[&str], to: &str| {
        run(
            dir,
            &[&["skopeo", "--insecure-policy", "--tmpdir", ".", "copy", "-q"], more, &["oci:layout:two", to]]
                .concat(),
        )
    };
    copy(&[], "docker-archive:docker.tar:team/app:1.0");
    copy(&["--dest-compress-format", "zstd", "--dest-compress"], "oci-archive:zstd.tar:team/app:2.0");
    let load = |path: &str, options: &LoadOptions| {
        let loaded = world.images.load(&world.path(path), options, &());
        loaded.unwrap_or_else(|e| panic!("{path}: {}", chain(&e))).remove(0)
    };
    let plain = load("layout", &LoadOptions { only: Some("two".to_owned()), ..named("app:3") });
    let docker = load("docker.tar", &LoadOptions::default());
    let zstd = load("zstd.tar", &LoadOptions::default());
    assert_eq!((docker.kind, zstd.kind), (SourceKind::DockerArchive, SourceKind::OciArchive));
    let layers = |text: &str| -> Vec<_> {
        world.images.find(text).unwrap().layers.into_iter().map(|layer| layer.path).collect()
    };
    assert_eq!(layers("team/app:1.0"), layers("app:3"));
    assert_eq!(layers("team/app:2.0"), layers(&plain.digest.to_string()));
    assert_eq!(fs::read_dir(world.path("images/layers")).unwrap().count(), 2);
}

#[test]
fn an_image_of_buildah_is_loaded() {
    skip_without!("buildah");
    let world = World::new();
    if !support::is_root() {
        // Without root it wants subordinate ids; that it makes the same archives then is not ours to show.
        return;
    }
    let dir = world.dir.path();
    fs::write(dir.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    fs::write(dir.join("file"), "content").unwrap();
    let buildah = |words: &[&str]| {
        let own = ["buildah", "--root", "store", "--runroot", "run", "--storage-driver", "vfs"];
        run(dir, &[&own[..], words].concat())
    };
    let container = buildah(&["from", "scratch"]).trim().to_owned();
    buildah(&["copy", &container, "file", "/srv/file"]);
    buildah(&["config", "--entrypoint", r#"["/srv/file"]"#, &container]);
    buildah(&[
        "commit",
        "-q",
        "--signature-policy",
        "policy.json",
        &container,
        "oci-archive:out.tar:localhost/made:1",
    ]);
    let loaded = world.images.load(&world.path("out.tar"), &LoadOptions::default(), &()).unwrap().remove(0);
    assert_eq!(loaded.name.unwrap().to_string(), "localhost/made:1");
    let image = world.images.find("localhost/made:1").unwrap();
    assert_eq!(image.config.entrypoint, ["/srv/file"]);
    let file =
        image.layers.iter().map(|layer| layer.path.join("srv/file")).find(|path| path.exists()).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "content");
}

#[test]
fn several_images_want_a_choice() {
    skip_without!("umoci");
    let world = World::new();
    make_layout(world.dir.path(), 10);
    let layout = world.path("layout");
    let error = world.images.load(&layout, &named("app"), &()).unwrap_err();
    assert!(error.to_string().ends_with("holds several images: one, two"), "{error}");
    let error = world.images.load(&layout, &only("three"), &()).unwrap_err();
    assert!(error.to_string().contains("holds no image `three`, but one, two"), "{error}");
    assert_eq!(world.images.load(&layout, &LoadOptions::default(), &()).unwrap().len(), 2);
}

/// Each blob, bent by one byte, is refused; put right, it is taken.
#[test]
fn nothing_that_was_changed_is_taken() {
    skip_without!("umoci");
    let world = World::new();
    make_layout(world.dir.path(), 100);
    let blobs: Vec<_> =
        fs::read_dir(world.path("layout/blobs/sha256")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(blobs.len() >= 5);
    let mut refused = 0;
    for (turn, blob) in blobs.into_iter().enumerate() {
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        fs::write(&blob, &bad).unwrap();
        // Each time with nothing there: a layer that is there already is not read again.
        let images = Images::open(&world.path(&format!("images-{turn}"))).unwrap();
        refused += usize::from(images.load(&world.path("layout"), &only("two"), &()).is_err());
        fs::write(&blob, &good).unwrap();
    }
    // Two layers, a manifest and a configuration belong to it; the rest to its lower half.
    assert_eq!(refused, 4);
    assert!(world.images.list().unwrap().is_empty());
    world.images.load(&world.path("layout"), &only("two"), &()).unwrap();
}

/// A directory comes out as it went in, and its digest follows from its files alone.
#[test]
fn a_directory_becomes_an_image() {
    skip_without!("unshare");
    let world = World::new();
    let root = world.path("rootfs");
    for dir in ["a/b", "empty", &"long".repeat(40)] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("a/b/file"), "content").unwrap();
    fs::hard_link(root.join("a/b/file"), root.join("second")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    fs::write(root.join("long".repeat(40)).join("x".repeat(200)), "").unwrap();
    let one = world.images.load(&root, &named("own/root:1"), &()).unwrap().remove(0);
    assert_eq!(one.kind, SourceKind::Directory);
    let image = world.images.get(&"own/root:1".parse().unwrap()).unwrap().unwrap();
    assert_eq!(merged(&image, world.dir.path()), listing(&root));
    let again = World::new();
    let two = again.images.load(&root, &named("own/root:1"), &()).unwrap().remove(0);
    assert_eq!(one.digest, two.digest);
    fs::write(root.join("a/b/file"), "changed").unwrap();
    let three = again.images.load(&root, &named("own/root:1"), &()).unwrap().remove(0);
    assert_ne!(one.digest, three.digest);
    assert_eq!(again.images.find("own/root:1").unwrap().digest, three.digest);
}

#[test]
fn a_path_of_a_configuration_is_loaded_once_and_again_when_it_changed() {
    let world = World::new();
    let path = world.path("rootfs.tar");
    fs::write(&path, support::Tar::new().file("a", "1").bytes()).unwrap();
    let source = ImageSource::Path(path.clone());
    let first = world.images.provide(&source).unwrap();
    assert_eq!(world.images.provide(&source).unwrap(), first);
    assert_eq!(world.images.list().unwrap().len(), 1);
    fs::write(&path, support::Tar::new().file("a", "22").file("b", "").bytes()).unwrap();
    assert_ne!(world.images.provide(&source).unwrap().digest, first.digest);
    let missing = world.images.provide(&ImageSource::Name("nobody/knows".parse().unwrap())).unwrap_err();
    assert!(missing.to_string().contains("docker.io/nobody/knows:latest"), "{missing}");
}

#[test]
fn what_nothing_holds_is_collected_and_nothing_else() {
    let world = World::new();
    let load = |name: Option<&str>, text: &str| {
        let options = name.map_or_else(LoadOptions::default, named);
        world
            .load_with(&support::Tar::new().file("shared", "x").file("own", text).bytes(), &options)
            .unwrap()
            .digest
    };
    let (kept, pinned, used) =
        (load(Some("a/kept"), "1"), load(Some("a/app"), "2"), load(Some("a/used"), "3"));
    let gone = load(Some("a/app"), "4");
    world.images.pin(pinned, "notes:alice").unwrap();
    for name in ["a/app", "a/used"] {
        world.images.remove(name).unwrap();
    }
    let collected = world.images.gc(&BTreeSet::from([used])).unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 2), "{collected:?}");
    assert!(world.images.by_digest(gone).unwrap().is_none());
    let there =
        |digest| world.images.by_digest(digest).unwrap().is_some_and(|image| image.layers[0].path.exists());
    assert!(there(kept) && there(pinned));
    assert_eq!(fs::read_dir(world.path("images/layers")).unwrap().count(), 3, "the one in use is gone");
    world.images.unpin(pinned, "notes:alice").unwrap();
    world.images.gc(&BTreeSet::new()).unwrap();
    assert!(there(kept) && !there(pinned));
    assert_eq!(fs::read_dir(world.path("images/layers")).unwrap().count(), 1);
}

#[test]
fn what_runs_keeps_its_last_name() {
    let world = World::new();
    let tar = support::Tar::new().file("a", "").bytes();
    let digest = world.load_with(&tar, &named("a/app")).unwrap().digest;
    world.load_with(&tar, &named("a/second")).unwrap();
    world.images.pin(digest, "notes:alice").unwrap();
    world.images.remove("a/second").unwrap();
    assert_eq!(world.images.prune(|holder| holder == "notes:alice").unwrap(), 0);
    let error = world.images.remove("a/app").unwrap_err();
    assert!(matches!(&error, StoreError::InUse { holder, .. } if holder == "notes:alice"), "{error}");
    world.images.provide_for(&ImageSource::Name("a/app".parse().unwrap()), "notes:bob").unwrap();
    assert_eq!(world.images.pins().unwrap().len(), 2);
    assert_eq!(world.images.prune(|_| false).unwrap(), 2);
    world.images.remove("a/app").unwrap();
    for bad in ["", "../x", "a/b", &"x".repeat(161)] {
        assert!(matches!(world.images.pin(digest, bad), Err(StoreError::Holder(_))), "`{bad}` was let in");
    }
}

/// A process that died in the middle leaves work in progress, which goes with the next start; a half-written
/// layer is never seen under its name.
#[test]
fn a_crash_leaves_nothing() {
    let world = World::new();
    let tmp = world.path("images/tmp");
    fs::create_dir_all(tmp.join("00ff/fs/etc")).unwrap();
    fs::write(tmp.join("00ff.lock"), "").unwrap();
    let images = Images::open(&world.path("images")).unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    assert!(images.list().unwrap().is_empty());
}

/// A layer without a good record is made again, and one that lacks a file of its own is told of.
#[test]
fn damage_is_told_and_repaired() {
    let world = World::new();
    let tar = support::Tar::new().file("a", "x").bytes();
    let loaded = world.load_with(&tar, &named("a/app")).unwrap();
    let record = world.layer(&loaded).parent().unwrap().join("layer.json");
    fs::write(&record, "{}").unwrap();
    let error = world.images.find("a/app").unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && error.hint().contains("again"), "{error}");
    assert_eq!(world.load_with(&tar, &named("a/app")).unwrap().digest, loaded.digest);
    world.images.find("a/app").unwrap();
    assert_eq!(world.images.list().unwrap()[0].damage, None);
    let blobs = fs::read_dir(world.path("images/blobs/sha256")).unwrap();
    for blob in blobs {
        fs::write(blob.unwrap().path(), "{}").unwrap();
    }
    assert!(chain(&world.images.find("a/app").unwrap_err()).contains("has changed"));
    assert!(world.images.list().unwrap()[0].damage.is_some());
    world.images.remove("a/app").unwrap();
    assert_eq!(world.images.gc(&BTreeSet::new()).unwrap().layers, 1);
}

/// Many at once, from several threads with locks of their own, and a collection in between: all are whole.
#[test]
fn several_at_once_do_not_break_each_other() {
    let world = World::new();
    let dir = world.path("images");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (dir, world) = (&dir, &world);
            scope.spawn(move || {
                let images = Images::open(dir).unwrap();
                for round in 0..5 {
                    // Half of the layers are the same for all threads.
                    let text = format!("{}", if round % 2 == 0 { round } else { 100 * thread + round });
                    let path = world.path(&format!("{thread}.tar"));
                    fs::write(&path, support::Tar::new().file("a", &text).bytes()).unwrap();
                    images.load(&path, &named(&format!("t{thread}/r{round}")), &()).unwrap();
                    match images.gc(&BTreeSet::new()) {
                        Ok(_) | Err(StoreError::Busy) => {}
                        Err(e) => panic!("{}", chain(&e)),
                    }
                }
            });
        }
    });
    let all = world.images.list().unwrap();
    assert_eq!(all.len(), 20);
    for one in all {
        let image = world.images.by_digest(one.digest).unwrap().unwrap();
        assert!(image.layers[0].path.join("a").exists(), "{:?}", one.name);
    }
}

/// Loads an image of these layers, and shows what overlayfs makes of it.
fn stacked(world: &World, layers: &[support::Tar]) -> (insula_images::Image, String) {
    let path = world.path("saved.tar");
    fs::write(&path, support::docker_archive("own/stack:1", layers)).unwrap();
    let loaded = world.images.load(&path, &LoadOptions::default(), &());
    loaded.unwrap_or_else(|e| panic!("{}", chain(&e)));
    let image = world.images.find("own/stack:1").unwrap();
    let seen = merged(&image, world.dir.path());
    (image, seen)
}

/// Marks hide what is below, and never what is in the same layer, in whichever order they come.
#[test]
fn marks_hide_what_is_below_and_nothing_else() {
    skip_without!("unshare");
    let world = World::new();
    let lower = ["opaque", "before", "after", "gone", "under"];
    let lower = lower.iter().fold(support::Tar::new(), |tar, dir| tar.file(&format!("{dir}/old"), "old"));
    let lower = lower.file("file", "old").file("kept", "kept");
    let upper = support::Tar::new()
        .file("opaque/new", "")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.before", "")
        .dir("before")
        .file("before/new", "")
        .dir("after")
        .file("after/new", "")
        .file(".wh.after", "")
        .file(".wh.gone", "")
        // Its directory is not told of at all.
        .file(".wh.under", "")
        .file("under/new", "")
        .file(".wh.file", "")
        .file("file", "new")
        // Leftovers of another file system mean nothing.
        .file(".wh..wh.plnk/1", "")
        .file(".wh..wh.aufs", "");
    let (image, seen) = stacked(&world, &[lower, upper]);
    let names: Vec<_> = seen.lines().filter_map(|line| line.split(' ').next()).take(10).collect();
    assert_eq!(
        names,
        [
            "after",
            "after/new",
            "before",
            "before/new",
            "file",
            "kept",
            "opaque",
            "opaque/new",
            "under",
            "under/new"
        ]
    );
    assert_eq!(fs::read_to_string(image.layers[1].path.join("file")).unwrap(), "new");
    assert!(image.layers[0].path.join("gone/old").exists(), "nothing was hidden");
}

/// Of an opaque root overlayfs knows nothing, so the layers below are left out.
#[test]
fn an_opaque_root_hides_everything_below() {
    skip_without!("unshare");
    let layers =
        [support::Tar::new().file("old", ""), support::Tar::new().file("new", "").file(".wh..wh..opq", "")];
    let (image, seen) = stacked(&World::new(), &layers);
    assert_eq!(image.layers.len(), 1);
    assert!(seen.starts_with("new ") && !seen.contains("old"), "{seen}");
    // The control: without the mark both are seen.
    let layers = [support::Tar::new().file("old", ""), support::Tar::new().file("new", "")];
    let (image, seen) = stacked(&World::new(), &layers);
    assert!(image.layers.len() == 2 && seen.contains("old"), "{seen}");
}

/// Every way in which GNU tar writes files with holes, and long names, comes out as it went in.
#[test]
fn what_gnu_tar_writes_is_read() {
    skip_without!("tar", "unshare");
    let world = World::new();
    let root = world.path("root");
    fs::create_dir_all(root.join("x".repeat(150))).unwrap();
    let hole = fs::File::create(root.join("x".repeat(150)).join("hole")).unwrap();
    for at in [100_000, 900_000] {
        std::os::unix::fs::FileExt::write_all_at(&hole, b"here", at).unwrap();
    }
    hole.set_len(3_000_000).unwrap();
    fs::write(root.join("plain"), "plain").unwrap();
    let wanted = listing(&root);
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let tar = [&["tar", "--sparse", "-C", "root", "-cf", "rootfs.tar"], format, &["."]].concat();
        run(world.dir.path(), &tar);
        let bytes = fs::read(world.path("rootfs.tar")).unwrap();
        assert!(bytes.len() < 1_000_000, "{format:?} wrote the holes");
        let world = World::new();
        let loaded = world.load(&bytes).unwrap_or_else(|e| panic!("{format:?}: {}", chain(&e)));
        assert_eq!(listing(&world.layer(&loaded)), wanted, "{format:?}");
    }
}
