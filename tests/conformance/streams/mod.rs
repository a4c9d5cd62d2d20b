//! What a program writes to standard output and error is told line by line, unchanged, each in its stream.

use insula_tests::wait_until;

use crate::ground::{Claim, Ground, Shown, act, lines};

pub(crate) const CLAIM: Claim =
    Claim { name: "streams", says: "output is told unchanged, by stream", from: "process", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let wanted = act(&server, "app:a", "write", &[]);
    let texts = |stream: &str| -> Vec<String> {
        wanted[stream].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    for stream in ["stdout", "stderr"] {
        let wanted = texts(stream);
        let told = wait_until("all lines", || {
            let told = lines(&server, "app:a").remove(stream).unwrap_or_default();
            (told.len() >= wanted.len()).then_some(told)
        });
        assert!(told == wanted, "{stream}: {} lines, wanted {}", told.len(), wanted.len());
    }
    Shown::Yes
}
