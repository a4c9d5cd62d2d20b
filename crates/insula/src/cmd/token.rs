//! `insula token`: who may use the control API over the network.

use insula_api::{Client, ScopeKind, Timestamp, TokenInfo, TokenMade, TokenRequest, Tokens};

use crate::cli::{TokenCreateArgs, TokenIdArgs, TokenVerb};
use crate::exit::Exit;
use crate::format;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 7] = ["ID", "NAME", "SCOPE", "STATE", "CREATED", "LAST USED", "EXPIRES"];

pub(super) async fn run(client: &Client, verb: TokenVerb, printer: Printer) -> anyhow::Result<Exit> {
    match verb {
        TokenVerb::Create(args) => create(client, args, printer).await,
        TokenVerb::Ls => list(client, printer).await,
        TokenVerb::Revoke(TokenIdArgs { id }) => {
            let info = client.revoke_token(&id).await?;
            printer.either(&info, |info| format!("{} ({}) is revoked", info.id, info.name))?;
            Ok(Exit::Ok)
        }
    }
}

async fn create(client: &Client, args: TokenCreateArgs, printer: Printer) -> anyhow::Result<Exit> {
    let expires_in_ms = args.expires.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
    let request = TokenRequest { name: args.name, tenant: args.tenant, expires_in_ms };
    let made = client.create_token(&request).await?;
    if !printer.json {
        printer.talk(&about(&made));
    }
    printer.either(&made, |made| made.token.expose().to_owned())?;
    Ok(Exit::Ok)
}

fn about(made: &TokenMade) -> String {
    let TokenInfo { id, .. } = &made.info;
    format!("token {id} for {}; it is shown this once, `insula token revoke {id}` ends it", scope(&made.info))
}

async fn list(client: &Client, printer: Printer) -> anyhow::Result<Exit> {
    let all = client.tokens().await?;
    if all.tokens.is_empty() && !printer.json {
        printer.talk("no tokens; make one with `insula token create --name NAME`");
        return Ok(Exit::Ok);
    }
    printer.either(&all, |all| text(all, Timestamp::now()))?;
    Ok(Exit::Ok)
}

fn text(all: &Tokens, now: Timestamp) -> String {
    table(&HEADINGS, all.tokens.iter().map(|token| row(token, now)).collect())
}

fn row(token: &TokenInfo, now: Timestamp) -> Vec<String> {
    let ago = |time: Timestamp| format!("{} ago", format::age(now.since(time)));
    let state = match (token.revoked, token.expires) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        _ => "live",
    };
    vec![
        token.id.clone(),
        token.name.clone(),
        scope(token),
        state.to_owned(),
        ago(token.created),
        token.last_used.map_or_else(|| "never".to_owned(), ago),
        token.expires.map_or_else(|| "never".to_owned(), |end| end.to_string()),
    ]
}

fn scope(token: &TokenInfo) -> String {
    match (token.scope, &token.tenant) {
        (ScopeKind::Tenant, Some(tenant)) => tenant.to_string(),
        (ScopeKind::Tenant, None) => "nothing".to_owned(),
        (ScopeKind::Admin, _) => "everything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_a_live_token_from_a_dead_one() {
        let token = |id: &str, tenant: Option<&str>, expires, revoked| TokenInfo {
            id: id.into(),
            name: "ci".into(),
            scope: if tenant.is_some() { ScopeKind::Tenant } else { ScopeKind::Admin },
            tenant: tenant.map(|t| t.parse().unwrap()),
            created: Timestamp::from_micros(0),
            expires,
            last_used: revoked,
            revoked,
        };
        let second = Some(Timestamp::from_micros(1_000_000));
        let tokens = vec![
            token("aa", None, None, None),
            token("bb", Some("notes:alice"), second, None),
            token("cc", Some("notes"), None, second),
        ];
        let now = Timestamp::from_micros(61_000_000);
        insta::assert_snapshot!(text(&Tokens { tokens }, now), @r"
        ID  NAME  SCOPE        STATE    CREATED  LAST USED  EXPIRES
        aa  ci    everything   live     1m ago   never      never
        bb  ci    notes:alice  expired  1m ago   never      1970-01-01T00:00:01.000000Z
        cc  ci    notes        revoked  1m ago   1m ago     never
        ");
    }
}
