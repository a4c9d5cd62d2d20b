//! What the root file system is made of.

use std::path::PathBuf;

use super::super::kind::ProblemKind;
use super::super::raw::RawService;
use super::super::read::Given;
use super::Check;
use crate::{Level, LevelChoice, Root, RootSource};

impl Check<'_> {
    /// A system call filter by the operator. What it says is read at each start. Only levels with a kernel that takes
    /// filters, and with a wall to put one behind, have a place for one.
    pub(super) fn seccomp(
        &mut self,
        given: Option<&Given<String>>,
        isolation: LevelChoice,
    ) -> Option<PathBuf> {
        let given = given?;
        if let LevelChoice::Fixed(level) = isolation
            && !matches!(level, Level::Namespace | Level::Container | Level::Gvisor)
        {
            self.problem(&given.at, ProblemKind::SeccompLevel(level));
        }
        self.path(given)
    }

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
        if let Some(given) = &raw.persistent_root {
            match (hosts, &raw.read_only_root) {
                (true, _) => self.note(&given.at, "no effect without `image` or `rootfs`"),
                (false, Some(other)) if other.value && given.value => {
                    self.problem(&given.at, ProblemKind::KeptReadOnly);
                }
                _ => {}
            }
        }
        Root {
            persistent: !hosts && raw.persistent_root.take().is_some_and(|given| given.value),
            show_workdir: hosts || raw.workdir.is_some(),
            source,
            read_only: raw.read_only_root.take().is_some_and(|given| given.value),
            user: raw.user.take().map(|given| given.value),
        }
    }
}
