//! `insula why`: the causes, newest first.

use insula_api::Client;

use crate::cli::{WhyArgs, WhyTarget};
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: WhyArgs, printer: Printer) -> anyhow::Result<Exit> {
    match args.what {
        WhyTarget::Instance(name) => {
            let why = client.why(&name).await?;
            printer.either(&why, |why| why.text.clone())?;
        }
        WhyTarget::Request(id) => {
            let why = client.why_request(&id.to_string()).await?;
            printer.either(&why, |why| why.text.clone())?;
            if why.request.is_none() {
                return Ok(Exit::NotFound);
            }
        }
    }
    Ok(Exit::Ok)
}
