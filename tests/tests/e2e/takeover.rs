//! Planned restarts: the server goes on with another program or another configuration, and nobody notices.

use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use insula_tests::{
    Answer, Options, PATIENCE, Place, Process, Request, Server, WebSocket, exited_within, free_port, program,
    read_reply, skip, system_program, wait_until,
};

use crate::common::{app, number};
use crate::daemon::Load;

/// Two rooms that sleep soon; `closed` is the witness that enough time has passed.
const CHAT: &str = "[service.chat]\ncommand = \"node $APPS/chat.js\"\nidle_timeout = \"300ms\"\n\
                    [instances]\nchat = [\"open\", \"closed\"]\n";

/// What tells one process from another, whatever it calls itself.
fn same(process: &Process) -> (i32, u64) {
    (process.pid, process.start)
}

fn faulty(point: &str, config: &str) -> Server {
    let env = vec![("INSULA_FAULT".to_owned(), point.to_owned())];
    Server::with(Place::new(), config, &Options { env, ..Options::default() })
}

/// The witness goes to sleep so many times, so whoever else is idle went, too.
fn let_idle_time_pass(server: &Server, times: usize) {
    for _ in 0..times {
        server.get("chat:closed", "/").expect(200);
        server.wait_observed("chat:closed", "asleep");
    }
}

/// A client that keeps its connection as long as the server does. Counts what was not answered well.
fn keep_asking(
    server: &Server,
    go: &Arc<AtomicBool>,
    served: &Arc<AtomicUsize>,
) -> thread::JoinHandle<usize> {
    let (address, request) = (server.address(), Request::get(&server.host("app:a"), "/").bytes());
    let (go, served) = (Arc::clone(go), Arc::clone(served));
    thread::spawn(move || {
        let mut failed = 0;
        let mut kept: Option<BufReader<TcpStream>> = None;
        while go.load(Ordering::Relaxed) {
            let connect = || TcpStream::connect(address).map(BufReader::new);
            let asked = kept.take().map_or_else(connect, Ok).and_then(|mut stream| {
                stream.get_mut().write_all(&request)?;
                read_reply(&mut stream, "GET").map(|reply| (reply, stream))
            });
            match asked {
                Ok((reply, stream)) if reply.status == 200 => {
                    served.fetch_add(1, Ordering::Relaxed);
                    kept = (reply.header("connection") != Some("close")).then_some(stream);
                }
                _ => failed += 1,
            }
        }
        failed
    })
}

#[test]
fn planned_restarts_under_load_lose_nothing_and_refuse_nobody() {
    let server = Server::start(&app("serve", "", &["a"]));
    let before = server.get("app:a", "/").expect(200);
    let (process, parent) = (server.app("app:a"), server.parent());
    let load = Load::begin(&server, 3, "app:a");
    let (go, served) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let kept: Vec<_> = (0..3).map(|_| keep_asking(&server, &go, &served)).collect();
    let mut files = Vec::new();
    for round in 1..=5 {
        load.more(20);
        let worker = server.worker();
        let answer = server.take_over().ok().json();
        assert_eq!(answer["pid"], parent.pid, "in round {round}: {answer}");
        assert_eq!(answer["adopted"], 1, "in round {round}: {answer}");
        assert_ne!(server.worker().pid, worker.pid);
        wait_until("the old worker is gone", || (server.workers().len() == 1).then_some(()));
        files.push(server.parent().open_files());
    }
    // Descriptors that the parent left to itself must not add up; a visitor's may be open for a moment.
    let few = files.iter().min().copied();
    wait_until(&format!("the parent has as few files as ever: {files:?}"), || {
        (Some(server.parent().open_files()) <= few).then_some(())
    });
    load.more(20);
    go.store(false, Ordering::Relaxed);
    let failed: usize = kept.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!((load.end(), failed), (0, 0), "requests failed; the server said:\n{}", server.said());
    assert!(served.load(Ordering::Relaxed) > 0);
    let after = server.get("app:a", "/").expect(200);
    assert_eq!(before.json()["started"], after.json()["started"]);
    assert_eq!((server.app("app:a"), same(&server.parent())), (process, same(&parent)));
    assert_eq!(server.inspect("app:a")["restarts"], 0);
}

