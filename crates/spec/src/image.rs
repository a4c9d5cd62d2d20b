//! Where the files of a service come from: the name of an image in a registry, or a path on this host.
//!
//! ```text
//! debian:bookworm                        docker.io/library/debian:bookworm
//! registry.example.org:5000/team/app     registry.example.org:5000/team/app:latest
//! app@sha256:9f86…                       docker.io/library/app@sha256:9f86…
//! ./app.tar   ../layout   /srv/rootfs    a path
//! ```
//!
//! The grammar is that of the distribution project (`reference/reference.go`). A name without a registry is
//! one of `docker.io`, as everywhere else.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The registry of names that name none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The folder of that registry for names without one.
const DEFAULT_FOLDER: &str = "library";
/// The tag of names that have neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest name without tag and digest, in bytes.
const NAME_MAX: usize = 255;
/// Longest tag, in bytes.
const TAG_MAX: usize = 128;

/// A name of an image, or a digest, that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an image: {why}")]
pub struct InvalidImage {
    /// The text as given.
    pub text: String,
    /// Which rule it breaks.
    pub why: &'static str,
}

impl InvalidImage {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "write it like debian:bookworm, registry.example.org/team/app:1.2 or app@sha256:...; \
         a path begins with `/`, `./` or `../`"
    }
}

/// The SHA-256 digest of some content, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for Digest {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let fail = |why| InvalidImage { text: text.to_owned(), why };
        let hex = text.strip_prefix("sha256:").ok_or_else(|| fail("a digest begins with `sha256:`"))?;
        let digit = |b: &u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let digits: Option<Vec<u8>> = hex.as_bytes().iter().map(digit).collect();
        let digits = digits.filter(|digits| digits.len() == 64);
        let digits = digits.ok_or_else(|| fail("a digest has 64 lower-case hexadecimal digits"))?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidImage;
    fn try_from(text: String) -> Result<Self, InvalidImage> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The full name of an image: registry, repository, and a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: Box<str>,
    repository: Box<str>,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host of the registry, with its port if one was given.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path within the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if neither tag nor digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, if the name is pinned to one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

impl FromStr for Reference {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let fail = |why| InvalidImage { text: text.to_owned(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| fail(e.why))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("a tag has up to 128 letters, digits, `_`, `.` and `-`"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if is_like_host(host) => (host, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("{DEFAULT_FOLDER}/{name}")),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let library = registry == DEFAULT_REGISTRY && !path.contains('/');
        let path = if library { format!("{DEFAULT_FOLDER}/{path}") } else { path };
        if !is_host(registry) {
            return Err(fail("its registry is not a host name"));
        }
        if registry.len() + path.len() > NAME_MAX {
            return Err(fail("it is longer than 255 bytes"));
        }
        if !path.split('/').all(is_part) {
            return Err(fail(
                "each part has lower-case letters and digits, with `.`, `_`, `__` or `-` between",
            ));
        }
        let default = || digest.is_none().then_some(DEFAULT_TAG);
        let tag = tag.or_else(default).map(Into::into);
        Ok(Self { registry: registry.into(), repository: path.into(), tag, digest })
    }
}

/// Whether the first part of a name is a registry and not a folder.
fn is_like_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let label = |label: &str| {
        let word = |b: u8| b.is_ascii_alphanumeric();
        let edges = label.bytes().next().is_some_and(word) && label.bytes().last().is_some_and(word);
        edges && label.bytes().all(|b| word(b) || b == b'-')
    };
    let six = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let named = match six {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(label),
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// One part of a path: words of lower-case letters and digits, with one separator between two of them.
fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    let mut gaps = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = |gap: &str| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-');
    ends && gaps.all(good)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= TAG_MAX && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl TryFrom<String> for Reference {
    type Error = InvalidImage;
    fn try_from(text: String) -> Result<Self, InvalidImage> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the files of a service come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An image that is kept under this name.
    Name(Reference),
    /// An OCI layout, an archive of an image, or a directory with a root file system, by its absolute path.
    Path(PathBuf),
}

impl ImageSource {
    /// Whether a text is meant as a path.
    #[must_use]
    pub fn is_path(text: &str) -> bool {
        matches!(text, "." | "..") || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Path(path) => fmt::Display::fmt(&path.display(), f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn names_are_made_whole() {
        for (typed, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/library/debian", "docker.io/library/debian:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:V1.0", "localhost:5000/a/b:V1.0"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("ghcr.io/a_b/c--d__e.f", "ghcr.io/a_b/c--d__e.f:latest"),
        ] {
            let reference: Reference = typed.parse().unwrap();
            assert_eq!(reference.to_string(), whole);
            assert_eq!(whole.parse::<Reference>().unwrap(), reference);
        }
        let pinned: Reference = format!("app@sha256:{HEX}").parse().unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/app@sha256:{HEX}"));
        let both: Reference = format!("app:1@sha256:{HEX}").parse().unwrap();
        assert!(both.tag() == Some("1") && both.digest().unwrap().hex() == HEX);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        let short = format!("app@sha256:{}", &HEX[1..]);
        for bad in [
            "",
            ":",
            "App",
            "a//b",
            "a/",
            "/a",
            "a:",
            "a:b:c",
            "a b",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "a@",
            "a:-x",
            "a@sha512:00",
            "exa_mple.org/a",
            "host:0/a",
            "host:99999/a",
            "[::z]/a",
            "../a",
            "a/../b",
            &long,
            &short,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "`{bad}` was let in");
        }
    }

    #[test]
    fn a_path_begins_like_one() {
        for path in ["/a", "./a", "../a", "~/a", ".", ".."] {
            assert!(ImageSource::is_path(path), "{path}");
        }
        assert!(!ImageSource::is_path("a/b") && !ImageSource::is_path("debian"));
    }
}
