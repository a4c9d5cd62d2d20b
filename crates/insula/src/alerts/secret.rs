//! The key of a signature.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Least bytes of a key.
const MIN: usize = 16;
/// Most bytes of its file.
const MAX: u64 = 4096;

/// A key that receivers know, too. Never shown.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the key of the alerts from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("others may read the key of the alerts in `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// What it holds is no key.
    #[error("the key of the alerts in `{}` has {len} bytes, which is not between {MIN} and {MAX}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it holds.
        len: usize,
    },
}

impl SecretError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "check `secret_file` and who may read it".to_owned(),
            Self::Open { path } => format!("run `chmod 600 {}`", path.display()),
            Self::Length { path, .. } => {
                format!("make one with `(umask 077; openssl rand -hex 32 > {})`", path.display())
            }
        }
    }
}

impl Secret {
    /// Reads the file: its content without white space at its end.
    pub(crate) fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.take(MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        let key = bytes.trim_ascii_end().to_vec();
        if key.len() < MIN || bytes.len() as u64 > MAX {
            return Err(SecretError::Length { path: path.to_owned(), len: key.len() });
        }
        Ok(Self(key))
    }

    /// The value of `Insula-Signature`: HMAC-SHA-256 (RFC 2104) of the time, a full stop and the body.
    pub(super) fn sign(&self, time: u64, body: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut text = format!("t={time},v1=");
        // A key of any length will do (RFC 2104, section 2), so this is never empty.
        for byte in self.mac(time, body).unwrap_or_default() {
            if write!(text, "{byte:02x}").is_err() {
                break;
            }
        }
        text
    }

    fn mac(&self, time: u64, body: &[u8]) -> Option<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        Some(mac.finalize().into_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // python3 -c 'import hmac; print(hmac.new(b"0123456789abcdef", b"1700000000.{}", "sha256").hexdigest())'
        let secret = Secret(b"0123456789abcdef".to_vec());
        assert_eq!(
            secret.sign(1_700_000_000, b"{}"),
            "t=1700000000,v1=e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e"
        );
        assert_ne!(secret.sign(1_700_000_001, b"{}"), secret.sign(1_700_000_000, b"{}"));
        assert_eq!(format!("{secret:?}"), "Secret(...)");
    }

    #[test]
    fn a_key_is_long_enough_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let with = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        assert_eq!(with("0123456789abcdef\n", 0o600).unwrap().0, b"0123456789abcdef");
        assert!(matches!(with("0123456789abcdef", 0o640), Err(SecretError::Open { .. })));
        assert!(matches!(with("0123456789abcde\n", 0o600), Err(SecretError::Length { len: 15, .. })));
        assert!(matches!(with(&"x".repeat(5000), 0o600), Err(SecretError::Length { .. })));
        assert!(matches!(Secret::read(dir.path()), Err(SecretError::Read { .. })));
        assert!(matches!(Secret::read(&dir.path().join("none")), Err(SecretError::Read { .. })));
    }
}