#[test]
fn an_unplanned_restart_under_the_same_load_does_lose_requests() {
    // The control of the claim above: what it counts can be anything but zero.
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let request = Request::get(&server.host("app:a"), "/slow?ms=3000");
    let address = server.address();
    let slow = thread::spawn(move || request.send(address));
    wait_until("the slow request is in flight", || {
        (server.inspect("app:a")["status"]["observed"] == "running").then_some(())
    });
    let busy = || {
        let status = server.get("app:a", "/about").expect(200).json()["status"].as_str()?.to_owned();
        let threads = status.lines().find_map(|l| l.strip_prefix("Threads:"))?.trim().to_owned();
        (threads.parse::<i64>().ok()? >= 3).then_some(())
    };
    wait_until("the slow request is in the app", busy);
    server.worker().kill();
    assert!(slow.join().unwrap().is_err(), "a request in flight outlived its worker");
}

#[test]
fn a_request_in_flight_is_answered_by_the_worker_that_gave_way() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let old = server.worker();
    let request = Request::get(&server.host("app:a"), "/stream?n=40&ms=50");
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request.bytes()).unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut stream, &mut first).unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    server.take_over().ok();
    assert!(old.alive(), "the old worker left a stream alone");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
    assert!(rest.contains("data: 40"), "the stream was cut: {rest}");
    assert!(exited_within(old.id(), PATIENCE), "the old worker stays without a stream");
}

#[test]
fn a_request_that_waits_for_a_wake_is_answered_after_a_planned_restart() {
    let server = Server::start(&app("slow 1500", "idle_timeout = \"60s\"", &["a"]));
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let (request, address) = (Request::get(&server.host("app:a"), "/health"), server.address());
            thread::spawn(move || request.send(address))
        })
        .collect();
    wait_until("it is starting", || (server.observed("app:a") == "starting").then_some(()));
    server.take_over().ok();
    for ask in asks {
        assert_eq!(ask.join().unwrap().unwrap().status, 200);
    }
}

#[test]
fn an_open_websocket_outlives_planned_restarts_and_keeps_its_tenant_awake() {
    if system_program("node").is_none() {
        skip!("node is not installed");
    }
    let server = Server::start(CHAT);
    let mut socket = WebSocket::connect(server.address(), &server.host("chat:open"), "/").unwrap();
    let (process, first) = (server.app("chat:open"), server.worker());
    for round in 0..2 {
        server.take_over().ok();
        let_idle_time_pass(&server, 2);
        assert_eq!(server.app("chat:open"), process, "it slept in round {round}");
        socket.say("still here").unwrap();
        assert_eq!(socket.hear().unwrap(), "still here");
    }
    assert!(first.alive() && server.workers().len() >= 2, "{:?}", server.workers());
    // A worker that dies is told again what is held.
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    let_idle_time_pass(&server, 2);
    assert_eq!(server.app("chat:open"), process, "it slept after the next worker was killed");
    socket.say("and here").unwrap();
    assert_eq!(socket.hear().unwrap(), "and here");
    socket.close().unwrap();
    // The control: without the socket it does sleep, and the old workers end.
    server.wait_observed("chat:open", "asleep");
    assert!(exited_within(first.id(), PATIENCE), "the first worker stays");
    wait_until("one worker is left", || (server.workers().len() == 1).then_some(()));
}

#[test]
fn holds_end_with_the_worker_that_has_the_streams() {
    if system_program("node").is_none() {
        skip!("node is not installed");
    }
    let server = Server::start(CHAT);
    let _socket = WebSocket::connect(server.address(), &server.host("chat:open"), "/").unwrap();
    let (process, old) = (server.app("chat:open"), server.worker());
    server.take_over().ok();
    let_idle_time_pass(&server, 1);
    assert!(process.alive(), "it slept while it was held");
    old.kill();
    server.wait_observed("chat:open", "asleep");
}

#[test]
fn a_stop_ends_the_workers_that_gave_way_too() {
    if system_program("node").is_none() {
        skip!("node is not installed");
    }
    let mut server = Server::start(CHAT);
    let _socket = WebSocket::connect(server.address(), &server.host("chat:open"), "/").unwrap();
    let old = server.worker();
    server.take_over().ok();
    assert!(old.alive());
    assert_eq!(server.terminate(), 0);
    assert!(!old.alive());
    assert!(server.inventory().is_empty(), "{:#?}", server.inventory());
}

/// What holds at every point at which a process dies during a planned restart: the server goes on, the app is
/// the same, and the next planned restart works or fails in the same clean way.
fn shown_at(point: &str, code: i32) {
    let server = faulty(point, &app("serve", "", &["a"]));
    let counter = number(&server.get("app:a", "/").expect(200), "counter");
    let (process, parent) = (server.app("app:a"), server.parent());
    for round in 1..=2 {
        let answer = server.take_over();
        assert_eq!(answer.code, code, "at `{point}`: {} {}", answer.stdout, answer.stderr);
        let now = number(&server.get("app:a", "/").expect(200), "counter");
        assert_eq!(now, counter + round, "at `{point}`");
    }
    assert!(server.said().contains(point), "`{point}` was never reached");
    assert_eq!((server.app("app:a"), same(&server.parent())), (process, same(&parent)), "at `{point}`");
    wait_until("one worker is left", || (server.workers().len() == 1).then_some(()));
    assert_eq!(server.inspect("app:a")["restarts"], 0);
}

