//! Probes at the walls of level `namespace`. Each has its negative control: the same probe where that wall is
//! absent must get through, or it would prove nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use insula_tests::{Server, is_root, skip};
use serde_json::Value;

use crate::common::{escaped, services};
use crate::scene::{SECRET, Scene, Sleeper};

#[test]
fn a_neighbours_port_on_loopback_is_out_of_reach() {
    let scene = Scene::set();
    scene.wall_holds("tcp", &format!("{} {SECRET}", scene.port("victim:a")));
    scene.wall_holds("tcp", &format!("{} {SECRET}", scene.port("barevictim:a")));
    scene.control_bare("tcp", &format!("{} {SECRET}", scene.port("barevictim:a")));
}

#[test]
fn the_loopback_of_the_host_is_out_of_reach() {
    let scene = Scene::set();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("{} {SECRET}", listener.local_addr().unwrap().port());
    let host = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(SECRET.as_bytes()).unwrap();
    });
    scene.wall_holds("tcp", &target);
    assert!(!host.is_finished(), "the probe reached the host");
    scene.control_bare("tcp", &target);
    host.join().unwrap();
}

#[test]
fn an_abstract_unix_socket_of_the_host_is_out_of_reach() {
    let scene = Scene::set();
    let name = format!("insula-e2e-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    scene.wall_holds("abstract", &name);
    scene.control_bare("abstract", &name);
}

#[test]
fn a_neighbours_processes_are_not_to_be_seen() {
    let scene = Scene::set();
    scene.wall_holds("cmdline", SECRET);
    scene.control_bare("cmdline", SECRET);
}

#[test]
fn a_neighbours_environment_cannot_be_read() {
    let scene = Scene::set();
    scene.wall_holds("environ", "SECRET=of-the-victim");
    scene.control_outside("environ", "SECRET=of-the-victim");
}

#[test]
fn a_neighbour_cannot_be_traced_signalled_or_read() {
    let scene = Scene::set();
    let victim = scene.server.app("victim:a").pid.to_string();
    for probe in ["ptrace", "signal", "memory"] {
        scene.wall_holds(probe, &victim);
        scene.control_outside(probe, &victim);
    }
}

#[test]
fn the_agent_as_process_1_cannot_be_traced_or_read() {
    let scene = Scene::set();
    let sleeper = Sleeper::start();
    for probe in ["ptrace", "memory"] {
        scene.wall_holds(probe, "1");
        scene.control_outside(probe, &sleeper.pid());
    }
    for file in ["environ", "maps", "fd/0", "root/etc/passwd"] {
        scene.wall_holds("file", &format!("/proc/1/{file}"));
    }
    for file in ["environ", "maps", "root/etc/passwd"] {
        scene.control_outside("file", &format!("/proc/{}/{file}", sleeper.pid()));
    }
}

#[test]
fn the_agent_cannot_be_killed_from_inside() {
    let scene = Scene::set();
    let agent = scene.server.agent("spy:a");
    scene.through_app("spy:a", "kill", "1");
    scene.server.get("spy:a", "/health").expect(200);
    assert_eq!(scene.server.agent("spy:a"), agent);
    let sleeper = Sleeper::start();
    scene.control_outside("kill", &sleeper.pid());
    assert!(insula_tests::exited_within(
        rustix::process::Pid::from_child(&sleeper.0),
        insula_tests::PATIENCE
    ));
}

#[test]
fn a_neighbours_data_and_insulas_own_files_are_out_of_reach() {
    let scene = Scene::set();
    scene.server.get("victim:a", "/write?n=3").expect(200);
    let place = scene.server.place();
    let config = place.path().join("insula.toml");
    for path in [place.data().join("victim/a/kept"), place.home().join("state.db"), config] {
        let path = path.to_str().unwrap();
        scene.wall_holds("file", path);
        scene.control_outside("file", path);
    }
}

#[test]
fn the_sockets_of_insula_are_out_of_reach() {
    let scene = Scene::set();
    let control = scene.server.place().home().join("run/control.sock");
    scene.wall_holds("socket", control.to_str().unwrap());
    scene.control_outside("socket", control.to_str().unwrap());
    let sockets = scene.server.inventory().sockets;
    assert!(sockets.len() >= 5, "one for control and one for each agent were expected: {sockets:?}");
    for path in sockets {
        let path = path.to_str().unwrap();
        match path.strip_prefix('@') {
            Some(name) => scene.wall_holds("abstract", name),
            None => scene.wall_holds("socket", path),
        }
    }
}

#[test]
fn shared_memory_of_the_host_is_out_of_reach() {
    let scene = Scene::set();
    let key = (0x1500_0000 + std::process::id()).to_string();
    scene.control_outside("make_shm", &key);
    let behind = scene.through_app("spy:a", "shm", &key);
    let bare = scene.through_app("bare:a", "shm", &key);
    scene.control_outside("drop_shm", &key);
    assert_eq!((&behind["through"], &bare["through"]), (&false.into(), &true.into()), "{behind} {bare}");
}

#[test]
fn calls_that_open_the_kernel_are_refused() {
    let scene = Scene::set();
    for probe in ["unshare", "mount", "keyctl", "io_uring", "setns", "read_child"] {
        scene.wall_holds(probe, "");
        let outside = scene.outside(&[], probe, "");
        if outside["errno"] == "ENOSYS" {
            eprintln!("not shown: this kernel does not have `{probe}`");
        } else {
            assert_eq!(outside["through"], true, "the control of `{probe}`: {outside}");
        }
    }
}

#[test]
fn programs_and_counters_in_the_kernel_are_refused() {
    let scene = Scene::set();
    for probe in ["bpf", "perf"] {
        scene.wall_holds(probe, "");
        let outside = scene.outside(&[], probe, "");
        if outside["through"] == false && !is_root() {
            skip!("this host lets no ordinary user do `{probe}` even without a wall");
        }
        assert_eq!(outside["through"], true, "the control of `{probe}`: {outside}");
    }
}

#[test]
fn on_the_network_of_the_host_its_abstract_sockets_are_out_of_reach() {
    let server = Server::start(&services(&[
        ("walled", "serve", "isolation = \"namespace\"\nnetwork = \"host\"", &["a"]),
        ("bare", "serve", "isolation = \"process\"\nnetwork = \"host\"", &["a"]),
    ]));
    let doctor = server.cli(&["doctor", "--json"]).json();
    let landlock =
        doctor["checks"].as_array().unwrap().iter().find(|check| check["what"] == "landlock").unwrap();
    if landlock["verdict"] != "good" {
        skip!("this kernel has no scopes of Landlock");
    }
    let name = format!("insula-e2e-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let through = |app: &str| {
        let path = format!("/probe?name=abstract&target={}", escaped(&name));
        server.get(app, &path).expect(200).json()["through"].clone()
    };
    assert_eq!(through("walled:a"), false);
    assert_eq!(through("bare:a"), true, "the control");
}

#[test]
fn nothing_inside_becomes_root() {
    if !is_root() {
        skip!("only root can make a set-user-id file of root");
    }
    let scene = Scene::set();
    let program = &scene.set_user_id_program();
    let ordinary = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"];
    scene.wall_holds("setuid", program);
    assert_eq!(scene.outside(&ordinary, "setuid", program)["through"], true);
    scene.wall_holds("setuid_call", "");
    scene.control_outside("setuid_call", "");
}

#[test]
fn the_program_cannot_change_its_own_code() {
    let scene = Scene::set();
    let apps = scene.server.place().apps();
    for folder in [apps.to_str().unwrap(), "/usr/lib", "/etc"] {
        scene.wall_holds("write", folder);
    }
    scene.control_outside("write", apps.to_str().unwrap());
    let own = scene.server.place().data().join("spy/a");
    assert_eq!(scene.through_app("spy:a", "write", own.to_str().unwrap())["through"], true);
}

#[test]
fn inside_there_is_only_what_was_declared() {
    let scene = Scene::set();
    let about = scene.server.get("spy:a", "/about").expect(200).json();
    let names: Vec<&str> = about["env"].as_object().unwrap().keys().map(String::as_str).collect();
    let declared = ["DATA", "HOME", "INSULA_INSTANCE", "LANG", "LC_CTYPE", "PATH", "PORT", "SOCKET_PATH"];
    assert!(names.iter().all(|n| declared.contains(n)), "undeclared environment: {names:?}");
    assert!(about["env"]["DATA"].as_str().unwrap().ends_with("/spy/a"));
    let status = about["status"].as_str().unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapBnd:"), "0000000000000000");
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    let processes = about["processes"].as_array().unwrap();
    assert!(processes.len() <= 3, "more processes than its own and the agent: {processes:?}");
    let root: Vec<&str> = about["root"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(!root.contains(&"root") && !root.contains(&"boot") && !root.contains(&"srv"), "{root:?}");
    // The control: the test itself has none of these walls.
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t0"));
}

#[test]
fn each_tenant_has_ids_of_its_own() {
    if !is_root() {
        skip!("an ordinary user has no ids to give away");
    }
    let server = Server::start(&services(&[("app", "serve", "", &["a", "b"])]));
    let uid = |name: &str| {
        server.get(name, "/health").expect(200);
        server.app(name).field("Uid").unwrap()
    };
    let (a, b) = (uid("app:a"), uid("app:b"));
    assert_ne!(a, b);
    assert!(!a.starts_with('0') && !b.starts_with('0'), "{a} {b}");
    let kept = server.get("app:a", "/about").expect(200).json()["uid"].clone();
    assert_eq!(
        kept,
        server.get("app:b", "/about").expect(200).json()["uid"],
        "inside, both are the same user"
    );
}
