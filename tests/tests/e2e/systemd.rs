//! What a service manager sees: readiness, planned restarts, the watchdog, sockets that it opened.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use insula_tests::{
    Answer, Options, PATIENCE, Place, Request, Server, free_port, skip, system_program, wait_until,
};
use rustix::process::Signal;

use crate::common::{app, number};

/// The manager's end.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    /// Starts a server under this manager.
    fn start(&self, further: &[(&str, &str)]) -> Server {
        let socket = self.folder.path().join("notify").to_str().unwrap().to_owned();
        let mut env = vec![("NOTIFY_SOCKET".to_owned(), socket)];
        env.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let options = Options { env, ..Options::default() };
        Server::with(Place::new(), &app("serve", "", &["a"]), &options)
    }

    /// The next message that is not about the watchdog.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut bytes = [0; 4096];
        let got = self.socket.recv(&mut bytes).expect("the server says nothing to its manager");
        String::from_utf8_lossy(&bytes[..got]).into_owned()
    }
}

#[test]
fn the_manager_is_told_of_readiness_planned_restarts_and_the_end() {
    let manager = Manager::new();
    let mut server = manager.start(&[]);
    let first = manager.next();
    assert!(first.starts_with("READY=1\nSTATUS=serving at http://"), "{first}");
    server.take_over().ok();
    let (begun, done) = (manager.next(), manager.next());
    assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
    assert!(done.starts_with("READY=1"), "{done}");
    // No child sees the variables, or it could speak for the server.
    let environ = std::fs::read(format!("/proc/{}/environ", server.worker().pid)).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("NOTIFY_SOCKET"));
    assert!(server.get("app:a", "/about").expect(200).json()["env"]["NOTIFY_SOCKET"].is_null());
    assert_eq!(server.terminate(), 0);
    assert!(manager.next().starts_with("STOPPING=1"));
}

#[test]
fn the_watchdog_is_fed_while_the_worker_answers_and_a_silent_worker_is_replaced() {
    let manager = Manager::new();
    let server = manager.start(&[("WATCHDOG_USEC", "2000000")]);
    while manager.any() != "WATCHDOG=1" {}
    let before = number(&server.get("app:a", "/").expect(200), "counter");
    let worker = server.worker();
    worker.signal(Signal::STOP);
    server.wait_said("the worker does not answer and is killed");
    server.wait_worker_after(&worker);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), before + 1, "the app was restarted");
    while manager.any() != "WATCHDOG=1" {}
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let manager = Manager::new();
    let _server = manager.start(&[("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]);
    assert!(manager.any().starts_with("READY=1"));
    manager.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "it was fed");
}

#[test]
fn sockets_of_the_manager_are_served_and_go_through_planned_restarts() {
    let Some(activate) = system_program("systemd-socket-activate") else {
        skip!("systemd-socket-activate is not installed");
    };
    let (http, tcp) = (free_port(), free_port());
    let listen = |port: u16| format!("--listen=127.0.0.1:{port}");
    let through = [
        activate.to_str().unwrap().to_owned(),
        listen(http),
        listen(tcp),
        "--fdname=http:app.a".to_owned(),
        "--setenv=INSULA_HOME".to_owned(),
        "--setenv=PATH".to_owned(),
    ];
    // The file names other ports: what is given counts.
    let keys = format!("[service.app.listen_tcp]\na = {}\n", free_port());
    let config = app("serve", "", &["a"]).replace("[service.app.env]", &format!("{keys}[service.app.env]"));
    let options = Options { through: through.to_vec(), ..Options::default() };
    // It is the first connection that starts the server.
    let first = std::thread::spawn(move || {
        let request = Request::get(&format!("a.app.localhost:{http}"), "/");
        let address = SocketAddr::from(([127, 0, 0, 1], http));
        wait_until("the manager listens", || std::net::TcpStream::connect(address).ok().map(drop));
        request.send(address)
    });
    let server = Server::with(Place::new(), &config, &options);
    assert_eq!(first.join().unwrap().unwrap().status, 200);
    assert_eq!(server.address().port(), http);
    for _ in 0..2 {
        server.get("app:a", "/").expect(200);
        let raw = SocketAddr::from(([127, 0, 0, 1], tcp));
        assert_eq!(Request::get("x", "/health").send(raw).unwrap().status, 200);
        server.take_over().ok();
    }
}

#[test]
fn a_socket_that_is_for_nothing_is_named() {
    let Some(activate) = system_program("systemd-socket-activate") else {
        skip!("systemd-socket-activate is not installed");
    };
    let place = Place::new();
    let config = place.configure(&app("serve", "", &["a"]));
    let port = free_port();
    let mut command = std::process::Command::new(activate);
    command
        .args([&format!("--listen=127.0.0.1:{port}"), "--fdname=nobody", "--setenv=INSULA_HOME"])
        .arg(insula_tests::program())
        .args(["serve", "--config", config.to_str().unwrap()])
        .env("INSULA_HOME", place.home())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("the manager listens", || std::net::TcpStream::connect(address).ok().map(drop));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("`nobody`") && said.contains("FileDescriptorName="), "{said}");
}

#[test]
fn the_printed_units_are_valid_and_start_this_program() {
    let Some(analyze) = system_program("systemd-analyze") else {
        skip!("systemd-analyze is not installed");
    };
    let place = Place::new();
    let config = place.configure(&app("serve", "stop_timeout = \"70s\"", &["a"]));
    let folder = tempfile::tempdir().unwrap();
    let verify = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let output = std::process::Command::new(&analyze).arg("verify").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Of this file only: the analyzer also looks at units that it wants.
        let about = said.lines().filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n");
        (output.status.success() && about.is_empty(), said)
    };
    for further in [&[][..], &["--user"][..]] {
        let arguments =
            [&["systemd", "print-unit", "--config", config.to_str().unwrap()][..], further].concat();
        let unit = Answer::of(&place.home(), &arguments).ok().stdout;
        assert!(unit.contains(insula_tests::program().canonicalize().unwrap().to_str().unwrap()), "{unit}");
        // 5 s of draining, the longest stop, and two margins.
        assert!(unit.contains("\nTimeoutStopSec=100s\n"), "{unit}");
        let (good, said) = verify("insula.service", &unit);
        assert!(good, "{said}\n{unit}");
        let (good, _) = verify("broken.service", &unit.replace("Type=notify", "Type=nonsense"));
        assert!(!good, "the analyzer finds nothing at all");
    }
}
