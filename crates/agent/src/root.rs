//! The bottom of a view: an empty memory file system, or layers with changes on top.
//!
//! Layers are attached below a stage of their own first, because an overlay is made of paths; the overlay
//! keeps hold of them when the stage goes away with the old root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use insula_frames::{RootPlan, Tree};
use insula_linux::mount::{self, Attributes};
use insula_linux::overlay::{self, Changes};

use crate::view::Failure;

/// Any directory that every host has; everything is put together on top of it.
pub(crate) const STAGE: &str = "/tmp";

/// Makes the root, detached. `fds` are the mounts that the host made for it, in order.
pub(crate) fn make(plan: &RootPlan, fds: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Failure> {
    match plan {
        RootPlan::Memory => memory(1 << 20).map_err(on("new root")),
        RootPlan::Layers { lowers, changes, size } => layers(lowers, changes.as_ref(), *size, fds),
    }
}

fn on(what: &str) -> impl FnOnce(io::Error) -> Failure {
    let on = what.to_owned();
    move |error| Failure { error, on }
}

fn memory(size: u64) -> io::Result<OwnedFd> {
    let size = size.to_string();
    mount::new_filesystem("tmpfs", &[("mode", "755"), ("size", &size)], Attributes::safe(false))
}

fn layers(
    lowers: &[Tree],
    changes: Option<&Tree>,
    size: u64,
    fds: &mut impl Iterator<Item = OwnedFd>,
) -> Result<OwnedFd, Failure> {
    let trees: Vec<_> = lowers.iter().map(|tree| open(tree, fds)).collect::<Result<_, _>>()?;
    let changes = changes.map(|tree| open(tree, fds)).transpose()?;
    let stage = memory(1 << 20).map_err(on("stage"))?;
    mount::attach(stage.as_fd(), Path::new(STAGE)).map_err(on(STAGE))?;
    let mut paths = Vec::with_capacity(trees.len());
    for (n, tree) in trees.iter().enumerate() {
        let path = format!("{STAGE}/{n}");
        place(tree, &path)?;
        paths.push(path);
    }
    // An overlay names the topmost layer first.
    paths.reverse();
    let place_of_changes = format!("{STAGE}/c");
    let changes = changes.map_or_else(|| memory(size).map_err(on("changes in memory")), Ok)?;
    place(&changes, &place_of_changes)?;
    let (upper, work) = (format!("{place_of_changes}/upper"), format!("{place_of_changes}/work"));
    for dir in [&upper, &work] {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(on(dir)(e)),
            _ => {}
        }
    }
    overlay::overlay(&paths, Changes { upper: &upper, work: &work }).map_err(on("layers of the root"))
}

fn place(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    fs::create_dir(path).and_then(|()| mount::attach(tree.as_fd(), Path::new(path))).map_err(on(path))
}

fn open(tree: &Tree, fds: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Failure> {
    match tree {
        Tree::Passed => fds.next().ok_or_else(|| on("a layer")(io::Error::from(io::ErrorKind::InvalidData))),
        Tree::Path(path) => mount::clone_top(Path::new(path), Attributes::safe(false)).map_err(on(path)),
    }
}
