//! The world that a machine believes in, and what must hold in it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use insula_isolation::Exit;
use insula_spec::config::{RestartMode, RestartPolicy, SleepMode};
use insula_spec::{Limits, Network, ServiceSpec};
use insula_store::Wanted;
use tokio::time::Instant;

use crate::keeper::machine::{Action, Answer, By, Cause, Event, Machine, RETRY_SOON, State};

/// A machine under test.
pub(super) type Next = fn(Machine, &ServiceSpec, Instant, Event) -> (Machine, Vec<Action>);

/// What may happen next; it is skipped where it could not happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    Request,
    Spawn,
    Stop,
    Restart,
    /// A deploy, with this time to be healthy.
    Replace(u64),
    Sleep,
    Down,
    GiveUp,
    /// The operation under way succeeds.
    Works,
    /// It fails; the flag says for good.
    Fails(bool),
    Listening,
    Exit(Exit),
    Idle,
    Busy,
    Quiet,
    Healthy,
    Ill,
    /// Time passes, and the timer fires if it is due.
    Wait(u64),
}

/// A service with short times.
pub(super) fn spec() -> ServiceSpec {
    ServiceSpec {
        name: "notes".parse().unwrap(),
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        workdir: "/".into(),
        data_dir: "/tmp".into(),
        isolation: insula_spec::LevelChoice::Auto,
        image: None,
        min_isolation: None,
        network: Network::Isolated,
        net: insula_spec::NetPolicy::none(),
        net_given: false,
        reachable_from: insula_spec::ReachableFrom::default(),
        mounts: Vec::new(),
        root: insula_spec::Root::host(),
        seccomp: None,
        runner: None,
        limits: Limits::default(),
        protocol: insula_spec::Protocol::Http1,
        health: None,
        startup_timeout: Duration::from_secs(3),
        stop_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(60),
        idle_timeout: Some(Duration::from_secs(5)),
        sleep: SleepMode::Stop,
        restart: RestartPolicy {
            mode: RestartMode::OnFailure,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            max_restarts: 3,
            window: Duration::from_secs(20),
        },
        hold_queue: 8,
        max_instances: None,
        versions: false,
        listen_tcp: BTreeMap::new(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Launch,
    Relaunch,
    Commit,
    Stop,
    Freeze,
    Thaw,
}

/// The world outside the machine.
pub(super) struct World {
    next: Next,
    spec: ServiceSpec,
    machine: Machine,
    now: Instant,
    op: Option<Op>,
    gate: bool,
    /// Somebody may be inside a closed gate.
    inside: bool,
    standing: bool,
    alive: bool,
    frozen: bool,
    listening: bool,
    waiting: usize,
    /// Requests must not be let in by the event that comes.
    unproven: bool,
    /// When it was launched because it had failed, oldest first.
    restarts: VecDeque<Instant>,
}

pub(super) type Checked = Result<(), String>;

fn ensure(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

impl World {
    pub(super) fn new(next: Next, spec: ServiceSpec) -> Self {
        Self {
            next,
            spec,
            machine: Machine::new(State::Asleep, Wanted::Asleep),
            now: Instant::now(),
            op: None,
            gate: false,
            inside: false,
            standing: false,
            alive: false,
            frozen: false,
            listening: false,
            waiting: 0,
            unproven: false,
            restarts: VecDeque::new(),
        }
    }

    pub(super) fn play(&mut self, choice: Choice) -> Checked {
        let idle = self.op.is_none();
        let event = match choice {
            Choice::Request => self.waiter(Event::Wanted(By::Request)),
            Choice::Spawn => self.waiter(Event::Wanted(By::Operator)),
            Choice::Restart => self.waiter(Event::RestartAsked),
            Choice::Replace(ms) => {
                let until = self.now + Duration::from_millis(ms);
                self.waiter(Event::ReplaceAsked { until })
            }
            Choice::Stop => Event::StopAsked,
            Choice::Sleep => Event::SleepAsked,
            Choice::Down => Event::DownAsked { drain: Duration::from_secs(2) },
            Choice::GiveUp if self.waiting > 0 => {
                self.waiting -= 1;
                Event::GaveUp(1)
            }
            Choice::Works => return self.operation(None),
            Choice::Fails(good) => return self.operation(Some(good)),
            Choice::Listening if idle && self.alive && !self.listening && !self.frozen => {
                self.listening = true;
                Event::Listening
            }
            Choice::Exit(exit) if idle && self.alive => {
                (self.alive, self.listening) = (false, false);
                Event::Exited(exit)
            }
            Choice::Idle if self.gate && matches!(self.machine.state, State::Running { .. }) => {
                (self.gate, self.inside) = (false, false);
                Event::Idle
            }
            Choice::Busy => Event::Busy,
            Choice::Quiet if self.inside => {
                self.inside = false;
                Event::Quiet
            }
            Choice::Healthy => Event::Checked(Ok(())),
            Choice::Ill => Event::Checked(Err("ill".into())),
            Choice::Wait(ms) => return self.wait(Duration::from_millis(ms)),
            _ => return Ok(()),
        };
        self.feed(event)
    }

    fn waiter(&mut self, event: Event) -> Event {
        self.waiting += 1;
        event
    }

    fn wait(&mut self, time: Duration) -> Checked {
        self.now += time;
        let due = self.machine.deadline().is_some_and(|at| at <= self.now);
        if due { self.feed(Event::Tick) } else { Ok(()) }
    }

    fn operation(&mut self, fails: Option<bool>) -> Checked {
        let Some(op) = self.op.take() else { return Ok(()) };
        let result = if fails.is_some() { Err("broken".into()) } else { Ok(()) };
        let event = match (op, fails) {
            (Op::Launch | Op::Relaunch, None) => {
                (self.standing, self.alive, self.listening) = (true, true, false);
                Event::Launched
            }
            (Op::Launch | Op::Relaunch, Some(permanent)) => {
                self.standing = false;
                Event::LaunchFailed { why: "no".into(), permanent }
            }
            (Op::Commit, None) => Event::Committed,
            (Op::Commit, Some(_)) => Event::CommitFailed("full".into()),
            (Op::Stop, _) => {
                (self.standing, self.alive, self.frozen, self.listening) = (false, false, false, false);
                Event::Ended
            }
            (Op::Freeze, _) => {
                self.frozen = result.is_ok();
                Event::Froze(result)
            }
            (Op::Thaw, _) => {
                self.frozen = result.is_err();
                Event::Thawed(result)
            }
        };
        self.feed(event)
    }

    fn feed(&mut self, event: Event) -> Checked {
        let proof = match self.machine.state {
            State::Starting { prove, .. } => prove.filter(|_| self.spec.health.is_some()),
            _ => None,
        };
        self.unproven = proof.is_some_and(|until| self.now < until) && event != Event::Checked(Ok(()));
        let (machine, actions) = (self.next)(self.machine.clone(), &self.spec, self.now, event);
        self.machine = machine;
        actions.into_iter().try_for_each(|action| self.act(action))?;
        self.invariants()
    }

    fn act(&mut self, action: Action) -> Checked {
        match action {
            Action::Launch => {
                ensure(!self.standing, "launched beside walls that stand")?;
                self.begin(Op::Launch)?;
                self.started()
            }
            Action::Relaunch => {
                ensure(self.standing && !self.alive, "relaunched without an empty shell")?;
                self.begin(Op::Relaunch)?;
                self.started()
            }
            Action::Commit(_) => {
                ensure(self.alive, "committed nothing")?;
                self.begin(Op::Commit)
            }
            Action::Stop { graceful } => {
                ensure(self.standing, "stopped what does not stand")?;
                ensure(graceful == self.alive, "wrong about whether a workload is there to be asked")?;
                self.begin(Op::Stop)
            }
            Action::Freeze => {
                ensure(self.alive && !self.frozen && !self.gate, "froze an open or missing workload")?;
                self.begin(Op::Freeze)
            }
            Action::Thaw => {
                ensure(self.frozen, "thawed what is not frozen")?;
                self.begin(Op::Thaw)
            }
            Action::OpenGate => {
                ensure(!self.unproven, "let requests in before it was healthy")?;
                self.open_gate()
            }
            Action::CloseGate => self.close_gate(),
            Action::Answer(answer) => self.answered(&answer),
            Action::Check => {
                ensure(self.gate || self.listening, "checked the health of what does not accept")
            }
            Action::Note(_) => Ok(()),
        }
    }

    fn open_gate(&mut self) -> Checked {
        ensure(!self.gate, "opened an open gate")?;
        ensure(self.alive && self.listening && !self.frozen, "opened the gate to nothing")?;
        self.gate = true;
        Ok(())
    }

    fn close_gate(&mut self) -> Checked {
        ensure(self.gate, "closed a closed gate")?;
        (self.gate, self.inside) = (false, true);
        Ok(())
    }

    fn begin(&mut self, op: Op) -> Checked {
        ensure(self.op.is_none(), "two operations at once")?;
        self.op = Some(op);
        Ok(())
    }

    /// A launch that nobody asked for is a restart, and those are counted.
    fn started(&mut self) -> Checked {
        if !matches!(self.machine.state, State::Starting { cause: Cause::Recovered, .. }) {
            self.restarts.clear();
            return Ok(());
        }
        let window = self.spec.restart.window;
        while self.restarts.front().is_some_and(|at| self.now - *at >= window) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(self.now);
        let most = usize::try_from(self.spec.restart.max_restarts).unwrap();
        ensure(self.restarts.len() <= most, "more restarts than the policy allows")
    }

    fn answered(&mut self, answer: &Answer) -> Checked {
        ensure(self.waiting > 0, "answered nobody")?;
        self.waiting = 0;
        match answer {
            Answer::Ready => ensure(self.gate, "sent waiters to a closed gate"),
            Answer::Failed { why, retry_after } => {
                ensure(!why.is_empty() && *retry_after >= RETRY_SOON, "failed without saying why or when")
            }
            Answer::Stopped | Answer::Down => Ok(()),
        }
    }

    fn invariants(&self) -> Checked {
        let running = matches!(self.machine.state, State::Running { .. });
        ensure(self.gate == running, "the gate is open exactly while running")?;
        ensure(!running || self.waiting == 0, "nobody waits for what runs")?;
        ensure(self.waiting == self.machine.waiting, "nobody is forgotten")?;
        if self.machine.at_rest() || self.machine.state == State::Frozen {
            ensure(self.waiting == 0, "nobody waits where nothing will happen")?;
            ensure(self.op.is_none(), "nothing is under way at rest")?;
        }
        ensure(!self.machine.at_rest() || !self.standing, "nothing stands at rest")?;
        let moves = self.op.is_some() || self.machine.deadline().is_some();
        let quiet = running || self.machine.at_rest() || self.machine.state == State::Frozen;
        ensure(moves || quiet, "something always comes next")
    }
}
