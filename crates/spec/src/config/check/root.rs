//! What the root file system is made of.

use super::super::kind::ProblemKind;
use super::super::raw::RawService;
use super::Check;
use crate::{Root, RootSource};

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
        if hosts && let Some(given) = &raw.read_only_root {
            self.note(
                &given.at,
                "no effect without `image` or `rootfs`: the host's system directories are read-only",
            );
        }
        Root {
            show_workdir: hosts || raw.workdir.is_some(),
            source,
            read_only: raw.read_only_root.take().is_some_and(|given| given.value),
            user: raw.user.take().map(|given| given.value),
        }
    }
}
