//! `insula completions` and `insula man`: made from the command line itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::exit::Exit;
use crate::printer::Printer;

const NAME: &str = "insula";

/// Prints what a shell needs to complete the command line.
pub(super) fn completions(shell: Shell, printer: Printer) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), NAME, &mut script);
    printer.bytes(script.trim_ascii_end())?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes one for every verb.
pub(super) fn man(args: ManArgs, printer: Printer) -> anyhow::Result<Exit> {
    match args.dir {
        Some(dir) => {
            let pages = write(&dir).with_context(|| format!("cannot write to `{}`", dir.display()))?;
            printer.either(&pages, |pages| {
                pages.iter().map(|page| page.display().to_string()).collect::<Vec<_>>().join("\n")
            })?;
        }
        None => printer.bytes(page(shown())?.trim_ascii_end())?,
    }
    Ok(Exit::Ok)
}

fn write(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    let mut pages = Vec::new();
    for command in with_below(shown()) {
        let path = dir.join(Man::new(command.clone()).get_filename());
        std::fs::write(&path, page(command)?)?;
        pages.push(path);
    }
    Ok(pages)
}

fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context("cannot render a manual page")?;
    Ok(page)
}

/// The command line that people see, with the whole name in every verb.
fn shown() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// A command and everything below it.
fn with_below(command: Command) -> Vec<Command> {
    let below: Vec<_> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    std::iter::once(command).chain(below.into_iter().flat_map(with_below)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs() -> Vec<String> {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        shown.map(|verb| verb.get_name().to_owned()).collect()
    }

    #[test]
    fn every_shell_knows_every_verb() {
        assert!(verbs().len() > 10);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut shown(), NAME, &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in verbs() {
                assert!(script.contains(&verb), "{shell} does not know `{verb}`");
            }
            assert!(!script.contains("no-such-verb"));
        }
    }

    #[test]
    fn every_verb_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let pages = write(&dir.path().join("man1")).unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
        for verb in verbs() {
            assert!(names.contains(&format!("insula-{verb}.1").as_str()), "{verb} is not among {names:?}");
        }
        assert!(names.contains(&"insula.1") && names.contains(&"insula-config-show.1"));
        assert!(!names.iter().any(|name| name.contains("worker")));
        for page in pages {
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.contains(".TH") && text.contains("NAME"), "{}", page.display());
        }
    }
}
