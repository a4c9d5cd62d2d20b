//! What a workload sees of the host's files where somebody else makes its root: a container driver, or the agent in a
//! guest.
//!
//! ```text
//! in the view around the maker        in the workload's root
//! BASE/0       working directory  ──►  where the launch says
//! BASE/1 …     mounts, its data   ──►  the same
//! BASE/etc/…   names of a network ──►  /etc/…
//! /run/insula  where the agent looks for its socket
//! ```
//! Each lies at a place of its own first, with what is hidden masked there; the maker binds it to where it belongs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::ViewOp;
use insula_spec::{Launch, Network};

use super::bundle::Bound;
use super::view::{self, CannotShow, MEETING, Place, Shown, Step};
use super::{Shared, borrow};

/// Files that a root with layers gets beside them.
const NAMES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// The host's files at their first places, and where they go from there.
#[derive(Debug)]
pub(crate) struct Staged {
    base: &'static str,
    pub(crate) ops: Vec<ViewOp>,
    /// To pass beside the plan, in the order of its `Attach` steps.
    pub(crate) mounts: Vec<OwnedFd>,
    /// In the order in which they are bound.
    pub(crate) bounds: Vec<Bound>,
    /// The last that was shown: where it belongs, and where it lies.
    last: Option<(PathBuf, PathBuf)>,
    /// Empty directories over what is hidden: where they belong, and where they lie.
    masked: Vec<(PathBuf, PathBuf)>,
}

impl Staged {
    /// Nothing yet, below the directory `base`; `mounts` are passed before those that follow.
    pub(crate) fn new(base: &'static str, mounts: Vec<OwnedFd>) -> Self {
        Self { base, ops: Vec::new(), mounts, bounds: Vec::new(), last: None, masked: Vec::new() }
    }

    /// Names of the network, beside a root that has others.
    pub(crate) fn names(&mut self, network: Network) {
        for op in view::names().into_iter().chain([view::resolver(network)]) {
            let (target, at) = match &op {
                ViewOp::File { target, .. } if !NAMES.contains(&target.as_str()) => continue,
                ViewOp::Bind { source, .. } if !Path::new(source).exists() => continue,
                ViewOp::File { target, .. } | ViewOp::Bind { target, .. } => {
                    (target.clone(), format!("{}{target}", self.base))
                }
                _ => continue,
            };
            self.ops.extend(moved_below(self.base, op));
            self.bounds.push(Bound { source: at, target, read_only: true });
        }
    }

    /// Everything that the launch shows.
    pub(crate) fn files(
        &mut self,
        shared: &Shared,
        launch: &Launch,
        mut place: Place<'_>,
    ) -> Result<(), CannotShow> {
        for step in view::steps(launch, place.app_dir, place.ground, &shared.hidden) {
            match step {
                Step::Show(shown) => self.show(shared, launch, &mut place, shown)?,
                Step::MaskDir(target) => {
                    let at = self.lies(&target);
                    self.ops.push(view::tmpfs(&at.to_string_lossy(), 0o755, 1 << 20));
                    self.masked.push((target, at));
                }
                Step::MaskFile(target) => self.ops.push(view::null_over(&self.lies(&target))),
            }
        }
        Ok(())
    }

    fn show(
        &mut self,
        shared: &Shared,
        launch: &Launch,
        place: &mut Place<'_>,
        mut shown: Shown,
    ) -> Result<(), CannotShow> {
        let tenants = !shown.read_only && shown.source == launch.data_dir;
        let meeting = shown.target == Path::new(MEETING);
        if meeting {
            // The agent around the maker looks there for the socket.
            self.ops.push(view::open(shared, &shown, &mut self.mounts)?);
        }
        self.make_room(&shown, tenants);
        let at = format!("{}/{}", self.base, self.bounds.len());
        let target = shown.target.to_string_lossy().into_owned();
        self.bounds.push(Bound { source: at.clone(), target, read_only: shown.read_only });
        let target = std::mem::replace(&mut shown.target, PathBuf::from(&at));
        self.last = Some((target, shown.target.clone()));
        match tenants.then(|| place.own.take_mount()).flatten() {
            Some(mount) => {
                self.mounts.push(mount);
                self.ops.push(ViewOp::Attach { target: at.clone(), dir: true });
            }
            None => self.ops.push(view::open(shared, &shown, &mut self.mounts)?),
        }
        if let (Some(ids), Some(mount), false) = (place.shown_by, self.mounts.last(), meeting) {
            borrow::show(mount, ids, shown.read_only)
                .map_err(|source| CannotShow { path: shown.source, source })?;
        }
        // What the host could not give to the user of the workload, the agent does.
        let give = !shared.privileged() || place.ground.user.is_some();
        self.ops.extend((give && (tenants || meeting)).then_some(ViewOp::Own { target: at }));
        Ok(())
    }

    /// Nobody can make a place to mount on in what is shown read-only, but for what lies over it.
    fn make_room(&mut self, shown: &Shown, tenants: bool) {
        let under = |(was, is): &(PathBuf, PathBuf)| Some(is.join(shown.target.strip_prefix(was).ok()?));
        let Some(at) = self.masked.iter().find_map(under) else { return };
        let target = at.to_string_lossy().into_owned();
        // A tenant's directory may not be there yet: it may be a file system that nobody else sees.
        self.ops.push(match tenants || shown.source.is_dir() {
            true => ViewOp::Dir { target, mode: 0o755 },
            false => ViewOp::File { target, content: Vec::new() },
        });
    }

    /// Where this path of the last that was shown lies.
    fn lies(&self, target: &Path) -> PathBuf {
        let below = |(was, is): &(PathBuf, PathBuf)| Some(is.join(target.strip_prefix(was).ok()?));
        self.last.as_ref().and_then(below).unwrap_or_else(|| target.to_owned())
    }
}

/// The host's system below this directory, but for what a kernel brings.
pub(crate) fn system(root: &str, network: Network) -> impl Iterator<Item = ViewOp> {
    view::system(network).into_iter().filter_map(move |op| moved_below(root, op))
}

/// The step below this directory; `None` for what a kernel brings.
fn moved_below(root: &str, op: ViewOp) -> Option<ViewOp> {
    let inside = |target: &str| format!("{root}{target}");
    match op {
        ViewOp::Bind { source, target, read_only, optional } if !target.starts_with("/dev") => {
            Some(ViewOp::Bind { source, target: inside(&target), read_only, optional })
        }
        ViewOp::Symlink { target, to } if !target.starts_with("/dev") => {
            Some(ViewOp::Symlink { target: inside(&target), to })
        }
        ViewOp::File { target, content } => Some(ViewOp::File { target: inside(&target), content }),
        _ => None,
    }
}
