//! The workload's own socket: a workload may put anything in its place.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_isolation::Sandbox;
use insula_spec::Level;

use crate::support::*;

/// Listens on SOCKET_PATH; on request puts something else in its place.
const SWAPPER: &str = r#"
import os, socket
path = os.environ["SOCKET_PATH"]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
while True:
    c, _ = s.accept()
    what = c.recv(1000).decode()
    if not what: continue
    if what != "hi":
        os.unlink(path)
        kind, _, target = what.partition(" ")
        if kind == "link": os.symlink(target, path)
        if kind == "fifo": os.mkfifo(path)
        if kind == "file": open(path, "w").close()
        if kind == "dir": os.mkdir(path)
    c.sendall(b"done")
"#;

/// Where the host finds the directory of that socket.
fn app_dir(home: &Home, sandbox: &dyn Sandbox) -> PathBuf {
    let record = sandbox.record();
    match record.level {
        Level::Process => record.placement.socket.parent().unwrap().to_owned(),
        _ => home.path("run").join(record.key).join("app"),
    }
}

/// A socket of the host that no workload may reach.
struct Control(UnixListener, PathBuf);

impl Control {
    fn new(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener, path.to_owned())
    }

    /// Whether somebody connected since the last look.
    fn was_reached(&self) -> bool {
        self.0.accept().is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_the_place_of_the_socket_is_not_followed() {
    for level in BOTH {
        let home = Home::new();
        let control = Control::new(&home.path("control.sock"));
        let engine = home.engine(1);
        let link = format!("link {}", control.1.display());
        for what in [&link, "link app.sock", "fifo", "file", "dir", "nothing"] {
            let launch = home.launch(&engine, level, &["python3", "-c", SWAPPER]);
            let sandbox = listening(&engine, &launch, level).await;
            assert_eq!(
                ask(&*sandbox, "hi").await,
                "done",
                "an honest socket is not reached at level {level}"
            );
            assert_eq!(ask(&*sandbox, what).await, "done");
            if what == link {
                let followed =
                    std::os::unix::net::UnixStream::connect(app_dir(&home, &*sandbox).join("app.sock"));
                assert!(
                    followed.is_ok() && control.was_reached(),
                    "the link leads nowhere: no test of anything"
                );
            }
            in_time(sandbox.connector().connect()).await.expect_err(what);
            assert!(!control.was_reached(), "`{what}` led to a socket of the host at level {level}");
            in_time(sandbox.stop(Duration::ZERO)).await;
        }
    }
}

/// The same socket under a second name is not the workload's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_to_another_socket_is_not_followed() {
    for level in BOTH {
        let home = Home::new();
        let engine = home.engine(1);
        let launch = home.launch(&engine, level, &["python3", "-c", SWAPPER]);
        let sandbox = listening(&engine, &launch, level).await;
        let dir = app_dir(&home, &*sandbox);
        let control = Control::new(&dir.parent().unwrap().join("control.sock"));
        assert_eq!(ask(&*sandbox, "nothing").await, "done");
        std::fs::hard_link(&control.1, dir.join("app.sock")).unwrap();
        let error = in_time(sandbox.connector().connect()).await.expect_err("a hard link was followed");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        std::fs::remove_file(&control.1).unwrap();
        in_time(sandbox.connector().connect()).await.expect("under its only name it is refused as well");
        in_time(sandbox.stop(Duration::ZERO)).await;
    }
}

/// At level `process` the agent has more rights than the workload: it must not be led by it either.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_does_not_follow_a_link_when_it_looks_for_the_listener() {
    for level in BOTH {
        let home = Home::new();
        let control = Control::new(&home.path("control.sock"));
        let engine = home.engine(1);
        let program = format!(
            "import os\nos.symlink('{}', os.environ['SOCKET_PATH'])\n\
             os.read(os.open(os.environ['GO'], os.O_RDONLY), 1)\n{SERVER}",
            control.1.display()
        );
        let mut launch = home.launch(&engine, level, &["python3", "-c", &program]);
        let gate = crate::adoption::fifo(&launch);
        launch.env.push(("GO".into(), gate.display().to_string().into()));
        let mut sandbox = start(&engine, &launch, level).await;
        crate::adoption::open_gate(gate).await;
        // The link was there first; the agent has looked at it before it finds the port.
        assert_eq!(event(&mut *sandbox).await, insula_isolation::Event::Listening);
        assert!(!control.was_reached(), "the agent followed the link at level {level}");
        let uid = inner_uid(&launch, level);
        assert_eq!(ask(&*sandbox, "hi").await, format!("1 {uid} hi"));
        in_time(sandbox.stop(Duration::ZERO)).await;
    }
}
