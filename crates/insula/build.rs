//! What `insula version --features` says of the build, and the compiler does not tell the program.
//!
//! Nothing is asked of a version control system: whoever builds a release names the commit in `INSULA_COMMIT`, so that
//! the same sources build the same program wherever they lie.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=INSULA_COMMIT");
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo::rustc-env=INSULA_TARGET={target}");
    }
    let commit = std::env::var("INSULA_COMMIT").unwrap_or_default();
    println!("cargo::rustc-env=INSULA_COMMIT={}", commit.lines().next().unwrap_or_default());
}
