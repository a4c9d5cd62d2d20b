//! The command line over `https`, and a host that cannot tell of listens.

use std::path::PathBuf;
use std::process::Command;

use insula_tests::{Answer, Place, Server, free_port, program, skip, system_program};

use crate::common::app;
use crate::helper::Helper;

/// Makes an authority of one's own and a certificate of it for `localhost`.
const MAKE: &str = r#"set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout ca.key -out ca.pem \
    -subj "/CN=An authority of a test"
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out csr.pem -subj "/CN=localhost"
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > ext
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem
"#;

/// Ends TLS before the daemon, as a proxy in front of it does. It ends with its input.
const RELAY: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
def carry(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
    except OSError: pass
    try: b.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(client):
    try: client = context.wrap_socket(client, server_side=True)
    except OSError: return
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    threading.Thread(target=carry, args=(client, server), daemon=True).start()
    carry(server, client)
    client.close()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def accept():
    while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print("there", flush=True)
sys.stdin.read()
"#;

fn relay(server: &Server, port: u16) -> Helper {
    let ports = [port, server.address().port()].map(|port| port.to_string());
    Helper::start(server.place(), RELAY, &ports)
}

#[test]
fn the_command_line_speaks_tls_with_whom_it_believes() {
    if system_program("openssl").is_none() {
        skip!("openssl is not installed");
    }
    let server = Server::start(&app("serve", "", &["a"]));
    let dir = server.place().path().to_owned();
    let made = Command::new("sh").args(["-c", MAKE]).current_dir(&dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let _relay = relay(&server, port);
    let token = server.cli(&["token", "create", "--name", "test"]).ok().stdout.trim().to_owned();
    let ask = |host: &str, authority: Option<PathBuf>| -> Answer {
        let mut command = Command::new(program());
        command.args(["ps", "--json", "--server", &format!("https://{host}:{port}")]);
        command.env("INSULA_HOME", dir.join("nowhere")).env("INSULA_TOKEN", &token);
        match authority {
            Some(path) => command.env("INSULA_CA_FILE", path),
            None => command.env_remove("INSULA_CA_FILE"),
        };
        command.output().unwrap().into()
    };
    let good = ask("localhost", Some(dir.join("ca.pem"))).ok();
    assert!(good.stdout.contains("app:a") && !good.stderr.contains("unencrypted"), "{good:?}");
    for (host, authority, words) in [
        // Nobody of this host vouches for it.
        ("localhost", None, "INSULA_CA_FILE"),
        // It is the certificate of another name.
        ("127.0.0.1", Some(dir.join("ca.pem")), "127.0.0.1"),
        ("localhost", Some(dir.join("none.pem")), "none.pem"),
        ("localhost", Some(dir.join("key.pem")), "no certificate"),
    ] {
        let bad = ask(host, authority);
        assert!(bad.code == 1 && bad.stderr.contains(words), "{words}: {bad:?}");
        assert!(!bad.stderr.contains(&token));
    }
}

/// Becomes a program under a filter that tells of system calls already, as in some containers.
const WATCHED: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
class Filter(ctypes.Structure): _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))
number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
assert libc.prctl(38, 1, 0, 0, 0) == 0
fd = libc.syscall(number, 1, 8, ctypes.byref(Filter(1, ctypes.addressof(code))))
assert fd >= 0, os.strerror(ctypes.get_errno())
os.set_inheritable(fd, True)
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_host_that_cannot_tell_of_listens_says_so() {
    let place = Place::new();
    let doctor = |watched: bool| -> Answer {
        let mut command = if watched {
            let mut command = Command::new(system_program("python3").unwrap());
            command.args(["-c", WATCHED]).arg(program());
            command
        } else {
            Command::new(program())
        };
        command.args(["doctor", "--json"]).env("INSULA_HOME", place.home());
        Answer::from(command.output().unwrap())
    };
    let words = "not told when a workload listens";
    let (free, watched) = (doctor(false).ok().stdout, doctor(true).ok().stdout);
    if free.contains(words) {
        skip!("another program stops system calls of this one already");
    }
    assert!(watched.contains(words), "{watched}");
}
