//! The command line.

pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod requests;
pub(crate) mod top;
pub(crate) mod versions;

pub(crate) use top::{TopArgs, TopSort};

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use insula_api::{Moment, Output};
use insula_edge::public::RequestId;
use insula_spec::{InstanceName, InvalidName, Tenant, parse_duration};

use crate::demo::DemoArgs;
use crate::remote::RemoteArgs;

/// Exit codes, as shown at the end of the help.
const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 no daemon answers, \
                          6 configuration not valid, 7 timed out";

/// A small cloud you own, in one binary.
#[derive(Debug, Parser)]
#[command(name = "insula", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Write data as JSON, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Directory of state, sockets and locks [env: INSULA_HOME] [default: ~/.insula]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon in the foreground
    Serve(ServeArgs),
    /// List instances
    Ps(PsArgs),
    /// Show what instances use, again each second
    Top(TopArgs),
    /// Show what tenants use: disk, memory, CPU time
    Usage(UsageArgs),
    /// Start an instance, and wait until it answers
    Spawn(ActArgs),
    /// Stop an instance; requests do not wake it afterwards
    Stop(ActArgs),
    /// Stop an instance and start it again
    Restart(ActArgs),
    /// Run a command beside an instance, in its walls
    Exec(exec::ExecArgs),
    /// Copy a file into an instance, or out of it
    Cp(exec::CpArgs),
    /// Bring up a version, or a tenant anew, and give it requests once it is healthy
    Deploy(versions::DeployArgs),
    /// Show which versions of a service answer, or move all requests from one to another
    Route(versions::RouteArgs),
    /// Share the requests to a service out among its versions
    Weight(versions::WeightArgs),
    /// Tell how the daemon, or one instance, is
    Health(HealthArgs),
    /// Print what instances wrote to their standard output and error
    Logs(LogsArgs),
    /// Print what happened to instances
    Events(EventsArgs),
    /// Work with the receivers of alerts
    #[command(subcommand)]
    Alerts(AlertsVerb),
    /// List requests that waited, failed, were refused, sent again or slow
    Requests(requests::RequestsArgs),
    /// Explain why an instance is as it is, or what happened to a request
    Why(WhyArgs),
    /// Print what is counted, in the text format of Prometheus
    Metrics,
    /// Show everything about an instance
    Inspect(NameArgs),
    /// Check what this host can do
    Doctor(DoctorArgs),
    /// Try at every level what a hostile app would, and report what stopped it
    Verify(crate::verify::VerifyArgs),
    /// Explain what the configuration means on this host
    #[command(subcommand)]
    Explain(explain::ExplainVerb),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Work with images
    #[command(subcommand)]
    Image(image::ImageVerb),
    /// Work with tokens, which let others use the control API over the network
    #[command(subcommand)]
    Token(TokenVerb),
    /// Show or set what an instance may reach outside
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Show what waits for the next start
    #[command(subcommand)]
    Pool(pool::PoolVerb),
    /// List what was changed, by whom, and how it ended
    Audit(AuditArgs),
    /// Print the description of the control API (OpenAPI 3.1)
    Openapi,
    /// Work with the service manager
    #[command(subcommand)]
    Systemd(SystemdVerb),
    /// Show what Insula does, on example services
    Demo(DemoArgs),
    /// Print what a shell needs to complete the command line
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for every verb
    Man(ManArgs),
    /// Print the version, and what was built into it
    Version(VersionArgs),
    /// The hostile program of `verify`; started by it alone
    #[command(name = crate::verify::PROBE_VERB, hide = true)]
    Probe(crate::verify::ProbeArgs),
    /// The process that does the work of `serve`; started by it alone
    #[command(name = crate::parent::WORKER_VERB, hide = true)]
    Worker,
    /// The process that judges what leaves the walls; started by the worker alone
    #[command(name = crate::egress::VERB, hide = true)]
    Egress(EgressArgs),
}

/// `insula egress`.
#[derive(Debug, Args)]
pub(crate) struct EgressArgs {
    /// A made-up internet, as JSON; only a program built for tests takes it
    #[arg(long, value_name = "FILE")]
    pub(crate) test_internet: Option<PathBuf>,
}

