//! What an instance may reach outside, on the wire.

use insula_spec::{InstanceName, NetPolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What an instance may reach outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Net {
    /// The instance.
    pub name: InstanceName,
    /// The rules that hold.
    pub rules: NetPolicy,
    /// Who said so.
    pub source: NetSource,
    /// Rules that would have let through what was refused lately and still would be, the latest first.
    pub suggested: Vec<NetSuggestion>,
}

/// Who said what an instance may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetSource {
    /// `net` of its service, or its default.
    Configuration,
    /// The operator, for this instance.
    Operator,
}

/// A rule that would have let something through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetSuggestion {
    /// The narrowest rule.
    pub rule: String,
    /// How often it would have.
    pub times: u64,
    /// When it would have last.
    pub last: Timestamp,
    /// What was refused then, and why.
    pub cause: String,
}

/// Body of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetRequest {
    /// The rules; `null` gives the instance what the configuration says.
    pub rules: Option<NetPolicy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_rule_or_field_is_refused() {
        let read = |text| serde_json::from_str::<NetRequest>(text);
        assert!(read(r#"{"rules":["a.com:443"]}"#).is_ok());
        assert_eq!(read(r#"{"rules":null}"#).unwrap(), NetRequest::default());
        let error = read(r#"{"rules":["*"]}"#).unwrap_err().to_string();
        assert!(error.contains("`*` is not a rule of `net`"), "{error}");
        assert!(read(r#"{"rule":[]}"#).is_err());
    }
}
