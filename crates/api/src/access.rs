//! Tokens and the audit log on the wire.

use std::fmt;

use insula_spec::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Moment, Timestamp};

/// What can be asked for in the audit log, with the method and the path of its records; no path where every record of
/// the method is one.
pub const AUDIT_ACTIONS: &[(&str, &str, Option<&str>)] = &[
    ("spawn", "POST", Some("/v1/instances/{name}/spawn")),
    ("stop", "POST", Some("/v1/instances/{name}/stop")),
    ("restart", "POST", Some("/v1/instances/{name}/restart")),
    ("deploy", "POST", Some("/v1/instances/{name}/deploy")),
    ("set_net", "POST", Some("/v1/instances/{name}/net")),
    ("route", "POST", Some("/v1/services/{service}/route")),
    ("weight", "POST", Some("/v1/services/{service}/weight")),
    ("create_token", "POST", Some("/v1/tokens")),
    ("revoke_token", "DELETE", Some("/v1/tokens/{id}")),
    ("apply", "LOCAL", Some("config apply")),
    ("takeover", "LOCAL", Some("serve --takeover")),
    ("exec", "EXEC", None),
];

/// A token as its holder sends it: `Authorization: Bearer ...`. `Debug` prints `...`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bearer(String);

impl Bearer {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// Body of `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What its owner calls it: 1 to 64 characters, none of them a control character.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// One instance (`service:id`) or every instance of a service (`service`) that it is for; without it the
    /// token is for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// In how many milliseconds it ends by itself, at most 100 years; without it never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expires_in_ms: Option<u64>,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// Everything.
    Admin,
    /// To look at its instances, and to restart them.
    Tenant,
}

/// A token, without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// Its id, which is also the third part of the token.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scope: ScopeKind,
    /// Which instances it is for; `None` for all.
    pub tenant: Option<Tenant>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// Answer of `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Every token that is live, or was until lately; oldest first.
    pub tokens: Vec<TokenInfo>,
}

/// Answer of `POST /v1/tokens`: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Bearer,
    /// What is known of it.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// Query of `GET /v1/audit`: records that fit everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Who asked: `user:UID`, `token:ID`, `anonymous` or `signal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What it was about, as the record has it: an instance, a service with everything about its instances, a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was asked for: `spawn`, `stop`, `restart`, `deploy`, `set_net`, `route`, `weight`, `create_token`,
    /// `revoke_token`, `apply`, `takeover` or `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Asked for at this time or later: RFC 3339, or how long ago, `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Asked for before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// How it ended: `ok`, `failed` (whatever has a status of 400 or more), `open` (nobody knows), or the code of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Begin behind the record with this id, oldest first; without it the newest come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many records, 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// Answer of `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// The records.
    pub records: Vec<AuditRecord>,
}

/// One change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Grows with each record.
    pub id: u64,
    /// When it was asked for.
    pub time: Timestamp,
    /// Who asked.
    pub who: Who,
    /// From which address; `None` over the Unix socket.
    pub address: Option<String>,
    /// The method; `LOCAL` for what was asked of the daemon's own process, where `path` is the command.
    pub method: String,
    /// The template of the path.
    pub path: String,
    /// What the placeholders of the path stand for.
    pub target: Option<String>,
    /// Id of the request.
    pub request_id: String,
    /// The HTTP status it ended with; `None` while it goes on, or when the daemon ended before it did.
    pub status: Option<u16>,
    /// `ok`, or the code of the problem it ended with.
    pub code: Option<String>,
}

/// Who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Who {
    /// A user of the host, over the Unix socket.
    Unix {
        /// The user's id.
        uid: u32,
    },
    /// The holder of a token.
    Token {
        /// The token's id.
        id: String,
        /// What its owner called it.
        name: String,
    },
    /// Somebody on the loopback of a daemon that asks for no token.
    Anonymous,
    /// Whoever sent the daemon a signal.
    Signal,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid } => write!(f, "user {uid}"),
            Self::Token { id, name } => write!(f, "token {id} ({name})"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Signal => f.write_str("signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_on_the_wire_and_nowhere_else() {
        let bearer = Bearer::new("insula_a_secret");
        assert_eq!(serde_json::to_string(&bearer).unwrap(), "\"insula_a_secret\"");
        assert_eq!(format!("{:?}", Some(bearer)), "Some(...)");
    }

    #[test]
    fn a_request_for_a_token_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<TokenRequest>(text);
        assert!(parse(r#"{"name":"ci","tenant":"notes:alice"}"#).is_ok());
        // Each of these, half understood, would make a token for everything.
        for bad in [
            r#"{"name":"ci","tenants":"notes"}"#,
            r#"{"name":"ci","tenant":""}"#,
            r#"{"name":"ci","tenant":"notes:"}"#,
            r#"{"name":"ci","tenant":["notes"]}"#,
            r#"{"name":"ci","tenant":"*"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad} was let in");
        }
    }
}
