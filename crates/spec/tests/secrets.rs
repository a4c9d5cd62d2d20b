//! What an operator puts into `env` is not shown by anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use insula_spec::{Config, Placement};

/// No part of it is a word that messages have.
const CANARY: &str = "hunter2-canary";

fn parse(env: &str) -> Result<Config, String> {
    let text = format!("[service.notes]\ncommand = \"app\"\n[service.notes.env]\n{env}\n");
    Config::parse(&text, Path::new("/srv/insula.toml")).map_err(|e| format!("{e}\n{e:?}\n{e:#?}"))
}

#[test]
fn a_configuration_and_a_launch_show_names_and_not_values() {
    let config = parse(&format!("PASSWORD = \"{CANARY}\"")).unwrap();
    let spec = config.services.values().next().unwrap();
    let placement = Placement { port: 8080, socket: PathBuf::from("/run/app.sock") };
    let launch = spec.launch(&"alice".parse().unwrap(), &placement, None);
    for shown in [format!("{config:?}"), format!("{spec:#?}"), format!("{launch:?}"), format!("{launch:#?}")]
    {
        assert!(shown.contains("PASSWORD") && !shown.contains(CANARY), "{shown}");
    }
    // It is hidden, not lost.
    assert!(launch.env.iter().any(|(name, value)| name == "PASSWORD" && value.expose() == CANARY));
}

#[test]
fn problems_do_not_quote_them() {
    for bad in [
        format!("PASSWORD = \"{CANARY}{{\""),
        format!("PASSWORD = '{CANARY}{{'"),
        format!("PASSWORD = \"~/{CANARY}\""),
        format!("PASSWORD = [\"{CANARY}\"]"),
        format!("PASSWORD = \"\"\"{CANARY}{{\"\"\""),
        format!("PASSWORD = \"\"\"\n{CANARY}{{\"\"\""),
        format!("PORT = \"{CANARY}\""),
        format!("TOKEN = \"{CANARY}\" # {CANARY}\nPORT = \"1\""),
        format!("PASSWORD = \"{}={CANARY}{{\"", "x".repeat(200)),
        format!("TOKEN = \"{CANARY}={}\"\nPASSWORD = {{ b = \"{CANARY}=\" }}", "x".repeat(200)),
        format!("PASSWORD = {{ a = \"{CANARY}\" }}"),
    ] {
        let shown = parse(&bad).expect_err(&bad);
        assert!(shown.contains("service.notes.env"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("canary"), "{bad}: {shown}");
    }
    let text = format!("[service.notes]\ncommand = \"app\"\nenv = \"PASSWORD={CANARY}\"\n");
    let shown = Config::parse(&text, Path::new("/srv/insula.toml")).unwrap_err().to_string();
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn values_elsewhere_are_quoted() {
    let text = format!("[service.notes]\ncommand = \"app\"\nmemory = \"{CANARY}\"\n");
    let shown = Config::parse(&text, Path::new("/srv/insula.toml")).unwrap_err().to_string();
    assert!(shown.contains(CANARY), "{shown}");
}
