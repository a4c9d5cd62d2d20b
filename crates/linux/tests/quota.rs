//! Images as directories with a hard limit. Needs root, loop devices and e2fsprogs.
#![cfg(test)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use insula_linux::quota::image::{Held, Image, ImageError, POINTS, Want};
use insula_linux::quota::loops::Device;
use insula_linux::quota::{Mechanism, Probe};

const MIB: u64 = 1 << 20;
const OWNER: u32 = 4_300_000;
const LONG: Duration = Duration::from_secs(30);
const LIMIT: u64 = 32 * MIB;

fn wants(limit: u64) -> Want {
    Want { limit: Some(limit), owner: OWNER }
}

/// Prints past the capture of the test harness, so that a skip is always seen.
fn skipped(test: &str, why: &str) {
    std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
}

/// A tenant's directory in one of its own.
struct Place {
    root: tempfile::TempDir,
    plain: PathBuf,
    image: Image,
}

impl Place {
    /// `None`, and a line that says so, where images cannot be mounted.
    fn new(test: &str) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        if let Err(why) = Probe::of(root.path()).image {
            skipped(test, &why);
            return None;
        }
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let plain = root.path().join("data/alice");
        fs::create_dir(root.path().join("data")).unwrap();
        let image = Image::of(&plain).unwrap();
        Some(Self { root, plain, image })
    }

    fn open(&self, limit: u64) -> Result<Mounted, ImageError> {
        self.image.open(wants(limit), &|_| {}).map(|mount| Mounted::at(&self.root.path().join("m"), mount))
    }

    fn hold(&self, name: &str, content: &str) {
        fs::create_dir_all(&self.plain).unwrap();
        fs::write(self.plain.join(name), content).unwrap();
    }

    fn inside(&self) -> Vec<String> {
        let mounted = self.open(LIMIT).unwrap();
        let mut names: Vec<_> = fs::read_dir(&mounted.at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A mount where programs find it; gone with this.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn at(at: &Path, mount: OwnedFd) -> Self {
        fs::create_dir_all(at).unwrap();
        insula_linux::mount::attach(mount.as_fd(), at).unwrap();
        Self { at: at.to_owned() }
    }

    /// Writes as the owner; answers how much there was room for, and what was said.
    fn write(&self, name: &str, mib: u64) -> (u64, String) {
        let path = self.at.join(name);
        let out = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k", "conv=fsync"])
            .arg(format!("of={}", path.display()))
            .arg(format!("count={}", mib * 16))
            .uid(OWNER)
            .gid(OWNER)
            .output()
            .unwrap();
        let size = fs::metadata(&path).map_or(0, |found| found.len());
        (size, String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

#[test]
fn what_an_owner_can_store_is_the_limit() {
    let Some(place) = Place::new("what_an_owner_can_store_is_the_limit") else { return };
    let mounted = place.open(LIMIT).unwrap();
    let top = fs::metadata(&mounted.at).unwrap();
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (OWNER, OWNER, 0o700));
    assert!(fs::read_dir(&mounted.at).unwrap().next().is_none(), "a fresh directory is empty");
    assert_eq!(place.image.held().unwrap(), Held { used: 0, limit: LIMIT });
    let (written, said) = mounted.write("small", 8);
    assert_eq!(written, 8 * MIB, "{said}");
    let (written, said) = mounted.write("large", 64);
    assert!(said.contains("No space left"), "{said}");
    assert!((23 * MIB..=24 * MIB).contains(&written), "{written}");
    let held = place.image.held().unwrap();
    assert_eq!(held.limit, LIMIT);
    assert!(held.used <= LIMIT, "{held:?}");
    assert!(held.used > 31 * MIB, "of a mounted image: {held:?}");
    drop(mounted);
    assert_eq!(place.image.held().unwrap(), held, "of one that is not mounted");
    assert!(Device::is_gone(&place.image.path(), LONG).unwrap(), "a device is left");
    let on_disk = fs::metadata(place.image.path()).unwrap();
    assert_eq!(on_disk.mode() & 0o777, 0o600);
}

#[test]
fn what_was_there_before_is_in_it_as_it_was() {
    let Some(place) = Place::new("what_was_there_before_is_in_it_as_it_was") else { return };
    place.hold("a", "one");
    fs::create_dir(place.plain.join("dir")).unwrap();
    fs::write(place.plain.join("dir/b"), "two").unwrap();
    fs::hard_link(place.plain.join("a"), place.plain.join("dir/same")).unwrap();
    symlink("/nowhere", place.plain.join("link")).unwrap();
    fs::set_permissions(place.plain.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::lchown(place.plain.join("a"), Some(OWNER + 7), Some(OWNER + 8)).unwrap();
    let mounted = place.open(LIMIT).unwrap();
    let a = fs::metadata(mounted.at.join("a")).unwrap();
    assert_eq!((a.uid(), a.gid(), a.mode() & 0o777, a.nlink()), (OWNER + 7, OWNER + 8, 0o640, 2));
    assert_eq!(fs::read(mounted.at.join("dir/same")).unwrap(), b"one");
    assert_eq!(fs::read(mounted.at.join("dir/b")).unwrap(), b"two");
    assert_eq!(fs::read_link(mounted.at.join("link")).unwrap(), Path::new("/nowhere"));
    assert!(!place.plain.exists(), "it is in two places");
    drop(mounted);
    assert_eq!(place.inside(), ["a", "dir", "link"]);
}

#[test]
fn another_owner_gets_the_top_and_what_is_in_it_is_left_alone() {
    let Some(place) = Place::new("another_owner_gets_the_top_and_what_is_in_it_is_left_alone") else {
        return;
    };
    let mounted = place.open(LIMIT).unwrap();
    assert_eq!(mounted.write("kept", 1).0, MIB);
    drop(mounted);
    let want = Want { owner: OWNER + 1, ..wants(LIMIT) };
    let mounted = Mounted::at(&place.root.path().join("m"), place.image.open(want, &|_| {}).unwrap());
    let uid = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!((uid(&mounted.at), uid(&mounted.at.join("kept"))), (OWNER + 1, OWNER));
}

#[test]
fn a_crash_at_any_point_loses_nothing() {
    let Some(place) = Place::new("a_crash_at_any_point_loses_nothing") else { return };
    drop(place);
    for point in POINTS.into_iter().filter(|point| *point != "disk.resized") {
        let place = Place::new("a_crash_at_any_point_loses_nothing").unwrap();
        place.hold("precious", point);
        let crash = |at: &'static str| assert!(at != point, "the process dies here");
        let died = catch_unwind(AssertUnwindSafe(|| place.image.open(wants(LIMIT), &crash)));
        assert!(died.is_err(), "`{point}` was not reached");
        place.image.recover().unwrap();
        assert!(place.plain.join("precious").exists() != place.image.exists(), "at `{point}`");
        assert_eq!(place.inside(), ["precious"], "at `{point}`");
        let mounted = place.open(LIMIT).unwrap();
        assert_eq!(fs::read_to_string(mounted.at.join("precious")).unwrap(), point);
        drop(mounted);
        let left: Vec<_> = fs::read_dir(place.root.path().join("data/.quota")).unwrap().collect();
        assert_eq!(left.len(), 2, "image and lock, at `{point}`: {left:?}");
    }
}

#[test]
fn a_limit_grows_and_shrinks_with_what_is_in_it() {
    let Some(place) = Place::new("a_limit_grows_and_shrinks_with_what_is_in_it") else { return };
    let mounted = place.open(LIMIT).unwrap();
    assert_eq!(mounted.write("kept", 20).0, 20 * MIB);
    let busy = place.image.open(wants(2 * LIMIT), &|_| {}).unwrap_err();
    assert!(matches!(busy, ImageError::Busy(_)), "{busy}");
    drop(mounted);
    let resized = |at: &'static str| assert!(at != "disk.resized", "the process dies here");
    let died = catch_unwind(AssertUnwindSafe(|| place.image.open(wants(8 * LIMIT), &resized)));
    assert!(died.is_err(), "the point was not reached");
    for limit in [8 * LIMIT, LIMIT] {
        let mounted = place.open(limit).unwrap();
        assert_eq!(fs::metadata(mounted.at.join("kept")).unwrap().len(), 20 * MIB);
        let (more, said) = mounted.write("more", 2 * limit / MIB);
        assert!(said.contains("No space left"), "{said}");
        assert!((limit - 21 * MIB..=limit - 20 * MIB).contains(&more), "{more} of {limit}");
        fs::remove_file(mounted.at.join("more")).unwrap();
    }
    let small = place.open(8 * MIB).map(drop).unwrap_err();
    assert!(matches!(small, ImageError::TooSmall { used, .. } if used > 19 * MIB), "{small}");
    assert!(small.hint().contains("disk_limit"), "{}", small.hint());
    assert_eq!(place.inside(), ["kept"], "a limit that is refused changes nothing");
}

#[test]
fn more_than_the_limit_is_not_moved() {
    let Some(place) = Place::new("more_than_the_limit_is_not_moved") else { return };
    place.hold("large", &"x".repeat(9 << 20));
    let refused = place.open(8 * MIB).map(drop).unwrap_err();
    assert!(matches!(refused, ImageError::TooSmall { .. }), "{refused}");
    assert!(!place.image.exists() && place.plain.join("large").exists());
}

#[test]
fn one_image_has_one_device_however_often_it_is_mounted() {
    let Some(place) = Place::new("one_image_has_one_device_however_often_it_is_mounted") else { return };
    let first = place.image.open(wants(LIMIT), &|_| {}).unwrap();
    let second = place.image.open(wants(LIMIT), &|_| {}).unwrap();
    let file = |mount: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}/file", mount.as_raw_fd()));
    fs::write(file(&first), "seen").unwrap();
    assert_eq!(fs::read_to_string(file(&second)).unwrap(), "seen");
    drop((first, second));
    assert!(Device::is_gone(&place.image.path(), LONG).unwrap(), "a device is left");
}

#[test]
fn a_host_says_which_limits_it_can_hold() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Probe::of(dir.path());
    if probe.project.is_err() {
        skipped("a project quota holds", "the file system has none here; golden files show the plan");
    }
    if !rustix::process::geteuid().is_root() {
        assert!(probe.image.is_err(), "an ordinary user mounts nothing");
        assert!(probe.why_soft().contains("no image"), "{}", probe.why_soft());
    }
    assert!(Mechanism::Image.is_hard() && Mechanism::Project.is_hard() && !Mechanism::Soft.is_hard());
}
