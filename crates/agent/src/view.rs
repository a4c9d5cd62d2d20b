//! Building the root file system inside the wall, as the host planned it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use insula_frames::{Ids, ViewOp, ViewPlan};
use insula_linux::mount::{self, Attributes, Reach};
use rustix::fs::FileType;

use crate::root::{self, STAGE};

/// What failed, and on what.
pub(crate) struct Failure {
    pub(crate) error: io::Error,
    pub(crate) on: String,
}

/// Where the old root is until the view is complete, if that is later.
const OLD_ROOT: &str = "/host";

/// When the view is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complete {
    /// When it is built.
    Now,
    /// When it was extended.
    Later,
}

/// Moves into the new root and builds the view there. `fds` are the mounts made by the host, in order. Answers
/// the writable places that a later launch must find empty.
///
/// Every path is followed inside the new root alone: a link of an image leads nowhere else.
pub(crate) fn build(
    plan: &ViewPlan,
    fds: Vec<OwnedFd>,
    owner: Option<Ids>,
    complete: Complete,
) -> Result<Vec<PathBuf>, Failure> {
    name(plan)?;
    let (mut layers, mut sources) = gather(plan, fds)?;
    let root = root::make(&plan.root, &mut layers)?;
    let guest = make_guest(plan, &mut layers)?;
    mount::attach(root.as_fd(), Path::new(STAGE)).map_err(on(STAGE))?;
    match complete {
        Complete::Now => mount::enter_root(Path::new(STAGE)),
        Complete::Later => mount::enter_root_beside(Path::new(STAGE), Path::new(OLD_ROOT)),
    }
    .map_err(on("/"))?;
    attach_guest(guest)?;
    let scratch = carry_out(plan, &mut sources, owner)?;
    if plan.read_only {
        mount::set_attributes(root.as_fd(), Attributes::safe(true), Reach::Top)
            .map_err(on("read-only root"))?;
    }
    Ok(scratch)
}

/// Adds to a view that was to be complete later.
pub(crate) fn extend(plan: &ViewPlan, fds: Vec<OwnedFd>, owner: Option<Ids>) -> Result<(), Failure> {
    name(plan)?;
    let gathered = mount::within(Path::new(OLD_ROOT), || {
        let (mut layers, sources) = gather(plan, fds)?;
        Ok((make_guest(plan, &mut layers)?, sources))
    });
    let (guest, mut sources) = gathered.map_err(on(OLD_ROOT))??;
    attach_guest(guest)?;
    ready_root(plan, owner)?;
    carry_out(plan, &mut sources, owner).map(drop)
}

/// What is to be in the root of whoever is behind the program: paths are followed inside that root alone.
fn ready_root(plan: &ViewPlan, owner: Option<Ids>) -> Result<(), Failure> {
    let Some((root, _)) = &plan.guest else { return Ok(()) };
    let mut ops = plan.ops.iter().filter_map(|op| Some((op, below(root, op)?)));
    let done = mount::within(Path::new(root), || {
        ops.try_for_each(|(op, at)| apply(op, &at, None, owner).map_err(on(target_of(op))))
    });
    done.map_err(on(root))?
}

/// Where a step acts in this root, if it does: only steps that need nothing from outside can.
fn below(root: &str, op: &ViewOp) -> Option<PathBuf> {
    let (ViewOp::Dir { target, .. } | ViewOp::File { target, .. }) = op else { return None };
    let rest = target.strip_prefix(root)?;
    rest.starts_with('/').then(|| PathBuf::from(rest))
}

/// The root of whoever is behind the program of this view, and where it goes.
type Guest<'a> = Option<(&'a str, OwnedFd)>;

fn make_guest<'a>(
    plan: &'a ViewPlan,
    layers: &mut std::vec::IntoIter<OwnedFd>,
) -> Result<Guest<'a>, Failure> {
    let guest = plan.guest.as_ref();
    guest.map(|(at, root)| Ok((at.as_str(), root::make(root, layers)?))).transpose()
}

fn attach_guest(guest: Guest<'_>) -> Result<(), Failure> {
    let Some((at, root)) = guest else { return Ok(()) };
    directory(Path::new(at)).and_then(|()| mount::attach(root.as_fd(), Path::new(at))).map_err(on(at))
}

