//! A real server, in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::program;
use crate::{Answer, Inventory, PATIENCE, Place, Process, Reply, Request, cli, exited_within, wait_until};

/// What differs from an ordinary start.
#[derive(Debug, Default)]
pub struct Options {
    /// Further environment of the server.
    pub env: Vec<(String, String)>,
    /// Further arguments of `insula serve`.
    pub arguments: Vec<String>,
    /// Program and arguments that start the server in their turn.
    pub through: Vec<String>,
    /// Instead of `serve`.
    pub verb: Vec<String>,
}

/// Everything a server has said so far.
#[derive(Debug, Default)]
struct Talk {
    text: Mutex<String>,
    more: Condvar,
}

impl Talk {
    /// Keeps what comes from a pipe, on a thread that ends with the pipe.
    fn listen(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        let talk = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = talk.text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
                talk.more.notify_all();
            }
        });
    }

    /// Waits until `find` finds something in it.
    fn wait_for<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut text = self.text.lock().unwrap();
        loop {
            if let Some(found) = find(&text) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            text = self.more.wait_timeout(text, left).unwrap().0;
        }
    }
}

/// A running `insula serve`. Dropping it stops it as a user would, and then looks for what it left behind.
#[derive(Debug)]
pub struct Server {
    place: Place,
    parent: Option<Child>,
    address: SocketAddr,
    talk: Arc<Talk>,
}

