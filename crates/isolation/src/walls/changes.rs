//! Changes to a root file system that stay: a directory of the tenant's own, for each set of layers.
//!
//! ```text
//! {data_dir}/{id}/root/<digest of the layers>/upper   what was written, as overlayfs keeps it
//!                                            /work    overlayfs's own
//! ```
//! Changes are made against certain layers and mean nothing on others. So another image begins with a fresh root, and
//! what was written on the former one lies beside it until somebody removes it: nothing is lost by a slip, and an image
//! that comes back finds its changes. Inside, the place is covered.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::{Tree, ViewOp};
use insula_linux::mount::{self, Attributes};
use insula_spec::{Digest, Launch, Level};
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::idmap::IdMode;
use super::prepare::own_dir;
use super::view::CannotShow;
use crate::contract::LaunchError;

/// Name of the place in the tenant's directory.
const PLACE: &str = "root";
/// Digits of a digest that name a directory.
const DIGITS: usize = 16;

/// Where the changes of a launch to these layers are, if they are to stay.
pub(crate) fn of(launch: &Launch, layers: &[PathBuf]) -> Option<PathBuf> {
    let kept = launch.root.persistent && !launch.root.read_only && !layers.is_empty();
    kept.then(|| {
        let mut hash = Sha256::new();
        for layer in layers {
            hash.update(layer.as_os_str().as_encoded_bytes());
            hash.update([0]);
        }
        let hex = Digest::from_bytes(hash.finalize().into()).hex();
        place(launch).join(&hex[..DIGITS])
    })
}

fn place(launch: &Launch) -> PathBuf {
    launch.data_dir.join(PLACE)
}

/// Refuses what cannot keep changes.
pub(crate) fn check(launch: &Launch, level: Level, ids: IdMode) -> Result<(), LaunchError> {
    let refused = |what, hint: &str| Err(LaunchError::Unenforceable { what, level, hint: hint.to_owned() });
    match level {
        _ if !launch.root.persistent => Ok(()),
        // The tenant's directory belongs to an id over which this process has no rights.
        Level::Container | Level::Gvisor if matches!(ids, IdMode::Subordinate { .. }) => refused(
            "persistent_root",
            "run the daemon as root, or without a subordinate range, or remove the key",
        ),
        Level::Container | Level::Gvisor => Ok(()),
        _ => {
            let hint = "set `isolation` to \"container\" or \"gvisor\", or remove `persistent_root`";
            refused("persistent_root", hint)
        }
    }
}

/// Makes the directory, or finds the one that is there. It belongs to root of the instance.
pub(crate) fn prepare(launch: &Launch, dir: &Path) -> Result<(), LaunchError> {
    let owner = launch.ids.map(|range| (range.base, range.base));
    own_dir(&place(launch), owner)?;
    let fresh = !dir.exists();
    own_dir(dir, owner)?;
    if let (true, Some(other)) = (fresh, another(launch, dir)) {
        tracing::warn!(
            instance = %launch.instance, kept = %other.display(),
            "the image has changed: its root begins fresh, and what was written on the former one is kept"
        );
    }
    Ok(())
}

/// Changes to other layers.
fn another(launch: &Launch, dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(place(launch)).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path != dir)
}

/// What the agent makes the overlay with.
pub(crate) fn pass(shared: &Shared, dir: &Path, fds: &mut Vec<OwnedFd>) -> Result<Tree, CannotShow> {
    if !shared.privileged() {
        return Ok(Tree::Path(dir.to_string_lossy().into_owned()));
    }
    let tree = mount::clone_tree(dir, Attributes::safe(false));
    fds.push(tree.map_err(|source| CannotShow { path: dir.to_owned(), source })?);
    Ok(Tree::Passed)
}

/// Nobody inside reaches what the overlay is made of.
pub(crate) fn cover(launch: &Launch) -> ViewOp {
    cover_in(&launch.data_dir)
}

/// The same, where the tenant's directory is shown elsewhere.
pub(crate) fn cover_in(own: &Path) -> ViewOp {
    ViewOp::Mask { target: own.join(PLACE).to_string_lossy().into_owned() }
}