/// `insula serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Port of the public listener; 0 picks a free one [env: INSULA_PORT] [default: `settings.port`]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Domain under which services are reached [env: INSULA_DOMAIN] [default: `settings.domain`]
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// Ask nobody on the loopback for a token; refused where others could reach the daemon
    #[arg(long)]
    pub(crate) insecure_api: bool,
    /// Root of the tenants' data [env: INSULA_DATA_DIR] [default: `settings.data_dir`]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// If a server runs on this home, have it go on with this program and configuration, losing nothing
    #[arg(long)]
    pub(crate) takeover: bool,
    /// Go on with what another program left in standard input; for that program alone
    #[arg(long, hide = true, value_name = "HOW")]
    pub(crate) resume: Option<crate::parent::Resume>,
}

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file [env: INSULA_CONFIG] [default: `insula.toml` here or in a directory above]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
}

/// `insula ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only instances of this service
    pub(crate) service: Option<insula_spec::ServiceName>,
}

/// `insula usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// An instance, or a service for all of its instances; without it, all instances
    #[arg(value_name = "SERVICE[:ID]")]
    pub(crate) name: Option<Tenant>,
}

/// A verb about one instance.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The instance
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
}

/// `insula why`.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The instance, or the request id that an answer carried in `Insula-Request-Id`
    #[arg(value_name = "SERVICE:ID | REQUEST_ID")]
    pub(crate) what: WhyTarget,
}

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WhyTarget {
    /// An instance.
    Instance(InstanceName),
    /// A request, by its id.
    Request(RequestId),
}

impl FromStr for WhyTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return text.parse().map(Self::Instance).map_err(|e: InvalidName| format!("{e}; {}", e.hint()));
        }
        let id = text.parse().map(Self::Request);
        id.map_err(|_| "name an instance, `notes:alice`, or a request id, 16 hexadecimal digits".to_owned())
    }
}

/// A verb that changes one instance.
#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    /// The instance
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
    /// How long to wait for the outcome, for example `10s` [default: the service's own timeouts]
    #[arg(long, value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// `insula health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The instance; without it the daemon
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: Option<InstanceName>,
}

/// `insula logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Instances, or services for all of theirs; without any, all instances
    #[arg(value_name = "SERVICE[:ID]")]
    pub(crate) names: Vec<Tenant>,
    /// Only lines with these words: `a b` both, `a OR b`, `"a b"` a phrase, `ab*` a beginning, `-a` not
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) search: Option<String>,
    /// Only lines from this time on: `10m` ago, or `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Only lines before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<Moment>,
    /// Only lines of this stream
    #[arg(long)]
    pub(crate) stream: Option<Stream>,
    /// Go on as new lines come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last so many lines
    #[arg(short = 'n', long, value_name = "LINES", conflicts_with = "after")]
    pub(crate) tail: Option<u32>,
    /// Begin behind the line with this cursor, as `--json` shows it
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<u64>,
    /// Write time and stream before each line
    #[arg(short, long)]
    pub(crate) time: bool,
}

/// A stream of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<Stream> for Output {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
        }
    }
}

/// `insula events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only of this instance
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: Option<InstanceName>,
    /// Go on as new events come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only of this kind, for example `exited`; may be given several times
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Only events from this time on: `10m` ago, or `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// The last so many, at most 1000 [default: 100]
    #[arg(short = 'n', long, value_name = "EVENTS")]
    pub(crate) tail: Option<u32>,
}

/// `insula alerts`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsVerb {
    /// List the receivers, and how far each is
    Ls,
    /// Send a test from here, and print what the receiver answers
    Test(AlertsTestArgs),
}

/// `insula alerts test`.
#[derive(Debug, Args)]
pub(crate) struct AlertsTestArgs {
    /// The receiver
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

/// `insula doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

/// `insula config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check the configuration and list everything that is wrong
    Check(ConfigArg),
    /// Show the values that hold, and where each comes from
    Show(ShowArgs),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Have the running daemon read its configuration again, and say what changed
    Apply(ApplyArgs),
}

/// `insula config show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// As for `insula serve`
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// As for `insula serve`
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// As for `insula serve`
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Show what nobody set too
    #[arg(long)]
    pub(crate) defaults: bool,
}

