//! Tables of rules: each row is text, judged by the function that decides, and printed for a page of the documents.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A table whose every row was judged.
pub(crate) struct Table {
    title: &'static str,
    about: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Judges all rows: the first `given` columns are what is looked at, the others what must come of it.
    #[track_caller]
    pub(crate) fn judged<const N: usize>(
        (title, about): (&'static str, &'static str),
        columns: [&'static str; N],
        given: usize,
        rows: &[[&str; N]],
        judge: impl Fn(&[&str]) -> Vec<String>,
    ) -> Table {
        let mut wrong = String::new();
        let mut seen = BTreeSet::new();
        for row in rows {
            let (looked_at, expected) = row.split_at(given);
            let found = judge(looked_at);
            if found != expected {
                writeln!(wrong, "{looked_at:?}\n  should be {expected:?}\n  is        {found:?}").unwrap();
            }
            if !seen.insert(looked_at) {
                writeln!(wrong, "{looked_at:?} stands there twice").unwrap();
            }
        }
        assert!(wrong.is_empty(), "{title}:\n{wrong}");
        let rows = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        Table { title, about, columns: columns.to_vec(), rows }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The table with its heading, as Markdown.
    pub(crate) fn print(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, wrapped(self.about));
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from("|");
            for cell in cells {
                assert!(!cell.contains(['|', '\n']), "`{cell}` does not fit a cell");
                line.push_str(if cell.is_empty() { " |" } else { " " });
                if !cell.is_empty() {
                    line.push_str(cell);
                    line.push_str(" |");
                }
            }
            line.push('\n');
            line
        };
        text.push_str(&line(&mut self.columns.iter().copied()));
        text.push_str(&line(&mut self.columns.iter().map(|_| "---")));
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
        }
        text
    }
}

/// A text in lines of the length that documents have.
fn wrapped(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= LONGEST {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

/// The parts of a cell between semicolons; `-` and nothing are none.
pub(crate) fn parts(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(';').map(str::trim).filter(|part| !part.is_empty() && *part != "-")
}

/// What a function said, in one cell; nothing is `-`.
pub(crate) fn joined(said: impl IntoIterator<Item = String>) -> String {
    let said: Vec<String> = said.into_iter().collect();
    if said.is_empty() { "-".to_owned() } else { said.join("; ") }
}
