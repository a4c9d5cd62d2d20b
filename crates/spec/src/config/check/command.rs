//! Commands and environments, and the placeholders in both.

use std::collections::BTreeMap;

use super::super::kind::ProblemKind;
use super::super::problem::At;
use super::super::raw::RawCommand;
use super::super::read::{Entries, Given};
use super::super::similar::similar;
use super::super::template::{self, Piece};
use super::super::variables::Missing;
use super::Check;
use crate::Secret;

/// Variables that Insula sets, and the placeholder with the same value.
const RESERVED: &[(&str, &str)] = &[("PORT", "port"), ("SOCKET_PATH", "socket")];
/// Words that mean something to a shell only.
const SHELL_WORDS: &[&str] = &["|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"];

impl Check<'_> {
    /// Program and arguments, each a template.
    pub(super) fn command(
        &mut self,
        given: Option<Given<RawCommand>>,
        args: Vec<Given<String>>,
        service: &At,
    ) -> Vec<String> {
        let Some(given) = given else {
            self.missing(service, "command");
            return Vec::new();
        };
        let at = given.at;
        let mut words = match given.value {
            RawCommand::Line(line) => self.split(&at, &line),
            RawCommand::Words(words) => words,
        };
        if words.first().is_none_or(|program| program.value.trim().is_empty()) {
            self.problem(&at, ProblemKind::EmptyCommand);
        }
        words.extend(args);
        for word in &words {
            self.template(word);
        }
        words.into_iter().map(|word| word.value).collect()
    }

    /// Splits a line like a shell, without running one.
    fn split(&mut self, at: &At, line: &str) -> Vec<Given<String>> {
        let Ok(words) = shell_words::split(line) else {
            self.problem(at, ProblemKind::OpenQuote);
            return vec![Given { at: at.clone(), value: "-".to_owned() }];
        };
        if let Some(word) = words.iter().find(|word| SHELL_WORDS.contains(&word.as_str())) {
            let text = format!("`{word}` is passed to the program as an argument, because no shell runs");
            self.note(at, &text);
        }
        words.into_iter().map(|value| Given { at: at.clone(), value }).collect()
    }

    /// The environment that the user declared.
    pub(super) fn env(&mut self, given: Entries<String>) -> BTreeMap<String, Secret> {
        let mut env = BTreeMap::new();
        for entry in given.0 {
            let name = entry.key.value;
            if name.is_empty() || name.contains('=') {
                self.problem(&entry.key.at, ProblemKind::EnvName);
            }
            // With the very value that it has anyway, the variable says nothing new.
            let says_the_same = |slot: &str| entry.value.value == format!("{{{slot}}}");
            let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == name);
            if let Some((_, slot)) = reserved.filter(|(_, slot)| !says_the_same(slot)) {
                self.problem(&entry.key.at, ProblemKind::ReservedEnv(slot));
            }
            let value = self.expanded(entry.value);
            self.template(&value);
            env.insert(name, value.value.into());
        }
        env
    }

    /// The text with the values of the variables that it names.
    fn expanded(&mut self, given: Given<String>) -> Given<String> {
        let (value, missing) = self.variables.expand(&given.value);
        for missing in missing {
            let kind = match missing {
                Missing::Unset(name) => ProblemKind::UnsetVariable(name.to_owned()),
                Missing::NotText(name) => ProblemKind::VariableNotText(name.to_owned()),
            };
            self.problem(&given.at, kind);
        }
        Given { at: given.at, value }
    }

    /// Checks the placeholders of one text, and that no shell is needed to understand it.
    fn template(&mut self, given: &Given<String>) {
        let text = &given.value;
        if text == "~" || text.starts_with("~/") {
            self.problem(&given.at, ProblemKind::HomePath(text.clone()));
        }
        for piece in template::pieces(text) {
            let kind = match piece {
                Piece::Text(_) => continue,
                Piece::Slot(name) if template::NAMES.contains(&name) => continue,
                Piece::Slot(name) => ProblemKind::UnknownPlaceholder {
                    name: name.to_owned(),
                    similar: similar(name, template::NAMES.iter().copied()).map(str::to_owned),
                },
                Piece::Stray(brace) => ProblemKind::StrayBrace(brace.to_owned()),
            };
            self.problem(&given.at, kind);
        }
    }
}
