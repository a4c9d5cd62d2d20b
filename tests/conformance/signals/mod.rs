//! The signal that ends a program reaches the operator as it was.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act_and_end, why};

pub(crate) const CLAIM: Claim =
    Claim { name: "signals", says: "a deadly signal is told as it was", from: "process", run };

fn run(ground: &Ground) -> Shown {
    // TERM, KILL, SEGV, ABRT: numbers that all platforms of Linux here share.
    let signals = [15, 9, 11, 6];
    let tenants = signals.map(|n| format!("s{n}"));
    let server =
        ground.serve(include_str!("act.py"), "restart = \"never\"", &tenants.each_ref().map(|t| t.as_str()));
    for signal in signals {
        let name = format!("app:s{signal}");
        act_and_end(&server, &name, "end", &[("signal", &signal.to_string())]);
        let said = wait_until(&format!("the end of {name}"), || {
            Some(why(&server, &name)).filter(|w| w.contains("signal"))
        });
        assert!(said.contains(&format!("signal {signal}")), "{name}: {said}");
    }
    Shown::Yes
}
