//! `GET /v1/usage`: what tenants use.

use axum::extract::State;
use axum::{Extension, Json};
use insula_api::{UsageQuery, Usages};
use insula_spec::Tenant;

use super::caller::Caller;
use super::error::ControlError;
use super::extract::Asked;
use super::handlers::{Answer, App};
use super::operations::Operations;
use super::redact::ForTenant;

pub(super) async fn usage<O: Operations>(
    State(app): App<O>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<UsageQuery>,
) -> Answer<Usages> {
    let of = within(caller.tenant(), query.of)?;
    Ok(Json(app.operations.usage(of).await?.seen_by(&caller)))
}

/// What was asked for, as far as the caller may see it.
fn within(own: Option<&Tenant>, asked: Option<Tenant>) -> Result<Option<Tenant>, ControlError> {
    let covered = |own: &Tenant, asked: &Tenant| match asked {
        Tenant::Instance(name) => own.covers(name),
        Tenant::Service(_) => own == asked,
    };
    match (own, asked) {
        (None, asked) => Ok(asked),
        (Some(own), None) => Ok(Some(own.clone())),
        (Some(own), Some(asked)) if covered(own, &asked) => Ok(Some(asked)),
        (Some(_), Some(_)) => Err(ControlError::OutOfScope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_sees_its_own_and_nobody_elses() {
        let tenant = |text: &str| text.parse::<Tenant>().unwrap();
        let within = |own: Option<&str>, asked: Option<&str>| {
            let own = own.map(tenant);
            within(own.as_ref(), asked.map(tenant)).map(|of| of.map(|of| of.to_string())).ok()
        };
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(within(None, None), Some(None));
        assert_eq!(within(None, Some("notes")), some("notes"));
        assert_eq!(within(Some("notes:a"), None), some("notes:a"));
        assert_eq!(within(Some("notes"), Some("notes:a")), some("notes:a"));
        assert_eq!(within(Some("notes"), Some("notes")), some("notes"));
        for (own, asked) in
            [("notes:a", "notes"), ("notes:a", "notes:b"), ("notes", "chat"), ("notes", "chat:a")]
        {
            assert_eq!(within(Some(own), Some(asked)), None, "{own} saw {asked}");
        }
    }
}