impl Server {
    /// Starts a server with this configuration (see [`Place::configure`]) and waits until it is ready.
    #[must_use]
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::with(Place::new(), config, &Options::default())
    }

    /// Starts a server in a place that exists already.
    #[must_use]
    #[track_caller]
    pub fn with(place: Place, config: &str, options: &Options) -> Self {
        let config = place.configure(config);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Self { place, parent: None, address, talk: Arc::default() };
        let verb: Vec<_> = match options.verb.is_empty() {
            true => vec!["serve"],
            false => options.verb.iter().map(String::as_str).collect(),
        };
        let mut arguments = [verb, vec!["--json", "--config", config.to_str().unwrap()]].concat();
        arguments.extend(options.arguments.iter().map(String::as_str));
        server.spawn(&arguments, options);
        server
    }

    fn spawn(&mut self, arguments: &[&str], options: &Options) {
        self.launch(arguments, options);
        let port = self.talk.wait_for(PATIENCE, ready_port);
        let Some(port) = port else { panic!("the server is not ready; it said:\n{}", self.said()) };
        self.address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    }

    fn launch(&mut self, arguments: &[&str], options: &Options) {
        self.talk = Arc::default();
        let mut command = match options.through.split_first() {
            None => cli::command(&self.place.home(), arguments),
            Some((first, rest)) => {
                let program = program();
                let all = rest.iter().map(String::as_str).chain([program.to_str().unwrap()]);
                let all: Vec<_> = all.chain(arguments.iter().copied()).collect();
                cli::command_of(Path::new(first), &self.place.home(), &all)
            }
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(self.place.path());
        command.envs(options.env.iter().map(|(name, value)| (name, value)));
        let mut parent = command.spawn().unwrap();
        self.talk.listen(parent.stdout.take().unwrap());
        self.talk.listen(parent.stderr.take().unwrap());
        self.parent = Some(parent);
    }

    /// Starts a server again in the same place, after [`Server::kill_parent`] or [`Server::terminate`].
    pub fn start_again(&mut self) {
        let config = self.place.path().join("insula.toml");
        self.spawn(&["serve", "--json", "--config", config.to_str().unwrap()], &Options::default());
    }

    /// The same, with what differs from an ordinary start.
    pub fn start_again_with(&mut self, options: &Options) {
        let config = self.place.path().join("insula.toml");
        self.spawn(&["serve", "--json", "--config", config.to_str().unwrap()], options);
    }

    /// The same, with further arguments as well.
    pub fn start_again_with_arguments(&mut self, options: &Options) {
        let config = self.place.path().join("insula.toml");
        let mut arguments = vec!["serve", "--json", "--config", config.to_str().unwrap()];
        arguments.extend(options.arguments.iter().map(String::as_str));
        self.spawn(&arguments, options);
    }

    /// Starts it in the same place with a fault in its environment; it may never be ready.
    pub fn start_with_fault(&mut self, point: &str) {
        let config = self.place.path().join("insula.toml");
        let env = vec![("INSULA_FAULT".to_owned(), point.to_owned())];
        let options = Options { env, ..Options::default() };
        self.launch(&["serve", "--json", "--config", config.to_str().unwrap()], &options);
    }

    /// Its folder.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its public address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.talk.text.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn wait_said(&self, words: &str) {
        let heard = self.talk.wait_for(PATIENCE, |text| text.contains(words).then_some(()));
        assert!(heard.is_some(), "it never said `{words}`, but:\n{}", self.said());
    }

    /// The host name of an instance `service:id`.
    #[must_use]
    pub fn host(&self, instance: &str) -> String {
        let (service, id) = instance.split_once(':').unwrap();
        format!("{id}.{service}.localhost:{}", self.address.port())
    }

    /// `GET path` of an instance `service:id`.
    ///
    /// # Panics
    /// When there is no whole answer.
    #[must_use]
    #[track_caller]
    pub fn get(&self, instance: &str, path: &str) -> Reply {
        match self.try_get(instance, path) {
            Ok(reply) => reply,
            Err(error) => panic!("GET {path} of {instance}: {error}; the server said:\n{}", self.said()),
        }
    }

    /// `GET path` of an instance `service:id`.
    ///
    /// # Errors
    /// Those of [`Request::send`].
    pub fn try_get(&self, instance: &str, path: &str) -> std::io::Result<Reply> {
        Request::get(&self.host(instance), path).send(self.address)
    }

    /// `POST path` of an instance `service:id`.
    #[must_use]
    #[track_caller]
    pub fn post(&self, instance: &str, path: &str, body: &str) -> Reply {
        Request::post(&self.host(instance), path, body).send(self.address).unwrap()
    }

    /// A bare connection to the public port.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Asks for an instance and does not wait for long: for servers that may be dying.
    pub fn knock(&self, port: u16, instance: &str) {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (service, id) = instance.split_once(':').unwrap();
        let request = Request::get(&format!("{id}.{service}.localhost:{port}"), "/health").bytes();
        // Neither may work; that is what dying means.
        drop(stream.write_all(&request));
        drop(stream.read(&mut [0; 64]));
    }

    /// Runs the CLI against this server.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.place.home(), arguments)
    }

    /// `insula inspect INSTANCE --json`.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, instance: &str) -> Value {
        self.cli(&["inspect", instance, "--json"]).ok().json()
    }

    /// What an instance does now, as `ps` says it.
    #[must_use]
    #[track_caller]
    pub fn observed(&self, instance: &str) -> String {
        self.inspect(instance)["status"]["observed"].as_str().unwrap().to_owned()
    }

    /// Waits until `ps` says this of an instance.
    #[track_caller]
    pub fn wait_observed(&self, instance: &str, state: &str) {
        let mut last = String::new();
        let what = format!("`{instance}` is {state}");
        wait_until(&what, || {
            last = self.observed(instance);
            (last == state).then_some(())
        });
    }

    /// The main process of a running instance, seen from the host.
    #[must_use]
    #[track_caller]
    pub fn app(&self, instance: &str) -> Process {
        let pid = self.inspect(instance)["processes"]["app_pid"].as_i64();
        let pid = pid.unwrap_or_else(|| panic!("`{instance}` does not run"));
        Process::find(i32::try_from(pid).unwrap()).unwrap()
    }

    /// The agent of a running instance, seen from the host.
    #[must_use]
    #[track_caller]
    pub fn agent(&self, instance: &str) -> Process {
        let pid = self.inspect(instance)["processes"]["agent_pid"].as_i64().unwrap();
        Process::find(i32::try_from(pid).unwrap()).unwrap()
    }

    /// The parent: the process that was started.
    #[must_use]
    pub fn parent(&self) -> Process {
        let pid = self.parent.as_ref().unwrap().id();
        Process::find(i32::try_from(pid).unwrap()).unwrap()
    }

    /// The worker that answers now.
    #[must_use]
    #[track_caller]
    pub fn worker(&self) -> Process {
        let pid = self.cli(&["health", "--json"]).ok().json()["pid"].as_i64().unwrap();
        Process::find(i32::try_from(pid).unwrap()).unwrap()
    }

    /// `insula serve --takeover` with the configuration of the place.
    #[must_use]
    pub fn take_over(&self) -> Answer {
        self.take_over_with(&program())
    }

    /// The same with another program.
    #[must_use]
    pub fn take_over_with(&self, program: &Path) -> Answer {
        let config = self.place.path().join("insula.toml");
        let arguments = ["serve", "--takeover", "--json", "--config", config.to_str().unwrap()];
        // An earlier restart may not be over to its last step: then the server says so.
        wait_until("the server takes orders", || {
            let answer = Answer::of_program(program, &self.place.home(), &arguments);
            (!answer.stderr.contains("starting, stopping or being restarted")).then_some(answer)
        })
    }

    /// Every worker of this server: the one that serves, and those that gave way.
    #[must_use]
    pub fn workers(&self) -> Vec<Process> {
        self.parent().children().into_iter().filter(|p| p.command.contains("insula worker")).collect()
    }

    /// Waits until another worker than this one answers the CLI.
    pub fn wait_worker_after(&self, old: &Process) -> Process {
        wait_until("a new worker answers", || {
            let answer = self.cli(&["health", "--json"]);
            let pid = (answer.code == 0).then(|| answer.json()["pid"].as_i64())??;
            Process::find(i32::try_from(pid).ok()?).filter(|now| now.pid != old.pid)
        })
    }

    /// The parent's child that is a worker, whether it answers already or not.
    #[must_use]
    pub fn newborn_worker(&self) -> Option<Process> {
        // A parent whose first worker dies before it is ready ends by itself.
        let parent = Process::find(i32::try_from(self.parent.as_ref()?.id()).ok()?)?;
        parent.children().into_iter().find(|p| p.command.contains("worker"))
    }

    /// Kills the parent with SIGKILL and waits for its end and that of its worker.
    pub fn kill_parent(&mut self) {
        let worker = self.newborn_worker();
        let mut parent = self.parent.take().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        let gone = worker.is_none_or(|w| exited_within(w.id(), PATIENCE));
        assert!(gone, "the worker outlived its parent");
    }

    /// Stops the server as a service manager would; gives its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(&mut self) -> i32 {
        let mut parent = self.parent.take().unwrap();
        let pid = Pid::from_child(&parent);
        kill_process(pid, Signal::TERM).unwrap();
        if !exited_within(pid, PATIENCE * 2) {
            parent.kill().unwrap();
            parent.wait().unwrap();
            panic!("the server did not end after SIGTERM; it said:\n{}", self.said());
        }
        parent.wait().unwrap().code().unwrap_or(-1)
    }

    /// Prints the last lines of every app, for a test that is about to fail.
    fn tell_what_the_apps_said(&self) {
        let list = self.cli(&["ps", "--json"]);
        let list: Value = serde_json::from_str(&list.stdout).unwrap_or_default();
        for name in list["instances"].as_array().into_iter().flatten().filter_map(|i| i["name"].as_str()) {
            eprintln!("{name} said:\n{}", self.cli(&["logs", "-n", "20", name]).stdout);
        }
    }

    /// Everything of this home that is on the host now.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        Inventory::take(&self.place)
    }
}

/// The port in the line that a server prints once it is ready.
fn ready_port(text: &str) -> Option<u16> {
    let ready = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ready = ready.into_iter().find(|line| line["event"] == "ready")?;
    u16::try_from(ready["port"].as_u64()?).ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let broken = std::thread::panicking();
        if broken && self.parent.is_some() {
            self.tell_what_the_apps_said();
        }
        if self.parent.is_some() {
            let code = self.terminate();
            assert!(broken || code == 0, "the server ended with {code}; it said:\n{}", self.said());
        }
        if !broken {
            // They detach themselves, and nothing tells when.
            wait_until("loop devices detach", || self.inventory().loops.is_empty().then_some(()));
        }
        let left = self.inventory();
        left.remove();
        if broken {
            eprintln!("the server said:\n{}\nleft behind: {left:#?}", self.said());
        } else {
            assert!(left.is_empty(), "left behind: {left:#?}\nthe server said:\n{}", self.said());
        }
    }
}
