//! An archive with an image in it, taken apart into files with names of our own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Files, Load, LoadError};
use crate::layer::{EntryPath, Plain, UnpackError};
use crate::tar::{Entry, Kind, Reader};

/// Most files of an archive. An image has a few for each layer.
const FILES_MAX: u64 = 20_000;
/// Most links that lead to each other.
const HOPS_MAX: usize = 8;

/// The files of an archive.
pub(super) struct Archive {
    files: BTreeMap<String, Content>,
}

enum Content {
    File(PathBuf),
    /// Older versions of Docker link layers that they have already.
    Link(String),
}

impl Archive {
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> io::Result<Option<File>> {
        let mut name = name.to_owned();
        for _ in 0..HOPS_MAX {
            match self.files.get(&name) {
                None => return Ok(None),
                Some(Content::File(path)) => return File::open(path).map(Some),
                Some(Content::Link(to)) => name.clone_from(to),
            }
        }
        Ok(None)
    }
}

/// Takes an archive apart, unless it holds no image. What is a root file system is not written anywhere.
pub(super) fn open(load: &Load<'_>, file: File, scratch: &Path) -> Result<Option<Archive>, LoadError> {
    let failed = |source| LoadError::Archive { path: load.path.to_owned(), source };
    let again = file.try_clone().map_err(LoadError::io(load.path))?;
    if !holds_image(load, file).map_err(failed)? {
        return Ok(None);
    }
    io::Seek::rewind(&mut &again).map_err(LoadError::io(load.path))?;
    let plain = Plain::new(again, load.policy().bounds).map_err(UnpackError::Read).map_err(failed)?;
    let mut reader = Reader::new(plain);
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next().map_err(|e| failed(e.into()))? {
        let target = scratch.join(files.len().to_string());
        if let Some((name, content)) = take(&entry, &mut reader, target).map_err(failed)? {
            files.insert(name, content);
        }
        if files.len() as u64 > FILES_MAX {
            return Err(failed(UnpackError::TooMuch { what: "files", limit: FILES_MAX }));
        }
    }
    Ok(Some(Archive { files }))
}

/// Whether an archive has the list of images of either format at its root.
fn holds_image(load: &Load<'_>, file: File) -> Result<bool, UnpackError> {
    let mut reader = Reader::new(Plain::new(file, load.policy().bounds).map_err(UnpackError::Read)?);
    let (mut count, mut layout) = (0_u64, [false; 2]);
    while let Some(entry) = reader.next()? {
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        match path {
            b"manifest.json" => return Ok(true),
            b"index.json" => layout[0] = true,
            b"oci-layout" => layout[1] = true,
            _ => {}
        }
        if layout == [true; 2] {
            return Ok(true);
        }
        count += 1;
        if count > load.policy().bounds.entries {
            return Err(UnpackError::TooMuch { what: "entries", limit: load.policy().bounds.entries });
        }
    }
    Ok(false)
}

/// One entry: its name and what it is. Names are only ever compared.
fn take<R: io::Read>(
    entry: &Entry,
    reader: &mut Reader<R>,
    target: PathBuf,
) -> Result<Option<(String, Content)>, UnpackError> {
    let name = EntryPath::parse(&entry.path)?.to_string();
    let content = match entry.kind {
        Kind::File if entry.sparse.is_none() => {
            let write = |source| UnpackError::Write { path: name.clone(), source };
            let mut file = File::create_new(&target).map_err(write)?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    got => file.write_all(&buffer[..got]).map_err(write)?,
                }
            }
            Content::File(target)
        }
        Kind::HardLink => Content::Link(EntryPath::parse(&entry.link)?.to_string()),
        Kind::Symlink => match resolve(&name, &String::from_utf8_lossy(&entry.link)) {
            Some(to) => Content::Link(to),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some((name, content)))
}

/// Where a symbolic link leads within the archive, as text.
fn resolve(name: &str, link: &str) -> Option<String> {
    let mut parts: Vec<_> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_names_of_the_archive_or_nowhere() {
        assert_eq!(resolve("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(resolve("a", "b").as_deref(), Some("b"));
        assert_eq!(resolve("a/b", "../../../etc/passwd"), None);
    }
}
