//! The claims that every level makes, each tried on every level that this host has.
//!
//! ```text
//! conformance/CLAIM/mod.rs   what is claimed, and the host's side of it
//! conformance/CLAIM/act.py   the app's side: functions that `app.py` calls by request
//! ```
//! A claim about a wall says from which level on that stands. Below it the same attempt is the negative control: there
//! it must get through. At the end the whole matrix is printed; what could not be shown here is told with its reason.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "test code")]

mod adoption;
mod big_output;
mod clock;
mod devices;
mod end_of_all;
mod environment;
mod exec;
mod exec_walls;
mod exit_codes;
mod files;
mod files_in_out;
mod ground;
mod identity;
mod input;
mod limits;
mod locale;
mod loopback;
mod many_files;
mod matrix;
mod mounts;
mod net_allow;
mod net_deny;
mod net_held;
mod own_processes;
mod private_tmp;
mod read_only;
mod signals;
mod sleep;
mod stop_signal;
mod streams;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use ground::{Claim, Ground, HostLevel, Shown};
use matrix::Matrix;

/// Every claim.
const CLAIMS: [Claim; 24] = [
    exit_codes::CLAIM,
    signals::CLAIM,
    stop_signal::CLAIM,
    input::CLAIM,
    streams::CLAIM,
    big_output::CLAIM,
    environment::CLAIM,
    identity::CLAIM,
    clock::CLAIM,
    locale::CLAIM,
    files::CLAIM,
    many_files::CLAIM,
    sleep::CLAIM,
    adoption::CLAIM,
    end_of_all::CLAIM,
    limits::CLAIM,
    read_only::CLAIM,
    mounts::CLAIM,
    private_tmp::CLAIM,
    devices::CLAIM,
    own_processes::CLAIM,
    exec::CLAIM,
    exec_walls::CLAIM,
    files_in_out::CLAIM,
];
/// Claims about networks, whose rules differ with the key `network`.
const NETWORK: [Claim; 4] = [loopback::CLAIM, net_allow::CLAIM, net_deny::CLAIM, net_held::CLAIM];

fn all() -> impl Iterator<Item = Claim> {
    CLAIMS.into_iter().chain(NETWORK)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let matrix = Arc::new(Mutex::new(Matrix::default()));
    let mut trials = Vec::new();
    for level in ground::levels() {
        if let Some(why) = &level.why_not {
            let (name, why) = (level.name.clone(), why.clone());
            trials.push(Trial::test(name.clone(), move || {
                insula_tests::report_skip(&format!("conformance::{name}"), &why);
                Ok(())
            }));
            continue;
        }
        for claim in all() {
            trials.push(trial(claim, &level, &matrix));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{}", matrix.lock().unwrap().text(all()));
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn trial(claim: Claim, level: &HostLevel, matrix: &Arc<Mutex<Matrix>>) -> Trial {
    let (ground, matrix) = (Ground::new(level), Arc::clone(matrix));
    let name = format!("{}::{}", level.name, claim.name);
    let level = level.name.clone();
    Trial::test(name.clone(), move || {
        let outcome = std::panic::catch_unwind(|| (claim.run)(&ground));
        let (cell, result) = match outcome {
            Ok(Shown::Yes) if ground.below(claim.from) => ("control", Ok(())),
            Ok(Shown::Yes) => ("shown", Ok(())),
            Ok(Shown::No(why)) => {
                insula_tests::report_skip(&format!("conformance::{name}"), &why);
                ("skipped", Ok(()))
            }
            Err(_) => ("FAILED", Err(Failed::from("see above"))),
        };
        matrix.lock().unwrap().note(&claim, &level, cell);
        result
    })
}
