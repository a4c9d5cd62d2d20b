//! What is looked for in the audit log: from words to a query of the store.

use std::time::SystemTime;

use insula_api::{AUDIT_ACTIONS, AuditQuery};
use insula_store::{AuditQuery as Stored, Ending, Whom};

use super::error::ControlError;

/// Records given when nobody says how many.
const LIMIT: u32 = 100;

/// Most records in one answer.
const LIMIT_MAX: u32 = 1000;

/// Longest word of a query, in bytes.
const WORD_MAX: usize = 200;

/// What the query asks for.
///
/// # Errors
/// When a part of it can never be met.
pub(super) fn query(query: AuditQuery) -> Result<Stored, ControlError> {
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(malformed(format!("`limit` must be from 1 to {LIMIT_MAX}")));
    }
    let now = SystemTime::now();
    let (since, until) = (query.since.map(|m| m.before(now)), query.until.map(|m| m.before(now)));
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(malformed("`since` is not before `until`".to_owned()));
    }
    Ok(Stored {
        after: query.after,
        limit: usize::try_from(limit).ok(),
        who: query.who.as_deref().map(whom).transpose()?,
        target: query.target.map(|text| word("target", text)).transpose()?,
        action: query.action.as_deref().map(action).transpose()?,
        since,
        until,
        result: query.result.map(ending).transpose()?,
    })
}

fn malformed(why: String) -> ControlError {
    ControlError::Malformed { part: "query", why }
}

fn whom(text: &str) -> Result<Whom, ControlError> {
    let known = match text.split_once(':') {
        Some(("user", uid)) => uid.parse().ok().map(Whom::Unix),
        Some(("token", id)) if !id.is_empty() && id.len() <= WORD_MAX => Some(Whom::Token(id.to_owned())),
        None if text == "anonymous" => Some(Whom::Anonymous),
        None if text == "signal" => Some(Whom::Signal),
        _ => None,
    };
    let why = "`who` must be `user:UID`, `token:ID`, `anonymous` or `signal`";
    known.ok_or_else(|| malformed(why.to_owned()))
}

fn action(text: &str) -> Result<(String, Option<String>), ControlError> {
    let found = AUDIT_ACTIONS.iter().find(|(name, _, _)| *name == text);
    let (_, method, path) =
        found.ok_or_else(|| ControlError::UnknownAction { word: text.chars().take(WORD_MAX).collect() })?;
    Ok(((*method).to_owned(), path.map(str::to_owned)))
}

fn ending(text: String) -> Result<Ending, ControlError> {
    Ok(match text.as_str() {
        "failed" => Ending::Failed,
        "open" => Ending::Open,
        _ => Ending::Code(word("result", text)?),
    })
}

fn word(name: &str, text: String) -> Result<String, ControlError> {
    if text.is_empty() || text.len() > WORD_MAX {
        return Err(malformed(format!("`{name}` must have 1 to {WORD_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;

    use super::*;
    use crate::control::endpoints;

    /// What changes something, and is no action: a command has a record of its own.
    const WITHOUT: [(&str, &str); 1] = [("POST", "/v1/instances/{name}/exec")];

    #[test]
    fn every_endpoint_that_changes_something_has_an_action() {
        let changes = endpoints::all().iter().filter(|e| e.method != Method::GET);
        let changes: BTreeSet<_> = changes.map(|e| (e.method.as_str(), e.path.as_str())).collect();
        let actions = AUDIT_ACTIONS.iter().filter_map(|(_, method, path)| Some((*method, (*path)?)));
        let actions: BTreeSet<_> = actions.filter(|(method, _)| *method != "LOCAL").chain(WITHOUT).collect();
        assert_eq!(actions, changes);
    }

    #[test]
    fn words_that_nothing_can_meet_are_refused() {
        let asked = |key: &str, value: &str| {
            let query: AuditQuery = serde_json::from_value(serde_json::json!({ key: value })).unwrap();
            super::query(query)
        };
        for (key, good) in [
            ("who", "user:0"),
            ("who", "token:aa"),
            ("who", "signal"),
            ("action", "stop"),
            ("result", "open"),
        ] {
            assert!(asked(key, good).is_ok(), "{key}={good}");
        }
        for (key, bad) in [
            ("who", ""),
            ("who", "user:"),
            ("who", "user:x"),
            ("who", "root"),
            ("who", "token:"),
            ("target", ""),
            ("result", ""),
        ] {
            assert!(matches!(asked(key, bad), Err(ControlError::Malformed { .. })), "{key}={bad}");
        }
        for bad in ["", "stopp", "POST"] {
            assert!(matches!(asked("action", bad), Err(ControlError::UnknownAction { .. })), "{bad}");
        }
        let turned = AuditQuery {
            since: Some("1m".parse().unwrap()),
            until: Some("2m".parse().unwrap()),
            ..AuditQuery::default()
        };
        assert!(super::query(turned).is_err());
    }
}
