//! The transcript of a run: what its agent said and did, in one shape for every program, read out of the
//! stored log.
//!
//! Nothing is kept beside the log. A page is made by reading the log through the adapter's reader again, so
//! it says the same while the run goes on and after. What was given stays as it is: a call of a tool becomes
//! an item when its result is there, or when its process ended without one; until then it is told apart, as
//! under way. Where a reader stands is a [`Mark`]; what an item says is [`What`]. HTTP is not spoken here.

mod clip;
mod fold;
mod sitting;

use std::sync::Arc;

use domain::moment::Moment;
use serde_json::Value as Json;
use store::agents::Agent;
use store::run_starts::{self, RunStart};
use store::runs::{self, Run};
use store::{StoreError, Tx};

pub use clip::Clipped;
pub use fold::{ToolResult, What};
use sitting::Sitting;
pub(crate) use sitting::Sittings;

use crate::processes::{ProcessError, beside};
use crate::{Engine, EngineError};

/// One item of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Counts from 1 within the run; `None` while it is under way.
    pub seq: Option<u64>,
    /// When the line came that it was read from; of a tool, when it was called.
    pub at: Moment,
    /// Which process of the run said it, from 1.
    pub attempt: i64,
    pub what: What,
}

/// Where a reader of a transcript stands: behind an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The process, from 1.
    attempt: i64,
    /// The frame of its log that the item was read from; what its end revealed lies at the end of the log.
    offset: u64,
    /// So many items of that frame were given.
    taken: u32,
    /// So many items of the run were given.
    seq: u64,
}

impl Mark {
    /// Before the first item.
    pub const START: Mark = Mark { attempt: 1, offset: 0, taken: 0, seq: 0 };

    /// Reads what [`Mark::to_string`] wrote; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Mark> {
        let mut parts = text.split('.');
        let mut next = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let mark = Mark {
            attempt: next()?.parse().ok().filter(|attempt| *attempt >= 1)?,
            offset: next()?.parse().ok()?,
            taken: next()?.parse().ok()?,
            seq: next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(mark)
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.attempt, self.offset, self.taken, self.seq)
    }
}

/// A part of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptPage {
    pub items: Vec<Item>,
    /// Calls without a result so far, oldest first; only when there are no more items now.
    pub under_way: Vec<Item>,
    /// Where to go on.
    pub next: Mark,
    /// The run is over and all of it was given.
    pub is_over: bool,
    /// Some process of the run has a log. Without one there is nothing to read: not yet, or not any more.
    pub has_log: bool,
}

/// What reading the log of a run takes, beside the log.
#[derive(Debug)]
struct Cast {
    agent: Agent,
    /// The kind that the run was started as: an agent may have become another since.
    kind: String,
    session_note: Option<Json>,
    /// What each of its processes was started with, as far as that is on record.
    starts: Vec<RunStart>,
}

impl Engine {
    /// Returns up to `limit` items behind a mark, and fewer when they are large. The run must have been read
    /// before the call: one that was over then is read to its end.
    pub async fn transcript(
        &self,
        run: &Run,
        after: Mark,
        limit: usize,
    ) -> Result<TranscriptPage, EngineError> {
        let inner = &self.inner;
        let sitting = match inner.transcripts.take(&run.id, after, inner.clock.now()) {
            Some(sitting) => sitting,
            None => {
                let of = run.clone();
                let load = inner.store.read(move |tx| {
                    let run = of.clone();
                    Box::pin(async move { load(tx, &run).await })
                });
                Sitting::new(load.await?.ok_or(EngineError::NotFound("Agent"))?, after)
            }
        };
        let (engine, run) = (Arc::clone(inner), run.clone());
        let read = move || {
            let mut sitting = sitting;
            let page = sitting.page(&engine, &run, limit)?;
            if !page.is_over && page.has_log {
                engine.transcripts.keep(&run.id, page.next, engine.clock.now(), sitting);
            }
            Ok(page)
        };
        let page: Result<TranscriptPage, ProcessError> =
            beside(&inner.processes, read).await.map_err(|error| ProcessError::Other(error.to_string()))?;
        Ok(page?)
    }
}

async fn load(tx: &mut Tx<'_>, run: &Run) -> Result<Option<Cast>, StoreError> {
    let Some(agent) = store::agents::get(tx, &run.agent_id).await? else { return Ok(None) };
    let invoked = runs::first_payload(tx, &run.id, "adapter.invoke").await?;
    let kind = invoked.as_ref().and_then(|payload| payload.get("adapterType")?.as_str());
    let kind = kind.unwrap_or(&agent.adapter_type).to_owned();
    let starts = run_starts::of_run(tx, &run.id).await?;
    // Only the first process of a run resumes a session, or all of them do the same one.
    let asked = starts.iter().find_map(|start| start.session_asked.as_ref()).or(run.session_before.as_ref());
    let session_note = match asked {
        Some(session) => runs::session_note(tx, &run.agent_id, session, Some(run)).await?,
        None => None,
    };
    Ok(Some(Cast { agent, kind, session_note, starts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_nothing_else_does() {
        let mark = Mark { attempt: 2, offset: 4711, taken: 3, seq: 99 };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        assert_eq!(Mark::parse("1.0.0.0"), Some(Mark::START));
        for text in
            ["", "1", "0.0.0.0", "1.0.0", "1.0.0.0.0", "1.-1.0.0", "1.+1.0.0", "1.0.0.x", "1.0.99999999999.0"]
        {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }
}
