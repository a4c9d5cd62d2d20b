//! One layer from a registry to the disk, as often as it takes.
//!
//! ```text
//! partial/HEX (locked) ── so many bytes are here ── Range ── more ── broke off? ── again, from there
//!                                                              └── all ── digest ── right: unpack; wrong: gone
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::StatusCode;
use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::PullError;
use super::http::Answer;
use super::session::Session;
use crate::digest::Hashing;
use crate::formats::Descriptor;
use crate::progress::Progress;
use crate::store::{Place, StoreError};

/// Most attempts in a row that bring nothing.
const ATTEMPTS: u32 = 5;
/// Time to the second attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(200);

/// A blob that is here whole and is what it should be. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Fetched {
    path: PathBuf,
    /// Holds the lock, too.
    pub(super) file: File,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a blob that was unpacked");
        }
    }
}

/// The right to fetch a blob. Whoever else fetches it was waited for, and may have unpacked it meanwhile.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    file: File,
}

impl Claim {
    /// Waits until nobody else fetches this blob.
    pub(super) async fn new(place: &Place, blob: &Descriptor) -> Result<Self, PullError> {
        let path = place.partial(&blob.digest);
        Ok(Self { file: lock(path.clone()).await?, path })
    }

    /// The blob is not needed any more.
    pub(super) fn forget(self) {
        drop(Fetched { path: self.path, file: self.file });
    }
}

/// Fetches a blob, going on where an earlier attempt ended.
pub(super) async fn fetch(
    session: &mut Session,
    Claim { path, file }: Claim,
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<Fetched, PullError> {
    let mut attempts = 0;
    loop {
        let here = length(&file, &path)?;
        if here >= blob.size {
            break;
        }
        progress.bytes(here, blob.size);
        let error = match more(session, &file, blob, progress).await {
            Ok(()) => continue,
            Err(error) => error,
        };
        attempts = if length(&file, &path)? > here { 1 } else { attempts + 1 };
        if !error.passes() || attempts >= ATTEMPTS {
            return Err(error);
        }
        tracing::debug!(digest = %blob.digest, %error, "a layer broke off, going on");
        tokio::time::sleep(BACKOFF * 2_u32.pow(attempts - 1)).await;
    }
    check(path, file, blob, session.name().registry()).await
}

/// Asks for what is missing and writes what comes.
async fn more(
    session: &mut Session,
    file: &File,
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let failed = |source| PullError::Store(StoreError::Io { path: "partial".into(), source });
    let mut here = file.metadata().map_err(failed)?.len();
    let mut answer = session.blob(blob.digest, here).await?;
    if !goes_on(&answer, here) {
        // It begins at the beginning, or cannot go on from here; so do we.
        file.set_len(0).map_err(failed)?;
        here = 0;
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            answer = session.blob(blob.digest, 0).await?;
        }
    }
    let wrong = |what: &str| PullError::Blob {
        host: answer.host.clone(),
        expected: blob.digest,
        what: what.to_owned(),
    };
    if here == 0 && answer.status != StatusCode::OK {
        return Err(wrong("not a whole one"));
    }
    let beyond = wrong(&format!("more than the {} bytes that the manifest tells", blob.size));
    let short = wrong("shorter than the manifest tells");
    let mut out = tokio::fs::File::from_std(file.try_clone().map_err(failed)?);
    out.seek(io::SeekFrom::Start(here)).await.map_err(failed)?;
    while let Some(chunk) = answer.chunk().await? {
        here += chunk.len() as u64;
        if here > blob.size {
            return Err(beyond);
        }
        out.write_all(&chunk).await.map_err(failed)?;
        progress.bytes(here, blob.size);
    }
    out.flush().await.map_err(failed)?;
    if here < blob.size { Err(short) } else { Ok(()) }
}

/// Whether an answer begins at this byte.
fn goes_on(answer: &Answer, here: u64) -> bool {
    if here == 0 {
        return answer.status == StatusCode::OK;
    }
    let range = answer.header("content-range").and_then(|text| text.strip_prefix("bytes "));
    let start = range.and_then(|text| text.split('-').next()?.parse::<u64>().ok());
    answer.status == StatusCode::PARTIAL_CONTENT && start == Some(here)
}

fn length(file: &File, path: &Path) -> Result<u64, PullError> {
    Ok(file.metadata().map_err(StoreError::io(path))?.len())
}

/// Opens the file of a blob alone. Whoever else fetches it is waited for.
async fn lock(path: PathBuf) -> Result<File, PullError> {
    let open = move || {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let file = file.map_err(StoreError::io(&path))?;
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|e| StoreError::Io { path: path.clone(), source: e.into() })?;
            // Whoever had it may have unpacked and removed it.
            if std::os::unix::fs::MetadataExt::nlink(&file.metadata().map_err(StoreError::io(&path))?) > 0 {
                return Ok::<_, StoreError>(file);
            }
        }
    };
    Ok(tokio::task::spawn_blocking(open).await.map_err(|_| PullError::Ended)??)
}

/// Compares the whole content with its digest. What is wrong is not kept.
async fn check(path: PathBuf, file: File, blob: &Descriptor, host: &str) -> Result<Fetched, PullError> {
    let (expected, size, host) = (blob.digest, blob.size, host.to_owned());
    let hash = move || {
        let failed = StoreError::io(&path);
        let read = || {
            let mut file = &file;
            io::Seek::rewind(&mut file)?;
            let mut hashing = Hashing::new(file);
            io::copy(&mut hashing, &mut io::sink())?;
            Ok((hashing.bytes(), hashing.finish()))
        };
        let (bytes, actual) = read().map_err(failed)?;
        io::Seek::rewind(&mut &file).map_err(StoreError::io(&path))?;
        let fetched = Fetched { path, file };
        match (bytes == size, actual == expected) {
            (true, true) => Ok(fetched),
            (false, _) => Err(PullError::Blob { host, expected, what: format!("{bytes} bytes long") }),
            (_, false) => Err(PullError::Blob { host, expected, what: format!("`{actual}`") }),
        }
    };
    tokio::task::spawn_blocking(hash).await.map_err(|_| PullError::Ended)?
}
