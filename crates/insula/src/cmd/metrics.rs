//! `insula metrics`: what is counted.

use insula_api::Client;

use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, printer: Printer) -> anyhow::Result<Exit> {
    let page = client.metrics().await?;
    if printer.json {
        printer.json_line(&serde_json::json!({ "format": "prometheus", "text": page }))?;
    } else {
        printer.text(page.trim_end())?;
    }
    Ok(Exit::Ok)
}
