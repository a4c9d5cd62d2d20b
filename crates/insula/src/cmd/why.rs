//! `insula why`: the causes, newest first.

use insula_api::Client;

use crate::cli::NameArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: NameArgs, printer: Printer) -> anyhow::Result<Exit> {
    let why = client.why(&args.name).await?;
    printer.either(&why, |why| why.text.clone())?;
    Ok(Exit::Ok)
}
