//! Who asks, and how they came in.

use std::net::IpAddr;

use insula_spec::{InstanceName, Scope, Tenant};
use insula_store::Actor;

/// The way a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Over the Unix socket, from a user that the kernel named.
    Unix { uid: u32 },
    /// Through the public proxy.
    Network,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The owner of the daemon, or root.
    Unix { uid: u32 },
    /// The holder of a token.
    Token(Holder),
    /// Somebody on the loopback of a daemon that asks for no token.
    Anybody,
    /// Somebody who said nothing, where nothing need be said.
    Nobody,
}

/// The holder of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) scope: Scope,
}

impl Caller {
    /// Whether it may do everything.
    pub(super) fn is_admin(&self) -> bool {
        match self {
            Self::Unix { .. } | Self::Anybody => true,
            Self::Token(holder) => holder.scope == Scope::Admin,
            Self::Nobody => false,
        }
    }

    /// What it may see, where that is not everything.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Token(Holder { scope: Scope::Tenant(tenant), .. }) => Some(tenant),
            _ => None,
        }
    }

    /// Whether it may look at this instance.
    pub(super) fn may_see(&self, name: &InstanceName) -> bool {
        match self {
            Self::Token(Holder { scope: Scope::Tenant(tenant), .. }) => tenant.covers(name),
            _ => self.is_admin(),
        }
    }

    /// How the audit log names it; `None` for those who may change nothing.
    pub(super) fn actor(&self) -> Option<Actor> {
        match self {
            Self::Unix { uid } => Some(Actor::Unix { uid: *uid }),
            Self::Token(Holder { id, name, .. }) => Some(Actor::Token { id: id.clone(), name: name.clone() }),
            Self::Anybody => Some(Actor::Anonymous),
            Self::Nobody => None,
        }
    }
}

/// The address of a client, as the proxy saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(pub(super) IpAddr);
