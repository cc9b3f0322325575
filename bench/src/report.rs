//! The figures as a table for people and as JSON for comparisons.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value as Json, json};

use crate::bench::Bench;
use crate::figure::{Quantity, Row};

/// The table.
pub(crate) fn table(bench: &Bench, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["figure", "measured", "limit", "ratio", "aim", ""]);
    for row in rows {
        let limit = row.limit.as_ref();
        let details: String =
            row.details.iter().map(|(what, quantity)| format!("\n  {what} {quantity}")).collect();
        table.add_row([
            format!("{}{details}", row.what),
            row.measured.to_string(),
            limit.map(|limit| format!("{}\n({})", limit.quantity, limit.what)).unwrap_or_default(),
            limit.map(|limit| format!("{:.2}", limit.ratio)).unwrap_or_default(),
            row.aim.map(|aim| aim.to_string()).unwrap_or_default(),
            row.is_reached().map_or("", |reached| if reached { "reached" } else { "MISSED" }).to_owned(),
        ]);
    }
    let machine = &bench.machine;
    format!(
        "{table}\n{} cores, {} MiB, Linux {}, data on {}, store {}{}",
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        bench.store_name(),
        if bench.is_quick() { ", quick" } else { "" },
    )
}

/// The same as JSON.
pub(crate) fn json(bench: &Bench, rows: &[Row]) -> Json {
    let machine = &bench.machine;
    json!({
        "machine": {
            "cores": machine.cores, "memoryMiB": machine.memory_mib, "kernel": machine.kernel,
            "fileSystem": machine.file_system,
        },
        "store": bench.store_name(),
        "quick": bench.is_quick(),
        "version": env!("CARGO_PKG_VERSION"),
        "figures": rows.iter().map(one).collect::<Vec<_>>(),
    })
}

fn one(row: &Row) -> Json {
    let quantity = |quantity: &Quantity| json!({ "value": number(quantity.value), "unit": quantity.unit });
    let details: Map<String, Json> =
        row.details.iter().map(|(what, value)| (what.clone(), quantity(value))).collect();
    json!({
        "figure": row.what,
        "measured": quantity(&row.measured),
        "limit": row.limit.as_ref().map(|limit| {
            json!({ "what": limit.what, "value": number(limit.quantity.value), "unit": limit.quantity.unit })
        }),
        "ratio": row.limit.as_ref().map(|limit| number(limit.ratio)),
        "aim": row.aim.map(|aim| aim.to_string()),
        "reached": row.is_reached(),
        "details": details,
    })
}

/// Three digits after the point say all that such a measurement knows; what is no number becomes null.
fn number(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Aim, MILLIS};

    #[test]
    fn a_row_is_whole_in_json() {
        let row = Row::new("a", 1.23456, MILLIS).limit("b", 1.0, MILLIS, 1.2).aim(Aim::RatioAtMost(1.5));
        let shown = one(&row.detail("p95", 2.0, MILLIS));
        assert_eq!(
            shown,
            json!({
                "figure": "a", "measured": {"value": 1.235, "unit": "ms"},
                "limit": {"what": "b", "value": 1.0, "unit": "ms"}, "ratio": 1.2,
                "aim": "<= 1.50 x limit", "reached": true, "details": {"p95": {"value": 2.0, "unit": "ms"}},
            })
        );
    }
}
