//! Limits hold, and one that cannot hold refuses the start.

use std::path::PathBuf;

use insula_tests::{
    Options, Place, Server, cgroups_writable, exited_within, skip, system_program, wait_until,
};

use crate::common::{app, lacks, number, services};

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

/// Levels with control groups around what runs in their walls.
const WALLED: [&str; 3] = ["namespace", "container", "gvisor"];

/// CPU time that an instance has used, in microseconds.
fn used(server: &Server, instance: &str) -> i64 {
    server.inspect(instance)["usage"]["cpu_micros"].as_i64().expect("its CPU time is not known")
}

/// A processor that this test may use.
fn processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

/// Services that never wait share one processor: what each of them gets is a matter of weights alone, however long that
/// takes, and whatever else runs there.
#[test]
fn time_on_one_processor_is_shared_by_weight() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let Some(taskset) = system_program("taskset") else { skip!("no `taskset` (package util-linux)") };
    let through = vec![taskset.to_str().unwrap().to_owned(), "-c".to_owned(), processor()];
    for level in WALLED {
        let keys = |weight| format!("isolation = \"{level}\"\ncpu_weight = {weight}");
        let (light, heavy) = (keys(100), keys(200));
        let config = services(&[
            ("light", "serve", &light, &["a"]),
            ("even", "serve", &light, &["a"]),
            ("heavy", "serve", &heavy, &["a"]),
        ]);
        let options = Options { through: through.clone(), ..Options::default() };
        let server = Server::with(Place::new(), &config, &options);
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        let all = ["light:a", "even:a", "heavy:a"];
        all.iter().for_each(|instance| drop(server.get(instance, "/burn").expect(200)));
        let before = all.map(|instance| used(&server, instance));
        let since = || {
            let now = all.map(|instance| used(&server, instance));
            [0, 1, 2].map(|n| now[n] - before[n])
        };
        let [light, even, heavy] = wait_until("they have used two seconds together", || {
            Some(since()).filter(|used| used.iter().sum::<i64>() > 2_000_000)
        });
        // Ratios in hundredths, so that numbers stay whole.
        let double = heavy * 100 / light.max(1);
        let same = even * 100 / light.max(1);
        eprintln!("at {level}: light {light} us, even {even} us, heavy {heavy} us");
        assert!((150..=270).contains(&double), "at {level}: {heavy} to {light}");
        assert!((70..=140).contains(&same), "at {level} the control is not even: {even} to {light}");
    }
}

/// How often an instance had to wait because its quota was used up.
fn throttled(server: &Server, instance: &str) -> i64 {
    let groups = server.inspect(instance)["cgroups"].clone();
    let groups = groups.as_array().unwrap().iter().filter_map(|group| group.as_str()).map(PathBuf::from);
    let mut stats =
        groups.filter(|group| !group.ends_with("agent") && group.extension().is_none_or(|e| e == "app"));
    let stat =
        stats.find_map(|group| std::fs::read_to_string(group.join("cpu.stat")).ok()).expect("no cpu.stat");
    let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).expect("no nr_throttled");
    line.parse().unwrap()
}

#[test]
fn who_has_used_up_a_quota_waits() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    for level in WALLED {
        // A small quota and a large weight: on a busy host, too, both get more than that.
        let free = format!("isolation = \"{level}\"\ncpu_weight = 10000");
        let bounded = format!("{free}\ncpu_quota = 0.1");
        let config = services(&[("free", "serve", &free, &["a"]), ("bounded", "serve", &bounded, &["a"])]);
        let server = Server::start(&config);
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        for instance in ["free:a", "bounded:a", "free:a", "bounded:a"] {
            server.get(instance, "/burn").expect(200);
        }
        wait_until("it waits for its quota", || (throttled(&server, "bounded:a") > 3).then_some(()));
        wait_until("the other one has used as much", || {
            (used(&server, "free:a") >= used(&server, "bounded:a")).then_some(())
        });
        assert_eq!(throttled(&server, "free:a"), 0, "at {level} the control had to wait");
    }
}

/// Brought into range where it is read, told where one looks, and what the kernel has.
#[test]
fn a_weight_out_of_range_is_brought_into_it_and_told() {
    if !cgroups_writable() {
        skip!("{NO_CGROUPS}");
    }
    let config = services(&[
        ("most", "serve", "cpu_weight = 20000", &["a"]),
        ("least", "serve", "cpu_weight = 0", &["a"]),
        ("fits", "serve", "cpu_weight = 250\ncpu_quota = 1.5", &["a"]),
    ]);
    let server = Server::start(&config);
    server.wait_said("20000 is not between 1 and 10000; 10000 is used");
    for (instance, weight, quota, note) in [
        (
            "most:a",
            10_000,
            None,
            Some("`service.most.cpu_weight`: 20000 is not between 1 and 10000; 10000 is used"),
        ),
        ("least:a", 1, None, Some("`service.least.cpu_weight`: 0 is not between 1 and 10000; 1 is used")),
        ("fits:a", 250, Some(1500), None),
    ] {
        server.get(instance, "/health").expect(200);
        let detail = server.inspect(instance);
        assert_eq!(detail["limits"]["cpu_weight"], weight, "{detail}");
        assert_eq!(detail["in_force"]["cpu_weight"], weight, "{detail}");
        assert_eq!(detail["in_force"]["cpu_quota"].as_i64(), quota, "{detail}");
        let notes: Vec<_> =
            detail["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str()).collect();
        assert_eq!(notes, Vec::from_iter(note), "{detail}");
        let text = server.cli(&["inspect", instance]).ok().stdout;
        assert!(text.contains(&format!("cpu weight {weight}")), "{text}");
        assert!(note.is_none_or(|note| text.contains(note)), "{text}");
    }
}
