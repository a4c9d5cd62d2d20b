//! What a workload can do to those beside it, and to its own agent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use insula_isolation::{Event, Exit};
use insula_spec::Level;

use crate::support::*;
use crate::view::{ATTEMPT, Scene, attempts};

/// What runs on this host beside a tenant: a listener on the loopback, one on an abstract name, shared memory.
#[tokio::test(flavor = "multi_thread")]
async fn neighbours_are_out_of_reach() {
    let scene = Scene::new();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("neighbour-{}", scene.home.dir().display());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let key = i32::from_str_radix(&format!("{:x}", std::process::id()), 16).unwrap() | 0x4000_0000;
    let tcp = format!(
        "socket.create_connection(('127.0.0.1', {})) and 'reached'",
        tcp.local_addr().unwrap().port()
    );
    let hidden = format!("socket.socket(socket.AF_UNIX).connect('\\0{name}') or 'reached'");
    let shm = format!("call(libc.shmget({key}, 4096, 0)) and 'reached'");
    // The neighbour that has the shared memory is a workload without a wall.
    let make = format!("{ATTEMPT}\nattempt('make', lambda: call(libc.shmget({key}, 4096, 0o1666)) >= 0)\n");
    assert_eq!(
        run(&scene.engine, &scene.launch(Level::Process, &make), Level::Process).await,
        "make = True\n"
    );
    let lines = [
        ("loopback of the host", tcp.as_str()),
        ("abstract socket", &hidden),
        ("shared memory", &shm),
        ("outside", "socket.create_connection(('192.0.2.1', 80), 1).recv(1) or 'closed'"),
    ];
    let walled =
        run(&scene.engine, &scene.launch(Level::Namespace, &attempts(&lines)), Level::Namespace).await;
    let open =
        run(&scene.engine, &scene.launch(Level::Process, &attempts(&lines[..2])), Level::Process).await;
    let clean = format!(
        "{ATTEMPT}\nn = call(libc.shmget({key}, 4096, 0))\nattempt('remove', lambda: call(libc.shmctl(n, 0, 0)))"
    );
    let removed = run(&scene.engine, &scene.launch(Level::Process, &clean), Level::Process).await;
    assert_eq!(removed, "remove = 0\n", "the shared memory was not there for a neighbour either");
    insta::assert_snapshot!(open, @r"
    loopback of the host = reached
    abstract socket = reached
    ");
    insta::assert_snapshot!(walled, @r"
    loopback of the host ! ECONNREFUSED
    abstract socket ! ECONNREFUSED
    shared memory ! ENOENT
    outside ! None
    ");
}

/// The agent is process 1, the only other one that a workload can name.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_cannot_be_read_stopped_or_traced_from_inside() {
    let scene = Scene::new();
    let lines = [
        ("its environment", "len(open(f'/proc/{SEEN}/environ').read()) >= 0"),
        ("its memory", "open(f'/proc/{SEEN}/mem', 'rb') and 'open'"),
        ("its descriptors", "len(os.listdir(f'/proc/{SEEN}/fd')) > 0"),
        ("trace it", "call(libc.ptrace(0x4206, TARGET, 0, 0))"),
        ("read it", "call(libc.process_vm_readv(TARGET, 0, 0, 0, 0, 0))"),
    ];
    // Without a wall, /proc may show it under another number than its own.
    let child = "import subprocess\nTARGET = subprocess.Popen(['sleep', '100']).pid\n\
                 SEEN = open('/proc/thread-self/children').read().split()[0]\n";
    let at = |target: &str| attempts(&lines).replacen(ATTEMPT, &format!("{ATTEMPT}\n{target}"), 1);
    let [agent, own] = [at("TARGET = SEEN = 1\n"), at(child)];
    let own = run(&scene.engine, &scene.launch(Level::Process, &own), Level::Process).await;
    insta::assert_snapshot!(own, @r"
    its environment = True
    its memory = open
    its descriptors = True
    trace it = 0
    read it = 0
    ");
    let agent = run(&scene.engine, &scene.launch(Level::Namespace, &agent), Level::Namespace).await;
    insta::assert_snapshot!(agent, @r"
    its environment ! EACCES
    its memory ! EACCES
    its descriptors ! EACCES
    trace it ! EPERM
    read it ! EPERM
    ");
    // Whatever signal reaches it, it goes on.
    let signals =
        format!("{ATTEMPT}\nfor n in range(1, 65): attempt(n, lambda: os.kill(1, n))\nexec({SERVER:?})");
    let launch = scene.launch(Level::Namespace, &signals);
    let mut sandbox = listening(&scene.engine, &launch, Level::Namespace).await;
    assert_eq!(ask(&*sandbox, "hi").await, "1 1000 hi");
    ask(&*sandbox, "die").await;
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(7)), "the agent does not tell the end");
    in_time(sandbox.stop(Duration::ZERO)).await;
}
