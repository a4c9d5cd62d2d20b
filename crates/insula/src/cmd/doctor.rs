//! `insula doctor`: what this host can do, without a daemon.

use crate::cli::DoctorArgs;
use crate::doctor::{self, Diagnosis};
use crate::environment;
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::{Printer, table};

pub(super) fn run(home: &Home, args: DoctorArgs, printer: Printer) -> anyhow::Result<Exit> {
    let config = match environment::CONFIG.path(args.config.config)? {
        Some((_, path)) => Some(path),
        None => std::env::current_dir().ok().and_then(|here| insula_spec::Config::find(&here)),
    };
    let diagnosis = doctor::examine(home, config.as_deref());
    printer.either(&diagnosis, text)?;
    Ok(if diagnosis.able() { Exit::Ok } else { Exit::Refused })
}

fn text(d: &Diagnosis) -> String {
    let row = |what: &str, verdict: &str, detail: &str| {
        vec![what.to_owned(), verdict.to_owned(), detail.to_owned()]
    };
    let checks = d.checks.iter().map(|c| row(c.what, c.verdict.as_str(), &c.found)).collect();
    let levels = d.levels.iter().map(|l| row(&l.level, l.verdict().as_str(), &l.found())).collect();
    let auto = d.auto.as_deref().unwrap_or("nothing: no level works here");
    let mut parts = vec![
        table(&["CHECK", "", "FOUND"], checks),
        table(&["LEVEL", "", "HERE"], levels),
        format!("`isolation = \"auto\"` chooses {auto}"),
    ];
    let hints: Vec<_> = d.hints().iter().map(|(what, hint)| format!("hint ({what}): {hint}")).collect();
    if !hints.is_empty() {
        parts.push(hints.join("\n"));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use crate::doctor::{Check, LevelFound, Verdict};

    use super::*;

    #[test]
    fn the_table_says_what_works_and_what_to_do() {
        let diagnosis = Diagnosis {
            checks: vec![
                Check { what: "kernel", verdict: Verdict::Good, found: "6.18".into(), hint: None },
                Check {
                    what: "open files",
                    verdict: Verdict::Poor,
                    found: "1024".into(),
                    hint: Some("raise it".into()),
                },
            ],
            levels: vec![LevelFound {
                level: "process".into(),
                limits: Some("cgroup v1"),
                ids: Some("one id"),
                program: Some("/usr/bin/runsc (runsc 1)".into()),
                notes: vec![],
                why_not: None,
                hint: None,
                instead: None,
            }],
            auto: Some("process".into()),
        };
        insta::assert_snapshot!(text(&diagnosis), @r#"
        CHECK             FOUND
        kernel      ok    6.18
        open files  poor  1024

        LEVEL        HERE
        process  ok  limits by cgroup v1, host ids: one id, by /usr/bin/runsc (runsc 1)

        `isolation = "auto"` chooses process

        hint (open files): raise it
        "#);
    }
}
