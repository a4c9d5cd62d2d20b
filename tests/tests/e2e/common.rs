//! Configurations and small steps that several claims share.

use std::sync::Arc;
use std::thread;

use insula_tests::{Reply, Server};

/// One service: its name, how the test app behaves, further keys, its tenants.
pub(crate) type Service<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

/// One service `app` that runs the test app in this way, with further keys, for these tenants.
pub(crate) fn app(how: &str, keys: &str, tenants: &[&str]) -> String {
    services(&[("app", how, keys, tenants)])
}

/// Several services that run the test app.
pub(crate) fn services(all: &[Service<'_>]) -> String {
    let mut text = String::new();
    for (name, how, keys, _) in all {
        text += &format!(
            "[service.{name}]\ncommand = \"python3 $APPS/app.py {how}\"\nworkdir = \"$APPS\"\n{keys}\n\
             [service.{name}.env]\nDATA = \"{{data_dir}}/{{id}}\"\n"
        );
    }
    text += "[instances]\n";
    for (name, _, _, tenants) in all {
        text += &format!("{name} = {tenants:?}\n");
    }
    text
}

/// Runs this many requests at once and gives back every answer; a broken connection is an error of the test.
pub(crate) fn at_once(
    server: &Arc<Server>,
    count: usize,
    instance: &'static str,
    path: &'static str,
) -> Vec<Reply> {
    let start = Arc::new(std::sync::Barrier::new(count));
    let asks: Vec<_> = (0..count)
        .map(|_| {
            let (server, start) = (Arc::clone(server), Arc::clone(&start));
            let ask = move || {
                start.wait();
                server.get(instance, path)
            };
            thread::Builder::new().stack_size(256 * 1024).spawn(ask).unwrap()
        })
        .collect();
    asks.into_iter().map(|ask| ask.join().unwrap()).collect()
}

/// A number out of the app's JSON.
pub(crate) fn number(reply: &Reply, name: &str) -> i64 {
    reply.json()[name].as_i64().unwrap_or_else(|| panic!("no `{name}` in {}", reply.text()))
}

/// Text as part of a query (RFC 3986, section 2.1).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Whether the host has this level; else why not.
pub(crate) fn lacks(server: &Server, level: &str) -> Option<String> {
    let report = server.cli(&["doctor", "--json"]).json();
    let levels = report["levels"].as_array().unwrap().clone();
    let found = levels.iter().find(|found| found["level"] == level).unwrap();
    found["why_not"].as_str().map(ToOwned::to_owned)
}
