//! What a claim stands on: a level of this host, and servers whose app runs at it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;

use insula_tests::{Answer, Internet, Options, Place, Server};
use serde_json::Value;

/// The app, which calls the functions of the claim's `act.py`.
const APP: &str = include_str!("app.py");
/// Levels, weakest first; those that satisfy each other are neighbours.
const ORDER: [&str; 6] = ["process", "namespace", "container", "gvisor", "wasm", "vm"];

/// What a level claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// Name of its folder.
    pub(crate) name: &'static str,
    /// What is claimed, in a few words.
    pub(crate) says: &'static str,
    /// The weakest level that claims it. Below, the same attempt is the control.
    pub(crate) from: &'static str,
    pub(crate) run: fn(&Ground) -> Shown,
}

/// Whether it could be shown here. What turns out to be wrong panics.
#[derive(Debug)]
pub(crate) enum Shown {
    Yes,
    /// This host cannot show it, for this reason.
    No(String),
}

/// A level, as `insula doctor` tells it.
#[derive(Debug)]
pub(crate) struct HostLevel {
    pub(crate) name: String,
    pub(crate) limits: bool,
    pub(crate) why_not: Option<String>,
}

/// Other makers of containers than the agent.
const DRIVERS: [&str; 2] = ["crun", "runc"];

/// Every level of this version of Insula, and `container` by each driver: `container+crun`.
pub(crate) fn levels() -> Vec<HostLevel> {
    let mut all = levels_by("");
    for driver in DRIVERS {
        let found = levels_by(&driver_table(driver)).into_iter().find(|level| level.name == "container");
        all.extend(found.map(|level| HostLevel { name: format!("container+{driver}"), ..level }));
    }
    all
}

fn driver_table(driver: &str) -> String {
    format!("[levels.container]\ndriver = \"{driver}\"\n")
}

fn levels_by(config: &str) -> Vec<HostLevel> {
    let place = Place::new();
    let path = place.configure(config);
    let report = Answer::of(&place.home(), &["doctor", "--json", "--config", path.to_str().unwrap()]).json();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = report["levels"].as_array().unwrap().iter();
    all.map(|level| HostLevel {
        name: text(&level["level"]).unwrap(),
        limits: !level["limits"].is_null(),
        why_not: text(&level["why_not"]),
    })
    .collect()
}

/// One level to try claims on.
#[derive(Debug)]
pub(crate) struct Ground {
    level: String,
    /// Who makes containers, where that is not the agent.
    driver: Option<String>,
    limits: bool,
}

impl Ground {
    pub(crate) fn new(level: &HostLevel) -> Self {
        let (name, driver) = match level.name.split_once('+') {
            Some((name, driver)) => (name, Some(driver.to_owned())),
            None => (level.name.as_str(), None),
        };
        Self { level: name.to_owned(), driver, limits: level.limits }
    }

    /// Whether another program than the agent makes the containers.
    pub(crate) fn is_driven(&self) -> bool {
        self.driver.is_some()
    }

    /// The level's name.
    pub(crate) fn level(&self) -> &str {
        &self.level
    }

    /// Whether limits can be set at it.
    pub(crate) fn limits(&self) -> bool {
        self.limits
    }

    /// Whether it is weaker than another one.
    pub(crate) fn below(&self, level: &str) -> bool {
        let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap();
        rank(&self.level) < rank(level)
    }

    /// A server with a service `app` at this level, with further keys, for these tenants.
    pub(crate) fn serve(&self, act: &str, keys: &str, tenants: &[&str]) -> Server {
        self.serve_with(|_| Options::default(), act, keys, tenants)
    }

    /// The same in a place where something was prepared.
    pub(crate) fn serve_after(
        &self,
        prepare: impl Fn(&Place),
        act: &str,
        keys: &str,
        tenants: &[&str],
    ) -> Server {
        let options = |place: &Place| {
            prepare(place);
            Options::default()
        };
        self.serve_with(options, act, keys, tenants)
    }

    /// The same with an internet.
    pub(crate) fn serve_in(&self, internet: &Internet, act: &str, keys: &str, tenants: &[&str]) -> Server {
        self.serve_with(|place| internet.options(place), act, keys, tenants)
    }

    fn serve_with(
        &self,
        options: impl Fn(&Place) -> Options,
        act: &str,
        keys: &str,
        tenants: &[&str],
    ) -> Server {
        let place = Place::new();
        fs::write(place.apps().join("conform.py"), APP).unwrap();
        fs::write(place.apps().join("act.py"), act).unwrap();
        let level = &self.level;
        let driver = self.driver.as_deref().map_or_else(String::new, driver_table);
        let config = format!(
            "{driver}[service.app]\ncommand = \"python3 $APPS/conform.py word-of-{{id}}\"\nworkdir = \"$APPS\"\n\
             isolation = \"{level}\"\n{keys}\n[service.app.env]\nDATA = \"{{data_dir}}/{{id}}\"\n\
             WORD = \"word-of-{{id}}\"\n[instances]\napp = {tenants:?}\n"
        );
        let options = options(&place);
        Server::with(place, &config, &options)
    }
}

/// Has an instance call a function of its `act.py`.
#[track_caller]
pub(crate) fn act(server: &Server, instance: &str, function: &str, arguments: &[(&str, &str)]) -> Value {
    let query: Vec<_> = arguments.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    server.get(instance, &format!("/{function}?{}", query.join("&"))).expect(200).json()
}

/// The same for a call that ends the app, so that no answer is to be expected.
pub(crate) fn act_and_end(server: &Server, instance: &str, function: &str, arguments: &[(&str, &str)]) {
    let query: Vec<_> = arguments.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    drop(server.try_get(instance, &format!("/{function}?{}", query.join("&"))));
}

/// Text as part of a query (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The lines that an instance wrote, by stream.
#[track_caller]
pub(crate) fn lines(server: &Server, instance: &str) -> BTreeMap<String, Vec<String>> {
    let answer = server.cli(&["logs", instance, "--json"]).ok();
    let mut all = BTreeMap::new();
    for line in answer.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let stream: &mut Vec<String> = all.entry(line["output"].as_str().unwrap().to_owned()).or_default();
        stream.push(line["text"].as_str().unwrap().to_owned());
    }
    all
}

/// What lies at this place of a tenant's directory; `None` where whoever runs this test may not look: with subordinate
/// ids the directory belongs to one of those.
#[track_caller]
pub(crate) fn on_host(path: &Path) -> Option<Metadata> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        found => Some(found.unwrap()),
    }
}

/// Why an instance is where it is.
pub(crate) fn why(server: &Server, instance: &str) -> String {
    server.inspect(instance)["status"]["why"].as_str().unwrap_or_default().to_owned()
}

/// The attempt got through exactly where there is no wall.
#[track_caller]
pub(crate) fn held(ground: &Ground, from: &str, through: &Value) {
    assert_eq!(through["through"], ground.below(from), "at {}: {through}", ground.level());
}
