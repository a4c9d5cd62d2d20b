//! What the root file system is made of.

use super::super::raw::RawService;
use super::Check;
use crate::{Root, RootSource};

const CHANGES: (&[&str], &[bool]) = (&["fresh", "persistent"], &[false, true]);

impl Check<'_> {
    /// The root file system of one service.
    pub(super) fn root(&mut self, raw: &mut RawService) -> Root {
        let source = match raw.rootfs.take() {
            Some(given) => self.path(&given).map(RootSource::Directory).unwrap_or_default(),
            None => RootSource::Host,
        };
        if source == RootSource::Host {
            let given = [raw.root.as_ref().map(|g| &g.at), raw.read_only_root.as_ref().map(|g| &g.at)];
            for at in given.into_iter().flatten() {
                self.note(at, "no effect without `rootfs`: the host's system directories are read-only");
            }
        }
        Root {
            show_workdir: source == RootSource::Host || raw.workdir.is_some(),
            source,
            read_only: raw.read_only_root.take().is_some_and(|given| given.value),
            persistent: self.word(raw.root.take().as_ref(), CHANGES).unwrap_or_default(),
            user: raw.user.take().map(|given| given.value),
            seccomp: raw.seccomp.take().and_then(|given| self.path(&given)),
        }
    }
}
