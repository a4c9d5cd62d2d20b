//! How problems look to the person who reads them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insula_spec::Config;
use insula_spec::config::{KeyAdvice, ProblemKind};

fn rendered(text: &str) -> String {
    Config::parse(text, Path::new("/app/insula.toml")).unwrap_err().to_string()
}

#[test]
fn all_problems_are_shown_at_once_in_the_order_of_the_file() {
    let text = r#"
isolation = "namepsace"

[settings]
data_dir = "~/data"

[service.notes]
comand = "python3 app.py"
memory = "lots"
idle_timeout = "5 minuets"
env = { PORT = "80", URL = "http://{prot}" }

[instances]
note = ["alice"]
"#;
    insta::assert_snapshot!(rendered(text), @r#"
    `/app/insula.toml` has 8 problems

    error: `isolation`: `namepsace` is not one of its values
     --> /app/insula.toml:2:13
      |
    2 | isolation = "namepsace"
      |             ^^^^^^^^^^^
      = help: did you mean `namespace`?

    error: `settings.data_dir`: `~/data` begins with `~`, which only a shell expands
     --> /app/insula.toml:5:12
      |
    5 | data_dir = "~/data"
      |            ^^^^^^^^
      = help: write the whole path, such as /home/me/app, or one relative to this file

    error: `service.notes.comand`: there is no such key
     --> /app/insula.toml:8:1
      |
    8 | comand * ******** *******
      | ^^^^^^
      = help: did you mean `command`?

    error: `service.notes.memory`: `lots` is not a size
     --> /app/insula.toml:9:10
      |
    9 | memory = "lots"
      |          ^^^^^^
      = help: write a number and a unit: 64K, 256M, 2G (powers of 1024)

    error: `service.notes.idle_timeout`: `5 minuets` is not a duration
      --> /app/insula.toml:10:16
       |
    10 | idle_timeout = "5 minuets"
       |                ^^^^^^^^^^^
       = help: write a number and a unit: 500ms, 30s, 5m, 2h, 1d

    error: `service.notes.env.PORT`: Insula sets this variable itself
      --> /app/insula.toml:11:9
       |
    11 | env * * PORT * ***** *** * *************** *
       |         ^^^^
       = help: remove it; to pass the value under another name, use `{port}` in that variable

    error: `service.notes.env.URL`: `{prot}` is not a placeholder
      --> /app/insula.toml:11:28
       |
    11 | env * * **** * ***** *** * *************** *
       |                            ^^^^^^^^^^^^^^^
       = help: did you mean `{port}`?

    error: `instances.note`: no service is called `note`
      --> /app/insula.toml:14:1
       |
    14 | note = ["alice"]
       | ^^^^
       = help: did you mean `notes`?
    "#);
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    insta::assert_snapshot!(rendered("[settings]\ndomain = \"localhost\n"), @r#"
    `/app/insula.toml` has 1 problem

    error: not valid TOML: invalid basic string, expected `"`
     --> /app/insula.toml:2:20
      |
    2 | domain = "localhost
      |                    ^
      = help: text stands in double quotes, tables in brackets, and a key only once in its table
    "#);
}

#[test]
fn a_place_far_down_keeps_its_gutter_straight() {
    let text = format!("{}did = 5\n", "\n".repeat(119));
    insta::assert_snapshot!(rendered(&text), @r#"
    `/app/insula.toml` has 1 problem

    error: `did`: expected text, found the number 5
       --> /app/insula.toml:120:7
        |
    120 | did = 5
        |       ^
        = help: write it like this: text in double quotes
    "#);
}

#[test]
fn problems_are_data_too() {
    let error = Config::parse("[setings]\n", Path::new("/app/insula.toml")).unwrap_err();
    let problem = &error.problems()[0];
    assert_eq!(problem.kind, ProblemKind::UnknownKey(KeyAdvice::Similar("settings".to_owned())));
    assert_eq!((problem.key.as_str(), problem.line(), problem.column()), ("setings", 1, 2));
    assert_eq!(problem.hint(), error.hint());
}

#[test]
fn a_flood_of_problems_is_cut_and_counted() {
    let text: String = (0..1000).map(|n| format!("[service.a{n}]\n")).collect();
    let shown = rendered(&text);
    assert!(shown.starts_with("`/app/insula.toml` has 1000 problems\n"), "{shown}");
    assert!(shown.ends_with("\n\nand 936 more"), "{shown}");
}

#[test]
fn what_the_user_typed_cannot_drive_the_terminal() {
    let shown =
        rendered("[service.a]\ncommand = \"a\"\nisolation = \"\\u001b[2J\\u202e\"\n\"\\u001b]0;x\" = 1\n");
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn a_huge_value_does_not_flood_the_message() {
    let shown = rendered(&format!("isolation = \"{}\"\n", "x".repeat(100_000)));
    assert!(shown.len() < 2000, "{}", shown.len());
}
