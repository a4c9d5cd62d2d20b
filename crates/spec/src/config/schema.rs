//! The shape of the file as data, for editors and other tools.

use super::raw;

/// How a value may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// Any number.
    Number,
    /// True or false.
    Flag,
    /// An array of values of one form.
    List(&'static Form),
    /// A table whose keys the user chooses, with values of one form.
    Entries(&'static Form),
    /// A table of fixed keys, by its place in [`schema`].
    Table(&'static str),
    /// Any of these.
    Either(&'static [Form]),
}

/// One table of fixed keys: its place in the file, and each key with the forms that its value may have.
pub type Table = (&'static str, &'static [(&'static str, Form)]);

/// Every table of fixed keys; the first is the whole file.
#[must_use]
pub fn schema() -> &'static [Table] {
    raw::FORMS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(form: &Form, found: &mut Vec<&'static str>) {
        match form {
            Form::List(inner) | Form::Entries(inner) => tables(inner, found),
            Form::Table(place) => found.push(place),
            Form::Either(forms) => forms.iter().for_each(|form| tables(form, found)),
            Form::Text | Form::Whole | Form::Number | Form::Flag => {}
        }
    }

    #[test]
    fn every_table_but_the_file_itself_is_the_value_of_some_key() {
        let mut found = Vec::new();
        for (_, keys) in schema() {
            keys.iter().for_each(|(_, form)| tables(form, &mut found));
        }
        for (place, _) in &schema()[1..] {
            assert!(found.contains(place), "{place} is nowhere");
        }
        let known: Vec<_> = schema().iter().map(|(place, _)| *place).collect();
        assert!(found.iter().all(|place| known.contains(place)), "{found:?}");
    }
}
