//! What happened to a request that got no answer of the workload, as far as its client may know.
//!
//! The title says what kind of failure it is, the cause what was seen of it here. Nothing of the host is in it: every
//! text is a constant, of this table or of the errors about the request itself.

use std::borrow::Cow;

use insula_services::LeaseError;

use crate::public::respond::{BadAnswer, Failure};
use crate::public::route::NotFound;

/// What was seen.
pub(crate) fn of(failure: &Failure) -> Cow<'static, str> {
    let text = match failure {
        // What a client sent is no secret to it, and these errors quote nothing of it.
        Failure::Refused(refusal) => return refusal.to_string().into(),
        Failure::NotFound(missing) => of_missing(missing),
        Failure::Lease(error) => of_lease(error),
        Failure::NoVersion(_) => "every version of the service has weight 0, or none was deployed",
        Failure::Unreachable(_) => "no connection to the program of the service could be made",
        Failure::BadAnswer(BadAnswer::Closed) => {
            "the connection ended before the head of an answer was complete"
        }
        Failure::BadAnswer(_) => "what the program of the service sent breaks the rules of HTTP",
        Failure::TimedOut => "the request was passed on, and no answer began within `request_timeout`",
        Failure::SlowRequest => "the rest of the request did not come within the time that it has",
        Failure::ClientGone => "the client closed the connection before the answer was complete",
    };
    Cow::Borrowed(text)
}

fn of_missing(missing: &NotFound) -> &'static str {
    match missing {
        NotFound::Apex => "the domain itself was asked for, and no route leads on from there",
        NotFound::Service(_) => "the host names a service of tenants, and none of them",
        NotFound::Host => "the host is of another form than the hosts served here, and no route has it",
    }
}

fn of_lease(error: &LeaseError) -> &'static str {
    match error {
        LeaseError::UnknownService => "the configuration has no service of this name",
        LeaseError::UnknownInstance => "the service is there, and nobody declared or spawned this instance",
        LeaseError::QueueFull { .. } => {
            "as many requests as `hold_queue` allows wait for the instance already"
        }
        LeaseError::TooMany { .. } => {
            "the instance sleeps, and as many others as `max_instances` allows are up"
        }
        LeaseError::Failed { .. } => "the instance ended, or could not be started; its operator is told why",
        LeaseError::TimedOut { .. } => "the instance was started, and did not accept connections in time",
        LeaseError::Stopped => "the operator stopped the instance, so that no request wakes it",
        LeaseError::ShuttingDown => "the server takes no more requests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public::chunked::BadBody;
    use crate::public::framing::BadFraming;
    use crate::public::head::BadHead;
    use crate::public::respond::Refusal;
    use crate::public::route::BadHost;

    #[test]
    fn what_is_wrong_with_a_request_is_told_apart() {
        let refusals: [Refusal; 5] = [
            BadHost::Missing.into(),
            BadHost::Several.into(),
            BadFraming::Coding.into(),
            BadHead::TooLarge.into(),
            BadBody::Truncated.into(),
        ];
        let causes: std::collections::BTreeSet<_> =
            refusals.into_iter().map(|refusal| of(&Failure::Refused(refusal)).into_owned()).collect();
        assert_eq!(causes.len(), 5, "{causes:?}");
        assert!(causes.contains("the request has more than one host"), "{causes:?}");
    }

    #[test]
    fn the_reason_of_a_failed_start_stays_here() {
        let retry_after = std::time::Duration::ZERO;
        let error = LeaseError::Failed { why: "/secret/path".to_owned(), retry_after };
        assert!(!of(&Failure::Lease(error)).contains("secret"));
    }
}
