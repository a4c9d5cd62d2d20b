//! `insula version`.

use serde::Serialize;

use crate::exit::Exit;
use crate::printer::Printer;

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
}

pub(super) fn run(printer: Printer) -> anyhow::Result<Exit> {
    let version = Version { version: env!("CARGO_PKG_VERSION") };
    printer.either(&version, |v| format!("insula {}", v.version))?;
    Ok(Exit::Ok)
}
