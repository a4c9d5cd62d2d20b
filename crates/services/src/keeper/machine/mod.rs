//! What a keeper decides, without doing it: no I/O, no clock, no lock.
//!
//! ```text
//!                 wanted                 committed, listening
//!   asleep ────────────────► starting ──────────────────────────► running ◄──────────────┐
//!     ▲  ▲                    │  ▲  │ launch failed, exited,       │ │ │ │               │ thawed
//!     │  │                    │  │  │ timed out                    │ │ │ │ idle          │
//!     │  │              stop  │  │  ▼                    exited,   │ │ │ └─► freezing    │
//!     │  │             asked  │  │ (budget left?)◄───────unhealthy─┘ │ │      │ frozen   │
//!     │  │                    │  │  │ yes      │ no                  │ │      ▼          │
//!     │  │                    │  │  ▼          ▼                     │ │    frozen ──► thawing
//!     │  │                    │  └─backing   failed ◄──┐             │ │      wanted
//!     │  │                    │      off       │       │             │ │
//!     │  │                    │         wanted │       │             │ └── stop or restart asked ─► draining
//!     │  │                    │         after  └► starting           │                                │
//!     │  │                    │         a while                     idle                              │
//!     │  │                    ▼                                      ▼                                │
//!     │  └───────────────── stopping (then asleep | stopped | down | restart | back off | failed) ◄───┘
//!     │                       │
//!     └──── spawn asked ──── stopped
//! ```
//! Rules that the model test holds it to:
//! - the gate is open exactly while running;
//! - one that is replaced by a deploy is healthy before its gate is opened, if it has a health check;
//! - one operation at a time (launch, commit, freeze, thaw, stop);
//! - every waiter is answered once, and none is left where nothing will happen any more;
//! - no more than `max_restarts` restarts within `window`.

mod ask;
mod life;
#[cfg(test)]
mod model;
mod proof;
mod why;

use std::collections::VecDeque;
use std::time::Duration;

use insula_isolation::Exit;
use insula_spec::ServiceSpec;
use insula_store::Wanted;
use tokio::time::Instant;

pub(crate) use self::proof::PAUSE;
pub(crate) use self::why::Why;
use crate::status::Observed;

/// Least time after which a client is asked to try again.
pub(crate) const RETRY_SOON: Duration = Duration::from_secs(1);
/// Requests wait for a restart that is at most this far away.
const SHORT_WAIT: Duration = Duration::from_secs(5);

/// Where an instance is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// Nothing runs; a request wakes it.
    Asleep,
    /// Nothing runs; only the operator starts it.
    Stopped,
    /// Nothing runs, and nothing will in this process.
    Down,
    /// Nothing runs; requests are refused until `retry_at`, then one may try again.
    Failed { why: Why, retry_at: Instant },
    /// On its way up. With `prove` it is to be healthy before requests are let in, and until then at the
    /// latest.
    Starting { step: Step, until: Instant, cause: Cause, prove: Option<Instant> },
    /// Open for requests.
    Running { health: Health, check: Check, idle_at: Option<Instant> },
    /// Being frozen.
    Freezing,
    /// Frozen; a request thaws it.
    Frozen,
    /// Being thawed.
    Thawing,
    /// Closed for requests, waiting for those inside, at most until then.
    Draining { until: Instant, then: Then },
    /// Being stopped. With `busy`, another operation has to end first.
    Stopping { then: Then, busy: bool },
    /// Waiting to be started again.
    BackingOff { until: Instant, why: Why },
}

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The walls are being built.
    Launching,
    /// Its record is being stored and the agent told.
    Committing,
    /// It runs and does not accept connections yet.
    Listening,
    /// It accepts connections and was not healthy yet.
    Proving(Check),
}

/// Why it is being started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A request came.
    Woken,
    /// The operator, or the configuration, asked.
    Spawned,
    /// The operator asked for it to be started anew.
    Restarted,
    /// A deploy starts it anew; it is to be healthy until then before requests are let in.
    Replaced { until: Instant },
    /// It failed, and its policy is to start it again.
    Recovered,
}

/// What the health checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not checked yet.
    Unknown,
    /// The last check succeeded.
    Healthy,
    /// That many checks in a row failed; `ill` when that is as many as it takes to act.
    Failing { failures: u32, ill: bool, why: Why },
}

/// Where the health check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// There is none.
    Off,
    /// The next one begins then.
    At(Instant),
    /// One is under way and counts as failed then.
    Until(Instant),
}

