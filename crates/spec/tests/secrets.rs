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

#[test]
fn a_text_that_is_not_toml_does_not_show_them() {
    for broken in [
        format!("[service.a.env]\nTOKEN = {CANARY}\n"),
        format!("[service.a.env]\nTOKEN = \"{CANARY}\n"),
        format!("[service.a.env]\nTOKEN = '{CANARY}' '{CANARY}'\n"),
        format!("[service.a.env]\nTOKEN \"{CANARY}\"\n"),
        format!("[service.a.env]\nTOKEN = \"\"\"\n{CANARY}\n[settings]\n{CANARY}=\n"),
        format!("[service.a.env]\nTOKEN = \"{CANARY}\\q\"\n"),
        format!("[service.a.env]\nTOKEN = \"a\"\nTOKEN = \"{CANARY}\"\n"),
        format!("[service.a.env\nTOKEN = \"{CANARY}\"\n"),
        format!("[service.a]\nenv = {{ TOKEN = \"{CANARY}\n"),
        format!("[service.a]\nenv = {{ TOKEN = \"{CANARY}\" \"\" }}\n"),
        format!("[service.a]\nenv.TOKEN = {CANARY}\n"),
        format!("[process.a]\n\"env\" = {{ TOKEN = {CANARY} }}\n"),
        format!("service.a.env.TOKEN = \"{CANARY}\nx = 1\n"),
    ] {
        let error = Config::parse(&broken, Path::new("/srv/insula.toml")).expect_err(&broken);
        let shown = format!("{error}\n{error:?}");
        assert!(shown.contains("not valid TOML"), "{broken}: {shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("canary"), "{broken}: {shown}");
    }
}

#[test]
fn an_env_under_another_name_does_not_show_them() {
    for line in ["environment", "evn"] {
        let text = format!("[service.a]\ncommand = \"x\"\n{line} = {{ TOKEN = \"{CANARY}\" }}\n");
        let shown = Config::parse(&text, Path::new("/srv/insula.toml")).unwrap_err().to_string();
        assert!(shown.contains("env") && !shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn a_broken_line_elsewhere_is_quoted() {
    let text = format!("[service.a.env]\nX = \"1\"\n\n[settings]\ndomain = {CANARY}\n");
    let shown = Config::parse(&text, Path::new("/srv/insula.toml")).unwrap_err().to_string();
    assert!(shown.contains(CANARY), "{shown}");
}

#[test]
fn an_address_with_a_password_is_refused_without_it() {
    let text = format!("[observability]\notlp_endpoint = \"https://me:{CANARY}@example.org\"\n");
    let shown = Config::parse(&text, Path::new("/srv/insula.toml")).unwrap_err().to_string();
    assert!(shown.contains("...@example.org") && !shown.contains(CANARY), "{shown}");
}

#[test]
fn no_slip_of_one_character_shows_them() {
    let mut refused = 0;
    for text in [
        format!("[service.a]\ncommand = \"x\"\n[service.a.env]\nA = \"1\"\nTOKEN = \"{CANARY}\"\n"),
        format!("[service.a]\ncommand = \"x\"\nenv = {{ A = '1', TOKEN = \"{CANARY}\" }}\n"),
        format!("[service.a]\ncommand = \"x\"\n[service.a.env]\nTOKEN = \"\"\"\n{CANARY}=\n\"\"\"\n"),
    ] {
        let canary = text.find(CANARY).unwrap()..text.find(CANARY).unwrap() + CANARY.len();
        for at in (0..text.len()).filter(|at| !canary.contains(at)) {
            for put in ["", "\"", "'", "=", "\n", "{", "]", "x", "."] {
                let slipped = format!("{}{put}{}", &text[..at], &text[at + 1..]);
                let Err(error) = Config::parse(&slipped, Path::new("/srv/insula.toml")) else { continue };
                refused += 1;
                let shown = format!("{error}\n{error:?}");
                assert!(!shown.contains("hunter2") && !shown.contains("canary"), "{slipped}\n{shown}");
            }
        }
    }
    assert!(refused > 1000, "only {refused} slips were refused");
}
