//! The graph of an automation, drawn: in the terminal, step by step, and as a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value as Json;

use super::answer::{number, one_line, printable, rows_at, text};
use crate::screen::{Screen, Tone};
use crate::when;

/// How a status or a state is coloured.
pub(super) fn tone(word: &str) -> Tone {
    match word {
        "completed" => Tone::Good,
        "failed" | "blocked" | "cancelled" => Tone::Bad,
        "running" | "pausing" => Tone::Busy,
        "awaiting_approval" | "paused" | "queued" => Tone::Waiting,
        "skipped" => Tone::Faint,
        _ => Tone::Plain,
    }
}

fn mark(state: &str) -> &'static str {
    match state {
        "completed" => "✓",
        "failed" => "✗",
        "blocked" => "■",
        "running" => "▶",
        "awaiting_approval" => "?",
        "skipped" => "–",
        _ => "·",
    }
}

/// A step as it is drawn.
struct Step<'a> {
    id: &'a str,
    is_gate: bool,
    agent: &'a str,
    before: Vec<&'a str>,
    state: &'a str,
    attempt: i64,
    /// From its first attempt to its end, or up to now.
    took: Option<Duration>,
    layer: usize,
}

fn steps<'a>(definition: &'a Json, run: Option<&'a Json>) -> Vec<Step<'a>> {
    let nodes = rows_at(definition, "nodes");
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    // As often as there are nodes: a definition has no circle, and this ends with one, too.
    for _ in nodes {
        for node in nodes {
            let before = rows_at(node, "dependsOn").iter().filter_map(Json::as_str);
            let layer = before.map(|id| layers.get(id).map_or(0, |layer| layer + 1)).max().unwrap_or(0);
            layers.insert(text(node, "id"), layer.min(nodes.len()));
        }
    }
    let state = |id: &str| {
        let nodes = run.map(|run| rows_at(run, "nodes")).unwrap_or_default();
        nodes.iter().find(|node| text(node, "nodeId") == id)
    };
    let mut steps: Vec<Step<'a>> = nodes
        .iter()
        .map(|node| {
            let id = text(node, "id");
            let now = state(id);
            Step {
                id,
                is_gate: node["gate"].is_object() || text(node, "kind") == "approval",
                agent: text(node, "agent"),
                before: rows_at(node, "dependsOn").iter().filter_map(Json::as_str).collect(),
                state: now.map_or("", |now| text(now, "state")),
                attempt: now.map_or(0, |now| number(now, "attempt")),
                took: now.and_then(took),
                layer: layers.get(id).copied().unwrap_or(0),
            }
        })
        .collect();
    steps.sort_by_key(|step| step.layer);
    steps
}

/// How long a step has taken; `None`: it has not begun.
fn took(node: &Json) -> Option<Duration> {
    let (from, to) = (text(node, "startedAt"), text(node, "finishedAt"));
    let is_under_way = matches!(text(node, "state"), "running" | "awaiting_approval");
    match (from, to) {
        ("", _) => None,
        (from, "") if is_under_way => when::between(from, None),
        (_, "") => None,
        (from, to) => when::between(from, Some(to)),
    }
}

/// Draws the graph: a line for each step, in the order of the work, with what it waits for.
pub(super) fn draw(screen: &mut Screen, definition: &Json, run: Option<&Json>) {
    let steps = steps(definition, run);
    screen.line("");
    for (index, step) in steps.iter().enumerate() {
        let is_last = index + 1 == steps.len();
        let branch = if is_last { "└─" } else { "├─" };
        let who = if step.is_gate { "a person decides".to_owned() } else { printable(step.agent) };
        let state = screen.tint(tone(step.state), &format!("{} {}", mark(step.state), printable(step.id)));
        let mut line = format!("{branch} {}{state}", "  ".repeat(step.layer));
        let _ = write!(line, "  {}", screen.tint(Tone::Faint, &who));
        if !step.before.is_empty() {
            let before = one_line(&step.before.join(", "), 60);
            let _ = write!(line, "  {}", screen.tint(Tone::Faint, &format!("<- {before}")));
        }
        if !step.state.is_empty() && step.state != "pending" {
            let _ = write!(line, "  {}", step.state);
        }
        if step.attempt > 1 {
            let _ = write!(line, ", attempt {}", step.attempt);
        }
        if let Some(took) = step.took.filter(|_| step.state != "pending") {
            let _ = write!(line, "  {}", screen.tint(Tone::Faint, &when::span(took)));
        }
        screen.line(&line);
    }
    screen.line("");
}

const WIDTH: usize = 180;
const HEIGHT: usize = 52;
const GAP_X: usize = 60;
const GAP_Y: usize = 24;
const MARGIN: usize = 20;