/// Lets the host's root go.
pub(crate) fn leave_old_root(complete: Complete) -> io::Result<()> {
    match complete {
        Complete::Now => mount::leave_old_root(),
        Complete::Later => mount::detach(Path::new(OLD_ROOT)),
    }
}

fn on(what: &str) -> impl FnOnce(io::Error) -> Failure + use<> {
    let on = what.to_owned();
    move |error| Failure { error, on }
}

fn name(plan: &ViewPlan) -> Result<(), Failure> {
    rustix::system::sethostname(plan.hostname.as_bytes()).map_err(|e| on("host name")(e.into()))
}

/// Mounts for the bottom, and one source for each step that has one.
type Gathered = (std::vec::IntoIter<OwnedFd>, Vec<Option<OwnedFd>>);

/// Takes everything from the host's root. The stage covers paths that sources are at, so they come first.
fn gather(plan: &ViewPlan, fds: Vec<OwnedFd>) -> Result<Gathered, Failure> {
    let mut fds = fds.into_iter();
    let layers: Vec<_> = fds.by_ref().take(plan.root_fds()).collect();
    Ok((layers.into_iter(), open_sources(plan, fds)?))
}

fn carry_out(
    plan: &ViewPlan,
    sources: &mut [Option<OwnedFd>],
    owner: Option<Ids>,
) -> Result<Vec<PathBuf>, Failure> {
    let mut scratch = Vec::new();
    let guest = plan.guest.as_ref().map(|(root, _)| root.as_str());
    for (op, source) in plan.ops.iter().zip(sources.iter_mut()) {
        if guest.is_some_and(|root| below(root, op).is_some()) {
            continue;
        }
        apply(op, Path::new(target_of(op)), source.take(), owner).map_err(on(target_of(op)))?;
        if let ViewOp::Tmpfs { target, mode: 0o1777, .. } = op {
            scratch.push(PathBuf::from(target));
        }
    }
    Ok(scratch)
}

/// Empties the writable places of an earlier launch. What is mounted below one, such as the tenant's own
/// directory when it lies under `/tmp`, is another file system and is never entered.
pub(crate) fn empty(places: &[PathBuf]) -> io::Result<()> {
    for place in places {
        clear(place, fs::symlink_metadata(place)?.dev())?;
    }
    Ok(())
}

/// Removes what lies in a directory of file system `device`. Tells whether nothing had to stay.
fn clear(dir: &Path, device: u64) -> io::Result<bool> {
    let mut emptied = true;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if found.dev() != device {
            emptied = false;
        } else if !found.is_dir() {
            fs::remove_file(&path)?;
        } else if clear(&path, device)? {
            match fs::remove_dir(&path) {
                // The place of a mount that was not entered above looks like any directory from outside.
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => emptied = false,
                other => other?,
            }
        } else {
            emptied = false;
        }
    }
    Ok(emptied)
}

pub(crate) fn target_of(op: &ViewOp) -> &str {
    match op {
        ViewOp::Attach { target, .. }
        | ViewOp::Bind { target, .. }
        | ViewOp::Tmpfs { target, .. }
        | ViewOp::Proc { target }
        | ViewOp::Symlink { target, .. }
        | ViewOp::File { target, .. }
        | ViewOp::Dir { target, .. }
        | ViewOp::Own { target }
        | ViewOp::Mask { target }
        | ViewOp::ReadOnly { target }
        | ViewOp::Shared { target }
        | ViewOp::Agent { target } => target,
    }
}

/// Clones every source before anything is mounted over it. One entry for each step; `None` where a step has
/// no source, or an optional one is missing.
fn open_sources(
    plan: &ViewPlan,
    mut fds: impl Iterator<Item = OwnedFd>,
) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let open = |op: &ViewOp| match op {
        ViewOp::Attach { target, .. } => fds
            .next()
            .map(Some)
            .ok_or_else(|| Failure { error: io::ErrorKind::InvalidData.into(), on: target.clone() }),
        ViewOp::Bind { source, read_only, optional, .. } => {
            match clone_source(Path::new(source), *read_only) {
                Ok(tree) => Ok(Some(tree)),
                Err(e) if *optional && e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Failure { error, on: source.clone() }),
            }
        }
        _ => Ok(None),
    };
    plan.ops.iter().map(open).collect()
}