#[test]
fn a_new_worker_that_dies_at_any_point_leaves_the_old_version_serving() {
    for point in ["standby.booted", "standby.prepared", "standby.going", "standby.open"] {
        eprintln!("at `{point}`");
        shown_at(point, 4);
    }
}

#[test]
fn an_old_worker_that_dies_while_it_gives_way_does_not_stop_the_new_one() {
    for point in ["retire.asked", "retire.detached", "retire.closed", "retire.released"] {
        eprintln!("at `{point}`");
        shown_at(point, 0);
    }
}

#[test]
fn a_new_worker_that_dies_costs_new_requests_nothing() {
    // Before it accepts: what a worker has accepted is lost with it, as always.
    for point in ["standby.prepared", "standby.going"] {
        let server = faulty(point, &app("serve", "", &["a"]));
        server.get("app:a", "/").expect(200);
        let load = Load::begin(&server, 4, "app:a");
        load.more(20);
        assert_eq!(server.take_over().code, 4);
        load.more(20);
        assert_eq!(load.end(), 0, "at `{point}`: {}", server.said());
    }
}

#[test]
fn the_parent_becomes_the_new_program_and_stays_the_same_process() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let (parent, process) = (server.parent(), server.app("app:a"));
    let next = server.place().path().join("insula-next");
    fs::copy(program(), &next).unwrap();
    let runs = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_ne!(runs(parent.pid), next);
    server.take_over_with(&next).ok();
    assert_eq!((runs(parent.pid), runs(server.worker().pid)), (next.clone(), next.clone()));
    assert_eq!(parent.start, server.parent().start);
    // It is the parent in full: it restarts its worker, it restarts as planned, it keeps its lock.
    let worker = server.worker();
    worker.kill();
    assert_eq!(runs(server.wait_worker_after(&worker).pid), next);
    server.take_over().ok();
    assert_ne!(runs(parent.pid), next);
    let config = server.place().path().join("insula.toml");
    let second = server.cli(&["serve", "--config", config.to_str().unwrap()]);
    assert!(second.code == 4 && second.stderr.contains(&parent.pid.to_string()), "{}", second.stderr);
    assert_eq!(server.app("app:a"), process);
    server.get("app:a", "/").expect(200);
}

/// The program under test with another version number in it, of the same length: another file, another build.
fn another_version(server: &Server) -> std::path::PathBuf {
    const OURS: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
    let mut bytes = fs::read(program()).unwrap();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(OURS.len()).position(|window| window == OURS) {
        at += found;
        bytes[at..at + OURS.len()].copy_from_slice(b"9.8.7");
    }
    let path = server.place().path().join("insula-other");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::metadata(program()).unwrap().permissions()).unwrap();
    path
}

#[test]
fn another_version_takes_over_and_gives_back() {
    let server = Server::start(&app("serve", "", &["a"]));
    let counter = number(&server.get("app:a", "/").expect(200), "counter");
    let (process, parent) = (server.app("app:a"), server.parent());
    let runs = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let (ours, other) = (runs(parent.pid), another_version(&server));
    let told = Answer::of_program(&other, &server.place().home(), &["version"]).ok().stdout;
    assert!(told.contains("9.8.7"), "it is not another version: {told}");
    let load = Load::begin(&server, 2, "app:a");
    load.more(10);
    server.take_over_with(&other).ok();
    assert_eq!((runs(parent.pid), runs(server.worker().pid)), (other.clone(), other.clone()));
    load.more(10);
    server.take_over().ok();
    assert_eq!((runs(parent.pid), runs(server.worker().pid)), (ours.clone(), ours));
    load.more(10);
    assert_eq!(load.end(), 0, "{}", server.said());
    assert_eq!((server.app("app:a"), same(&server.parent())), (process, same(&parent)));
    assert!(number(&server.get("app:a", "/").expect(200), "counter") > counter);
}

