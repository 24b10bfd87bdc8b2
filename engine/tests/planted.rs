//! Planted bugs stay out of what is released: with the feature a release build does not compile, and without it every one of
//! them is a constant.

use std::path::Path;
use std::process::Command;

/// Compiles the file of planted bugs alone, as it would be in a build with these settings; `Err` is what the compiler says.
fn compile(is_planted: bool, has_debug_assertions: bool) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "lib", "--crate-name", "planted", "--emit", "metadata", "-o"]);
    rustc
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("planted-{is_planted}-{has_debug_assertions}.rmeta")));
    rustc.args(["-C", if has_debug_assertions { "debug-assertions=on" } else { "debug-assertions=off" }]);
    if is_planted {
        rustc.args(["--cfg", "feature=\"planted\""]);
    }
    let output = rustc.arg(root.join("src/planted.rs")).output().expect("the compiler starts");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_release_build_with_planted_bugs_does_not_compile() {
    compile(false, false).expect("a release");
    compile(false, true).expect("a build for development");
    compile(true, true).expect("a build for simulations");
    let error = compile(true, false).expect_err("bugs in a release");
    assert!(error.contains("planted bugs are for simulations, never for a release build"), "{error}");
}

/// What the test above calls a release is what the workspace's profiles make one.
#[test]
fn releases_have_no_debug_assertions() {
    let manifest = include_str!("../../Cargo.toml");
    let profiles = manifest.split("\n[").filter(|section| section.starts_with("profile."));
    for profile in
        profiles.filter(|profile| !profile.starts_with("profile.dev") && !profile.starts_with("profile.test"))
    {
        assert!(!profile.contains("debug-assertions"), "{profile}");
    }
}

#[cfg(not(feature = "planted"))]
const _: () = assert!(!vestibule_engine::planted::is(vestibule_engine::planted::Bug::SkipSync));