fn clone_source(source: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let device = fs::metadata(source)?.file_type().is_char_device();
    mount::clone_tree(source, Attributes { read_only, no_suid: true, no_dev: !device })
}

fn apply(op: &ViewOp, at: &Path, source: Option<OwnedFd>, owner: Option<Ids>) -> io::Result<()> {
    match (op, source) {
        (ViewOp::Attach { .. } | ViewOp::Bind { .. }, Some(tree)) => {
            // The path it came from may be out of sight by now, so the mount itself is asked.
            if FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory {
                directory(at)?
            } else {
                placeholder(at)?
            }
            mount::attach(tree.as_fd(), at)
        }
        (ViewOp::Attach { .. } | ViewOp::Bind { .. }, None) => Ok(()),
        (ViewOp::Tmpfs { mode, size, .. }, _) => {
            directory(at)?;
            let options = [("mode", format!("{mode:o}")), ("size", size.to_string())];
            let options = options.each_ref().map(|(k, v)| (*k, v.as_str()));
            let tree = mount::new_filesystem("tmpfs", &options, Attributes::safe(false))?;
            mount::attach(tree.as_fd(), at)
        }
        (ViewOp::Proc { .. }, _) => {
            directory(at)?;
            let tree = mount::new_filesystem("proc", &[], Attributes::safe(false))?;
            mount::attach(tree.as_fd(), at)
        }
        (ViewOp::Symlink { to, .. }, _) => {
            parents(at)?;
            link(to, at)
        }
        (ViewOp::File { content, .. }, _) => {
            parents(at)?;
            replace(at)?;
            OpenOptions::new().write(true).create_new(true).mode(0o444).open(at)?.write_all(content)
        }
        (ViewOp::Dir { mode, .. }, _) => {
            directory(at)?;
            fs::set_permissions(at, Permissions::from_mode(*mode))
        }
        (ViewOp::Own { .. }, _) => own(at, owner),
        (ViewOp::Mask { .. }, _) => mask(at),
        (ViewOp::ReadOnly { .. }, _) => refuse_writes(at),
        (ViewOp::Shared { .. }, _) => mount::share(at),
        (ViewOp::Agent { .. }, _) => {
            fs::copy("/proc/self/exe", at)?;
            fs::set_permissions(at, Permissions::from_mode(0o555))
        }
    }
}

fn own(at: &Path, owner: Option<Ids>) -> io::Result<()> {
    match owner {
        Some(ids) if fs::metadata(at)?.uid() != ids.workload => {
            chown(at, Some(ids.workload), Some(ids.group))
        }
        _ => Ok(()),
    }
}

/// A link, in the place of a file or link of the same name.
fn link(to: &str, at: &Path) -> io::Result<()> {
    replace(at)?;
    symlink(to, at)
}

/// Makes room for a file. A layer may have one there.
fn replace(at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Covers what is there with nothing; devices are in their places by now.
fn mask(at: &Path) -> io::Result<()> {
    let cover = match fs::symlink_metadata(at) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(e),
        Ok(found) if found.is_dir() => {
            mount::new_filesystem("tmpfs", &[("size", "4k"), ("mode", "555")], Attributes::safe(true))?
        }
        Ok(_) => clone_source(Path::new("/dev/null"), true)?,
    };
    mount::attach(cover.as_fd(), at)
}

fn refuse_writes(at: &Path) -> io::Result<()> {
    match mount::clone_tree(at, Attributes::safe(true)) {
        Ok(tree) => mount::attach(tree.as_fd(), at),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

pub(crate) fn directory(at: &Path) -> io::Result<()> {
    fs::create_dir_all(at)
}

fn parents(at: &Path) -> io::Result<()> {
    at.parent().map_or(Ok(()), directory)
}

/// An empty file to mount over, unless something is there already.
pub(crate) fn placeholder(at: &Path) -> io::Result<()> {
    parents(at)?;
    if at.exists() { Ok(()) } else { File::create_new(at).map(drop) }
}
