//! Who may ask over the network: tokens are made, checked and revoked here.
//!
//! ```text
//! Authorization: Bearer ... ──form, checksum──► id ──store──► row ──hash equal? live?──► Caller
//!                                 │                │               │
//!                                 └────────────────┴─── wrong ─────┴──► 401, and the address is remembered
//! ```

mod cooldown;
mod text;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use insula_api::{ScopeKind, TokenInfo, TokenMade, TokenRequest};
use insula_spec::Scope;
use insula_store::{NewToken, Store, TokenRow};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use self::cooldown::Cooldown;
use super::caller::{Caller, Holder};
use super::error::ControlError;
use crate::public::RequestIds;

/// Longest name of a token, in characters.
const NAME_MAX: usize = 64;

/// Longest life of a token that ends by itself.
const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How exactly the last use of a token is kept.
const USE_STEP: Duration = Duration::from_secs(60);

/// What the control API asks of those who come over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A token.
    Token,
    /// Nothing. Only for a listener that is on the loopback.
    Anybody,
}

/// Tokens and the audit log, as the control API uses them.
#[derive(Debug)]
pub struct Keys {
    pub(super) store: Store,
    pub(super) admission: Admission,
    pub(super) ids: RequestIds,
    cooldown: Cooldown,
}

impl Keys {
    /// Keeps tokens and the audit log in this store.
    #[must_use]
    pub fn new(store: Store, admission: Admission) -> Self {
        Self { store, admission, ids: RequestIds::default(), cooldown: Cooldown::default() }
    }

    /// Who holds this token.
    pub(super) async fn check(&self, bearer: &str, address: IpAddr) -> Result<Caller, ControlError> {
        // Who holds a token waits for nobody: others may share the address. Wrong ones are all answered alike.
        if let Some(holder) = self.holder(bearer).await? {
            return Ok(Caller::Token(holder));
        }
        let now = Instant::now();
        if let Some(wait) = self.cooldown.wait(address, now) {
            return Err(ControlError::Cooling { wait });
        }
        if self.cooldown.failed(address, now) {
            tracing::warn!(%address, "too many wrong tokens came from one address; it has to wait");
        }
        Err(ControlError::WrongToken)
    }

    async fn holder(&self, bearer: &str) -> Result<Option<Holder>, ControlError> {
        let Some(id) = text::id(bearer) else { return Ok(None) };
        let Some(row) = self.store.token(id).await? else { return Ok(None) };
        let same = bool::from(row.hash.ct_eq(&text::hash(bearer)));
        let now = SystemTime::now();
        if !same || row.revoked.is_some() || row.expires.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        let long_ago = |last: SystemTime| now.duration_since(last).is_ok_and(|since| since >= USE_STEP);
        if row.last_used.is_none_or(long_ago)
            && let Err(error) = self.store.touch_token(&row.id).await
        {
            // A full disk must not lock out who could make room on it.
            tracing::warn!(token = row.id, %error, "the last use of a token is not noted");
        }
        Ok(Some(Holder { id: row.id, name: row.name, scope: row.scope }))
    }

    /// Makes a token.
    pub(super) async fn create(&self, request: TokenRequest) -> Result<TokenMade, ControlError> {
        let length = request.name.chars().count();
        if !(1..=NAME_MAX).contains(&length) || request.name.chars().any(char::is_control) {
            let why =
                format!("`name` must have 1 to {NAME_MAX} characters, none of them a control character");
            return Err(ControlError::Malformed { part: "body", why });
        }
        let life = request.expires_in_ms.map(Duration::from_millis);
        if life.is_some_and(|life| life.is_zero() || life > LIFE_MAX) {
            let why = "`expires_in_ms` must be at least 1 and at most 100 years".to_owned();
            return Err(ControlError::Malformed { part: "body", why });
        }
        let scope = request.tenant.map_or(Scope::Admin, Scope::Tenant);
        let minted = text::mint(&scope).map_err(ControlError::Random)?;
        let token = NewToken {
            id: minted.id,
            name: request.name,
            scope,
            hash: minted.hash,
            expires: life.map(|life| SystemTime::now() + life),
        };
        let row = self.store.add_token(token).await?;
        Ok(TokenMade { token: minted.text, info: info(row) })
    }

    /// Every token, without what makes it one.
    pub(super) async fn list(&self) -> Result<Vec<TokenInfo>, ControlError> {
        Ok(self.store.tokens().await?.into_iter().map(info).collect())
    }

    /// Ends a token.
    pub(super) async fn revoke(&self, id: &str) -> Result<TokenInfo, ControlError> {
        let unknown = || ControlError::UnknownToken { id: id.to_owned() };
        if !text::is_id(id) {
            return Err(unknown());
        }
        self.store.revoke_token(id).await?.map(info).ok_or_else(unknown)
    }
}

fn info(row: TokenRow) -> TokenInfo {
    let (scope, tenant) = match row.scope {
        Scope::Admin => (ScopeKind::Admin, None),
        Scope::Tenant(tenant) => (ScopeKind::Tenant, Some(tenant)),
    };
    TokenInfo {
        id: row.id,
        name: row.name,
        scope,
        tenant,
        created: row.created.into(),
        expires: row.expires.map(Into::into),
        last_used: row.last_used.map(Into::into),
        revoked: row.revoked.map(Into::into),
    }
}
