//! What the operator reads when the daemon is up.

use serde_json::json;

use insula_edge::control::{apex_url, instance_url};
use insula_spec::{Config, InstanceName};

use crate::home::Home;
use crate::lifeline::Report;
use crate::printer::Printer;

/// Says that the daemon serves, and where. With `--json` one line of JSON goes to stdout.
pub(super) fn ready(printer: Printer, home: &Home, config: &Config, (port, report): (u16, &Report)) {
    if printer.json {
        let line = json!({
            "event": "ready",
            "pid": std::process::id(),
            "port": port,
            "url": apex_url(&config.settings.domain, port),
            "control": home.control_socket(),
            "config": config.path,
            "home": home.path(),
            "epoch": report.epoch,
            "levels": report.levels,
            "instances": report.instances,
            "adopted": report.adopted,
        });
        if let Err(error) = printer.json_line(&line) {
            tracing::warn!(%error, "nobody reads standard output");
        }
        return;
    }
    printer.talk(&text(home, config, port, report));
}

fn text(home: &Home, config: &Config, port: u16, report: &Report) -> String {
    let domain = &config.settings.domain;
    let mut lines = vec![format!(
        "insula {} serves {} at {}",
        env!("CARGO_PKG_VERSION"),
        count(config.services.len(), "service"),
        apex_url(domain, port)
    )];
    lines.push(format!("  config   {}", config.path.display()));
    lines.push(format!("  home     {}", home.path().display()));
    let able: Vec<_> = report.levels.iter().filter(|l| l.unavailable.is_none()).map(|l| &*l.level).collect();
    let able = if able.is_empty() { "none; run `insula doctor`".to_owned() } else { able.join(", ") };
    lines.push(format!("  levels   {able}"));
    let found =
        if report.adopted > 0 { format!(", {} found running", report.adopted) } else { String::new() };
    lines.push(format!("  known    {}{found}", count(report.instances, "instance")));
    for (service, ids) in &config.instances {
        for id in ids {
            let name = InstanceName::new(service.clone(), id.clone());
            lines.push(format!("  {name}  {}", instance_url(domain, port, &name)));
        }
    }
    for spec in config.services.values() {
        for (id, port) in &spec.listen_tcp {
            lines.push(format!("  {}:{id}  tcp {domain}:{port}", spec.name));
        }
    }
    lines.push("stop with Ctrl-C".to_owned());
    lines.join("\n")
}

fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
