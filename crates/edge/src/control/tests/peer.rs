//! Who may ask.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use insula_api::{Client, ClientError};

use super::api::{Server, own};
use crate::control::Limits;

/// A user that owns nothing here.
const STRANGER: u32 = 4242;

/// Names the socket for the test below, when it runs as another user.
const SOCKET: &str = "INSULA_TEST_CONTROL_SOCKET";

fn code(result: Result<insula_api::Health, ClientError>) -> String {
    match result {
        Ok(_) => "served".to_owned(),
        Err(ClientError::Problem(problem)) => problem.code.into_owned(),
        Err(other) => format!("{other:?}"),
    }
}

/// Does nothing by itself; run as another user it asks and says what came back.
#[tokio::test]
async fn ask_as_whoever_i_am() {
    if let Some(socket) = std::env::var_os(SOCKET) {
        println!("answer={}", code(Client::unix(socket).health().await));
    }
}

/// What this user is told, in a process of that user.
async fn told(server: &Server, uid: u32) -> String {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "control::tests::peer::ask_as_whoever_i_am", "--nocapture"]);
    command.env(SOCKET, server.socket()).uid(uid).gid(uid).current_dir("/").stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find_map(|l| l.split_once("answer=").map(|(_, a)| a.to_owned()));
    answer.unwrap_or_else(|| panic!("no answer in {text:?}"))
}

#[tokio::test]
async fn only_the_owner_and_root_may_ask() {
    let root = own().owner == 0;
    if !root {
        println!("SKIPPED only_the_owner_and_root_may_ask: needs root to be another user");
        return;
    }
    // The directory is opened on purpose, so that only the check of the peer stands in the way.
    let open = |server: &Server| {
        for path in [server.dir.path().to_owned(), server.socket()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
    };
    let mine = Server::start(Limits::of_owner(0));
    open(&mine);
    assert_eq!(told(&mine, STRANGER).await, "not_owner");
    assert_eq!(told(&mine, 0).await, "served");

    let theirs = Server::start(Limits::of_owner(STRANGER));
    open(&theirs);
    assert_eq!(told(&theirs, STRANGER).await, "served", "the same user is served where it is the owner");
    assert_eq!(told(&theirs, STRANGER + 1).await, "not_owner");
    assert_eq!(told(&theirs, 0).await, "served");
}

#[tokio::test]
async fn a_stranger_is_refused_even_without_being_root() {
    // Unless this runs as root, being another user's daemon is enough to be refused.
    let own = own().owner;
    let server = Server::start(Limits::of_owner(own.wrapping_add(1)));
    let answer = code(Client::unix(server.socket()).health().await);
    assert_eq!(answer, if own == 0 { "served" } else { "not_owner" });
}