#[test]
fn a_program_that_cannot_be_the_parent_serves_under_the_old_one() {
    let server = faulty("parent.check", &app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let worker = server.worker();
    server.take_over().ok();
    assert_ne!(server.worker().pid, worker.pid);
    assert!(server.said().contains("the old program goes on as the parent"), "{}", server.said());
    server.get("app:a", "/").expect(200);
}

#[test]
fn a_configuration_that_is_not_valid_changes_nothing() {
    let server = Server::start(&app("serve", "", &["a"]));
    let before = (server.worker(), server.parent());
    let path = server.place().path().join("insula.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("[instances]", "nonsense = 1\n[instances]")).unwrap();
    let answer = server.take_over();
    assert!(answer.code == 6 && answer.stderr.contains("nonsense"), "{} {}", answer.code, answer.stderr);
    assert_eq!((server.worker(), server.parent()), before);
    server.get("app:a", "/").expect(200);
}

#[test]
fn without_a_server_a_takeover_is_a_start() {
    let options = Options { verb: vec!["serve".to_owned(), "--takeover".to_owned()], ..Options::default() };
    let server = Server::with(Place::new(), &app("serve", "", &["a"]), &options);
    assert!(server.said().contains("no server runs on this home"), "{}", server.said());
    server.get("app:a", "/").expect(200);
}

#[test]
fn another_version_of_the_hand_over_is_refused_by_number() {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
    };
    let server = Server::start(&app("serve", "", &["a"]));
    let door = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&door, &SocketAddrUnix::new(server.place().home().join("run/door.sock")).unwrap()).unwrap();
    let request = br#"{"reload":{"version":4711,"dry_run":false}}"#;
    send(&door, request, SendFlags::empty()).unwrap();
    let mut bytes = [0; 4096];
    let (_, got) = recv(&door, &mut bytes, RecvFlags::empty()).unwrap();
    let answer = String::from_utf8_lossy(&bytes[..got]);
    assert!(answer.contains("refused") && answer.contains("4711"), "{answer}");
}

#[test]
fn visitors_who_say_nothing_keep_nobody_out() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let server = Server::start(&app("serve", "", &["a"]));
    let address = SocketAddrUnix::new(server.place().home().join("run/door.sock")).unwrap();
    let silent: Vec<_> = (0..20)
        .map(|_| {
            let door = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
            connect(&door, &address).unwrap();
            door
        })
        .collect();
    server.cli(&["config", "apply", "--dry-run"]).ok();
    drop(silent);
    server.take_over().ok();
}

#[test]
fn sighup_applies_a_new_configuration_and_restarts_only_what_changed() {
    let port = free_port();
    let text = |env: &str, port: u16| {
        crate::common::services(&[("app", "serve", "", &["a"]), ("other", "serve", "", &["a"])])
            .replace("[service.app.env]", &format!("[service.app.env]\nCOLOUR = \"{env}\""))
            + &format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n")
    };
    let server = Server::start(&text("red", port));
    let colour = || server.get("app:a", "/about").expect(200).json()["env"]["COLOUR"].clone();
    assert_eq!(colour(), "red");
    server.get("other:a", "/").expect(200);
    let (other, worker) = (server.app("other:a"), server.worker());
    let _path = server.place().configure(&text("green", port));
    let planned = server.cli(&["config", "apply", "--dry-run", "--json"]).ok().json();
    assert_eq!(
        (&planned["restarted"], &planned["added"]),
        (&serde_json::json!(["app"]), &serde_json::json!([]))
    );
    assert_eq!((server.worker(), colour()), (worker.clone(), "red".into()), "a dry run did something");
    server.parent().signal(rustix::process::Signal::HUP);
    wait_until("the new colour is there", || (colour() == "green").then_some(()));
    assert_eq!(server.app("other:a"), other, "what did not change was restarted");
    let _path = server.place().configure(&text("blue", port));
    let applied = server.cli(&["config", "apply"]).ok().stdout;
    assert!(applied.contains("app: runs differently") && !applied.contains("other"), "{applied}");
    wait_until("the newer colour is there", || (colour() == "blue").then_some(()));
    assert_eq!(server.app("other:a"), other);
    assert!(!worker.alive());
}

