//! Instances that reach each other: by which name, and who may.
//!
//! ```text
//! caller   net = ["self:db"]             what it may reach
//! reached  reachable_from = ["web"]      who may reach it; nobody where it is not written
//!
//! db.internal         the instance of `db` with the caller's own id
//! alice.db.internal   that instance
//! ```
//! Both sides must allow it. `internal` is reserved for private use, so no public name ends in it (ICANN board
//! resolution 2024.07.29.06).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, InstanceName, NetPolicy, NetRule, ServiceName};

/// What the names of instances end in.
const SUFFIX: &str = ".internal";
/// First address and number of addresses of the block for benchmarks (RFC 2544, RFC 6890): nothing public is there.
/// Inside, an address of it stands for an instance.
const BLOCK: (u32, u32) = (0xc612_0000, 1 << 17);
/// Most callers of one service.
const CALLERS_MAX: usize = 256;

/// Who may reach the instances of a service. Written and sent as a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct ReachableFrom(Vec<Caller>);

/// One who may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// `web`: the instance of that service with the same id.
    Same(ServiceName),
    /// `web:alice`: that instance.
    One(InstanceName),
    /// `web:*`: every instance of that service.
    Every(ServiceName),
}

/// A caller that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a caller of `reachable_from`: {why}")]
pub struct InvalidCaller {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl InvalidCaller {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "write \"web\" for the instance with the same id, \"web:alice\" for one, \"web:*\" for all of a service"
    }
}

impl FromStr for Caller {
    type Err = InvalidCaller;

    fn from_str(text: &str) -> Result<Self, InvalidCaller> {
        let fail = |why| InvalidCaller { text: text.to_owned(), why };
        let (service, id) = match text.split_once(':') {
            Some((service, id)) => (service, Some(id)),
            None => (text, None),
        };
        let service: ServiceName = service.parse().map_err(|_| fail("it does not name a service"))?;
        match id {
            None => Ok(Self::Same(service)),
            Some("*") => Ok(Self::Every(service)),
            Some(id) => match id.parse() {
                Ok(id) => Ok(Self::One(InstanceName::new(service, id))),
                Err(_) => Err(fail("what stands behind `:` is neither an id nor `*`")),
            },
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(service) => write!(f, "{service}"),
            Self::One(name) => write!(f, "{name}"),
            Self::Every(service) => write!(f, "{service}:*"),
        }
    }
}

impl ReachableFrom {
    /// A list of these callers. The same one twice counts once.
    ///
    /// # Errors
    /// When there are more than 256.
    pub fn new(callers: impl IntoIterator<Item = Caller>) -> Result<Self, InvalidCaller> {
        let mut all: Vec<Caller> = Vec::new();
        for caller in callers {
            if all.len() == CALLERS_MAX {
                return Err(InvalidCaller {
                    text: caller.to_string(),
                    why: "a service has at most 256 callers",
                });
            }
            if !all.contains(&caller) {
                all.push(caller);
            }
        }
        Ok(Self(all))
    }

    /// Whether `caller` may reach `own`. Instances of a service with `versions` share what they do, so that for
    /// them a service alone is each of its instances.
    #[must_use]
    pub fn allows(&self, own: &InstanceName, versions: bool, caller: &InstanceName) -> bool {
        self.0.iter().any(|one| match one {
            Caller::Same(service) => *service == caller.service && (versions || own.id == caller.id),
            Caller::One(name) => name == caller,
            Caller::Every(service) => *service == caller.service,
        })
    }
}

impl TryFrom<Vec<String>> for ReachableFrom {
    type Error = InvalidCaller;

    fn try_from(texts: Vec<String>) -> Result<Self, InvalidCaller> {
        Self::new(texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?)
    }
}

impl From<ReachableFrom> for Vec<String> {
    fn from(all: ReachableFrom) -> Self {
        all.0.iter().map(ToString::to_string).collect()
    }
}

/// The rule of `net` for the instance that this name stands for; `None` for a name that stands for none.
#[must_use]
pub fn internal_rule(name: &str) -> Option<NetRule> {
    let front = name.strip_suffix(SUFFIX)?;
    let (id, service) = match front.split_once('.') {
        Some((id, service)) => (Some(id.parse().ok()?), service),
        None => (None, front),
    };
    Some(NetRule::Instance { service: service.parse().ok()?, id })
}

impl NetPolicy {
    /// The instance that a rule is about, seen from the one with this id.
    fn instances<'a>(&'a self, own: &'a InstanceId) -> impl Iterator<Item = InstanceName> + 'a {
        self.rules().iter().filter_map(|rule| target(rule, own))
    }