/// `insula completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `insula man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages to; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `insula systemd`.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemdVerb {
    /// Print a unit that runs the daemon with this program and this configuration
    PrintUnit(PrintUnitArgs),
}

/// `insula systemd print-unit`.
#[derive(Debug, Args)]
pub(crate) struct PrintUnitArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// For the manager of this user, without root
    #[arg(long)]
    pub(crate) user: bool,
}

/// `insula config apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `insula token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and print it, this once
    Create(TokenCreateArgs),
    /// List tokens, when each was used and when it ends
    Ls,
    /// End a token, for good
    Revoke(TokenIdArgs),
}

/// `insula token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// What to call it: who will use it, and for what
    #[arg(long)]
    pub(crate) name: String,
    /// Only for this instance, or all instances of this service: to look, and to restart [default: for everything]
    #[arg(long, value_name = "SERVICE[:ID]")]
    pub(crate) tenant: Option<Tenant>,
    /// When it ends by itself, for example `30d` [default: never]
    #[arg(long, value_parser = parse_duration)]
    pub(crate) expires: Option<Duration>,
}

/// `insula token revoke`.
#[derive(Debug, Args)]
pub(crate) struct TokenIdArgs {
    /// The token's id, as `insula token ls` shows it; never the token itself
    #[arg(value_parser = token_id)]
    pub(crate) id: String,
}

/// Takes the id of a token. What is refused is not repeated: it may be a token.
fn token_id(text: &str) -> Result<String, &'static str> {
    let good = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if good { Ok(text.to_owned()) } else { Err("an id has 12 hexadecimal digits") }
}

/// `insula audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Of this actor alone: `user:UID`, `token:ID`, `anonymous` or `signal`
    #[arg(long, value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// About this alone: an instance, a token, or a service with everything about its instances
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Of this kind alone, such as `stop`, `deploy`, `create_token`, `apply` or `exec`
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// From this time on: RFC 3339, or how long ago, such as `10m`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// That ended so: `ok`, `failed`, `open`, or the code of a problem
    #[arg(long, value_name = "RESULT")]
    pub(crate) result: Option<String>,
    /// Oldest first, behind the record with this id [default: newest first]
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
    /// At most so many [default: 100]
    #[arg(short = 'n', long, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: Option<u32>,
}

/// Options of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Target, linkage, commit, levels and agent too
    #[arg(long)]
    pub(crate) features: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_are_parsed_at_the_border() {
        assert!(matches!(parse("insula why notes:alice").unwrap().verb, Verb::Why(_)));
        for bad in ["insula why", "insula why notes", "insula why notes:", "insula why Notes:alice"] {
            assert!(parse(bad).is_err(), "`{bad}` was let in");
        }
    }

    #[test]
    fn why_takes_an_instance_or_a_request() {
        assert!("notes:alice".parse() == Ok(WhyTarget::Instance("notes:alice".parse().unwrap())));
        let id = "0123456789abcdef";
        assert!(matches!(id.parse(), Ok(WhyTarget::Request(it)) if it.to_string() == id));
        let error = "notes".parse::<WhyTarget>().unwrap_err();
        assert!(error.contains("instance") && error.contains("request id"), "{error}");
    }

    #[test]
    fn json_and_home_stand_before_or_behind_the_verb() {
        for line in ["insula --json --home /h ps", "insula ps --json --home /h"] {
            let cli = parse(line).unwrap();
            assert!(cli.json && cli.home == Some(PathBuf::from("/h")), "{line}");
        }
    }

    #[test]
    fn logs_begin_at_one_place_only() {
        assert!(parse("insula logs a:b -f -n 5").is_ok());
        assert!(parse("insula logs --since 10m --stream stderr").is_ok());
        for bad in ["insula logs -f --until 1m", "insula logs --stream both", "insula logs --since never"] {
            assert!(parse(bad).is_err(), "`{bad}` was let in");
        }
        let both = parse("insula logs a:b -n 5 --after 3").unwrap_err();
        assert_eq!(both.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn the_worker_is_not_shown_to_people() {
        assert!(!Cli::command().render_help().to_string().contains("worker"));
    }
}