/// Whichever way a new configuration comes, what runs is what it says.
#[test]
fn what_runs_as_another_configuration_said_is_started_anew_however_that_came() {
    let text = |env: &str| {
        crate::common::services(&[("app", "serve", "", &["a"]), ("other", "serve", "", &["a"])])
            .replace("[service.app.env]", &format!("[service.app.env]\nCOLOUR = \"{env}\""))
    };
    let mut server = Server::start(&text("red"));
    let colour = |server: &Server| server.get("app:a", "/about").expect(200).json()["env"]["COLOUR"].clone();
    let becomes = |server: &Server, wanted: &str| {
        wait_until(wanted, || (colour(server) == wanted).then_some(()));
    };
    assert_eq!(colour(&server), "red");
    server.get("other:a", "/").expect(200);
    let other = server.app("other:a");
    let _path = server.place().configure(&text("green"));
    server.take_over().ok();
    becomes(&server, "green");
    assert_eq!(server.app("other:a"), other, "what did not change was restarted");
    let applied = server.cli(&["config", "apply"]).ok().stdout;
    assert!(applied.contains("nothing is different"), "{applied}");
    // The control: a takeover without a change restarts nothing.
    let app = server.app("app:a");
    server.take_over().ok();
    assert_eq!((server.app("app:a"), server.app("other:a")), (app, other.clone()));
    // Changed while no server was there to notice.
    server.kill_parent();
    let _path = server.place().configure(&text("blue"));
    server.start_again();
    becomes(&server, "blue");
    assert_eq!(server.app("other:a"), other, "what did not change was restarted");
}

#[test]
fn orders_that_come_during_a_planned_restart_are_obeyed_after_it() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    server.parent().signal(rustix::process::Signal::HUP);
    wait_until("a new worker is on its way", || (server.workers().len() > 1).then_some(()));
    let _path = server.place().configure(&app("serve", "", &["a", "late"]));
    server.parent().signal(rustix::process::Signal::HUP);
    wait_until("the later configuration is applied", || {
        (server.cli(&["inspect", "app:late"]).code == 0).then_some(())
    });
    let applied: Vec<_> = thread::scope(|scope| {
        let apply = || server.cli(&["config", "apply"]);
        let all: Vec<_> = (0..4).map(|_| scope.spawn(apply)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for answer in applied {
        answer.ok();
    }
    server.get("app:a", "/").expect(200);
}

#[test]
fn commands_under_way_are_answered_across_planned_restarts() {
    let server = Server::start(&app("serve", "", &["a"]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || {
            while !over.load(Ordering::Relaxed) {
                server.cli(&["health"]).ok();
            }
        };
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        let applied: Vec<_> = (0..8).map(|_| server.cli(&["config", "apply"])).collect();
        over.store(true, Ordering::Relaxed);
        asking.into_iter().for_each(|one| one.join().unwrap());
        for answer in applied {
            answer.ok();
        }
    });
}

#[test]
fn a_reload_of_a_configuration_that_is_not_valid_is_refused_with_every_reason() {
    let server = Server::start(&app("serve", "", &["a"]));
    let worker = server.worker();
    let path = server.place().path().join("insula.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("[instances]", "nonsense = 1\nfolly = 2\n[instances]")).unwrap();
    server.parent().signal(rustix::process::Signal::HUP);
    server.wait_said("folly");
    assert!(server.said().contains("nonsense") && server.said().contains("the old one goes on"));
    let answer = server.cli(&["config", "apply"]);
    assert!(answer.code == 6 && answer.stderr.contains("folly"), "{}: {}", answer.code, answer.stderr);
    assert_eq!(server.worker(), worker);
    server.get("app:a", "/").expect(200);
}

#[test]
fn config_apply_moves_the_public_port() {
    let (first, second) = (free_port(), free_port());
    let text = |port: u16| {
        app("serve", "", &["a"]) + &format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n")
    };
    let server = Server::start(&text(first));
    server.get("app:a", "/").expect(200);
    let _path = server.place().configure(&text(second));
    let answer = server.cli(&["config", "apply", "--json"]).ok().json();
    assert_eq!(answer["port"], second);
    let at =
        |port: u16| Request::get(&format!("a.app.localhost:{port}"), "/").send(([127, 0, 0, 1], port).into());
    assert_eq!(at(second).unwrap().status, 200);
    assert_eq!(at(first).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_that_is_taken_is_named_and_the_server_goes_on() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = Server::start(&app("serve", "", &["a"]));
    let text = app("serve", "", &["a"]) + &format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n");
    let _path = server.place().configure(&text);
    let answer = server.cli(&["config", "apply"]);
    assert!(
        answer.code == 4 && answer.stderr.contains(&port.to_string()),
        "{}: {}",
        answer.code,
        answer.stderr
    );
    server.get("app:a", "/").expect(200);
}

#[test]
fn a_reload_without_a_server_says_so() {
    let place = Place::new();
    let answer = insula_tests::Answer::of(&place.home(), &["config", "apply"]);
    assert!(
        answer.code == 5 && answer.stderr.contains("no server runs"),
        "{}: {}",
        answer.code,
        answer.stderr
    );
}
