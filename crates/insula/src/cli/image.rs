//! `insula image`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use insula_spec::{InvalidImage, Reference, parse_duration};

use super::ConfigArg;

/// `insula image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Fetch an image from its registry
    Pull(PullArgs),
    /// Bring in an image from a path: an OCI layout, an archive, or a directory with a root file system
    Load(LoadArgs),
    /// List images
    Ls,
    /// Show how an image wants to be run, its layers, and what of it is not as it was
    Inspect(ImageArgs),
    /// Take a name away; the content goes with the next `insula image gc`
    Rm(RmArgs),
    /// Remove what no name and no instance needs
    Gc,
}

/// `insula image pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image: `debian:bookworm`, `registry.example.org/team/app@sha256:...`
    #[arg(value_parser = reference)]
    pub(crate) name: Reference,
    /// File with what to log in with, as `docker login` writes it [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "PATH")]
    pub(crate) auth_file: Option<PathBuf>,
    /// Do without TLS, for everybody to read and to change; on the loopback there is none anyway
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Time for everything
    #[arg(long, value_parser = parse_duration, default_value = "1h")]
    pub(crate) timeout: Duration,
    /// Keep set-user-id bits and file capabilities
    #[arg(long)]
    pub(crate) keep_setuid: bool,
}

/// `insula image load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// An OCI layout, an archive of an image, or a root file system as a directory or a tar
    pub(crate) path: PathBuf,
    /// What to call it [default: what it calls itself]
    #[arg(long, value_parser = reference)]
    pub(crate) name: Option<Reference>,
    /// Which image, if the path holds several: what it is called there
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) only: Option<String>,
    /// Keep set-user-id bits and file capabilities
    #[arg(long)]
    pub(crate) keep_setuid: bool,
}

/// A verb about one image.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Name, digest, or the beginning of a digest
    pub(crate) image: String,
}

/// `insula image rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names, digests, or beginnings of digests
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Even if a configured service uses it
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|e: InvalidImage| format!("{}; {}", e.why, e.hint()))
}