    /// Whether the instance with this id may reach that one.
    #[must_use]
    pub fn reaches(&self, own: &InstanceId, to: &InstanceName) -> bool {
        self.instances(own).any(|instance| instance == *to)
    }

    /// The address that stands for an instance inside, seen from the one with this id; `None` where no rule is about
    /// it. It is the same one every time, as long as the rules are.
    #[must_use]
    pub fn address_of(&self, own: &InstanceId, to: &InstanceName) -> Option<Ipv4Addr> {
        self.addresses(own).into_iter().find(|(_, instance)| instance == to).map(|(address, _)| address)
    }

    /// The instance that an address stands for.
    #[must_use]
    pub fn instance_at(&self, own: &InstanceId, address: Ipv4Addr) -> Option<InstanceName> {
        self.addresses(own).into_iter().find(|(at, _)| *at == address).map(|(_, instance)| instance)
    }

    fn addresses(&self, own: &InstanceId) -> Vec<(Ipv4Addr, InstanceName)> {
        let mut all: Vec<(Ipv4Addr, InstanceName)> = Vec::new();
        for instance in self.instances(own) {
            if all.iter().any(|(_, known)| *known == instance) {
                continue;
            }
            // A policy has far fewer rules than the block has addresses, so that there is always a free one.
            let mut at = spread(&instance) % BLOCK.1;
            while all.iter().any(|(taken, _)| taken.to_bits() == BLOCK.0 + at) {
                at = (at + 1) % BLOCK.1;
            }
            all.push((Ipv4Addr::from_bits(BLOCK.0 + at), instance));
        }
        all
    }
}

/// The instance that a rule is about, seen from the one with this id.
fn target(rule: &NetRule, own: &InstanceId) -> Option<InstanceName> {
    let NetRule::Instance { service, id } = rule else { return None };
    Some(InstanceName::new(service.clone(), id.as_ref().unwrap_or(own).clone()))
}

/// The instance that a name stands for, seen from the one with this id; `None` for a name that stands for none.
#[must_use]
pub fn internal(name: &str, own: &InstanceId) -> Option<InstanceName> {
    target(&internal_rule(name)?, own)
}

/// FNV-1a: the same on every host and in every version.
fn spread(name: &InstanceName) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    name.to_string().bytes().fold(2_166_136_261, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InstanceName {
        text.parse().unwrap()
    }

    fn policy(rules: &[&str]) -> NetPolicy {
        NetPolicy::try_from(rules.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_name_stands_for_an_instance() {
        let (alice, of) = (name("web:alice").id, |text: &str| internal(text, &name("web:alice").id));
        assert_eq!(of("db.internal"), Some(name("db:alice")));
        assert_eq!(of("main.db.internal"), Some(name("db:main")));
        for none in
            ["internal", ".internal", "db.example.com", "a.b.db.internal", "-.internal", "db.internal.com"]
        {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(policy(&["self:db"]).reaches(&alice, &name("db:alice")));
        assert!(!policy(&["self:db"]).reaches(&alice, &name("db:bob")));
        assert!(policy(&["self:db:bob"]).reaches(&alice, &name("db:bob")));
        assert!(!policy(&["public", "0.0.0.0/0"]).reaches(&alice, &name("db:alice")));
    }

    #[test]
    fn who_may_is_said_one_by_one() {
        let (own, from) = (name("db:alice"), |text: &str| -> ReachableFrom {
            ReachableFrom::try_from(vec![text.to_owned()]).unwrap()
        });
        let may = |list: &str, caller: &str| from(list).allows(&own, false, &name(caller));
        assert!(may("web", "web:alice") && !may("web", "web:bob") && !may("web", "www:alice"));
        assert!(may("web:bob", "web:bob") && !may("web:bob", "web:alice"));
        assert!(may("web:*", "web:bob") && !may("web:*", "www:bob"));
        assert!(!ReachableFrom::default().allows(&own, true, &own), "nobody, not even itself");
        assert!(from("web").allows(&own, true, &name("web:bob")), "versions are not tenants");
        for bad in ["", "*", "web:", "Web", "web:a:b", "*:a"] {
            assert!(bad.parse::<Caller>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_instance_has_an_address_of_its_own() {
        let rules: Vec<_> = (0..256).map(|n| format!("self:s{n}")).collect();
        let all = policy(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        let own = name("web:alice").id;
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..256 {
            let instance = name(&format!("s{n}:alice"));
            let address = all.address_of(&own, &instance).unwrap();
            assert_eq!(address.octets()[0], 198);
            assert!(seen.insert(address), "{address}");
            assert_eq!(all.instance_at(&own, address), Some(instance));
        }
        assert_eq!(all.address_of(&own, &name("other:alice")), None);
        assert_eq!(all.instance_at(&own, "198.51.100.1".parse().unwrap()), None);
    }
}
