//! The audit chain: records of decisions that must be believed later.
//!
//! Each record's hash covers the record and the hash before it, so that changing, removing or reordering any of them
//! breaks the chain at a place that [`verify`] names. Somebody who can write the database can also make a new chain:
//! only a head that was exported before shows that. There is one chain for the whole store, and its head is a lock:
//! records are kept until the end of their transaction, so that this lock is always the last one taken.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::{StoreError, Tx, from_row, p, sql};

/// A decision to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// `None` for what concerns the whole instance.
    pub company_id: Option<String>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub details_json: String,
    pub at: i64,
}

/// The end of the chain at some moment; kept elsewhere, it shows later that nothing before it was changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditHead {
    pub seq: i64,
    pub hash: String,
}

/// A record as it stands in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAudit {
    pub seq: i64,
    pub at: i64,
    pub company_id: Option<String>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub details: String,
    pub hash: String,
}

from_row!(StoredAudit { seq, at, company_id, actor, action, subject, details, hash });

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    pub ok: bool,
    /// Records whose place and hash are right, from the first on.
    pub checked: i64,
    pub first_broken: Option<BrokenLink>,
}

/// The first place where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLink {
    pub seq: i64,
    pub why: Break,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// A record of this number should be here and is not.
    Missing,
    /// The record does not have the hash of its content and its predecessor.
    Changed,
    /// The chain ends here, but its stored head says that it goes on.
    Truncated,
    /// The chain goes on, but its stored head says that it ends before.
    BeyondHead,
    /// The record is not the one of the exported head.
    NotAsExported,
    /// What should be a record, or a line of a file, cannot be read.
    Unreadable,
    /// A row stands before the first record, where there can be none.
    BeforeFirst,
    /// The chain has no head that can be read: nobody knows where it ends, and nothing can be recorded.
    NoHead,
}

impl Break {
    pub const ALL: [Break; 8] = [
        Break::Missing,
        Break::Changed,
        Break::Truncated,
        Break::BeyondHead,
        Break::NotAsExported,
        Break::Unreadable,
        Break::BeforeFirst,
        Break::NoHead,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Break::Missing => "missing",
            Break::Changed => "changed",
            Break::Truncated => "truncated",
            Break::BeyondHead => "beyond_head",
            Break::NotAsExported => "not_as_exported",
            Break::Unreadable => "unreadable",
            Break::BeforeFirst => "before_first",
            Break::NoHead => "no_head",
        }
    }

    pub fn parse(word: &str) -> Option<Break> {
        Break::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Break::Missing => "a decision of this number should be there and is not",
            Break::Changed => "the decision is not the one that was recorded",
            Break::Truncated => "decisions after this one were removed",
            Break::BeyondHead => "decisions were added past the head",
            Break::NotAsExported => "the decision is not the one of the head that was kept",
            Break::Unreadable => "what should be this decision cannot be read",
            Break::BeforeFirst => "a row stands before the first decision, where there can be none",
            Break::NoHead => {
                "the record has no head, so nobody knows where it ends and nothing can be decided"
            }
        }
    }
}

/// A walk along the chain: each record must have the next number and the hash of its content and its predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) seq: i64,
    pub(crate) hash: String,
}

impl Walk {
    pub(crate) fn from_the_start() -> Walk {
        Walk { seq: 0, hash: GENESIS.to_owned() }
    }

    /// Takes the next record, or says where the chain breaks.
    pub(crate) fn step(&mut self, record: &StoredAudit) -> Result<(), BrokenLink> {
        if record.seq != self.seq + 1 {
            return Err(BrokenLink { seq: self.seq + 1, why: Break::Missing });
        }
        if record.hash != link(&self.hash, record) {
            return Err(BrokenLink { seq: record.seq, why: Break::Changed });
        }
        self.seq = record.seq;
        self.hash.clone_from(&record.hash);
        Ok(())
    }
}

/// The hash before the first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Records a decision in the same transaction. The record is written at the end of the transaction.
pub async fn append(tx: &mut Tx<'_>, record: AuditRecord) -> Result<(), StoreError> {
    tx.note_audit(record);
    Ok(())
}

/// Returns the head of the chain, to be exported.
pub async fn head(tx: &mut Tx<'_>) -> Result<AuditHead, StoreError> {
    stored_head(tx).await?.ok_or(StoreError::NoAuditHead)
}

/// The head, if there is one that can be read.
async fn stored_head(tx: &mut Tx<'_>) -> Result<Option<AuditHead>, StoreError> {
    let select = sql!("SELECT seq, hash FROM audit_head WHERE one = 1");
    let found = tx.rows_if_readable::<(i64, String)>(select, p![]).await?.unwrap_or_default();
    Ok(found.into_iter().next().map(|(seq, hash)| AuditHead { seq, hash }))
}

