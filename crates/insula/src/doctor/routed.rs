//! Whether networks can be routed here.

use std::process::Command;

use insula_linux::routed::{self, RoutedError};

use super::{Check, Verdict};
use crate::verify;

/// What is looked at.
const WHAT: &str = "routed networks";

/// Asked of the host, then tried by a process of its own, in networks that end with it.
pub(super) fn check() -> Check {
    judge(routed::check(), || {
        let tried = Command::new("/proc/self/exe").args([verify::PROBE_VERB, "routed"]).output();
        tried
            .and_then(|output| Ok(serde_json::from_slice(&output.stdout)?))
            .unwrap_or_else(|e| verify::Outcome { through: false, detail: format!("cannot be tried: {e}") })
    })
}

/// A host that does not forward, or a user who is not root, is poor: everything but `network = "routed"` works.
fn judge(asked: Result<(), RoutedError>, tried: impl FnOnce() -> verify::Outcome) -> Check {
    let poor = |found: String, hint: &str| Check {
        what: WHAT,
        verdict: Verdict::Poor,
        found: format!("no `network = \"routed\"`: {found}"),
        hint: Some(hint.to_owned()),
    };
    // Without root nothing can be tried; a host that only does not forward is tried all the same.
    if let Err(error @ RoutedError::NotRoot) = &asked {
        return poor(error.to_string(), error.hint());
    }
    match (asked, tried()) {
        (_, outcome) if !outcome.through => poor(outcome.detail, RoutedError::REMEDY),
        (Err(error), _) => poor(error.to_string(), error.hint()),
        (Ok(()), _) => {
            let found = "root, forwarding, veth, nf_tables with NAT".to_owned();
            Check { what: WHAT, verdict: Verdict::Good, found, hint: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_missing_is_told_with_its_remedy() {
        let outcome = |through, detail: &str| verify::Outcome { through, detail: detail.to_owned() };
        let hint = |check: Check| (check.verdict, check.hint.unwrap_or_default());
        let (verdict, said) = hint(judge(Err(RoutedError::NotRoot), || unreachable!("without root")));
        assert!(verdict == Verdict::Poor && said.contains("root"), "{said}");
        let (verdict, said) = hint(judge(Err(RoutedError::NoForwarding), || outcome(true, "connected")));
        assert!(verdict == Verdict::Poor && said.contains("sysctl -w net.ipv4.ip_forward=1"), "{said}");
        let check = judge(Err(RoutedError::NoForwarding), || outcome(false, "no veth"));
        assert!(check.found.contains("no veth"), "{}", check.found);
        assert!(check.hint.unwrap_or_default().contains("`modprobe -a veth "));
        assert_eq!(hint(judge(Ok(()), || outcome(true, "connected"))), (Verdict::Good, String::new()));
    }
}
