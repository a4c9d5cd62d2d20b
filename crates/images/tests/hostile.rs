//! Archives that want out of their directory, and those that want everything there is.
//!
//! Each escape has its control: the same bytes, given to an unpacker that joins names to the root, do reach the
//! folder beside it. An attack that could not work proves nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use insula_images::{Bounds, LoadOptions, Policy};
use support::{Tar, World, chain, unpack_naively};

/// What is outside before anybody came.
const UNTOUCHED: &str = "secret=secret";

/// The bytes are refused or kept inside; the control gets out.
fn stays_inside(name: &str, tar: &Tar, world: &World) {
    let loaded = world.load(&tar.bytes());
    assert_eq!(world.outside(), UNTOUCHED, "`{name}` came out; it was {loaded:?}");
    fs::create_dir_all(world.path("naive/root")).unwrap();
    unpack_naively(&tar.bytes(), &world.path("naive/root"));
    assert_ne!(world.outside(), UNTOUCHED, "`{name}` attacks nothing: its control stayed inside");
}

/// From `naive/root`, as from `fs` within the images, this leads to the folder outside.
const UP: &str = "../../outside";

#[test]
fn no_path_leads_out() {
    let world = World::new();
    stays_inside("dots", &Tar::new().file(&format!("{UP}/new"), "x"), &world);
    let world = World::new();
    stays_inside("dots behind a name", &Tar::new().dir("a").file(&format!("a/../{UP}/new"), "x"), &world);
    let world = World::new();
    let absolute = world.path("outside/new");
    stays_inside("absolute", &Tar::new().file(absolute.to_str().unwrap(), "x"), &world);
}

#[test]
fn no_symbolic_link_leads_out() {
    let world = World::new();
    let outside = world.path("outside").display().to_string();
    for (name, tar) in [
        ("parent", Tar::new().symlink("link", &outside).file("link/new", "x")),
        ("parent of a parent", Tar::new().dir("a").symlink("a/link", &outside).file("a/link/b/new", "x")),
        ("last part", Tar::new().symlink("link", &format!("{outside}/secret")).file("link", "changed")),
        ("chain", Tar::new().symlink("a", &outside).symlink("b", "a").file("b/new", "x")),
        ("directory over a link", Tar::new().symlink("d", &outside).dir("d").file("d/new", "x")),
        (
            "link through a link",
            Tar::new().symlink("d", &outside).hardlink("e", "d/secret").file("e", "changed"),
        ),
    ] {
        let world = World::new();
        let other = world.path("outside").display().to_string();
        // Each world has a folder of its own.
        let bytes = String::from_utf8(tar.0.clone()).unwrap().replace(&outside, &other).into_bytes();
        assert_eq!(outside.len(), other.len());
        let mut tar = Tar(bytes);
        for block in tar.0.chunks_mut(512).filter(|block| block[257..262] == *b"ustar") {
            support::sum(block);
        }
        stays_inside(name, &tar, &world);
    }
}

#[test]
fn no_hard_link_leads_out() {
    for target in [format!("{UP}/secret"), "ABSOLUTE".to_owned()] {
        let world = World::new();
        let target = target.replace("ABSOLUTE", world.path("outside/secret").to_str().unwrap());
        stays_inside(&target, &Tar::new().hardlink("l", &target).file("l", "changed"), &world);
    }
    // A second name of a symbolic link is that link, and not the file it leads to.
    let world = World::new();
    let secret = world.path("outside/secret").display().to_string();
    let tar = Tar::new().symlink("s", &secret).hardlink("h", "s");
    let layer = world.layer(&world.load(&tar.bytes()).unwrap());
    assert!(fs::symlink_metadata(layer.join("h")).unwrap().is_symlink());
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
}

