//! Other programs of the same user talk to an agent's socket. What is not the protocol does no harm.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use insula_tests::{PATIENCE, Server};

use crate::common::{app, number};

/// `Hello`, as the agent protocol writes it: kind 0, version, epoch, first log line wanted.
fn hello(version: u16, epoch: u64) -> Vec<u8> {
    frame(0, &[&version.to_le_bytes()[..], &epoch.to_le_bytes(), &0_u64.to_le_bytes()].concat())
}

/// A frame: length of what follows, kind, fields.
fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], fields].concat()
}

/// Sends bytes over a connection of its own; what the agent answers until it closes.
fn told(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may close before everything is sent.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the agent kept the connection after {bytes:02x?}")
        }
        _ => answer,
    }
}

/// Where the agent of an instance listens. Blank shells of the pool have sockets too.
fn agent_socket(server: &Server, instance: &str) -> PathBuf {
    let key = server.inspect(instance)["processes"]["key"].as_str().unwrap().to_owned();
    let mut sockets = server.inventory().sockets.into_iter();
    sockets.find(|path| path.ends_with(format!("{key}/agent.sock"))).unwrap()
}

#[test]
fn hostile_bytes_on_an_agents_socket_do_no_harm() {
    let server = Server::start(&app("serve", "", &["a"]));
    let mut counter = number(&server.get("app:a", "/").expect(200), "counter");
    let (process, agent) = (server.app("app:a"), server.agent("app:a"));
    let socket = agent_socket(&server, "app:a");
    let huge = [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat();
    let malformed =
        [huge, vec![0; 5], frame(0, b"short"), frame(99, &[]), b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    // Well-formed orders of a visitor that did not say `Hello`: commit, signal 9, end everything, end.
    let orders = [frame(3, &[]), frame(4, &9_i32.to_le_bytes()), frame(5, &[]), frame(10, &[])];
    for bytes in malformed.iter().chain(&orders) {
        assert_eq!(told(&socket, bytes), b"", "the agent answered {bytes:02x?}");
    }
    // Connections that say nothing, or half of something, while the next worker comes.
    let mut silent = [UnixStream::connect(&socket).unwrap(), UnixStream::connect(&socket).unwrap()];
    silent[0].write_all(&hello(1, u64::MAX)[..7]).unwrap();
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    counter += 1;
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), counter);
    assert_eq!((server.app("app:a"), server.agent("app:a")), (process, agent));
}

#[test]
fn an_agent_obeys_no_host_of_another_version_or_an_earlier_generation() {
    let server = Server::start(&app("serve", "", &["launched"]));
    server.get("app:launched", "/health").expect(200);
    let (process, agent) = (server.app("app:launched"), server.agent("app:launched"));
    let socket = agent_socket(&server, "app:launched");
    let end_everything = frame(5, &[]);
    let turned_away = || {
        for hello in [hello(u16::MAX, u64::MAX), hello(1, 0)] {
            let answer = told(&socket, &[hello, end_everything.clone()].concat());
            server.get("app:launched", "/health").expect(200);
            let now = (server.app("app:launched"), server.agent("app:launched"));
            assert_eq!((&now.0, &now.1), (&process, &agent), "the visitor was obeyed");
            assert!(!answer.is_empty(), "the visitor was not told whom it met");
        }
    };
    turned_away();
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    // The control: the next generation says `Hello` and is obeyed.
    server.get("app:launched", "/health").expect(200);
    turned_away();
}
