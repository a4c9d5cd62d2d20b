//! The decision: may this instance reach that? Pure, without I/O.
//!
//! ```text
//! name given ──► a rule for the name, or `public`? ──no──► its addresses decide alone
//!                          │ yes                                     │
//!                          ▼                                         ▼
//! each address: a rule for the address? ──yes──► allowed      a rule for the address, else refused
//!               not public?            ──yes──► refused
//!               public                 ───────► allowed
//! ```

use std::fmt;
use std::net::IpAddr;

use insula_spec::{NetPolicy, NetRule};
use serde::{Deserialize, Serialize};

use crate::address::{Special, meant, special};

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The policy is empty.
    Nothing,
    /// No rule names it.
    NotListed,
    /// The address is not public, and no rule names it.
    Special(Special),
    /// The address is one of this host's own, and no rule names it.
    OwnHost,
    /// The service that was called does not name the caller.
    NotReachable,
    /// Nobody knows the instance that was called.
    NoInstance,
    /// More connections at once than an instance may have.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("`net` is empty, so nothing may be reached"),
            Self::NotListed => f.write_str("no rule of `net` names it"),
            Self::Special(special) => write!(f, "it is {special}, and no rule of `net` names the address"),
            Self::OwnHost => f.write_str("it is an address of this host, and no rule of `net` names it"),
            Self::NotReachable => f.write_str("`reachable_from` of its service does not name this instance"),
            Self::NoInstance => f.write_str("there is no such instance: `insula spawn` it, or declare it"),
            Self::TooMany => f.write_str("the instance has as many connections as it may have"),
        }
    }
}

/// Whether a rule is about this name itself; `None` for the port asks about any.
#[must_use]
pub fn names(policy: &NetPolicy, name: &str, port: Option<u16>) -> bool {
    policy.rules().iter().any(|rule| *rule == NetRule::Public || rule.names(name, port))
}

/// Whether this name may be asked for: a rule is about it, or about addresses that it may lead to.
///
/// # Errors
/// Why not.
pub fn may_ask(policy: &NetPolicy, name: &str) -> Result<(), Reason> {
    let by_address = policy.rules().iter().any(|rule| matches!(rule, NetRule::Block { .. }));
    if names(policy, name, None) || by_address { Ok(()) } else { Err(refusal(policy)) }
}

/// Whether a rule is about this address itself.
#[must_use]
pub fn covers(policy: &NetPolicy, address: IpAddr, port: Option<u16>) -> bool {
    let address = meant(address);
    policy.rules().iter().any(|rule| rule.covers(address, port))
}

/// Whether this address may be reached; `named` when a rule is about the name that led to it.
///
/// # Errors
/// Why not.
pub fn address(policy: &NetPolicy, address: IpAddr, port: Option<u16>, named: bool) -> Result<(), Reason> {
    if covers(policy, address, port) {
        return Ok(());
    }
    if policy.is_none() {
        return Err(Reason::Nothing);
    }
    match special(address) {
        Some(special) => Err(Reason::Special(special)),
        None if named || policy.rules().contains(&NetRule::Public) => Ok(()),
        None => Err(Reason::NotListed),
    }
}

/// What to say of something that no rule is about.
#[must_use]
pub fn refusal(policy: &NetPolicy) -> Reason {
    if policy.is_none() { Reason::Nothing } else { Reason::NotListed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> NetPolicy {
        NetPolicy::try_from(rules.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn ask(rules: &[&str], to: &str, port: u16, named: bool) -> Result<(), Reason> {
        address(&policy(rules), to.parse().unwrap(), Some(port), named)
    }

    #[test]
    fn the_default_is_public_and_nothing_inside() {
        assert_eq!(ask(&["public"], "8.8.8.8", 53, false), Ok(()));
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1"] {
            let found = ask(&["public"], inside, 80, true);
            assert!(matches!(found, Err(Reason::Special(_))), "{inside}: {found:?}");
        }
        assert_eq!(ask(&[], "8.8.8.8", 53, true), Err(Reason::Nothing));
    }

    #[test]
    fn a_name_leads_to_public_addresses_only_unless_the_address_is_listed() {
        let rules = ["api.example.com:443"];
        assert!(names(&policy(&rules), "api.example.com", Some(443)));
        assert!(!names(&policy(&rules), "api.example.com", Some(80)));
        assert_eq!(ask(&rules, "8.8.8.8", 443, true), Ok(()));
        assert_eq!(ask(&rules, "8.8.8.8", 443, false), Err(Reason::NotListed));
        assert_eq!(ask(&rules, "10.0.0.5", 443, true), Err(Reason::Special(Special::Private)));
        assert_eq!(ask(&["api.example.com:443", "10.0.0.5:443"], "10.0.0.5", 443, true), Ok(()));
        assert_eq!(ask(&["10.0.0.5:443"], "::ffff:10.0.0.5", 443, false), Ok(()), "the form does not matter");
        assert_eq!(ask(&["10.0.0.5:443"], "10.0.0.5", 80, false), Err(Reason::Special(Special::Private)));
    }

    #[test]
    fn only_names_that_can_lead_somewhere_may_be_asked_for() {
        assert_eq!(may_ask(&policy(&["a.com:443"]), "a.com"), Ok(()));
        assert_eq!(may_ask(&policy(&["a.com:443"]), "b.com"), Err(Reason::NotListed));
        assert_eq!(may_ask(&policy(&["10.0.0.0/8"]), "b.com"), Ok(()));
        assert_eq!(may_ask(&policy(&[]), "b.com"), Err(Reason::Nothing));
        assert_eq!(may_ask(&policy(&["self:db"]), "b.com"), Err(Reason::NotListed));
    }
}
