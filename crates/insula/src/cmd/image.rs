//! `insula image`: works on the home itself, with or without a daemon.

mod progress;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use insula_images::{AuthFiles, Image, Images, LoadOptions, Policy, PullOptions, Record};
use insula_spec::config::Config;
use insula_spec::{ImageSource, Reference};
use serde::Serialize;

use self::progress::Bar;
use crate::cli::image::{ImageArgs, ImageVerb, LoadArgs, PullArgs, RmArgs};
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;

/// What `insula image inspect` shows.
#[derive(Debug, Serialize)]
struct Inspected {
    name: Option<Reference>,
    digest: insula_spec::Digest,
    config: insula_images::ImageConfig,
    layers: Vec<Record>,
    pinned_by: Vec<String>,
}

pub(super) fn run(home: &Home, verb: ImageVerb, printer: Printer) -> anyhow::Result<Exit> {
    home.prepare()?;
    let images = Images::open(&home.images())?;
    // Who runs from an image is the key of a run directory, which is there as long as its walls.
    images.prune(|holder| home.run_dir().join("walls").join(holder).exists())?;
    match verb {
        ImageVerb::Pull(args) => return super::many_threads()?.block_on(pull(&images, args, printer)),
        ImageVerb::Load(args) => load(&images, args, printer)?,
        ImageVerb::Ls => list(&images, printer)?,
        ImageVerb::Inspect(args) => inspect(&images, &args, printer)?,
        ImageVerb::Rm(args) => remove(&images, args, printer)?,
        ImageVerb::Gc => printer.either(&images.gc(&BTreeSet::new())?, text::collected)?,
    }
    Ok(Exit::Ok)
}

async fn pull(images: &Images, args: PullArgs, printer: Printer) -> anyhow::Result<Exit> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let options = PullOptions {
        auth: AuthFiles::find(args.auth_file, variable),
        plain_http: args.plain_http,
        timeout: args.timeout,
        policy: policy(args.keep_setuid),
    };
    let bar = Bar::new(printer);
    let pulled = images.pull(&args.name, &options, &bar).await;
    bar.finish();
    let pulled = pulled?;
    notes(&pulled.notes, printer);
    printer.either(&pulled, text::pulled)?;
    Ok(Exit::Ok)
}

fn load(images: &Images, args: LoadArgs, printer: Printer) -> anyhow::Result<()> {
    let options = LoadOptions { name: args.name, only: args.only, policy: policy(args.keep_setuid) };
    let bar = Bar::new(printer);
    let loaded = images.load(&args.path, &options, &bar);
    bar.finish();
    let loaded = loaded?;
    loaded.iter().for_each(|one| notes(&one.notes, printer));
    if loaded.iter().any(|one| one.name.is_none()) && !printer.json {
        printer.talk(
            "note: without a name it goes with the next `insula image gc`; load it with `--name` to keep it",
        );
    }
    printer.either(&loaded, |loaded| text::loaded(loaded))
}

fn list(images: &Images, printer: Printer) -> anyhow::Result<()> {
    let all = images.list()?;
    if all.is_empty() && !printer.json {
        printer.talk("no images; bring some in with `insula image pull` or `insula image load`");
        return Ok(());
    }
    printer.either(&all, |all| text::list(all))
}

fn inspect(images: &Images, args: &ImageArgs, printer: Printer) -> anyhow::Result<()> {
    let Image { digest, name, config, .. } = images.find(&args.image)?;
    let pins = images.pins()?;
    let holders = pins.into_iter().filter(|(pinned, _)| *pinned == digest).map(|(_, holder)| holder);
    let layers = images.layer_records(digest)?;
    printer.either(&Inspected { name, digest, config, layers, pinned_by: holders.collect() }, text::inspected)
}

fn remove(images: &Images, args: RmArgs, printer: Printer) -> anyhow::Result<()> {
    let config = match environment::CONFIG.path(args.config.config)? {
        Some((_, path)) => Some(path),
        None => std::env::current_dir().ok().and_then(|here| Config::find(&here)),
    };
    // A configuration that cannot be read may name anything.
    let config = config
        .filter(|_| !args.force)
        .map(|path| Config::load_with(&path, &environment::file_alone()))
        .transpose()?;
    let mut removed = Vec::new();
    for text in &args.images {
        let (_, name) = images.lookup(text)?;
        if let Some(user) = config.as_ref().and_then(|config| user(config, name.as_ref())) {
            let message = format!("`{text}` is the image of `[service.{user}]`");
            let hint = "change `image` there first, or remove it all the same with `--force`";
            return Err(Failure::new(Exit::Refused, message, hint).into());
        }
        removed.push(images.remove(text)?);
    }
    printer.either(&removed, |removed| text::removed(removed))
}

/// The service that is configured with this very name.
fn user<'a>(config: &'a Config, name: Option<&Reference>) -> Option<&'a str> {
    let uses =
        |source: &Option<ImageSource>| matches!(source, Some(ImageSource::Name(it)) if Some(it) == name);
    config.services.values().find(|spec| uses(&spec.image)).map(|spec| spec.name.as_str())
}

fn policy(keep_setuid: bool) -> Policy {
    Policy { keep_setuid, ..Policy::default() }
}

/// What of an image is not as it was is said, not only recorded.
fn notes(notes: &[String], printer: Printer) {
    if !printer.json {
        notes.iter().for_each(|note| printer.talk(&format!("note: {note}")));
    }
}
