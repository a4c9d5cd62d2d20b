//! The isolation levels, asked one by one.

use anyhow::Context;
use insula_isolation::{Engine, EngineConfig, Registry};
use insula_spec::{Level, LevelChoice, Levels};

use super::LevelFound;
use crate::agent_image;
use crate::home::Home;

/// The isolation levels, weakest first, and what `auto` would choose.
///
/// # Errors
/// When this host cannot be looked at.
pub(crate) fn probe(home: &Home, settings: Levels) -> anyhow::Result<(Vec<LevelFound>, Option<String>)> {
    let registry = look(home, settings)?;
    let auto = registry.resolve(LevelChoice::Auto, None).ok();
    let levels = registry.all().map(|backend| found(&registry, backend.level())).collect();
    Ok((levels, auto.map(|level| level.to_string())))
}

/// Every level that this program has, weakest first, whatever the host.
///
/// # Errors
/// When this host cannot be looked at.
pub(crate) fn compiled(home: &Home) -> anyhow::Result<Vec<String>> {
    let registry = look(home, Levels::default())?;
    Ok(registry.all().map(|backend| backend.level().to_string()).collect())
}

fn look(home: &Home, settings: Levels) -> anyhow::Result<Registry> {
    let engine = Engine::look(EngineConfig {
        home_id: "doctor".to_owned(),
        run_dir: home.run_dir(),
        hidden: Vec::new(),
        agent: agent_image::memfd().context("cannot unpack the agent")?,
        epoch: 0,
        images: None,
        levels: settings,
        routed_range: insula_spec::RoutedRange::DEFAULT,
        shells: 0,
        egress: None,
    })?;
    Ok(engine.registry())
}

fn found(registry: &Registry, level: Level) -> LevelFound {
    let able = registry.backend(level).and_then(|backend| backend.probe());
    let level = level.to_string();
    match able {
        Ok(c) => LevelFound {
            level,
            limits: c.cgroups,
            ids: Some(c.ids),
            program: c.program,
            notes: c.notes,
            why_not: None,
            hint: None,
            instead: None,
        },
        Err(e) => LevelFound {
            level,
            limits: None,
            ids: None,
            program: None,
            notes: Vec::new(),
            why_not: Some(e.why),
            hint: Some(e.hint),
            instead: e.instead,
        },
    }
}
