//! `insula config schema`: a JSON Schema of the file, for editors.
//!
//! Keys and forms come from the tables that the file is read with, descriptions from the page about it; a
//! test holds the two together.

use insula_spec::config::{Form, schema};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::printer::Printer;

const PAGE: &str = include_str!("../../../../../docs/reference/config.md");

pub(super) fn run(printer: Printer) -> anyhow::Result<Exit> {
    printer.json(&document())?;
    Ok(Exit::Ok)
}

/// The whole schema.
fn document() -> Value {
    let definitions: Map<_, _> =
        schema().iter().map(|(place, keys)| (name(place), table(place, keys))).collect();
    let root = schema().first().map(|(place, _)| format!("#/$defs/{}", name(place)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "insula.toml",
        "$ref": root,
        "$defs": definitions,
    })
}

/// One table of fixed keys.
fn table(place: &str, keys: &[(&str, Form)]) -> Value {
    let described = |(key, form): &(&str, Form)| {
        let mut value = of(form);
        if let (Some(meaning), Some(object)) = (meaning(place, key), value.as_object_mut()) {
            object.insert("description".to_owned(), meaning.into());
        }
        ((*key).to_owned(), value)
    };
    let properties: Map<_, _> = keys.iter().map(described).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn of(form: &Form) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Whole => json!({ "type": "integer" }),
        Form::Number => json!({ "type": "number" }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::List(inner) => json!({ "type": "array", "items": of(inner) }),
        Form::Entries(inner) => json!({ "type": "object", "additionalProperties": of(inner) }),
        Form::Table(place) => json!({ "$ref": format!("#/$defs/{}", name(place)) }),
        Form::Either(forms) => json!({ "anyOf": forms.iter().map(of).collect::<Vec<_>>() }),
    }
}

/// The name of a table in the schema: its place without quotes and brackets.
fn name(place: &str) -> String {
    place.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect()
}

/// The last cell of the key's row in the section of its table.
fn meaning(place: &str, key: &str) -> Option<&'static str> {
    let title = if place == "the top level" { "Top level" } else { place };
    let section = PAGE.split("\n## ").find_map(|section| section.strip_prefix(title)?.strip_prefix('\n'))?;
    let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` |")))?;
    row.trim_end_matches(" |").rsplit(" | ").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_description_and_every_reference_its_table() {
        let document = document();
        let tables = document["$defs"].as_object().unwrap();
        assert_eq!(tables.len(), schema().len(), "two tables have one name");
        for (place, table) in tables {
            for (key, value) in table["properties"].as_object().unwrap() {
                assert!(value["description"].is_string(), "`{key}` of {place} has no description");
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(tables.contains_key(name), "{name}");
        }
        assert_eq!(document["$ref"], "#/$defs/thetoplevel");
        assert_eq!(tables["service.NAME"]["properties"]["memory"]["type"], "string");
    }
}