/// Compares the head of the chain with its last record, and nothing before it; returns the head, or where the two part.
pub async fn ending(tx: &mut Tx<'_>) -> Result<Result<AuditHead, BrokenLink>, StoreError> {
    let select = sql!("SELECT seq, hash FROM audit WHERE seq > 0 ORDER BY seq DESC LIMIT 1");
    let last = tx.rows_if_readable::<(i64, String)>(select, p![]).await?;
    let broken = |seq, why| Ok(Err(BrokenLink { seq, why }));
    let Some(head) = stored_head(tx).await? else {
        let last = last.unwrap_or_default().into_iter().next();
        return broken(last.map_or(1, |(seq, _)| seq.saturating_add(1)), Break::NoHead);
    };
    let Some(last) = last else { return broken(head.seq, Break::Unreadable) };
    let (seq, hash) = last.into_iter().next().unwrap_or_else(|| (0, GENESIS.to_owned()));
    if head.seq > seq {
        return broken(seq + 1, Break::Truncated);
    }
    if head.seq < seq {
        return broken(head.seq + 1, Break::BeyondHead);
    }
    if head.hash != hash {
        return broken(seq, Break::Changed);
    }
    Ok(Ok(head))
}

/// Returns up to `limit` records behind `after`, oldest first.
pub async fn page(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Vec<StoredAudit>, StoreError> {
    let select = sql!(
        "SELECT seq, at, company_id, actor, action, subject, details, hash FROM audit \
         WHERE seq > $1 ORDER BY seq LIMIT $2"
    );
    tx.rows_as(select, p![after, limit]).await
}

/// Records one behind the other, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    pub records: Vec<StoredAudit>,
    /// What comes behind them cannot be read.
    pub is_cut: bool,
}

/// [`page`] for who looks for damage: the records before the first that cannot be read.
pub async fn readable(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Readable, StoreError> {
    if let Some(records) = if_readable(tx, after, limit).await? {
        return Ok(Readable { records, is_cut: false });
    }
    // One of them cannot be read. One by one, up to it.
    let (mut records, mut place): (Vec<StoredAudit>, i64) = (Vec::new(), after);
    for _ in 0..limit {
        let Some(one) = if_readable(tx, place, 1).await? else {
            return Ok(Readable { records, is_cut: true });
        };
        let Some(record) = one.into_iter().next() else { break };
        place = record.seq;
        records.push(record);
    }
    Ok(Readable { records, is_cut: false })
}

async fn if_readable(
    tx: &mut Tx<'_>,
    after: i64,
    limit: i64,
) -> Result<Option<Vec<StoredAudit>>, StoreError> {
    let select = sql!(
        "SELECT seq, at, company_id, actor, action, subject, details, hash FROM audit \
         WHERE seq > $1 ORDER BY seq LIMIT $2"
    );
    tx.rows_if_readable(select, p![after, limit]).await
}

/// The number of a row that no walk from the first record on would come by. One without a number that can be read counts
/// as 0.
async fn stray(tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
    // SQLite takes rows without a number.
    let select = sql!("SELECT seq FROM audit WHERE seq < 1 OR seq IS NULL ORDER BY seq LIMIT 1");
    let found = tx.rows_if_readable::<(Option<i64>,)>(select, p![]).await?;
    let found = found.unwrap_or_else(|| vec![(None,)]);
    Ok(found.into_iter().next().map(|(seq,)| seq.unwrap_or(0)))
}

/// Walks the whole chain, a page at a time, and compares it with its head and with one that was `exported` before.
pub async fn verify(tx: &mut Tx<'_>, exported: Option<&AuditHead>) -> Result<AuditReport, StoreError> {
    const PAGE: i64 = 1000;
    let stored = stored_head(tx).await?;
    let mut walk = Walk::from_the_start();
    let broken =
        |checked, seq, why| AuditReport { ok: false, checked, first_broken: Some(BrokenLink { seq, why }) };
    if let Some(exported) = exported
        && exported.seq == 0
        && exported.hash != GENESIS
    {
        return Ok(broken(0, 0, Break::NotAsExported));
    }
    if let Some(seq) = stray(tx).await? {
        return Ok(broken(0, seq, Break::BeforeFirst));
    }
    loop {
        let Readable { records, is_cut } = readable(tx, walk.seq, PAGE).await?;
        if records.is_empty() && !is_cut {
            break;
        }
        for record in records {
            let last = walk.seq;
            if let Err(link) = walk.step(&record) {
                return Ok(broken(last, link.seq, link.why));
            }
            if exported.is_some_and(|exported| exported.seq == record.seq && exported.hash != record.hash) {
                return Ok(broken(last, record.seq, Break::NotAsExported));
            }
            if stored.as_ref().is_some_and(|stored| record.seq > stored.seq) {
                return Ok(broken(last, record.seq, Break::BeyondHead));
            }
        }
        if is_cut {
            return Ok(broken(walk.seq, walk.seq + 1, Break::Unreadable));
        }
    }
    let Walk { seq: last, hash } = walk;
    if stored.as_ref().into_iter().chain(exported).any(|head| head.seq > last) {
        return Ok(broken(last, last + 1, Break::Truncated));
    }
    let Some(stored) = stored else { return Ok(broken(last, last + 1, Break::NoHead)) };
    if stored.seq != last || stored.hash != hash {
        return Ok(broken(last, last, Break::Changed));
    }
    Ok(AuditReport { ok: true, checked: last, first_broken: None })
}

/// A part of the chain without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The number before its first record, and the hash there.
    pub behind: i64,
    pub previous: String,
    /// The number of its last record; `behind` when there is none.
    pub last: i64,
}

