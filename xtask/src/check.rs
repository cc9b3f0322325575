//! Everything that a change must pass beside the tests. All steps run, so that one call shows all there is to mend.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::step::{cargo, report};
use crate::{licences, links, names, shown, words};

/// Runs all steps; true when all are well.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, well: Result<bool>| -> Result<()> {
        if !well? {
            failed.push(name);
        }
        Ok(())
    };
    step("words", report("words", words::run(root)?))?;
    step("names", report("names", names::run(root)?))?;
    step("links", report("links", links::run(root)?))?;
    step("shown", report("shown", shown::run(root)?))?;
    step("licences", licences::run(root))?;
    step("format", cargo(root, "format", &["fmt", "--all", "--check"], &[]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", cargo(root, "lints", &clippy, &[]))?;
    // The ordinary test run leaves this target out, and lints go with it.
    let agents = ["clippy", "--package", "bugle", "--test", "agents", "--", "-D", "warnings"];
    step("lints of the agents' tests", cargo(root, "lints of the agents' tests", &agents, &[]))?;
    // The table of the run states is printed from the code; its test compares it with the document.
    step("tables", cargo(root, "tables", &["test", "--quiet", "--package", "domain", "document"], &[]))?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
    step("documentation", cargo(root, "documentation", &doc, &[("RUSTDOCFLAGS", "-D warnings")]))?;
    if has_cargo_deny() {
        let deny = ["deny", "--workspace", "check", "licenses", "bans", "sources"];
        step("deny", cargo(root, "deny", &deny, &[]))?;
        if !cargo(root, "advisories", &["deny", "--workspace", "check", "advisories"], &[])? {
            println!(
                "!! advisories: not clean, or their database could not be fetched; read the lines above"
            );
        }
    } else {
        println!(
            "!! cargo-deny is not installed: ADVISORIES WERE NOT CHECKED (licences were, from deny.toml)"
        );
        println!("!! to check them: cargo install --locked cargo-deny, then cargo deny check advisories");
    }
    if failed.is_empty() {
        println!("\ncheck: all well");
    } else {
        println!("\ncheck: FAILED: {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

fn has_cargo_deny() -> bool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = Command::new(program)
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}
