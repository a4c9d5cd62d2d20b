//! What a registry wants to be told before it answers (`WWW-Authenticate`, RFC 9110, section 11.6.1).

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token, to be had at `realm` for `service`.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Reads the first challenge of a header that is understood. Tokens are preferred.
    pub(super) fn parse(headers: &[&str]) -> Option<Self> {
        let bearer = headers.iter().find_map(|text| bearer(text));
        let basic = || {
            let word = |text: &&&str| text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("basic"));
            headers.iter().find(word).map(|_| Self::Basic)
        };
        bearer.or_else(basic)
    }
}

fn bearer(text: &str) -> Option<Challenge> {
    let (word, rest) = text.trim().split_once(' ')?;
    if !word.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    for (key, value) in parameters(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// `key="value", key=value`, with backslashes in quotes.
fn parameters(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']);
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        found.push((key, value));
        rest = left;
    }
    found
}

/// Text up to the closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let text =
            r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull,push""#;
        let realm = "https://auth.example/token".to_owned();
        let service = Some("r.example".to_owned());
        assert_eq!(Challenge::parse(&["Basic realm=x", text]), Some(Challenge::Bearer { realm, service }));
        assert_eq!(Challenge::parse(&["basic realm=\"Registry\""]), Some(Challenge::Basic));
        assert_eq!(Challenge::parse(&["Negotiate", "Bearer service=x"]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(Bearer |)[ -~]{0,80}") {
            Challenge::parse(&[&text]);
        }
    }
}
