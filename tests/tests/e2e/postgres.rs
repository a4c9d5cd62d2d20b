//! PostgreSQL from Debian's packages, as `examples/postgres` runs it: asleep when idle, woken by `psql`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use insula_tests::{Answer, Options, Place, Server, free_port, skip, system_program};

use crate::common::lacks;

const CONFIG: &str = include_str!("../../../examples/postgres/insula.toml");
const SERVE: &str = include_str!("../../../examples/postgres/serve");
const ALICE: &str = "postgres:alice";

/// Where `scripts/setup` keeps the image.
fn image() -> Option<PathBuf> {
    let cache = std::env::var_os("INSULA_TEST_IMAGES").unwrap_or_else(|| "/var/cache/insula-test".into());
    let layout = PathBuf::from(cache).join("postgres");
    layout.join("index.json").exists().then_some(layout)
}

/// The example at one level, and how to ask the databases of its two tenants.
struct Databases {
    server: Server,
    psql: PathBuf,
    alice: u16,
    bob: u16,
}

impl Databases {
    /// One word of the example is changed for the level; two times and the ports are those of a test.
    fn start(level: &str) -> Result<Self, String> {
        let psql = system_program("psql").ok_or("no `psql` (package postgresql-client)")?;
        let image = image().ok_or("no image of PostgreSQL; `scripts/setup` makes it")?;
        let (place, alice, bob) = (Place::new(), free_port(), free_port());
        let serve = place.path().join("serve");
        fs::write(&serve, SERVE).unwrap();
        fs::set_permissions(&serve, fs::Permissions::from_mode(0o755)).unwrap();
        let load = ["image", "load", image.to_str().unwrap(), "--name", "postgres"];
        Answer::of(&place.home(), &load).ok();
        let mut config = CONFIG.to_owned();
        for (was, is) in [
            ("isolation = \"container\"", format!("isolation = \"{level}\"")),
            ("idle_timeout = \"30s\"", "idle_timeout = \"1s\"".to_owned()),
            ("stop_timeout = \"30s\"", "stop_timeout = \"5s\"".to_owned()),
            ("port = 8080", "port = 0".to_owned()),
            ("alice = 5433", format!("alice = {alice}")),
            ("bob = 5434", format!("bob = {bob}")),
        ] {
            assert!(config.contains(was), "the example does not say `{was}`");
            config = config.replace(was, &is);
        }
        let server = Server::with(place, &config, &Options::default());
        match lacks(&server, level) {
            Some(why) => Err(why),
            None => Ok(Self { server, psql, alice, bob }),
        }
    }

    /// Runs a statement over the port of a tenant, as whoever connects for the first time.
    fn try_run(&self, port: u16, password: &str, statement: &str) -> Output {
        Command::new(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=postgres"])
            .args(["--host=127.0.0.1", &format!("--port={port}"), &format!("--command={statement}")])
            .env("PGPASSWORD", password)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn run(&self, port: u16, statement: &str) -> String {
        let output = self.try_run(port, "change-me", statement);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "`{statement}`: {said}; the server said:\n{}", self.server.said());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn until_asleep(&self) {
        self.server.wait_observed(ALICE, "asleep");
    }
}

/// What is claimed at either level.
fn it_sleeps_is_woken_by_psql_and_keeps_its_data(db: &Databases, level: &str) {
    db.run(db.alice, "CREATE TABLE notes (text text)");
    db.run(db.alice, "INSERT INTO notes SELECT 'note ' || n FROM generate_series(1, 1000) AS n");
    assert_eq!(db.server.inspect(ALICE)["level"], level);
    db.until_asleep();
    assert_eq!(db.run(db.alice, "SELECT count(*), max(text) FROM notes"), "1000|note 999", "after sleep");

    // A worker that is killed takes no database with it; one that sleeps then wakes under the next worker.
    let before = db.server.app(ALICE);
    db.server.worker().kill();
    db.server.wait_observed(ALICE, "running");
    assert_eq!(db.server.app(ALICE), before, "it was not adopted");
    db.run(db.alice, "INSERT INTO notes VALUES ('of the next worker')");
    db.until_asleep();
    db.server.worker().kill();
    assert_eq!(db.run(db.alice, "SELECT count(*) FROM notes"), "1001", "after kill -9 and sleep");

    // A database that is killed itself comes back with what was committed.
    db.server.app(ALICE).kill();
    assert_eq!(db.run(db.alice, "SELECT count(*) FROM notes"), "1001", "after kill -9 of the database");

    // Controls: the other tenant's database is another one, and the password counts.
    let other = db.try_run(db.bob, "change-me", "SELECT count(*) FROM notes");
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("relation \"notes\" does not exist"), "{said}");
    let stranger = db.try_run(db.alice, "guessed", "SELECT 1");
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(said.contains("password authentication failed"), "{said}");
}

#[test]
fn sleeps_and_keeps_its_data_in_a_container() {
    match Databases::start("container") {
        Ok(db) => it_sleeps_is_woken_by_psql_and_keeps_its_data(&db, "container"),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn sleeps_and_keeps_its_data_on_a_kernel_of_its_own() {
    match Databases::start("gvisor") {
        Ok(db) => it_sleeps_is_woken_by_psql_and_keeps_its_data(&db, "gvisor"),
        Err(why) => skip!("{why}"),
    }
}