#[test]
fn a_link_gives_way_to_what_comes_later() {
    let world = World::new();
    let tar =
        Tar::new().symlink("a", "/etc").dir("a").file("a/b", "x").dir("c").file("c/d", "x").file("c", "y");
    let layer = world.layer(&world.load(&tar.bytes()).unwrap());
    assert!(fs::symlink_metadata(layer.join("a")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(layer.join("a/b")).unwrap(), "x");
    assert_eq!(fs::read_to_string(layer.join("c")).unwrap(), "y");
}

#[test]
fn what_is_refused_is_named() {
    let world = World::new();
    for (tar, words) in [
        (Tar::new().file("../x", "x"), "`../x` that cannot be unpacked: it has `..` in it"),
        (
            Tar::new().symlink("l", "/etc").file("l/x", "x"),
            "`l` that cannot be unpacked: it leads through a sym",
        ),
        (Tar::new().file("f", "").file("f/x", "x"), "it leads through something that is not a directory"),
        (Tar::new().hardlink("l", "../x"), "hard link `l` to `../x`: that is not a path within the layer"),
        (Tar::new().hardlink("l", "x"), "hard link `l` to `x`: that is not in this layer"),
        (Tar::new().dir("d").hardlink("l", "d"), "hard link `l` to `d`: that is not a file"),
        (Tar::new().file("a/.wh...", ""), "it hides nothing that can have a name"),
        (Tar::new().file(".wh.a/b", ""), "a whiteout has nothing in it"),
        (Tar::new().entry(b'0', b".", b"", b""), "the root can only be a directory"),
        (Tar::new().entry(b'Z', b"a", b"", b""), "unknown kind `Z`"),
        (Tar::new().symlink("l", ""), "a symbolic link cannot lead there"),
        (
            Tar::new().pax(&[("uid", b"4294967295")]).file("a", ""),
            "extended records of an entry are malformed",
        ),
    ] {
        let error = world.load(&tar.bytes()).unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
        assert!(!error.hint().is_empty());
    }
    assert!(world.images.list().unwrap().is_empty(), "something of it was kept");
    assert_eq!(fs::read_dir(world.path("images/layers")).unwrap().count(), 0);
    let left: Vec<_> = fs::read_dir(world.path("images/tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn devices_are_left_out_and_counted() {
    let world = World::new();
    let tar = Tar::new()
        .entry(b'3', b"dev/mem", b"", b"")
        .entry(b'4', b"sda", b"", b"")
        .entry(b'6', b"p", b"", b"");
    let loaded = world.load(&tar.bytes()).unwrap();
    let layer = world.layer(&loaded);
    assert!(!layer.join("dev/mem").exists() && !layer.join("sda").exists());
    assert!(fs::metadata(layer.join("p")).unwrap().file_type().is_fifo());
    assert!(loaded.notes.iter().any(|note| note == "2 device files were left out"), "{:?}", loaded.notes);
}

#[test]
fn set_user_id_bits_and_capabilities_go_unless_wanted() {
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .entry(b'0', b"su", b"", b"")
        .mode(0o4755)
        .pax(&[("SCHILY.xattr.security.capability", capability)])
        .entry(b'0', b"ping", b"", b"")
        .mode(0o2755);
    let mode = |layer: &std::path::Path| fs::metadata(layer.join("su")).unwrap().mode() & 0o7777;
    let world = World::new();
    let cleared = world.load(&tar.bytes()).unwrap();
    assert_eq!(mode(&world.layer(&cleared)), 0o755);
    for note in ["2 set-user-id or set-group-id bits were cleared", "1 file capabilities were cleared"] {
        assert!(cleared.notes.iter().any(|n| n == note), "{:?}", cleared.notes);
    }
    // The control: with the policy off they are there, so there was something to clear.
    let world = World::new();
    let policy = Policy { keep_setuid: true, ..Policy::default() };
    let kept = world.load_with(&tar.bytes(), &LoadOptions { policy, ..LoadOptions::default() }).unwrap();
    assert_eq!(mode(&world.layer(&kept)), 0o4755);
}

#[test]
fn attributes_that_overlayfs_believes_are_not_taken_from_an_image() {
    let world = World::new();
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.mine", b"kept"),
        ])
        .dir("d");
    let loaded = world.load(&tar.bytes()).unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(world.layer(&loaded).join("d"), &mut names[..]).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(names.contains("user.mine") && !names.contains("overlay"), "{names:?}");
    assert!(loaded.notes.iter().any(|n| n == "2 extended attributes were left out"), "{:?}", loaded.notes);
}

#[test]
fn there_is_a_bound_on_everything() {
    let bounds =
        Bounds { entries: 3, unpacked: 1 << 20, ratio: 50, ratio_from: 64 << 10, ..Bounds::default() };
    let options = LoadOptions { policy: Policy { bounds, ..Policy::default() }, ..LoadOptions::default() };
    let many = |n: usize| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), "x")).bytes();
    let zeros = |n: usize| Tar::new().file("zeros", &"\0".repeat(n)).bytes();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    let sparse = |size: &[u8]| {
        let keys: &[(&str, &[u8])] = &[("GNU.sparse.realsize", size), ("GNU.sparse.map", b"0,1")];
        Tar::new().pax(keys).file("hole", "x").bytes()
    };
    for (name, good, bad, words) in [
        ("entries", many(3), many(4), "more than 3 entries"),
        ("bytes", zeros(1 << 19), zeros(1 << 21), "more than 1048576 bytes"),
        ("ratio", gzip(&zeros(32 << 10)), gzip(&zeros(512 << 10)), "more than 50 times the bytes"),
        ("holes", sparse(b"1000000"), sparse(b"2000000"), "more than 1048576 bytes in its files"),
    ] {
        let world = World::new();
        world.load_with(&good, &options).unwrap_or_else(|e| panic!("{name}: {}", chain(&e)));
        let error = world.load_with(&bad, &options).unwrap_err();
        assert!(chain(&error).contains(words), "{name}: {}", chain(&error));
    }
    // Zstandard says how much memory it wants.
    let world = World::new();
    let small = zstd::stream::encode_all(&zeros(512 << 10)[..], 3).unwrap();
    assert!(chain(&world.load_with(&small, &options).unwrap_err()).contains("more than 50 times"));
    world.load(&small).unwrap();
}

#[test]
fn names_and_records_are_bounded_before_they_are_read() {
    let world = World::new();
    for flag in [b'L', b'K', b'x'] {
        let mut tar = Tar::new();
        tar.push(support::header(flag, b"long", b"", 4 << 30), b"");
        assert!(chain(&world.load(&tar.bytes()).unwrap_err()).contains("more than 1 MiB of names"), "{flag}");
    }
}

#[test]
fn what_is_cut_off_is_not_kept() {
    let world = World::new();
    let whole = Tar::new().file("a", &"x".repeat(2000)).file("b", "y").bytes();
    for cut in [100, 700, 2600, 3072] {
        let error = world.load(&whole[..cut]).unwrap_err();
        assert!(chain(&error).contains("ends too early"), "{cut}: {}", chain(&error));
    }
    let mut bent = whole.clone();
    bent[0] ^= 1;
    assert!(chain(&world.load(&bent).unwrap_err()).contains("wrong checksum"));
    world.load(&whole).unwrap();
}
