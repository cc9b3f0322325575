//! Every ending that a run's outcome is decided from can really be made, and reads as what it is.

use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;

use crate::stage::Stage;

const ENDINGS: &[(&str, &str)] = &[
    ("success and 0", "session s-1\nmessage working\nusage 10 2 3 0.02\nresult success done"),
    ("success and 1 by itself", "result success done\nexit 1"),
    ("success, then lingers", "result success done\nsleep 20ms"),
    ("success, then killed", "result success done\nkill TERM"),
    ("two results, success first", "result success done\nresult error other a spurious failure"),
    ("error and 0", "result error other no idea"),
    ("error and 1", "result error bad_request no such model\nexit 1"),
    ("none and 0", "message and now I leave"),
    ("none and 1", "err it broke\nexit 1"),
    ("none and killed", "message working\nkill KILL"),
    ("login lost", "result error auth code=claude_auth_required please log in"),
    ("limit reached", "result error quota not-before=2026-12-01T00:00:00Z you have hit your limit\nexit 1"),
    ("busy upstream", "result error transient overloaded\nexit 1"),
    ("permission refused", "result error permission nobody may run rm"),
    ("session gone, in words", "session-gone"),
    ("session gone, without a word", "session-gone silent"),
    ("success without any output", "result success"),
    ("only a plan", "plan-only first this, then that"),
    (
        "usage replaced by a total",
        "usage 10 2\nusage 10 2 model=m\nusage-total 25 5 4 0.5 model=n provider=p\nresult success ok",
    ),
    (
        "trouble on the way",
        "trouble transient code=busy one more try\ntool bash {\"command\":\"make\"}\ntool-result error no rule\nresult success ok",
    ),
    ("nothing at all", "# silence"),
];

#[test]
fn every_ending_can_be_made() {
    let mut shown = String::new();
    let mut stage = Stage::new();
    for (name, script) in ENDINGS {
        stage.session = name.starts_with("session gone").then(|| "old-session".to_owned());
        let played = stage.play(script);
        let ended = match (played.status.code(), played.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap()),
        };
        writeln!(shown, "# {name}: {ended}").unwrap();
        for event in &played.events {
            writeln!(shown, "{}", serde_json::to_string(event).unwrap()).unwrap();
        }
        if !played.stderr.is_empty() {
            writeln!(shown, "stderr: {}", played.stderr.trim_end()).unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}
