//! Paths as they stand in archives.

use std::fmt;

use super::UnpackError;

/// Longest path, in bytes (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// Longest part of a path, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Most parts of a path.
const DEPTH_MAX: usize = 256;

/// A path below the root of a layer: no part of it is empty, `.` or `..`. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryPath(Vec<u8>);

impl EntryPath {
    /// The root.
    pub(crate) const ROOT: Self = Self(Vec::new());

    /// Reads a path of an archive. A slash in front means the root of the layer.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UnpackError> {
        let fail = |why| Err(UnpackError::Path { path: shown(bytes), why });
        if bytes.len() > PATH_MAX {
            return fail("it is longer than 4096 bytes");
        }
        if bytes.contains(&0) {
            return fail("it holds a NUL character");
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for part in bytes.split(|&b| b == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return fail("it has `..` in it"),
                _ if part.len() > NAME_MAX => return fail("a part of it is longer than 255 bytes"),
                _ => {}
            }
            depth += 1;
            if !out.is_empty() {
                out.push(b'/');
            }
            out.extend_from_slice(part);
        }
        if depth > DEPTH_MAX {
            return fail("it has more than 256 parts");
        }
        Ok(Self(out))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that it is in, and its name there; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Self, &[u8])> {
        let cut = self.0.iter().rposition(|&b| b == b'/');
        match cut {
            _ if self.0.is_empty() => None,
            None => Some((Self::ROOT, &self.0)),
            Some(cut) => Some((Self(self.0[..cut].to_vec()), &self.0[cut + 1..])),
        }
    }

    /// The path of something in this directory. `name` is one part.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut out = self.0.clone();
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(name);
        Self(out)
    }

    /// Whether it is `other` or inside of it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(other.0.as_slice());
        rest.is_some_and(|rest| rest.is_empty() || other.0.is_empty() || rest[0] == b'/')
    }

    /// Its parts, from the root.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes of an archive as a terminal can be shown them, cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(path: &str) -> Result<String, String> {
        EntryPath::parse(path.as_bytes()).map(|p| p.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_spelling_is_one_path() {
        for same in ["a/b", "./a/b", "/a/b", "a//b/", "a/./b", "////a/b"] {
            assert_eq!(text(same).unwrap(), "a/b");
        }
        assert_eq!(EntryPath::parse(b"./").unwrap(), EntryPath::ROOT);
        for bad in
            ["..", "a/../b", "/..", "a/..", "../../etc/passwd", "a\0b", &"x".repeat(256), &"a/".repeat(300)]
        {
            assert!(text(bad).is_err(), "`{bad}` was let in");
        }
        // Two dots are a name like any other if there is more.
        assert_eq!(text("..a/b..").unwrap(), "..a/b..");
    }

    proptest! {
        /// What the parser lets in cannot lead out, whatever it was made of.
        #[test]
        fn nothing_leads_out(parts in prop::collection::vec("[a/.\\\\\u{0}é]{0,6}", 0..12)) {
            let raw = parts.join("/");
            if let Ok(path) = EntryPath::parse(raw.as_bytes()) {
                let path = std::str::from_utf8(path.as_bytes()).unwrap().to_owned();
                let mut depth = 0_i32;
                for part in std::path::Path::new(&path).components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)), "{path}");
                    depth += 1;
                }
                prop_assert_eq!(depth, i32::try_from(EntryPath::parse(path.as_bytes()).unwrap().parts().count()).unwrap());
            } else {
                prop_assert!(raw.contains('\0') || raw.split('/').any(|part| part == ".."));
            }
        }

        /// A path is the join of its own parts, and within every directory above it.
        #[test]
        fn split_and_join_agree(raw in "([a-c]{1,3}/){0,5}[a-c]{1,3}") {
            let path = EntryPath::parse(raw.as_bytes()).unwrap();
            let (parent, name) = path.split().unwrap();
            prop_assert_eq!(&parent.join(name), &path);
            prop_assert!(path.is_within(&parent) && !parent.is_within(&path));
            prop_assert!(!path.is_within(&parent.join(b"d")));
        }
    }
}
