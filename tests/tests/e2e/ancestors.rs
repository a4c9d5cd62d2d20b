//! Files of tenement's shapes are served: every service of every fixture answers over HTTP, the way tenement's
//! documents ask for it.
//!
//! Programs that the files name are stand-ins, in the folder of the file. What depends on the host alone is
//! replaced: absolute paths, and programs that are looked for in the system directories and may not be there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insula_tests::{Options, Place, Reply, Request, Server, cgroups_writable, skip, system_program};
use serde_json::Value;

use crate::common::lacks;

macro_rules! fixtures {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../crates/spec/tests/fixtures/ancestors/", $name, ".toml")))),*]
    };
}

const FILES: [(&str, &str); 8] = fixtures![
    "tenement-environments",
    "tenement-languages",
    "tenement-legacy",
    "tenement-reference",
    "tenement-routing",
    "tenement-secrets",
    "tenement-smallest",
    "tenement-tenants"
];

/// Answers every path with what it is and has: on PORT, or on SOCKET_PATH where its file says so.
const STAND_IN: &str = r#"
import json, os, sys, socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "client"
    def log_message(self, *_): pass
    def do_GET(self):
        me = {"instance": os.environ["INSULA_INSTANCE"], "path": self.path, "argv": sys.argv[1:],
              "env": dict(os.environ), "socket": SOCKET}
        body = json.dumps(me).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): pass
if SOCKET: UnixServer(os.environ["SOCKET_PATH"], Handler).serve_forever()
else: ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// The same for node.
const NODE: &str = r#"
require("http").createServer((request, response) => response.end(JSON.stringify({
    instance: process.env.INSULA_INSTANCE, path: request.url, argv: [], env: process.env, socket: false,
}))).listen(process.env.PORT, "127.0.0.1");
"#;

