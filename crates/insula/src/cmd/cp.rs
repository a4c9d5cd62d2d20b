//! `insula cp`: one file into an instance, or out of it.
//!
//! It is read and written inside the walls, as the user of the instance: a link in there leads nowhere else.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use insula_api::{Client, ExecEnd, ExecRequest};
use insula_spec::InstanceName;

use super::exec::{carry, pump};
use crate::cli::exec::{CpArgs, Place};
use crate::exit::Exit;
use crate::failure::Failure;

/// Most bytes of what went wrong inside that are shown.
const WHY_MAX: usize = 4096;

pub(super) async fn run(client: &Client, args: CpArgs) -> anyhow::Result<Exit> {
    match (args.from, args.to) {
        (Place::Inside(name, path), Place::Stream) => {
            out_of(client, (&name, &path), &mut io::stdout()).await?
        }
        (Place::Inside(name, path), Place::Here(to)) => {
            let to = with_name(to, &path);
            let (mut file, part) = Part::beside(&to)?;
            out_of(client, (&name, &path), &mut file).await?;
            part.place(&to)?;
        }
        (Place::Stream, Place::Inside(name, path)) => {
            into(client, (&name, path, None), io::stdin()).await?;
        }
        (Place::Here(from), Place::Inside(name, path)) => {
            let failed = |e| of_file("read", &from, &e);
            let file = File::open(&from).map_err(failed)?;
            let meta = file.metadata().map_err(failed)?;
            if meta.is_dir() {
                return Err(of_file("read", &from, &io::ErrorKind::IsADirectory.into()).into());
            }
            let path = if path.ends_with('/') { format!("{path}{}", name_of(&from)) } else { path };
            into(client, (&name, path, Some(meta.permissions().mode() & 0o777)), file).await?;
        }
        _ => {
            let hint = "write one of them as `SERVICE:ID:/PATH`";
            return Err(Failure::new(
                Exit::Usage,
                "one side of a copy must be an instance, the other one here",
                hint,
            )
            .into());
        }
    }
    Ok(Exit::Ok)
}

fn of_file(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    let message = format!("cannot {doing} `{}`: {error}", path.display());
    Failure::new(exit, message, "check the path and its permissions; directories are not copied")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A directory stands for a file in it of the same name.
fn with_name(to: PathBuf, from: &str) -> PathBuf {
    if to.is_dir() { to.join(name_of(Path::new(from))) } else { to }
}

/// A file that is removed unless it was put in its place.
struct Part {
    path: PathBuf,
    placed: bool,
}

impl Part {
    fn beside(to: &Path) -> Result<(File, Self), Failure> {
        let path = to.with_file_name(format!(".{}.{}.part", name_of(to), std::process::id()));
        let file = File::create_new(&path).map_err(|e| of_file("write", to, &e))?;
        Ok((file, Self { path, placed: false }))
    }

    fn place(mut self, to: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, to).map_err(|e| of_file("write", to, &e))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a file that is not whole is left behind");
        }
    }
}

async fn out_of(
    client: &Client,
    (name, path): (&InstanceName, &str),
    to: &mut impl Write,
) -> anyhow::Result<()> {
    let request = ExecRequest { read_file: Some(path.to_owned()), ..ExecRequest::default() };
    let streams = client.exec(name, &request).await?;
    let mut why = Vec::new();
    let mut out = |stderr, bytes: &[u8]| if stderr { note(&mut why, bytes) } else { to.write_all(bytes) };
    let end = carry(streams, None, &mut out).await?;
    to.flush()?;
    ended(end, name, &why)
}

async fn into(
    client: &Client,
    (name, path, mode): (&InstanceName, String, Option<u32>),
    from: impl io::Read + Send + 'static,
) -> anyhow::Result<()> {
    let request = ExecRequest { write_file: Some(path), mode, input: true, ..ExecRequest::default() };
    let streams = client.exec(name, &request).await?;
    let mut why = Vec::new();
    let mut out = |_, bytes: &[u8]| note(&mut why, bytes);
    let end = carry(streams, Some(pump(from)), &mut out).await?;
    ended(end, name, &why)
}

fn note(why: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let room = WHY_MAX.saturating_sub(why.len());
    why.extend(bytes.iter().take(room));
    Ok(())
}

fn ended(end: ExecEnd, name: &InstanceName, why: &[u8]) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(why).trim().to_owned();
    let failed = |what: String| {
        let hint = "the path is that inside the instance, and its user must have the right to it";
        Err(Failure::new(Exit::Failed, format!("in `{name}`: {what}"), hint).into())
    };
    match end {
        ExecEnd::Exited(0) => Ok(()),
        ExecEnd::Problem(problem) => Err(insula_api::ClientError::Problem(Box::new(problem)).into()),
        ExecEnd::Exited(code) if said.is_empty() => failed(format!("it ended with status {code}")),
        ExecEnd::Signal(signal) if said.is_empty() => failed(format!("it was killed by signal {signal}")),
        ExecEnd::Exited(_) | ExecEnd::Signal(_) => failed(said),
    }
}
