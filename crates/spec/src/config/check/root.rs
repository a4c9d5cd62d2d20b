//! What the root file system is made of.

use super::super::kind::ProblemKind;
use super::super::raw::RawService;
use super::Check;
use crate::{Root, RootSource};

const CHANGES: (&[&str], &[bool]) = (&["fresh", "persistent"], &[false, true]);

impl Check<'_> {
    /// The root file system of one service.
    pub(super) fn root(&mut self, raw: &mut RawService) -> Root {
        if let (Some(given), Some(_)) = (&raw.rootfs, &raw.image) {
            self.problem(&given.at, ProblemKind::SaidTwice("image"));
        }
        let source = match raw.rootfs.take() {
            Some(given) => self.path(&given).map(RootSource::Directory).unwrap_or_default(),
            None => RootSource::Host,
        };
        let hosts = source == RootSource::Host && raw.image.is_none();
        if hosts {
            let given = [raw.root.as_ref().map(|g| &g.at), raw.read_only_root.as_ref().map(|g| &g.at)];
            for at in given.into_iter().flatten() {
                self.note(at, "no effect without `image` or `rootfs`: the host's system directories are read-only");
            }
        }
        Root {
            show_workdir: hosts || raw.workdir.is_some(),
            source,
            read_only: raw.read_only_root.take().is_some_and(|given| given.value),
            persistent: self.word(raw.root.take().as_ref(), CHANGES).unwrap_or_default(),
            user: raw.user.take().map(|given| given.value),
            seccomp: raw.seccomp.take().and_then(|given| self.path(&given)),
        }
    }
}