/// The graph as a picture: columns in the order of the work, an arrow for each dependency.
pub(super) fn svg(definition: &Json, run: Option<&Json>) -> String {
    let steps = steps(definition, run);
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for step in &steps {
        let row = rows.entry(step.layer).or_insert(0);
        places
            .insert(step.id, (MARGIN + step.layer * (WIDTH + GAP_X), MARGIN + 30 + *row * (HEIGHT + GAP_Y)));
        *row += 1;
    }
    let columns = rows.len().max(1);
    let tallest = rows.values().max().copied().unwrap_or(1);
    let width = MARGIN * 2 + columns * WIDTH + (columns - 1) * GAP_X;
    let height = MARGIN * 2 + 30 + tallest * HEIGHT + (tallest - 1) * GAP_Y;
    let title = match run {
        Some(run) => {
            format!("{} #{}: {}", text(run, "automation"), number(run, "number"), text(run, "status"))
        }
        None => text(definition, "name").to_owned(),
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" fill=\"#667\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\" fill=\"#223\">{}</text>\n",
        escaped(&title),
        MARGIN + 6,
        escaped(&title)
    );
    for step in &steps {
        let Some((x, y)) = places.get(step.id) else { continue };
        for before in &step.before {
            let Some((from_x, from_y)) = places.get(before) else { continue };
            let (x1, y1) = (from_x + WIDTH, from_y + HEIGHT / 2);
            let (x2, y2) = (*x, y + HEIGHT / 2);
            let bend = (x1 + x2) / 2;
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#667\" \
                 marker-end=\"url(#arrow)\"/>"
            );
        }
    }
    for step in &steps {
        let Some((x, y)) = places.get(step.id) else { continue };
        let (fill, stroke) = colours(step.state);
        let round = if step.is_gate { HEIGHT / 2 } else { 6 };
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{round}\" fill=\"{fill}\" \
             stroke=\"{stroke}\"/>"
        );
        let below = match (step.is_gate, step.state) {
            (true, "") => "a person decides".to_owned(),
            (_, "") => step.agent.to_owned(),
            (true, state) => state.to_owned(),
            (false, state) => format!("{}: {state}", step.agent),
        };
        for (line, offset, weight) in [(step.id.to_owned(), 22, "bold"), (below, 40, "normal")] {
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"{weight}\" fill=\"#223\">{}</text>",
                x + WIDTH / 2,
                y + offset,
                escaped(&one_line(&line, 26))
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn colours(state: &str) -> (&'static str, &'static str) {
    match state {
        "completed" => ("#d8f3dc", "#2d6a4f"),
        "failed" => ("#ffd6d6", "#a4161a"),
        "blocked" => ("#ffe5d0", "#bc4b00"),
        "running" => ("#d7e8ff", "#1d4e89"),
        "awaiting_approval" => ("#fff3bf", "#8a6d00"),
        "skipped" => ("#eee", "#999"),
        _ => ("#f8f9fb", "#99a"),
    }
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|it| !it.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_has_every_step_and_every_arrow_and_no_markup_of_others() {
        let definition = json!({ "name": "n", "nodes": [
            { "id": "a", "agent": "Ada <b>" }, { "id": "b", "agent": "Bob", "dependsOn": ["a"] },
            { "id": "ok", "gate": {}, "dependsOn": ["a", "b"] },
        ] });
        let run = json!({ "automation": "n", "number": 3, "status": "running", "nodes": [
            { "nodeId": "a", "state": "completed", "attempt": 1 },
        ] });
        let picture = svg(&definition, Some(&run));
        assert_eq!(picture.matches("marker-end").count(), 3);
        assert_eq!(picture.matches("<rect x=").count(), 3);
        assert!(
            picture.contains("n #3: running") && picture.contains("Ada &lt;b&gt;: completed"),
            "{picture}"
        );
        assert!(!picture.contains("<b>"));
        let layers: Vec<usize> = steps(&definition, None).iter().map(|step| step.layer).collect();
        assert_eq!(layers, [0, 1, 2]);
    }

    #[test]
    fn a_step_took_from_its_beginning_to_its_end_and_what_has_not_begun_took_nothing() {
        let (from, to) = ("2026-04-27T15:02:47.000Z", "2026-04-27T15:02:48.500Z");
        let node = |state: &str, from: &str, to: &str| json!({ "state": state, "startedAt": from, "finishedAt": to });
        assert_eq!(took(&node("failed", from, to)), Some(Duration::from_millis(1500)));
        assert_eq!(took(&node("blocked", "", to)), None);
        assert_eq!(took(&node("pending", from, "")), None, "it waits to be made again");
        assert!(took(&node("running", from, "")) > Some(Duration::from_secs(60)));
    }
}
