//! Failures on the wire: RFC 9457 problem details.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`] (RFC 9457, section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Identifies the kind of problem: `urn:insula:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words; the same for every problem of this code.
    pub title: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Stable word to match on, for example `unknown_instance`.
    pub code: Cow<'static, str>,
    /// What failed, on what, and why, in one line.
    pub cause: String,
    /// What to do about it.
    pub remediation: String,
}

impl Problem {
    /// A problem whose title is its code in words.
    #[must_use]
    pub fn new(
        status: u16,
        code: &'static str,
        cause: impl Into<String>,
        remediation: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:insula:problem:{code}"),
            title: code.replace('_', " "),
            status,
            code: Cow::Borrowed(code),
            cause: cause.into(),
            remediation: remediation.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::new(404, "unknown_instance", "there is no `notes:eve`", "run `insula ps`");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:insula:problem:unknown_instance",
                "title": "unknown instance",
                "status": 404,
                "code": "unknown_instance",
                "cause": "there is no `notes:eve`",
                "remediation": "run `insula ps`",
            })
        );
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