/// Returns the part from the first record that was made at `since` or later to the last one made at `until` or before, in
/// microseconds. Clocks of several servers may differ: what lies between the two belongs to it, whatever its time.
///
/// `Err`: where a part has an end, or what comes before it, is not known, because the chain is broken there.
pub async fn span(
    tx: &mut Tx<'_>,
    since: Option<i64>,
    until: Option<i64>,
) -> Result<Result<Span, BrokenLink>, StoreError> {
    let end = match ending(tx).await? {
        Ok(head) => head.seq,
        // What comes before it can be had.
        Err(BrokenLink { why: Break::Unreadable, .. }) => head(tx).await?.seq,
        Err(link) => return Ok(Err(link)),
    };
    let unreadable = |seq| Ok(Err(BrokenLink { seq, why: Break::Unreadable }));
    let first = match since {
        None => Some(1),
        Some(since) => {
            let select = sql!("SELECT MIN(seq) FROM audit WHERE at >= $1 AND seq >= 1 AND seq <= $2");
            match tx.rows_if_readable::<(Option<i64>,)>(select, p![since, end]).await? {
                Some(found) => found.into_iter().next().and_then(|(seq,)| seq),
                None => return unreadable(1),
            }
        }
    };
    let last = match until {
        None => Some(end),
        Some(until) => {
            let select = sql!("SELECT MAX(seq) FROM audit WHERE at <= $1 AND seq >= 1 AND seq <= $2");
            match tx.rows_if_readable::<(Option<i64>,)>(select, p![until, end]).await? {
                Some(found) => found.into_iter().next().and_then(|(seq,)| seq),
                None => return unreadable(end),
            }
        }
    };
    let behind = first.map_or(end, |first| first - 1);
    let previous = if behind == 0 {
        GENESIS.to_owned()
    } else {
        let select = sql!("SELECT hash FROM audit WHERE seq = $1");
        match tx.rows_if_readable::<(String,)>(select, p![behind]).await? {
            None => return unreadable(behind),
            Some(found) => match found.into_iter().next() {
                Some((hash,)) => hash,
                None => return Ok(Err(BrokenLink { seq: behind, why: Break::Missing })),
            },
        }
    };
    Ok(Ok(Span { behind, previous, last: last.unwrap_or(behind).max(behind) }))
}

/// Writes records at the end of the chain; called once, at the end of a transaction.
pub(crate) async fn write(tx: &mut Tx<'_>, records: Vec<AuditRecord>) -> Result<(), StoreError> {
    let select = sql!("SELECT seq, hash FROM audit_head WHERE one = 1 /*+for_update*/");
    let found = tx.rows_if_readable::<(i64, String)>(select, p![]).await?.unwrap_or_default();
    let Some((mut seq, mut hash)) = found.into_iter().next() else {
        return Err(StoreError::NoAuditHead);
    };
    for record in records {
        seq += 1;
        let AuditRecord { company_id, actor, action, subject, details_json: details, at } = record;
        let mut stored =
            StoredAudit { seq, at, company_id, actor, action, subject, details, hash: String::new() };
        stored.hash = link(&hash, &stored);
        hash.clone_from(&stored.hash);
        let insert = sql!(
            "INSERT INTO audit (seq, at, company_id, actor, action, subject, details, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        );
        let StoredAudit { company_id, actor, action, subject, details, hash, .. } = stored;
        tx.run(insert, p![seq, at, company_id, actor, action, subject, details, hash]).await?;
    }
    tx.run(sql!("UPDATE audit_head SET seq = $1, hash = $2 WHERE one = 1"), p![seq, hash]).await
}

/// The hash of a record behind another: SHA-256 over a form in which every field says its length, so that no two
/// different records have the same bytes.
fn link(previous: &str, record: &StoredAudit) -> String {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(b"bugle audit 1");
    field(previous.as_bytes());
    field(&record.seq.to_be_bytes());
    field(&record.at.to_be_bytes());
    match &record.company_id {
        None => field(b"-"),
        Some(company_id) => {
            field(b"+");
            field(company_id.as_bytes());
        }
    }
    for text in [&record.actor, &record.action, &record.subject, &record.details] {
        field(text.as_bytes());
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
    }
    hex
}
