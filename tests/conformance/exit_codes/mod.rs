//! The status with which a program ends reaches the operator as it was.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act_and_end, why};

pub(crate) const CLAIM: Claim =
    Claim { name: "exit_codes", says: "an exit status is told as it was", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let codes = [0, 1, 3, 42, 127, 137, 255];
    let tenants = codes.map(|code| format!("c{code}"));
    let server =
        ground.serve(include_str!("act.py"), "restart = \"never\"", &tenants.each_ref().map(|t| t.as_str()));
    // A driver tells a signal as such a status, and Insula reads it so.
    let ambiguous = |code: &i32| ground.is_driven() && (129..=192).contains(code);
    for code in codes.into_iter().filter(|code| !ambiguous(code)) {
        let name = format!("app:c{code}");
        act_and_end(&server, &name, "leave", &[("code", &code.to_string())]);
        let said = wait_until(&format!("the end of {name}"), || {
            Some(why(&server, &name)).filter(|w| w.contains("status"))
        });
        assert!(said.contains(&format!("status {code}")), "{name}: {said}");
    }
    Shown::Yes
}
