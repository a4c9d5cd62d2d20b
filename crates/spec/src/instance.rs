//! Names of services and of their instances.
//!
//! Both are DNS labels, because `{id}.{service}.{domain}` must be a host name, and both become parts of
//! file names, so nothing else is let in.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest DNS label, in bytes (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// A name that cannot be a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {why}")]
pub struct InvalidName {
    /// What the text was meant to name, for example `service name`.
    pub what: &'static str,
    /// The text as given.
    pub text: String,
    /// Which rule it breaks.
    pub why: &'static str,
}

impl InvalidName {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "use 1 to 63 lower-case letters, digits and hyphens, starting and ending with a letter or a digit"
    }
}

fn check_label(what: &'static str, text: &str) -> Result<Box<str>, InvalidName> {
    let fail = |why| Err(InvalidName { what, text: text.to_owned(), why });
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (None, _) | (_, None) => fail("it is empty"),
        _ if bytes.len() > LABEL_MAX => fail("it is longer than 63 bytes"),
        _ if !bytes.iter().all(|&b| word(b) || b == b'-') => {
            fail("it has a character other than a-z, 0-9 and `-`")
        }
        (Some(&first), Some(&last)) if !word(first) || !word(last) => fail("it starts or ends with a hyphen"),
        _ => Ok(text.into()),
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check_label($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

label!(
    /// The name of a service, as in `[service.notes]`.
    ServiceName,
    "service name"
);
label!(
    /// The id of one tenant (or version) of a service.
    InstanceId,
    "instance id"
);

/// One tenant of a service, written `service:id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Which of its tenants it is.
    pub id: InstanceId,
}

impl InstanceName {
    /// Joins the two halves.
    #[must_use]
    pub fn new(service: ServiceName, id: InstanceId) -> Self {
        Self { service, id }
    }
}

impl FromStr for InstanceName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (service, id) = text.split_once(':').ok_or_else(|| InvalidName {
            what: "instance name",
            text: text.to_owned(),
            why: "it is not of the form `service:id`",
        })?;
        Ok(Self { service: service.parse()?, id: id.parse()? })
    }
}

impl TryFrom<String> for InstanceName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.id)
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_dns_labels() {
        for good in ["a", "a1", "api-v2", &"x".repeat(63)] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a_b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "`{bad}` was let in");
        }
    }

    #[test]
    fn an_instance_name_needs_both_halves() {
        let name: InstanceName = "notes:alice".parse().unwrap();
        assert_eq!((name.service.as_str(), name.id.as_str()), ("notes", "alice"));
        assert_eq!(name.to_string(), "notes:alice");
        for bad in ["notes", "notes:", ":alice", "a:b:c"] {
            assert!(bad.parse::<InstanceName>().is_err(), "`{bad}` was let in");
        }
    }
}