impl Check {
    /// When something is due.
    fn at(self) -> Option<Instant> {
        match self {
            Self::Off => None,
            Self::At(at) | Self::Until(at) => Some(at),
        }
    }
}

/// What follows a stop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Then {
    Asleep,
    Stopped,
    Down,
    Restart(Cause),
    BackOff { until: Instant, why: Why },
    Failed { why: Why, retry_at: Instant },
}

/// What stands of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walls {
    /// Nothing.
    None,
    /// Walls with a workload in them.
    Alive,
    /// Walls whose workload ended; they can be used again.
    Shell,
    /// Something that must be taken down.
    Broken,
}

/// Who wants it to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A request.
    Request,
    /// The operator or the configuration.
    Operator,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Somebody waits for it to run.
    Wanted(By),
    /// So many waiters went away.
    GaveUp(usize),
    /// The operator wants it stopped.
    StopAsked,
    /// It need not stay up: somebody else answers in its place.
    SleepAsked,
    /// The operator wants it started anew, and waits for that.
    RestartAsked,
    /// A deploy wants it started anew and healthy until then, and waits for that.
    ReplaceAsked { until: Instant },
    /// This process ends; those inside get this long.
    DownAsked { drain: Duration },
    /// It was found running.
    Adopted { listening: bool, paused: bool },
    /// The workload was started.
    Launched,
    /// It was not. `permanent`: another try would fail, too.
    LaunchFailed { why: Why, permanent: bool },
    /// It will outlive this process.
    Committed,
    /// It could not be recorded or committed.
    CommitFailed(Why),
    /// It accepts connections.
    Listening,
    /// Its main process ended.
    Exited(Exit),
    /// The gate was closed for idleness.
    Idle,
    /// Leases are held: no idle timer is needed until [`Event::IdleAt`].
    Busy,
    /// It is idle at this time at the earliest.
    IdleAt(Instant),
    /// Nobody is inside any more.
    Quiet,
    /// A health check ended.
    Checked(Result<(), Why>),
    /// Freezing ended.
    Froze(Result<(), Why>),
    /// Thawing ended.
    Thawed(Result<(), Why>),
    /// The stop is complete; the walls are gone.
    Ended,
    /// The time of [`Machine::deadline`] has come, perhaps.
    Tick,
}

/// What to tell waiters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Go in.
    Ready,
    /// It failed.
    Failed { why: Why, retry_after: Duration },
    /// The operator stopped it.
    Stopped,
    /// This process ends.
    Down,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Build walls and start the workload: [`Event::Launched`] or [`Event::LaunchFailed`].
    Launch,
    /// The same in the walls that stand, or new ones if that fails.
    Relaunch,
    /// Store the record and commit: [`Event::Committed`] or [`Event::CommitFailed`].
    Commit(Cause),
    /// Let leases in.
    OpenGate,
    /// Let none in any more.
    CloseGate,
    /// Answer all waiters.
    Answer(Answer),
    /// Stop the workload and take the walls down: [`Event::Ended`]. `graceful`: there is a workload.
    Stop { graceful: bool },
    /// Freeze: [`Event::Froze`].
    Freeze,
    /// Thaw: [`Event::Thawed`].
    Thaw,
    /// Begin a health check: [`Event::Checked`], unless it runs out of time.
    Check,
    /// Write down what happened.
    Note(Note),
}

/// A line for the event log, and a change of the stored state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// It accepts connections.
    Ready,
    /// It was found running by a new process.
    Adopted,
    /// Its main process ended.
    Exited(Exit),
    /// A start failed, for another reason than the end of its main process.
    StartFailed(Why),
    /// It is not started again by itself.
    Failed(Why),
    /// Stopped because it was idle, or because it ended well.
    Slept,
    /// Frozen because it was idle.
    Frozen,
    /// Thawed for a request.
    Thawed,
    /// Stopped by the operator.
    Stopped,
    /// Stopped because this process ends.
    Down,
    /// Health changed.
    Health(Health),
    /// An operation on its walls failed, and it goes on as it was.
    Refused(Why),
}

/// One instance, as its keeper sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine {
    pub(crate) state: State,
    /// What it is meant to be, across restarts of this process.
    pub(crate) wanted: Wanted,
    /// Why it is where it is, if there is anything to say.
    pub(crate) why: Option<Why>,
    /// What stands of its sandbox.
    walls: Walls,
    /// How many wait for an answer.
    waiting: usize,
    /// When it was restarted within the window; never longer than `max_restarts`.
    restarts: VecDeque<Instant>,
}

