//! What a workload sees. Each claim is tried at level `process` as well, where it must not hold.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use insula_isolation::{Event, Exit};
use insula_spec::{Launch, Level, Mount};

use crate::support::*;

/// Runs every attempt of a script and prints what came of it, one a line.
pub(crate) const ATTEMPT: &str = r#"
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return result
def attempt(name, do):
    try: print(name, "=", do())
    except OSError as e: print(name, "!", errno.errorcode.get(e.errno, e.errno))
def read(path):
    with open(path) as f: return f.read().strip()[:40]
def write(path):
    with open(path, "w") as f: f.write("x")
    return "written"
"#;

pub(crate) fn attempts(lines: &[(&str, &str)]) -> String {
    let calls = lines.iter().map(|(name, code)| format!("attempt({name:?}, lambda: {code})\n"));
    format!("{ATTEMPT}\n{}", calls.collect::<String>())
}

/// A home with something in it that a tenant may not see, all of it readable for every user of the host, and
/// the whole of it as the working directory.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) engine: insula_isolation::Engine,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir_all(home.path("data/app/bob")).unwrap();
        write(&home.path("data/app/bob/secret"), "of bob");
        write(&home.path("work/insula.toml"), "the configuration");
        write(&home.path("work/program"), "of the service");
        std::fs::set_permissions(home.path("work"), PermissionsExt::from_mode(0o777)).unwrap();
        let engine = home.engine(1);
        Self { home, engine }
    }

    pub(crate) fn launch(&self, level: Level, program: &str) -> Launch {
        let launch = self.home.launch(&self.engine, level, &["python3", "-c", program]);
        Launch { workdir: self.home.dir().to_owned(), ..launch }
    }

    /// What came of these attempts at each level: `process`, then `namespace`.
    async fn both(&self, lines: &[(&str, &str)]) -> [String; 2] {
        let mut answers = Vec::new();
        for level in BOTH {
            answers.push(run(&self.engine, &self.launch(level, &attempts(lines)), level).await);
        }
        answers.try_into().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_host_only_what_was_shown_is_there() {
    let scene = Scene::new();
    let dir = scene.home.dir().display().to_string();
    let marker =
        std::env::temp_dir().join(format!("{}.marker", scene.home.dir().file_name().unwrap().display()));
    write(&marker, "of the host");
    let bob = format!("read('{dir}/data/app/bob/secret')");
    let config = format!("read('{dir}/work/insula.toml') or 'empty'");
    let program = format!("read('{dir}/work/program')");
    let change = format!("write('{dir}/work/new')");
    let tmp = format!("read('{}')", marker.display());
    let pid = format!("os.path.exists('/proc/{}')", std::process::id());
    let lines = [
        ("data of another tenant", bob.as_str()),
        ("configuration", &config),
        ("program", &program),
        ("change the program", &change),
        ("temporary file of the host", &tmp),
        ("a process of the host", &pid),
        ("passwords", "os.path.exists('/etc/shadow')"),
        ("/home", "os.path.exists('/home')"),
        ("/root", "os.path.exists('/root')"),
        ("/sys", "os.path.exists('/sys/kernel')"),
        ("/boot", "os.path.exists('/boot')"),
        ("own data", "write('own') or os.getcwd()"),
    ];
    let own = format!("write(f'{dir}/data/app/alice/{{os.urandom(4).hex()}}')");
    let lines = lines.map(|(name, code)| (name, if name == "own data" { own.as_str() } else { code }));
    let [open, walled] = scene.both(&lines).await;
    // With nothing hidden, what is in the working directory is seen: it is the masks that hide it.
    let bare = scene.home.open_engine(2);
    let unmasked =
        run(&bare, &scene.launch(Level::Namespace, &attempts(&lines[..2])), Level::Namespace).await;
    assert_eq!(unmasked, "data of another tenant = of bob\nconfiguration = the configuration\n");
    std::fs::remove_file(marker).unwrap();
    insta::assert_snapshot!(open, @r"
    data of another tenant = of bob
    configuration = the configuration
    program = of the service
    change the program = written
    temporary file of the host = of the host
    a process of the host = True
    passwords = True
    /home = True
    /root = True
    /sys = True
    /boot = True
    own data = written
    ");
    insta::assert_snapshot!(walled, @r"
    data of another tenant ! ENOENT
    configuration = empty
    program = of the service
    change the program ! EROFS
    temporary file of the host ! ENOENT
    a process of the host = False
    passwords = False
    /home = False
    /root = False
    /sys = False
    /boot = False
    own data = written
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_declared_environment_is_there() {
    assert!(std::env::vars_os().count() > 3, "this process has no environment that could be passed on");
    let scene = Scene::new();
    let print = "print('\\n'.join(sorted(v.split('=')[0] for v in open('/proc/self/environ').read().split('\\0') if v)))";
    for level in BOTH {
        let mut launch = scene.launch(level, print);
        launch.env.push(("GIVEN".into(), "x".into()));
        assert_eq!(run(&scene.engine, &launch, level).await, "GIVEN\nPATH\nPORT\nSOCKET_PATH\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_processes_and_names_are_its_own() {
    let scene = Scene::new();
    let lines = [
        ("devices", "' '.join(sorted(os.listdir('/dev')))"),
        ("random", "len(os.urandom(8)) + len(open('/dev/urandom', 'rb').read(8))"),
        ("a disk", "call(libc.mknod(b'/tmp/disk', 0o60600, os.makedev(8, 0)))"),
        ("processes", "sorted(int(p) for p in os.listdir('/proc') if p.isdigit()) == [1, os.getpid()]"),
        ("host name", "socket.gethostname()"),
        ("rename the host", "socket.sethostname('x')"),
        ("capabilities", "[l.split()[1] for l in open('/proc/self/status') if l.startswith('CapBnd')][0]"),
        ("privileges", "[l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')][0]"),
        ("user", "(os.getuid(), os.getgid(), os.getgroups())"),
    ];
    let text = run(&scene.engine, &scene.launch(Level::Namespace, &attempts(&lines)), Level::Namespace).await;
    // An ordinary user may not drop its further groups; there it has none but its own.
    let text = text.replace("(1000, 1000, [1000])", "(1000, 1000, [])");
    insta::assert_snapshot!(text, @r"
    devices = fd full null random shm stderr stdin stdout tty urandom zero
    random = 16
    a disk ! EPERM
    processes = True
    host name = alice
    rename the host ! EPERM
    capabilities = 0000000000000000
    privileges = 1
    user = (1000, 1000, [])
    ");
    let open = run(&scene.engine, &scene.launch(Level::Process, &attempts(&lines)), Level::Process).await;
    assert!(!open.contains("processes = True"), "every process is its own where there is no wall: {open}");
}

/// Set-user-id programs and device files in what is shown have no power.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_shown_is_mounted_without_power() {
    let scene = Scene::new();
    let list = "for l in open('/proc/self/mountinfo'):\n  f = l.split()\n  print(f[4], f[5])";
    let text = run(&scene.engine, &scene.launch(Level::Namespace, list), Level::Namespace).await;
    let home = scene.home.dir().display().to_string();
    for line in text.lines() {
        let (at, options) = line.split_once(' ').unwrap();
        let has = |option| options.split(',').any(|o| o == option);
        assert!(has("nosuid"), "{line}");
        let mask = format!("{home}/work/insula.toml");
        assert!(has("nodev") || at.starts_with("/dev/") || at == mask, "{line}");
        let writable =
            [&format!("{home}/data/app/alice"), "/run/insula", "/tmp", "/dev/shm", "/proc", "/dev"];
        let may = writable.contains(&at) || at == format!("{home}/data");
        assert!(has("ro") || may, "writable: {line}");
    }
    assert!(text.lines().count() > 10, "{text}");
    let open = run(&scene.engine, &scene.launch(Level::Process, list), Level::Process).await;
    assert!(
        open.lines().any(|l| !l.contains("nosuid")),
        "the host has no mount with power: no test of anything"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_shown_where_and_how_they_were_asked_for() {
    let scene = Scene::new();
    for (dir, text) in [("a", "read"), ("b", "write")] {
        std::fs::create_dir(scene.home.path(dir)).unwrap();
        write(&scene.home.path(dir).join("file"), text);
        for path in [scene.home.path(dir), scene.home.path(dir).join("file")] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }
    }
    let mount = |from: &str, to: &str, read_only| Mount {
        source: scene.home.path(from),
        target: to.into(),
        read_only,
    };
    let lines = [
        ("read", "read('/srv/a/file')"),
        ("change", "write('/srv/a/file')"),
        ("read a file", "read('/srv/one')"),
        ("change what is writable", "write('/srv/b/file')"),
        ("through a link", "read('/srv/all/data/app/bob/secret')"),
    ];
    // A link to the home must not get around the mask over what is hidden in it.
    std::os::unix::fs::symlink(scene.home.dir(), scene.home.path("link")).unwrap();
    let mut launch = scene.launch(Level::Namespace, &attempts(&lines));
    launch.workdir = scene.home.path("work");
    launch.mounts = vec![
        mount("a", "/srv/a", true),
        mount("b", "/srv/b", false),
        mount("a/file", "/srv/one", true),
        mount("link", "/srv/all", true),
    ];
    let text = run(&scene.engine, &launch, Level::Namespace).await;
    insta::assert_snapshot!(text, @r"
    read = read
    change ! EROFS
    read a file = read
    change what is writable = written
    through a link ! ENOENT
    ");
    assert_eq!(std::fs::read_to_string(scene.home.path("b/file")).unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_finds_tmp_empty_and_what_is_mounted_below_it_as_it_was() {
    let scene = Scene::new();
    let shared = scene.home.path("shared");
    std::fs::create_dir_all(shared.join("deep")).unwrap();
    for path in [shared.clone(), shared.join("deep")] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let look = "
import os
seen = [p for p in ('/tmp/junk', '/tmp/d/e/f', '/dev/shm/junk', '/tmp/shared/kept', '/tmp/shared/deep/kept', 'kept') if os.path.exists(p)]
print(seen, flush=True)
os.makedirs('/tmp/d/e', exist_ok=True)
os.chdir(os.environ['DATA'])
for p in ('/tmp/junk', '/tmp/d/e/f', '/dev/shm/junk', '/tmp/shared/kept', '/tmp/shared/deep/kept', 'kept'): open(p, 'w').close()
os.symlink('/tmp/shared', '/tmp/link')
";
    let mut launch = scene.launch(Level::Namespace, look);
    launch.mounts = vec![Mount { source: shared.clone(), target: "/tmp/shared".into(), read_only: false }];
    launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
    launch.workdir = scene.home.path("work");
    let mut sandbox = start(&scene.engine, &launch, Level::Namespace).await;
    let mut lines = Lines::of(&mut *sandbox);
    assert_eq!(lines.next().await, "[]");
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(0)));
    in_time(sandbox.relaunch(&launch)).await.unwrap();
    assert_eq!(lines.next().await, "['/tmp/shared/kept', '/tmp/shared/deep/kept']");
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(0)));
    assert!(launch.data_dir.join("kept").exists() || !root(), "the tenant's own data was emptied");
    in_time(sandbox.stop(Duration::ZERO)).await;
    assert!(Path::new(&shared.join("deep/kept")).exists());
}
