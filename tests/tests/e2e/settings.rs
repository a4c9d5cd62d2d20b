//! Files of other systems, and where values come from.

use std::process::{Command, Stdio};

use insula_tests::{Answer, Options, Place, Request, Server, cgroups_writable};

use crate::common::app;

/// The claims' app under its old table name, with keys that mean something else here.
fn old() -> String {
    // Where no limit can be enforced, one that is asked for refuses the start.
    let shares = if cgroups_writable() { "cpu_shares = 100" } else { "" };
    let text = app("serve", &format!("port = 3000\nsocket = \"/tmp/x-{{id}}.sock\"\n{shares}"), &["a"]);
    text.replace("[service.", "[process.")
}

#[test]
fn a_file_with_old_names_answers_requests_and_says_what_is_old() {
    let place = Place::new();
    let config = place.configure(&old());
    let path = config.to_str().unwrap();
    let check = Answer::of(&place.home(), &["config", "check", "--config", path]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stderr.contains("`[process.app]` is deprecated"), "{}", check.stderr);
    let new = Answer::of(&place.home(), &["config", "check", "--json", "--config", path]).json();
    assert!(new["warnings"].as_array().unwrap().len() >= 3, "{new}");
    let server = Server::with(place, &old(), &Options::default());
    server.get("app:a", "/").expect(200);
    // The control: nothing is said of a file with present names.
    let place = Place::new();
    let config = place.configure(&app("serve", "", &["a"]));
    let quiet = Answer::of(&place.home(), &["config", "check", "--config", config.to_str().unwrap()]);
    assert!(quiet.code == 0 && !quiet.stderr.contains("warning"), "{quiet:?}");
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let place = Place::new();
    let secret = app("serve", "", &["a"]).replace("DATA =", "TOKEN = \"hunter2\"\nDATA =");
    let config = place.configure(&secret);
    let shown =
        Answer::of(&place.home(), &["config", "show", "--port", "9", "--config", config.to_str().unwrap()]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let row = |key: &str| shown.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(row("settings.port").ends_with("--port"), "{}", shown.stdout);
    assert!(row("service.app.command").contains("insula.toml:"), "{}", shown.stdout);
    assert!(
        row("service.app.env.TOKEN").contains("...") && !shown.stdout.contains("hunter2"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("option > environment > file > default"), "{}", shown.stdout);
}

#[test]
fn bash_takes_the_completions() {
    let place = Place::new();
    let script = Answer::of(&place.home(), &["completions", "bash"]);
    let path = place.path().join("completions.bash");
    std::fs::write(&path, &script.stdout).unwrap();
    let bash = Command::new("bash").arg("-n").arg(&path).stdin(Stdio::null()).output().unwrap();
    assert!(bash.status.success() && script.stdout.contains("doctor"), "{bash:?}");
    // The control: bash refuses the same script without its end.
    std::fs::write(&path, script.stdout.replacen("esac", "", 1)).unwrap();
    let bash = Command::new("bash").arg("-n").arg(&path).stdin(Stdio::null()).output().unwrap();
    assert!(!bash.status.success());
}

/// `insula` with variables of its own environment and nothing of the caller's.
fn insula(place: &Place, env: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let mut command = Command::new(insula_tests::program());
    command.args(arguments).env_clear().env("INSULA_HOME", place.home()).current_dir(place.path());
    command.envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap().into()
}

/// Value and origin of one row of `config show --json`.
fn shown(place: &Place, env: &[(&str, &str)], options: &[&str], key: &str) -> (String, String) {
    let arguments = [&["config", "show", "--defaults", "--json"], options].concat();
    let shown = insula(place, env, &arguments).ok().json();
    let rows = shown["values"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no `{key}` in {shown}"));
    let value = row["value"].as_str().map_or_else(|| row["value"].to_string(), str::to_owned);
    (value, row["origin"].as_str().unwrap().to_owned())
}

#[test]
fn an_option_wins_over_the_environment_and_that_over_the_file_and_each_says_so() {
    let place = Place::new();
    let root = place.path().to_str().unwrap().to_owned();
    let text = app("serve", "", &["a"]);
    let settings = "[settings]\ndomain = \"file.localhost\"\nport = 7001\ndata_dir = \"$ROOT/file\"\n";
    let file = place.configure(&format!("{text}{settings}"));
    let other = format!("{root}/other.toml");
    std::fs::copy(&file, &other).unwrap();
    let (by_variable, by_option) = (format!("{root}/variable"), format!("{root}/option"));
    let lines = std::fs::read_to_string(&file).unwrap();
    let line = |key: &str| lines.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    for (key, variable, option, values) in [
        ("settings.port", "INSULA_PORT", "--port", ["7001", "7002", "7003"]),
        (
            "settings.domain",
            "INSULA_DOMAIN",
            "--domain",
            ["file.localhost", "env.localhost", "opt.localhost"],
        ),
        (
            "settings.data_dir",
            "INSULA_DATA_DIR",
            "--data-dir",
            [&format!("{root}/file"), &by_variable, &by_option],
        ),
    ] {
        let [of_file, of_variable, of_option] = values;
        let place_in_file = format!("insula.toml:{}", line(key.strip_prefix("settings.").unwrap()));
        let of = |env: &[(&str, &str)], options: &[&str]| shown(&place, env, options, key);
        assert_eq!(of(&[], &[]), (of_file.to_owned(), place_in_file));
        assert_eq!(of(&[(variable, of_variable)], &[]), (of_variable.to_owned(), variable.to_owned()));
        let both = of(&[(variable, of_variable)], &[option, of_option]);
        assert_eq!(both, (of_option.to_owned(), option.to_owned()));
        let empty = insula(&place, &[(variable, "")], &["config", "show"]);
        assert!(empty.code == 2 && empty.stderr.contains(variable), "{empty:?}");
    }
    let file = file.to_str().unwrap();
    let config = |env: &[(&str, &str)], options: &[&str]| shown(&place, env, options, "config");
    assert_eq!(config(&[], &[]), (file.to_owned(), "default".to_owned()));
    let named = ("INSULA_CONFIG", other.as_str());
    assert_eq!(config(&[named], &[]), (other.clone(), "INSULA_CONFIG".to_owned()));
    assert_eq!(config(&[named], &["--config", file]), (file.to_owned(), "--config".to_owned()));
    let home = shown(&place, &[], &[], "home");
    assert_eq!(home, (place.home().to_str().unwrap().to_owned(), "INSULA_HOME".to_owned()));
    let named = format!("{root}/elsewhere");
    let answer = insula(&place, &[], &["--home", &named, "config", "show", "--json"]).ok().json();
    assert_eq!(
        (&answer["values"][0]["value"], &answer["values"][0]["origin"]),
        (&named.into(), &"--home".into())
    );
}

#[test]
fn the_environment_decides_where_a_server_listens_what_it_answers_to_and_where_data_lie() {
    let place = Place::new();
    let root = place.path().to_str().unwrap().to_owned();
    let port = insula_tests::free_port().to_string();
    let env = [
        ("INSULA_PORT", port.as_str()),
        ("INSULA_DOMAIN", "env.localhost"),
        ("INSULA_DATA_DIR", &format!("{root}/variable")),
        ("INSULA_LOG", "debug"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let text = app("serve", "", &["a"]);
    let options = Options { env: env.clone(), ..Options::default() };
    let mut server = Server::with(place, &text, &options);
    assert_eq!(server.address().port().to_string(), port);
    let status = |server: &Server, domain: &str| {
        let host = format!("a.app.{domain}:{}", server.address().port());
        Request::get(&host, "/write?n=1").send(server.address()).unwrap().status
    };
    assert_eq!((status(&server, "env.localhost"), status(&server, "localhost")), (200, 404));
    let kept = |name: &str| std::path::Path::new(&root).join(name).join("app/a/kept").exists();
    assert!(kept("variable") && !kept("data"));
    assert!(server.said().contains("DEBUG"), "{}", server.said());
    server.terminate();
    // Options win over the same environment, and the file holds where neither says anything.
    let option = format!("{root}/option");
    let words = ["--port", "0", "--domain", "opt.localhost", "--data-dir", &option];
    let arguments = words.map(str::to_owned).to_vec();
    server.start_again_with_arguments(&Options { env, arguments, ..Options::default() });
    assert_ne!(server.address().port().to_string(), port);
    assert_eq!((status(&server, "opt.localhost"), status(&server, "env.localhost")), (200, 404));
    assert!(kept("option") && !kept("data"));
    server.terminate();
    server.start_again();
    assert_eq!((status(&server, "localhost"), status(&server, "env.localhost")), (200, 404));
    assert!(kept("data") && !server.said().contains("DEBUG"));
}

#[test]
fn a_token_is_found_where_it_usually_lies_and_refused_where_others_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(&app("serve", "", &["a"]));
    let made = server.cli(&["token", "create", "--name", "x", "--json"]).ok().json();
    let token = made["token"].as_str().unwrap();
    let url = format!("http://localhost:{}", server.address().port());
    let root = server.place().path();
    // Another host's home: nothing in it but what is put there.
    let elsewhere = root.join("elsewhere");
    let config = root.join("config");
    let ask = |env: &[(&str, &str)]| {
        let mut command = Command::new(insula_tests::program());
        command.args(["ps", "--json", "--server", &url]).env_clear().env("INSULA_HOME", &elsewhere);
        command.env("XDG_CONFIG_HOME", &config).envs(env.iter().copied());
        Answer::from(command.stdin(Stdio::null()).output().unwrap())
    };
    let nobody = ask(&[]);
    assert!(nobody.code != 0 && nobody.stderr.contains("no_token"), "{nobody:?}");
    for file in [config.join("insula/token"), elsewhere.join("token")] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{token}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let open = ask(&[]);
        let remedy = format!("chmod 600 {}", file.display());
        assert!(open.code == 2 && open.stderr.contains(&remedy) && !open.stderr.contains(token), "{open:?}");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        ask(&[]).ok();
        // The environment stands above it.
        let wrong = ask(&[("INSULA_TOKEN", "insula_wrong")]);
        assert!(wrong.stderr.contains("wrong_token"), "{wrong:?}");
    }
}

#[test]
fn commands_that_ask_no_other_daemon_refuse_one() {
    let server = Server::start(&app("serve", "", &["a"]));
    let place = server.place();
    let url = "http://elsewhere.example.org";
    let config = place.path().join("insula.toml");
    let config = config.to_str().unwrap();
    let worker = server.worker();
    for verb in [&["config", "apply"][..], &["serve", "--takeover", "--config", config]] {
        let asked = insula(place, &[], &[verb, &["--server", url]].concat());
        assert!(asked.code == 2 && asked.stderr.contains("--server"), "{asked:?}");
        let ambient = insula(place, &[("INSULA_SERVER", url)], verb);
        assert!(ambient.code == 2 && ambient.stderr.contains("INSULA_SERVER"), "{ambient:?}");
        assert!(ambient.stderr.contains("own home"), "{ambient:?}");
    }
    assert_eq!(server.worker().pid, worker.pid, "something was done all the same");
    for verb in [&["doctor"][..], &["config", "check"], &["version"], &["config", "show"]] {
        let asked = insula(place, &[], &[verb, &["--server", url]].concat());
        assert!(asked.code == 2 && asked.stderr.contains("--server"), "{asked:?}");
        // What the environment names is for other commands.
        insula(place, &[("INSULA_SERVER", url)], verb).ok();
    }
    // The control: without it, it is done.
    insula(place, &[], &["config", "apply"]).ok();
    server.wait_worker_after(&worker);
}

#[test]
fn a_program_says_what_was_built_into_it() {
    let place = Place::new();
    let built = insula(&place, &[], &["version", "--features", "--json"]).ok().json();
    let bare = insula(&place, &[], &["version", "--json"]).ok().json();
    assert_eq!((bare.as_object().unwrap().len(), &bare["version"]), (1, &built["version"]));
    let doctor = insula(&place, &[], &["doctor", "--json"]).json();
    let levels: Vec<_> =
        doctor["levels"].as_array().unwrap().iter().map(|level| level["level"].clone()).collect();
    assert!(levels.len() >= 4 && built["levels"] == serde_json::Value::from(levels), "{built}");
    assert!(built["target"].as_str().unwrap().starts_with(std::env::consts::ARCH), "{built}");
    // A dynamic program names a loader (PT_INTERP of the ELF header), and a static one does not.
    let program = std::fs::read(insula_tests::program()).unwrap();
    let number = |at: usize, size: usize| {
        program[at..at + size].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let loader = (0..number(56, 2)).any(|i| number(number(32, 8) + i * number(54, 2), 4) == 3);
    assert_eq!(built["linkage"], if loader { "dynamic" } else { "static" });
    let agent = &built["agent"];
    assert!(
        agent["bytes"].as_u64().unwrap() > 100_000 && agent["sha256"].as_str().unwrap().len() == 64,
        "{built}"
    );
    let text = insula(&place, &[], &["version", "--features"]).ok().stdout;
    assert!(text.contains("levels   process, namespace") && text.contains("commit"), "{text}");
}
