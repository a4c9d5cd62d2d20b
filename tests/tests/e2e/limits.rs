//! Limits hold, and one that cannot hold refuses the start.

use insula_tests::{Server, cgroups_writable, exited_within, skip, wait_until};

use crate::common::{app, number, services};

const NO_CGROUPS: &str = "control groups cannot be written by this user here";

#[test]
fn a_tenant_that_eats_memory_is_ended_with_oom_as_the_reason() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let limited = ("small", "serve", "memory_limit_mb = 64\nrestart = \"never\"", &["a"][..]);
    let server = Server::start(&services(&[("app", "serve", "", &["a"]), limited]));
    assert_eq!(
        number(&server.get("app:a", "/eat?mb=128").expect(200), "held"),
        128,
        "the control was limited"
    );
    server.get("small:a", "/").expect(200);
    let process = server.app("small:a");
    drop(server.try_get("small:a", "/eat?mb=128"));
    assert!(exited_within(process.id(), insula_tests::PATIENCE));
    let why = wait_until("the reason is known", || {
        let why = server.cli(&["why", "small:a"]).ok().stdout;
        why.to_lowercase().contains("oom").then_some(why)
    });
    assert!(why.contains("memory"), "`why` does not tell what to do: {why}");
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1, "a neighbour was ended");
}

#[test]
fn a_tenant_cannot_have_more_processes_than_its_limit() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let limited = ("small", "serve", "pids_limit = 20", &["a"][..]);
    let server = Server::start(&services(&[("app", "serve", "", &["a"]), limited]));
    assert_eq!(
        number(&server.get("app:a", "/processes?n=40").expect(200), "made"),
        40,
        "the control was limited"
    );
    let made = number(&server.get("small:a", "/processes?n=40").expect(200), "made");
    assert!(made < 20, "{made} were made");
    // A process that was ended counts until its end is over; the app wants a thread for each request.
    wait_until("it goes on", || (server.get("small:a", "/health").status == 200).then_some(()));
}

#[test]
fn a_tenant_cannot_open_more_files_than_its_limit() {
    let limited = ("small", "serve", "open_files = 64", &["a"][..]);
    let server = Server::start(&services(&[("app", "serve", "", &["a"]), limited]));
    assert_eq!(
        number(&server.get("app:a", "/files?n=100").expect(200), "opened"),
        100,
        "the control was limited"
    );
    let opened = number(&server.get("small:a", "/files?n=100").expect(200), "opened");
    assert!(opened < 64, "{opened} were opened");
}

#[test]
fn limits_hold_again_after_sleep_and_after_a_crash() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let keys = "pids_limit = 20\nidle_timeout = \"300ms\"\nrestart = \"always\"";
    let server = Server::start(&app("serve", keys, &["a"]));
    let limited = |when: &str| {
        let made = number(&server.get("app:a", "/processes?n=40").expect(200), "made");
        assert!(made < 20, "{made} were made {when}");
    };
    limited("at first");
    server.wait_observed("app:a", "asleep");
    limited("after sleep");
    server.app("app:a").kill();
    limited("after a crash");
}

#[test]
fn weights_and_quotas_are_in_force() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let heavy = ("heavy", "serve", "cpu_weight = 200\ncpu_quota = 0.5", &["a"][..]);
    let server = Server::start(&services(&[("light", "serve", "cpu_weight = 100", &["a"]), heavy]));
    let read = |instance: &str, files: [&str; 2]| -> Option<i64> {
        server.get(instance, "/health").expect(200);
        let groups = server.inspect(instance)["cgroups"].clone();
        let groups = groups.as_array().unwrap().iter().filter_map(|g| g.as_str());
        let paths = groups.flat_map(|g| files.map(|f| format!("{g}/{f}")));
        let app = paths.filter(|p| !p.contains("agent")).find_map(|p| std::fs::read_to_string(p).ok())?;
        app.split_whitespace().next()?.parse().ok()
    };
    let weight = |instance| read(instance, ["cpu.shares", "cpu.weight"]).expect("a weight");
    assert_eq!(weight("heavy:a"), 2 * weight("light:a"));
    let quota = |instance| read(instance, ["cpu.cfs_quota_us", "cpu.max"]).unwrap_or(-1);
    assert_eq!((quota("heavy:a"), quota("light:a")), (50_000, -1));
}

#[test]
fn a_limit_that_cannot_hold_refuses_the_start_and_says_what_would_do() {
    if cgroups_writable() {
        skip!("every limit can be enforced by this user here");
    }
    let server = Server::start(&app("serve", "memory_limit_mb = 64", &["a"]));
    server.wait_observed("app:a", "failed");
    server.get("app:a", "/").expect(503);
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("memory"), "`why` does not name the limit: {why}");
}
