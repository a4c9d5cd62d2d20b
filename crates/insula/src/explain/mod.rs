//! `insula explain isolation`: what each level would stop, and what it would not, for one service as it is written.
//!
//! ```text
//! what a level promises (`verify` tries that) ──┐
//! what the service is given (net, mounts, limits) ─┴─► an answer for each attempt and level, with its reason
//! ```

mod answers;
mod report;

use insula_isolation::{DiskProbe, next_best};
use insula_spec::{Config, Level, LevelChoice, ServiceName, ServiceSpec};

use crate::cli::explain::{ExplainVerb, IsolationArgs};
use crate::cmd::load_config;
use crate::doctor::{self, LevelFound};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;
use answers::{Host, Manifest};
use report::{Column, Report, Standing};

/// Does one of the verbs.
///
/// # Errors
/// When there is no such service, or the host cannot be looked at.
pub(crate) fn run(home: &Home, verb: ExplainVerb, printer: Printer) -> anyhow::Result<Exit> {
    match verb {
        ExplainVerb::Isolation(args) => isolation(home, args, printer),
    }
}

fn isolation(home: &Home, args: IsolationArgs, printer: Printer) -> anyhow::Result<Exit> {
    let config = load_config(args.config)?;
    let spec = config.services.get(&args.service).ok_or_else(|| unknown(&config, &args.service))?;
    let (found, auto) = doctor::levels(home, config.levels.clone())?;
    let disk = DiskProbe::of(&config.settings.data_dir);
    let host = Host {
        root: rustix::process::geteuid().is_root(),
        landlock: insula_linux::landlock::is_there().unwrap_or(false),
        hard_disk: disk.project.is_ok() || disk.image.is_ok(),
        project_quota: disk.project.is_ok(),
    };
    let chosen = chosen(spec, auto.as_deref());
    let mut columns = Vec::new();
    for one in &found {
        let level = one.level.parse()?;
        let working =
            found.iter().filter(|one| one.why_not.is_none()).filter_map(|one| one.level.parse().ok());
        let instead = next_best(level, spec.floor(), working);
        let standing = standing(spec, (level, chosen == Some(level)), one, instead);
        columns.push(Column { level, standing });
    }
    let rows = answers::rows(&Manifest { spec, host }, &columns);
    printer.either(&Report::of(spec, columns, rows), Report::text)?;
    Ok(Exit::Ok)
}

/// The level of an instance that has none yet.
fn chosen(spec: &ServiceSpec, auto: Option<&str>) -> Option<Level> {
    match spec.isolation {
        LevelChoice::Fixed(level) => Some(level),
        LevelChoice::Auto => auto.and_then(|level| level.parse().ok()),
    }
}

/// What becomes of the service at a level.
fn standing(
    spec: &ServiceSpec,
    (level, chosen): (Level, bool),
    found: &LevelFound,
    instead: Option<Level>,
) -> Standing {
    if let Some(why) = &found.why_not {
        let hint = found.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        let instead = instead.map_or_else(String::new, |level| format!("; or use `isolation = \"{level}\"`"));
        let hint = format!("{hint}{instead}");
        return Standing::NotHere { why: format!("{why}{hint}") };
    }
    if let Some(floor) = spec.floor().filter(|floor| !level.satisfies(*floor)) {
        return Standing::BelowFloor { floor };
    }
    let limits = found.limits.is_some() || !spec.limits.need_cgroup();
    let limits = (!limits).then_some("its limits, which this host cannot set");
    match answers::refused(spec, level).or(limits) {
        Some(key) => Standing::Refused { key },
        None if chosen => Standing::Chosen,
        None => Standing::Possible,
    }
}

fn unknown(config: &Config, name: &ServiceName) -> Failure {
    let names: Vec<_> = config.services.keys().map(ServiceName::as_str).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let path = config.path.display();
    Failure::new(
        Exit::NotFound,
        format!("`{path}` has no service `{name}`"),
        format!("services there: {known}"),
    )
}
