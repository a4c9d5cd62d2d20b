//! How far a right of access reaches.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceName, InvalidName, ServiceName};

/// One instance, or every instance of one service; written `service:id` or `service`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum Tenant {
    /// Every instance of this service.
    Service(ServiceName),
    /// This instance alone.
    Instance(InstanceName),
}

impl Tenant {
    /// Whether the instance is part of it.
    #[must_use]
    pub fn covers(&self, name: &InstanceName) -> bool {
        match self {
            Self::Service(service) => *service == name.service,
            Self::Instance(instance) => instance == name,
        }
    }
}

impl FromStr for Tenant {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Ok(if text.contains(':') { Self::Instance(text.parse()?) } else { Self::Service(text.parse()?) })
    }
}

impl TryFrom<String> for Tenant {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.to_string()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Instance(name) => name.fmt(f),
        }
    }
}

/// What a token may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Admin,
    /// To look at these instances, and to restart them.
    Tenant(Tenant),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_a_service_or_one_of_its_instances() {
        let alice: InstanceName = "notes:alice".parse().unwrap();
        for (text, covers) in [
            ("notes", true),
            ("notes:alice", true),
            ("notes:bob", false),
            ("note", false),
            ("chat:alice", false),
        ] {
            let tenant: Tenant = text.parse().unwrap();
            assert_eq!((tenant.to_string().as_str(), tenant.covers(&alice)), (text, covers));
        }
        for bad in ["", ":", "notes:", ":alice", "notes:*", "*", "Notes", "a:b:c"] {
            assert!(bad.parse::<Tenant>().is_err(), "`{bad}` was let in");
        }
    }
}
