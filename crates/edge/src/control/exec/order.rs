//! From what a client asks to what is run, and to what is written down of it.

use insula_api::ExecRequest;
use insula_services::{ExecOrder, ExecWhat};

use crate::control::error::ControlError;

/// Longest command that is written down, in characters.
const TEXT_MAX: usize = 400;

/// Permission bits of a file where nobody says which.
const MODE: u32 = 0o644;

fn malformed(why: impl Into<String>) -> ControlError {
    ControlError::Malformed { part: "command", why: why.into() }
}

/// What is run.
pub(super) fn order(request: ExecRequest) -> Result<ExecOrder, ControlError> {
    let ExecRequest { command, read_file, write_file, mode, env, cwd, input, timeout_ms: _ } = request;
    let texts = command.iter().chain(&read_file).chain(&write_file).chain(&cwd);
    if texts.chain(env.keys()).chain(env.values()).any(|text| text.contains('\0')) {
        return Err(malformed("a text holds a NUL byte"));
    }
    if let Some(name) = env.keys().find(|name| name.is_empty() || name.contains('=')) {
        return Err(malformed(format!("`{name}` is not the name of a variable")));
    }
    for (field, path) in [("read_file", &read_file), ("write_file", &write_file), ("cwd", &cwd)] {
        if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(malformed(format!("`{field}` is `{path}`; it must be an absolute path")));
        }
    }
    if mode.is_some_and(|mode| mode > 0o777) {
        return Err(malformed("`mode` must be permission bits, at most 0777"));
    }
    let what = match (command.is_empty(), read_file, write_file) {
        (false, None, None) => ExecWhat::Program(command),
        (true, Some(path), None) => ExecWhat::ReadFile(path),
        (true, None, Some(path)) => ExecWhat::WriteFile { path, mode: mode.unwrap_or(MODE) },
        _ => return Err(malformed("name one of `command`, `read_file`, `write_file`")),
    };
    let env = env.into_iter().map(|(name, value)| (name, value.into())).collect();
    Ok(ExecOrder { what, env, cwd, input })
}

/// What is run, in one line. The environment, which may be secret, is not in it.
pub(super) fn text(order: &ExecOrder) -> String {
    let text = match &order.what {
        ExecWhat::Program(argv) => argv.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" "),
        ExecWhat::ReadFile(path) => format!("read {}", shown(path)),
        ExecWhat::WriteFile { path, .. } => format!("write {}", shown(path)),
    };
    text.chars().take(TEXT_MAX).collect()
}

fn shown(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("{word:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ExecRequest {
        ExecRequest { command: vec!["sh".into(), "-c".into(), "echo hi".into()], ..ExecRequest::default() }
    }

    #[test]
    fn what_is_written_down_holds_the_words_and_not_the_environment() {
        let request = ExecRequest { env: [("TOKEN".into(), "hunter2".into())].into(), ..request() };
        let order = order(request).unwrap();
        assert_eq!(text(&order), "sh -c \"echo hi\"");
        assert_eq!(order.env[0].1.expose(), "hunter2");
    }

    #[test]
    fn each_wrong_field_is_named() {
        let none = ExecRequest::default();
        let cases = [
            (none.clone(), "name one of"),
            (ExecRequest { read_file: Some("/a".into()), ..request() }, "name one of"),
            (ExecRequest { read_file: Some("a".into()), ..none.clone() }, "`read_file` is `a`"),
            (ExecRequest { cwd: Some("srv".into()), ..request() }, "`cwd` is `srv`"),
            (ExecRequest { env: [("A=B".into(), String::new())].into(), ..request() }, "`A=B`"),
            (ExecRequest { command: vec!["a\0".into()], ..none.clone() }, "NUL"),
            (ExecRequest { write_file: Some("/a".into()), mode: Some(0o4755), ..none }, "`mode`"),
        ];
        for (request, says) in cases {
            let error = order(request).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
