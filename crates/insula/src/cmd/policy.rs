//! `insula policy`: what instances may reach outside.

use insula_api::{Client, Net, NetSource};
use insula_spec::NetPolicy;

use crate::cli::policy::{PolicySetArgs, PolicyVerb};
use crate::exit::Exit;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 3] = ["RULE", "TIMES", "LAST REFUSED"];

pub(super) async fn run(client: &Client, verb: PolicyVerb, printer: Printer) -> anyhow::Result<Exit> {
    match verb {
        PolicyVerb::Show(of) => printer.either(&client.net(&of.name).await?, shown)?,
        PolicyVerb::Suggest(of) => {
            let net = client.net(&of.name).await?;
            if net.suggested.is_empty() && !printer.json {
                printer.talk(&format!("nothing was refused to {} that a rule would let through", net.name));
            } else {
                printer.either(&net.suggested, |_| suggested(&net))?;
            }
        }
        PolicyVerb::Set(args) => printer.either(&set(client, args).await?, shown)?,
    }
    Ok(Exit::Ok)
}

async fn set(client: &Client, args: PolicySetArgs) -> anyhow::Result<Net> {
    let rules = if args.default { None } else { Some(NetPolicy::new(args.rules)?) };
    Ok(client.set_net(&args.name, rules).await?)
}

fn shown(net: &Net) -> String {
    let source = match net.source {
        NetSource::Configuration => "as the configuration says",
        NetSource::Operator => "set by the operator",
    };
    let mut text = format!("{} may reach, {source}:", net.name);
    if net.rules.is_none() {
        text += "\n  nothing";
    }
    for rule in net.rules.rules() {
        text += &format!("\n  {rule}");
    }
    if !net.suggested.is_empty() {
        text += &format!("\nrefused lately: see `insula policy suggest {}`", net.name);
    }
    text
}

fn suggested(net: &Net) -> String {
    let rows = net.suggested.iter().map(|s| vec![s.rule.clone(), s.times.to_string(), s.last.to_string()]);
    let rules = net.rules.rules().iter().map(ToString::to_string);
    let all: Vec<_> =
        rules.chain(net.suggested.iter().map(|s| s.rule.clone())).map(|r| format!("'{r}'")).collect();
    let list = table(&HEADINGS, rows.collect());
    format!("{list}\nto allow all of it: insula policy set {} {}", net.name, all.join(" "))
}
