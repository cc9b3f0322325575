//! The audit chain as a file: JSON lines that show without the server that nothing of them was changed.
//!
//! Each line is a record with the hash of the one before it, the last line says where the part ends. A part that does not
//! begin with the first record is taken for what its first line says came before; a head that was kept elsewhere, and lies
//! in it, proves it.

use std::io::BufRead;

use domain::moment::Moment;
use serde::{Deserialize, Serialize};

use crate::audit::{AuditHead, Break, BrokenLink, GENESIS, StoredAudit, Walk};

/// A record as a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    pub seq: i64,
    /// ISO 8601, for people.
    pub at: String,
    /// The same in microseconds: what the hash covers.
    pub at_micros: i64,
    pub company_id: Option<String>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub details: String,
    /// The hash of the record before it.
    pub previous: String,
    pub hash: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastLine {
    pub end: End,
}

/// Where a part of the chain ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// As many records are before it.
    pub records: i64,
    pub seq: i64,
    pub hash: String,
}

/// The last line of a part that could not be written to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoppedLine {
    pub stopped: Stopped,
}

/// Where it stopped, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// The number of the record that could not be written.
    pub seq: i64,
    /// A word of [`Break`].
    pub why: String,
}

impl From<BrokenLink> for StoppedLine {
    fn from(link: BrokenLink) -> StoppedLine {
        StoppedLine { stopped: Stopped { seq: link.seq, why: link.why.as_str().to_owned() } }
    }
}

impl Line {
    /// The line of a record.
    pub fn of(record: StoredAudit, previous: String) -> Line {
        Line {
            seq: record.seq,
            at: Moment::from_micros(record.at).iso(),
            at_micros: record.at,
            company_id: record.company_id,
            actor: record.actor,
            action: record.action,
            subject: record.subject,
            details: record.details,
            previous,
            hash: record.hash,
        }
    }

    fn record(self) -> StoredAudit {
        StoredAudit {
            seq: self.seq,
            at: self.at_micros,
            company_id: self.company_id,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            details: self.details,
            hash: self.hash,
        }
    }
}

/// What a look through a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    pub ok: bool,
    /// Records whose place and hash are right, from the first line on.
    pub checked: i64,
    /// The numbers of the first and the last of them.
    pub span: Option<(i64, i64)>,
    pub first_broken: Option<BrokenLink>,
    /// The head that was kept lies in the file.
    pub covers_head: bool,
}

/// Looks through a file, and compares it with a head that was kept elsewhere.
pub fn check(lines: impl BufRead, kept: Option<&AuditHead>) -> std::io::Result<FileReport> {
    let mut reading = Reading { kept, ..Reading::default() };
    for line in lines.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        if let Err(link) = reading.take(&line) {
            return Ok(reading.report(Some(link)));
        }
    }
    let broken = match (&reading.end, &reading.walk) {
        (Some(_), _) => None,
        // The end was cut off.
        (None, walk) => {
            let seq = walk.as_ref().map_or(1, |walk| walk.seq + 1);
            Some(BrokenLink { seq, why: Break::Truncated })
        }
    };
    Ok(reading.report(broken))
}

#[derive(Default)]
struct Reading<'a> {
    kept: Option<&'a AuditHead>,
    walk: Option<Walk>,
    first: Option<i64>,
    checked: i64,
    covers_head: bool,
    end: Option<End>,
}

impl Reading<'_> {
    fn next(&self) -> i64 {
        self.walk.as_ref().map_or(1, |walk| walk.seq + 1)
    }

    fn take(&mut self, line: &str) -> Result<(), BrokenLink> {
        if self.end.is_some() {
            return Err(BrokenLink { seq: self.next(), why: Break::BeyondHead });
        }
        if let Ok(LastLine { end }) = serde_json::from_str(line) {
            return self.finish(end);
        }
        if let Ok(StoppedLine { stopped }) = serde_json::from_str(line) {
            let seq = self.walk.as_ref().map_or(stopped.seq, |walk| walk.seq + 1);
            return Err(BrokenLink { seq, why: Break::parse(&stopped.why).unwrap_or(Break::Unreadable) });
        }
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            return Err(BrokenLink { seq: self.next(), why: Break::Unreadable });
        };
        let (seq, previous) = (line.seq, line.previous.clone());
        let changed = |seq| BrokenLink { seq, why: Break::Changed };
        let has_another_start = seq == 1 && previous != GENESIS;
        let says_another_time = Moment::from_micros(line.at_micros).iso() != line.at;
        if seq < 1 || has_another_start || says_another_time {
            return Err(changed(seq));
        }
        let walk = self.walk.get_or_insert_with(|| Walk { seq: seq - 1, hash: previous.clone() });
        let before = walk.hash.clone();
        let record = line.record();
        walk.step(&record)?;
        if previous != before {
            return Err(changed(seq));
        }
        if let Some(kept) = self.kept {
            let is_kept = kept.seq == seq || (kept.seq == seq - 1 && self.first.is_none());
            let hash = if kept.seq == seq { &record.hash } else { &previous };
            if is_kept && kept.hash != *hash {
                return Err(BrokenLink { seq: kept.seq, why: Break::NotAsExported });
            }
            self.covers_head |= is_kept;
        }
        self.first.get_or_insert(seq);
        self.checked += 1;
        Ok(())
    }

    fn finish(&mut self, end: End) -> Result<(), BrokenLink> {
        let broken = |seq, why| Err(BrokenLink { seq, why });
        if let Some(walk) = &self.walk {
            if end.seq > walk.seq {
                return broken(walk.seq + 1, Break::Truncated);
            }
            if end.seq < walk.seq {
                return broken(end.seq + 1, Break::BeyondHead);
            }
            if end.hash != walk.hash {
                return broken(end.seq, Break::Changed);
            }
        }
        if end.records != self.checked {
            // Records at its beginning were removed.
            let first = self.first.unwrap_or(end.seq + 1);
            return broken(first - 1, Break::Missing);
        }
        self.end = Some(end);
        Ok(())
    }

    fn report(self, first_broken: Option<BrokenLink>) -> FileReport {
        let last = self.first.map(|first| first + self.checked - 1);
        FileReport {
            ok: first_broken.is_none(),
            checked: self.checked,
            span: self.first.zip(last),
            first_broken,
            covers_head: self.covers_head,
        }
    }
}
