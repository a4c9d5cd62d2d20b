//! After a crash of the launcher, its left-overs are found and others' are not touched.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use insula_isolation::FAULT_POINTS;
use insula_spec::Level;

use crate::support::*;

/// What the helper does: launches and commits in the home that the environment names, then stays.
/// Ignored: a test starts it, in a process that can be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of other tests"]
async fn helper() {
    let Some(dir) = std::env::var_os("WALLS_HOME") else { return };
    let level: Level = std::env::var("WALLS_LEVEL").unwrap().parse().unwrap();
    let home = Home::at(dir.into());
    let engine = home.engine(1);
    let launch = home.launch(&engine, level, &["sh", "-c", "sleep 1000; : $0", dir_marker(&home).as_str()]);
    let mut sandbox = start(&engine, &launch, level).await;
    println!("started");
    if std::env::var_os("WALLS_COMMIT").is_some() {
        sandbox.commit().await.unwrap();
        println!("record {}", serde_json::to_string(&sandbox.record()).unwrap());
        in_time(std::future::pending::<()>()).await;
    }
    sandbox.commit().await.unwrap();
    sandbox.stop(std::time::Duration::ZERO).await;
}

fn dir_marker(home: &Home) -> String {
    format!("swept-{}", home.dir().display())
}

fn command(home: &Home, level: Level) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sweep::helper", "--ignored", "--nocapture"]);
    command.env("WALLS_HOME", home.dir()).env("WALLS_LEVEL", level.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What this home has on the host.
fn inventory(home: &Home) -> Vec<String> {
    let mut found = home.run_dirs();
    found.extend(processes_with(&dir_marker(home)).iter().map(|pid| format!("process {pid}")));
    found.extend(agents_of(home).iter().map(|pid| format!("agent {pid}")));
    found.extend(home.groups().iter().map(|dir| dir.display().to_string()));
    found.extend(home.host_sockets());
    found
}

/// Agents whose key was once a directory of this home are told by their open socket path.
fn agents_of(home: &Home) -> Vec<i32> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let marker = home.path("run").display().to_string();
    table.lines().filter(|line| line.contains(&marker)).map(|_| 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launcher_killed_at_any_point_leaves_nothing_after_the_sweep() {
    let bystander = Home::new();
    let engine = bystander.engine(1);
    let launch = bystander.launch(&engine, Level::Namespace, &["sleep", "1000"]);
    let mut other = start(&engine, &launch, Level::Namespace).await;
    other.commit().await.unwrap();
    let points = FAULT_POINTS.into_iter().filter(|point| !point.starts_with("adopt."));
    let mut left = 0;
    for point in points {
        for level in BOTH {
            let home = Home::new();
            let mut child = command(&home, level).env("INSULA_FAULT", point).spawn().unwrap();
            let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
            let status = in_time(status).await.unwrap();
            assert_eq!(status.signal(), Some(9), "`{point}` was not reached at level {level}: {status}");
            left += inventory(&home).len();
            let engine = home.engine(2);
            let swept = in_time(engine.registry().sweep(&[])).await;
            assert_eq!(swept.failed, Vec::<String>::new(), "after `{point}` at level {level}");
            in_time(settled(&home, &format!("after `{point}` at level {level}"))).await;
        }
    }
    assert!(left > 0, "nothing was ever left: no test of a sweep");
    let record = other.record();
    assert!(lives(record.app_pid, record.app_start), "a workload of another home was swept");
    in_time(other.stop(std::time::Duration::ZERO)).await;
}

/// An uncommitted agent ends by itself when its launcher is gone; that may still be under way.
async fn settled(home: &Home, when: &str) {
    let deadline = tokio::time::Instant::now() + LONG / 2;
    loop {
        let left = inventory(home);
        if left.is_empty() {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{when}: {left:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_the_unknown_and_leaves_the_known() {
    for level in BOTH {
        let home = Home::new();
        let mut child = command(&home, level).env("WALLS_COMMIT", "1").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let record = lines.find_map(|l| l.unwrap().strip_prefix("record ").map(str::to_owned)).unwrap();
        let record: insula_isolation::Record = serde_json::from_str(&record).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let engine = home.engine(2);
        let swept = in_time(engine.registry().sweep(std::slice::from_ref(&record))).await;
        assert_eq!(swept, insula_isolation::Swept::default(), "a known one was swept at level {level}");
        assert!(lives(record.app_pid, record.app_start));
        let swept = in_time(engine.registry().sweep(&[])).await;
        assert!(swept.failed.is_empty() && swept.run_dirs == 1 && swept.processes > 0, "{swept:?}");
        home.nothing_left(&record);
        in_time(settled(&home, "after the sweep")).await;
    }
}