impl Machine {
    /// A machine at rest.
    pub(crate) fn new(state: State, wanted: Wanted) -> Self {
        Self { state, wanted, why: None, walls: Walls::None, waiting: 0, restarts: VecDeque::new() }
    }

    /// When a [`Event::Tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { step: Step::Proving(check), until, .. } => {
                Some(check.at().map_or(*until, |at| at.min(*until)))
            }
            State::Starting { step: Step::Listening, until, .. }
            | State::Draining { until, .. }
            | State::BackingOff { until, .. } => Some(*until),
            State::Running { check, idle_at, .. } => [check.at(), *idle_at].into_iter().flatten().min(),
            _ => None,
        }
    }

    /// Whether nothing happens any more unless somebody asks.
    pub(crate) fn at_rest(&self) -> bool {
        matches!(self.state, State::Asleep | State::Stopped | State::Down | State::Failed { .. })
    }

    /// Whether a health check is under way.
    pub(crate) fn is_checking(&self) -> bool {
        let (State::Running { check, .. } | State::Starting { step: Step::Proving(check), .. }) = &self.state
        else {
            return false;
        };
        matches!(check, Check::Until(_))
    }

    /// Whether it is on its way down.
    pub(crate) fn going_down(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Stopping { .. })
    }

    /// Where it is, in one word.
    pub(crate) fn observed(&self) -> Observed {
        match &self.state {
            State::Asleep => Observed::Asleep,
            State::Stopped | State::Down => Observed::Stopped,
            State::Failed { .. } => Observed::Failed,
            State::Starting { .. } => Observed::Starting,
            State::Running { health: Health::Unknown, .. } => Observed::Running,
            State::Running { health: Health::Healthy, .. } => Observed::Healthy,
            State::Running { health: Health::Failing { ill: false, .. }, .. } => Observed::Degraded,
            State::Running { health: Health::Failing { ill: true, .. }, .. } => Observed::Unhealthy,
            State::Freezing | State::Frozen => Observed::Frozen,
            State::Thawing => Observed::Thawing,
            State::Draining { .. } | State::Stopping { .. } => Observed::Stopping,
            State::BackingOff { .. } => Observed::BackingOff,
        }
    }
}

/// The next state, and what to do about it, in order.
pub(crate) fn next(
    machine: Machine,
    spec: &ServiceSpec,
    now: Instant,
    event: Event,
) -> (Machine, Vec<Action>) {
    let mut turn = Turn { m: machine, spec, now, out: Vec::new() };
    turn.take(event);
    (turn.m, turn.out)
}

/// One step of a machine.
struct Turn<'a> {
    m: Machine,
    spec: &'a ServiceSpec,
    now: Instant,
    out: Vec<Action>,
}

impl Turn<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Wanted(by) => self.wanted(by),
            Event::GaveUp(n) => self.m.waiting = self.m.waiting.saturating_sub(n),
            Event::StopAsked => self.stop_asked(),
            Event::SleepAsked => self.sleep_asked(),
            Event::RestartAsked => self.restart_asked(),
            Event::ReplaceAsked { until } => self.replace_asked(until),
            Event::DownAsked { drain } => self.down_asked(drain),
            Event::Adopted { listening, paused } => self.adopted(listening, paused),
            Event::Launched => self.launched(),
            Event::LaunchFailed { why, permanent } => self.launch_failed(why, permanent),
            Event::Committed => self.committed(),
            Event::CommitFailed(why) => self.commit_failed(why),
            Event::Listening => self.listening(),
            Event::Exited(exit) => self.exited(exit),
            Event::Idle => self.idle(),
            Event::Busy => self.idle_timer(None),
            Event::IdleAt(at) => self.idle_timer(Some(at)),
            Event::Quiet => self.quiet(),
            Event::Checked(result) => self.checked(result),
            Event::Froze(result) => self.froze(result),
            Event::Thawed(result) => self.thawed(result),
            Event::Ended => self.ended(),
            Event::Tick => self.tick(),
        }
    }

    fn act(&mut self, action: Action) {
        self.out.push(action);
    }

    fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }

    fn answer(&mut self, answer: Answer) {
        if self.m.waiting > 0 {
            self.m.waiting = 0;
            self.act(Action::Answer(answer));
        }
    }
}
