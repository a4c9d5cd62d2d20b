//! Paths of the host, and mounts.
//!
//! Paths are made absolute and cleaned of `.` and `..` as text, without asking the file system: this crate
//! reads nothing but its own file. A symbolic link can therefore lead elsewhere; the checks below save an
//! operator from a slip, they are not a wall.

use std::path::{Component, Path, PathBuf};

use super::super::kind::ProblemKind;
use super::super::problem::At;
use super::super::raw::{RawBind, RawMount};
use super::super::read::Given;
use super::Check;
use crate::Mount;

const MODES: (&[&str], &[bool]) = (&["ro", "rw"], &[true, false]);

impl Check<'_> {
    /// A path of the host, relative to the folder of the file.
    pub(super) fn path(&mut self, given: &Given<String>) -> Option<PathBuf> {
        let text = &given.value;
        if text.is_empty() {
            self.problem(&given.at, ProblemKind::EmptyPath);
        } else if text.starts_with('~') {
            self.problem(&given.at, ProblemKind::HomePath(text.clone()));
        } else {
            return Some(clean(&self.base.join(text)));
        }
        None
    }

    /// The root of all data must not be a directory that programs see whole.
    pub(super) fn data_dir_is_apart(&mut self, at: &At) {
        if let Some(why) = data_dir_problem(self.base, &self.data_dir) {
            let path = self.data_dir.display().to_string();
            self.problem(at, ProblemKind::DataDir { path, why });
        }
    }

    /// The working directory: any that is not inside the data of tenants. One above it is the usual case;
    /// the walls cover the data there.
    pub(super) fn workdir(&mut self, given: Option<&Given<String>>, service: &At) -> PathBuf {
        let path = given.and_then(|given| self.path(given)).unwrap_or_else(|| self.base.to_owned());
        let at = given.map_or(service, |given| &given.at);
        if path == Path::new("/") {
            self.problem(at, ProblemKind::RootWorkdir);
        } else if given.is_some() && path.starts_with(&self.data_dir) {
            self.shows_data(at, &path);
        }
        path
    }

    /// All mounts of one service.
    pub(super) fn mounts(&mut self, given: Vec<Given<RawMount>>) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::with_capacity(given.len());
        for one in given {
            let at = one.at.clone();
            let Some(mount) = self.mount(one) else { continue };
            if mounts.iter().any(|other| other.target == mount.target) {
                self.problem(&at, target(&mount.target, "another mount of this service is there"));
            }
            mounts.push(mount);
        }
        mounts
    }

    fn mount(&mut self, given: Given<RawMount>) -> Option<Mount> {
        let at = given.at;
        let bind = match given.value {
            RawMount::Table(bind) => *bind,
            RawMount::Text(text) => self.mount_text(&at, text)?,
        };
        let missing = [("source", bind.source.is_none()), ("target", bind.target.is_none())];
        for (key, _) in missing.iter().filter(|(_, missing)| *missing) {
            self.missing(&at, key);
        }
        let read_only = self.word(bind.mode.as_ref(), MODES).unwrap_or(true);
        let source = bind.source.and_then(|source| self.mount_source(&source));
        let target = bind.target.and_then(|target| self.mount_target(&target));
        Some(Mount { source: source?, target: target?, read_only })
    }

    /// Takes `source:target[:mode]` apart.
    fn mount_text(&mut self, at: &At, text: String) -> Option<RawBind> {
        let part = |value: &str| Some(Given { at: at.clone(), value: value.to_owned() });
        let parts: Vec<_> = text.split(':').collect();
        match parts.as_slice() {
            [source, target] => Some(RawBind { source: part(source), target: part(target), mode: None }),
            [source, target, mode] => {
                Some(RawBind { source: part(source), target: part(target), mode: part(mode) })
            }
            _ => {
                self.problem(at, ProblemKind::MountForm(text));
                None
            }
        }
    }

    fn mount_source(&mut self, given: &Given<String>) -> Option<PathBuf> {
        let path = self.path(given)?;
        if path.starts_with(&self.data_dir) || self.data_dir.starts_with(&path) {
            self.shows_data(&given.at, &path);
        }
        Some(path)
    }

    fn mount_target(&mut self, given: &Given<String>) -> Option<PathBuf> {
        if given.value.starts_with('~') {
            self.problem(&given.at, ProblemKind::HomePath(given.value.clone()));
            return None;
        }
        let typed = Path::new(&given.value);
        let path = clean(typed);
        let system = ["/proc", "/sys", "/dev"].iter().any(|dir| path.starts_with(dir));
        let why = match () {
            () if !typed.is_absolute() => "it is not an absolute path",
            () if typed.components().any(|part| part == Component::ParentDir) => "it has `..` in it",
            () if path == Path::new("/") => "it is the root",
            () if system => "the walls keep /proc, /sys and /dev for themselves",
            () if path.starts_with(&self.data_dir) || self.data_dir.starts_with(&path) => {
                "it would cover the tenants' data"
            }
            () => return Some(path),
        };
        self.problem(&given.at, target(typed, why));
        None
    }

    fn shows_data(&mut self, at: &At, path: &Path) {
        let (path, data_dir) = (path.display().to_string(), self.data_dir.display().to_string());
        self.problem(at, ProblemKind::ShowsData { path, data_dir });
    }
}

/// Why this cannot be the root of all data of a file in the folder `base`.
pub(in crate::config) fn data_dir_problem(base: &Path, data_dir: &Path) -> Option<&'static str> {
    if data_dir == Path::new("/") {
        Some("it is the root of the host")
    } else if base.starts_with(data_dir) {
        Some("it holds this file, and tenants' directories would mix with the program's")
    } else {
        None
    }
}

fn target(path: &Path, why: &'static str) -> ProblemKind {
    ProblemKind::MountTarget { target: path.display().to_string(), why }
}

/// Resolves `.` and `..` as text.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