/// A file of the place that may be run.
fn program(place: &Place, path: &str, text: &str) {
    let path = place.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Everything that one of the files names.
fn programs(place: &Place) {
    let python = |socket: &str| format!("#!/usr/bin/env python3\nSOCKET = {socket}\n{STAND_IN}");
    for path in ["bin/go", "bin/uv", "bin/node", "web/web", "jobs", "shop", "panel"] {
        program(place, path, &python("False"));
    }
    for path in ["queue/worker", "kv/target/release/kv"] {
        program(place, path, &python("True"));
    }
    for path in ["side.py", "todo.py", "mailer.py", "server.py"] {
        program(place, path, &python("False"));
    }
    program(place, "front/server.js", NODE);
    program(place, "serve.sh", "#!/bin/sh\nexec python3 server.py\n");
}

/// A server with one of the files.
fn serve(name: &str) -> Server {
    let place = Place::new();
    programs(&place);
    let (_, text) = FILES.iter().find(|(other, _)| *other == name).unwrap();
    // Where no limit can be enforced, one that is asked for refuses the start.
    let bound = |line: &&str| !line.starts_with("memory_limit_mb") && !line.starts_with("cpu_shares");
    let lines: Vec<&str> = text.lines().filter(|line| cgroups_writable() || bound(line)).collect();
    let mut text = format!("{}\n", lines.join("\n"));
    let absolute = [("/srv/old", "$ROOT/state"), ("/srv/tenants", "$ROOT/state"), ("/opt/web", "$ROOT/web")];
    for (path, here) in absolute {
        text = text.replace(path, here);
    }
    for name in ["go", "node", "uv"].iter().filter(|name| system_program(name).is_none()) {
        text = text.replace(&format!("command = \"{name} "), &format!("command = \"./bin/{name} "));
    }
    if !text.contains("[settings]") {
        text += "\n[settings]\ndata_dir = \"./state\"\n";
    }
    let env = [("QUEUE_URL", "amqp://{id}@queue"), ("SIGNING_KEY", "s3cret")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    // tenement's own port may be taken.
    let arguments = vec!["--port".to_owned(), "0".to_owned()];
    Server::with(place, &text, &Options { env, arguments, ..Options::default() })
}

fn ask(server: &Server, host: &str, path: &str) -> Reply {
    Request::get(&format!("{host}:{}", server.address().port()), path).send(server.address()).unwrap()
}

/// What the instance that answered says of itself.
#[track_caller]
fn answered(server: &Server, host: &str, path: &str) -> Value {
    let reply = ask(server, host, path);
    assert_eq!(reply.status, 200, "{host}{path}: {}\nthe server said:\n{}", reply.text(), server.said());
    let me = reply.json();
    assert_eq!(me["path"], path);
    me
}

/// Which instance answers.
#[track_caller]
fn who(server: &Server, host: &str, path: &str) -> String {
    answered(server, host, path)["instance"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(server: &Server, host: &str, status: u16, code: &str) {
    let problem = ask(server, host, "/").expect(status).json();
    assert_eq!(problem["code"], code, "{host}");
    for key in ["cause", "remediation"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{host}: {problem}");
    }
}

#[test]
fn no_file_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/spec/tests/fixtures/ancestors");
    let Ok(folder) = fs::read_dir(&folder) else { skip!("the sources are not on this host") };
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        names.filter(|name| name.starts_with("tenement")).map(|name| name.replace(".toml", "")).collect();
    names.sort();
    assert_eq!(names, FILES.map(|(name, _)| name));
}

#[test]
fn the_smallest_file_answers() {
    let server = serve("tenement-smallest");
    refused(&server, "world.greeter.localhost", 404, "unknown_instance");
    server.cli(&["spawn", "greeter:world"]).ok();
    assert_eq!(who(&server, "world.greeter.localhost", "/"), "greeter:world");
    refused(&server, "world.gretter.localhost", 404, "unknown_service");
    refused(&server, "nobody.localhost", 404, "unknown_service");
}

#[test]
fn tenants_answer_for_themselves_alone() {
    let server = serve("tenement-tenants");
    for tenant in ["alice", "bob"] {
        server.cli(&["spawn", &format!("todo:{tenant}")]).ok();
        let me = answered(&server, &format!("{tenant}.todo.localhost"), "/notes");
        let dir = server.place().path().join("state/todo").join(tenant);
        assert_eq!(
            (&me["instance"], &me["env"]["TODO_DIR"]),
            (&format!("todo:{tenant}").into(), &dir.to_str().unwrap().into())
        );
    }
    refused(&server, "todo.localhost", 404, "needs_instance");
}

#[test]
fn several_languages_answer_beside_each_other() {
    let server = serve("tenement-languages");
    for (service, argv) in [("pyside", &[][..]), ("goside", &["run", "side.go"])] {
        for tenant in ["alice", "bob"] {
            server.cli(&["spawn", &format!("{service}:{tenant}")]).ok();
            let me = answered(&server, &format!("{tenant}.{service}.localhost"), "/health");
            assert_eq!((&me["env"]["WHO"], &me["argv"]), (&tenant.into(), &argv.to_vec().into()));
        }
        refused(&server, &format!("{service}.localhost"), 404, "needs_instance");
    }
}

#[test]
fn environments_answer_alone_and_together() {
    let server = serve("tenement-environments");
    for (service, ids, socket) in [
        ("front", &["live", "trial"][..], false),
        ("queue", &["live"], true),
        ("kv", &["live", "trial"], true),
    ] {
        let mut together = Vec::new();
        for id in ids {
            let me = answered(&server, &format!("{id}.{service}.localhost"), "/");
            assert_eq!((&me["instance"], &me["socket"]), (&format!("{service}:{id}").into(), &socket.into()));
            assert!(me["env"]["RELEASE"].is_string(), "{me}");
            together.push(who(&server, &format!("{service}.localhost"), "/x?y"));
        }
        together.sort();
        let all: Vec<_> = ids.iter().map(|id| format!("{service}:{id}")).collect();
        assert_eq!(together, all, "requests to `{service}.localhost` are shared evenly");
    }
    // As tenement's guide has it: a new version beside the others, and all requests to it.
    server.cli(&["deploy", "front:next"]).ok();
    server.cli(&["weight", "front", "next=100", "live=0", "trial=0"]).ok();
    assert_eq!(who(&server, "front.localhost", "/"), "front:next");
    refused(&server, "frontt.localhost", 404, "unknown_service");
}

#[test]
fn the_file_of_the_reference_answers() {
    let server = serve("tenement-reference");
    for id in ["blue", "green"] {
        let me = answered(&server, &format!("{id}.web.localhost"), "/");
        let db = server.place().path().join("state/web").join(id).join("web.db");
        assert_eq!(
            (&me["env"]["WEB_DB"], &me["env"]["LOG_LEVEL"]),
            (&db.to_str().unwrap().into(), &"info".into())
        );
        assert_eq!(me["argv"], serde_json::json!(["--verbose"]));
    }
    assert!(who(&server, "web.localhost", "/").starts_with("web:"));
    // `sandbox` is gVisor.
    match lacks(&server, "gvisor") {
        None => {
            for host in ["only.jobs.localhost", "jobs.localhost"] {
                assert_eq!(who(&server, host, "/"), "jobs:only");
            }
        }
        Some(why) => {
            eprintln!("gvisor: {why}");
            refused(&server, "only.jobs.localhost", 503, "failed");
        }
    }
}

#[test]
fn the_names_of_the_first_releases_answer() {
    let server = serve("tenement-legacy");
    server.cli(&["spawn", "shop:user123"]).ok();
    let me = answered(&server, "user123.shop.localhost", "/");
    let db = server.place().path().join("state/shop/user123/shop.db");
    assert_eq!(
        (&me["argv"], &me["env"]["SHOP_DB"]),
        (&serde_json::json!(["run", "python", "shop.py"]), &db.to_str().unwrap().into())
    );
    // `firecracker` is level `vm`, which is not there yet: said so, and nothing weaker is run instead.
    let spawned = server.cli(&["spawn", "vault:one"]);
    assert!(spawned.code != 0 && spawned.stderr.contains("`vm`"), "{spawned:?}");
    assert_ne!(ask(&server, "one.vault.localhost", "/").status, 200);
}

#[test]
fn routes_answer() {
    let server = serve("tenement-routing");
    refused(&server, "admin.localhost", 503, "no_version");
    server.cli(&["deploy", "admin-panel:one"]).ok();
    for (host, path, service) in [
        ("localhost", "/", "shop"),
        ("localhost", "/panel", "admin-panel"),
        ("localhost", "/panel/users", "admin-panel"),
        ("localhost", "/panels", "shop"),
        ("shop.localhost", "/", "shop"),
        ("admin.localhost", "/", "admin-panel"),
        ("www.example.net", "/", "shop"),
        ("any.example.net", "/", "shop"),
    ] {
        let name = who(&server, host, path);
        assert_eq!(name.split(':').next(), Some(service), "{host}{path}");
    }
    for id in ["blue", "green"] {
        assert_eq!(who(&server, &format!("{id}.shop.localhost"), "/"), format!("shop:{id}"));
    }
}

#[test]
fn variables_of_the_host_reach_the_program_that_names_them() {
    let server = serve("tenement-secrets");
    server.cli(&["deploy", "mailer:main"]).ok();
    for (host, path) in [("localhost", "/"), ("localhost", "/mail/x"), ("mailer.localhost", "/")] {
        let me = answered(&server, host, path);
        let env = &me["env"];
        assert_eq!((&env["QUEUE"], &env["SIGNER"]), (&"amqp://{id}@queue".into(), &"main:s3cret".into()));
        assert!(
            env["QUEUE_URL"].is_null() && env["SIGNING_KEY"].is_null(),
            "only what is named is passed on: {env}"
        );
    }
    // They hold for the worker that comes next, too.
    let old = server.worker();
    old.kill();
    server.wait_worker_after(&old);
    server.cli(&["restart", "mailer:main"]).ok();
    assert_eq!(answered(&server, "localhost", "/")["env"]["SIGNER"], "main:s3cret");
    // The control: without them, the file is refused with the names of both.
    let config = server.place().path().join("insula.toml");
    let check = server.cli(&["config", "check", "--config", config.to_str().unwrap()]);
    assert_eq!(check.code, 6, "{check:?}");
    for word in ["QUEUE_URL", "SIGNING_KEY", "EnvironmentFile="] {
        assert!(check.stderr.contains(word), "no `{word}` in {}", check.stderr);
    }
}
