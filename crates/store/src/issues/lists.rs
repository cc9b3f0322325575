//! Lists of issues: what the wire's filters find, in the order that people see.
//!
//! A list is bounded and sorted by priority, then by what happened last. Each way in has a statement of its own that goes
//! by one index: the company's order, a person's or an agent's issues, a project, a parent, an origin. A search reads
//! the company's issues with their comments.

use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::IssueStatus;
use domain::moment::Moment;

use super::{Issue, columns_of_i};
use crate::{StoreError, Tx, p, sql};

/// The longest list that anybody gets. One more is read, which tells that there is a next page.
pub const MOST_LISTED: i64 = 1000;

/// A place in the order of lists: that of an issue as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// 0 critical to 3 low.
    pub rank: i64,
    pub last_activity_at: Moment,
    pub updated_at: Moment,
    pub id: IssueId,
}

impl Place {
    /// The place of an issue.
    pub fn of(issue: &Issue) -> Place {
        Place {
            rank: issue.priority.rank().into(),
            last_activity_at: issue.last_activity_at,
            updated_at: issue.updated_at,
            id: issue.id.clone(),
        }
    }

    /// Before everything.
    fn start() -> Place {
        let zero = Moment::from_micros(0);
        Place { rank: -1, last_activity_at: zero, updated_at: zero, id: IssueId::from("") }
    }
}

/// What a list is to hold. An empty filter: everything that is not hidden.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Any of these; words that are no status match nothing. Empty: all.
    pub statuses: Vec<String>,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
    /// Assigned to the agent, made by it, or commented on by it.
    pub participant_agent_id: Option<AgentId>,
    /// Assigned to the user, made, commented on or read by them.
    pub touched_by_user_id: Option<String>,
    /// Leaves out what this user put away and where nothing happened since.
    pub inbox_of_user_id: Option<String>,
    /// Touched by the user, with a comment of somebody else after their last own comment or look.
    pub unread_for_user_id: Option<String>,
    pub project_id: Option<String>,
    pub parent_id: Option<IssueId>,
    /// On any level below this issue.
    pub descendant_of: Option<IssueId>,
    pub label_id: Option<String>,
    pub execution_workspace_id: Option<String>,
    /// An execution workspace or a project's.
    pub workspace_id: Option<String>,
    pub origin_kind: Option<String>,
    pub origin_id: Option<String>,
    pub without_routine_executions: bool,
    /// Searched for in titles, identifiers, comments and descriptions, in capitals or not.
    pub search: Option<String>,
    /// Only what stands behind this place. A search has an order of its own and pays no heed to it.
    pub after: Option<Place>,
}

impl Filter {
    /// Nothing that is done or cancelled can match: then history is not looked at.
    fn is_open_only(&self) -> bool {
        !self.statuses.is_empty()
            && self
                .statuses
                .iter()
                .all(|word| !IssueStatus::parse(word).is_some_and(IssueStatus::is_terminal))
    }

    fn status_list(&self) -> Option<String> {
        (!self.statuses.is_empty()).then(|| format!(",{},", self.statuses.join(",")))
    }

    /// The words of a search as a pattern, its wild cards taken literally.
    fn pattern(&self) -> Option<String> {
        let words = self.search.as_deref().map(str::trim).filter(|words| !words.is_empty())?;
        let mut pattern = String::with_capacity(words.len());
        for letter in words.chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        Some(pattern)
    }
}

/// The columns of a list: long descriptions are cut, and policies are left where they are.
macro_rules! list_columns {
    () => {
        "i.id, i.company_id, i.project_id, i.project_workspace_id, i.goal_id, i.parent_id, i.title, \
         substr(i.description, 1, 1200), i.status, i.priority, i.assignee_agent_id, i.assignee_user_id, \
         i.checkout_run_id, i.execution_run_id, i.lock_run_id, i.lock_epoch, i.lock_agent_id, i.locked_at, \
         i.created_by_agent_id, i.created_by_user_id, i.issue_number, i.identifier, i.origin_kind, \
         i.origin_id, i.origin_run_id, i.origin_fingerprint, i.request_depth, i.billing_code, \
         i.assignee_adapter_overrides, CAST(NULL AS text), CAST(NULL AS text), i.execution_workspace_id, \
         i.execution_workspace_preference, CAST(NULL AS text), i.started_at, i.completed_at, i.cancelled_at, \
         i.hidden_at, i.waits_on_blockers, i.check_at, i.last_activity_at, i.created_at, i.updated_at"
    };
}

macro_rules! filters {
    () => {
        " AND i.hidden_at IS NULL \
         AND (CAST($2 AS text) IS NULL OR CAST($2 AS text) LIKE '%,' || i.status || ',%') \
         AND (CAST($3 AS text) IS NULL OR i.assignee_agent_id = $3) \
         AND (CAST($4 AS text) IS NULL OR i.assignee_user_id = $4) \
         AND (CAST($5 AS text) IS NULL OR i.project_id = $5) \
         AND (CAST($6 AS text) IS NULL OR i.parent_id = $6) \
         AND (CAST($7 AS text) IS NULL OR EXISTS (SELECT 1 FROM issue_labels l WHERE l.issue_id = i.id \
              AND l.label_id = $7)) \
         AND (CAST($8 AS text) IS NULL OR i.origin_kind = $8) \
         AND (CAST($9 AS text) IS NULL OR i.origin_id = $9) \
         AND (NOT $10 OR i.origin_kind <> 'routine_execution') \
         AND (CAST($11 AS text) IS NULL OR i.execution_workspace_id = $11) \
         AND (CAST($12 AS text) IS NULL OR i.execution_workspace_id = $12 OR i.project_workspace_id = $12) \
         AND (CAST($13 AS text) IS NULL OR i.assignee_agent_id = $13 OR i.created_by_agent_id = $13 \
              OR EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id AND c.author_agent_id = $13)) \
         AND (CAST($14 AS text) IS NULL OR i.assignee_user_id = $14 OR i.created_by_user_id = $14 \
              OR EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id AND c.author_user_id = $14) \
              OR EXISTS (SELECT 1 FROM issue_read_states s WHERE s.issue_id = i.id AND s.user_id = $14 \
                         AND s.last_read_at IS NOT NULL)) \
         AND (CAST($15 AS text) IS NULL OR NOT EXISTS (SELECT 1 FROM issue_read_states s WHERE s.issue_id = i.id \
              AND s.user_id = $15 AND s.archived_at >= i.last_activity_at)) \
         AND (CAST($16 AS text) IS NULL OR ((i.assignee_user_id = $16 OR i.created_by_user_id = $16 \
                OR EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id AND c.author_user_id = $16) \
                OR EXISTS (SELECT 1 FROM issue_read_states s WHERE s.issue_id = i.id AND s.user_id = $16 \
                           AND s.last_read_at IS NOT NULL)) \
              AND EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id \
                AND (c.author_user_id IS NULL OR c.author_user_id <> $16) \
                AND NOT EXISTS (SELECT 1 FROM issue_comments m WHERE m.issue_id = i.id AND m.author_user_id = $16 \
                                AND m.created_at >= c.created_at) \
                AND NOT EXISTS (SELECT 1 FROM issue_read_states s WHERE s.issue_id = i.id AND s.user_id = $16 \
                                AND s.last_read_at >= c.created_at)))) \
         AND (CAST($17 AS text) IS NULL OR i.id IN (WITH RECURSIVE below(id) AS ( \
                SELECT d.id FROM issues d WHERE d.parent_id = $17 \
                UNION SELECT d.id FROM issues d JOIN below b ON d.parent_id = b.id) SELECT id FROM below))"
    };
}

/// What stands behind a place; the rank of the start is below every rank. The plus keeps the ranks from being looked up
/// one by one, which would lose the order of the index.
macro_rules! behind {
    () => {
        " AND (+i.priority_rank > $19 OR (+i.priority_rank = $19 AND (i.last_activity_at < $20 \
         OR (i.last_activity_at = $20 AND (i.updated_at < $21 OR (i.updated_at = $21 AND i.id > $22))))))"
    };
}

macro_rules! order {
    () => {
        "i.priority_rank, i.last_activity_at DESC, i.updated_at DESC, i.id LIMIT $18"
    };
}

macro_rules! open {
    () => {
        " AND i.status IN ('backlog', 'todo', 'in_progress', 'in_review', 'blocked')"
    };
}

macro_rules! found {
    () => {
        " AND (lower(i.title) LIKE lower(CAST($19 AS text)) ESCAPE '\\' \
         OR lower(i.identifier) LIKE lower(CAST($19 AS text)) ESCAPE '\\' \
         OR lower(i.description) LIKE lower(CAST($19 AS text)) ESCAPE '\\' \
         OR EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id \
            AND lower(c.body) LIKE lower(CAST($19 AS text)) ESCAPE '\\')) \
         ORDER BY CASE WHEN lower(i.title) LIKE lower(CAST($20 AS text)) ESCAPE '\\' THEN 0 \
         WHEN lower(i.title) LIKE lower(CAST($19 AS text)) ESCAPE '\\' THEN 1 \
         WHEN lower(i.identifier) LIKE lower(CAST($20 AS text)) ESCAPE '\\' THEN 2 \
         WHEN lower(i.identifier) LIKE lower(CAST($19 AS text)) ESCAPE '\\' THEN 3 \
         WHEN EXISTS (SELECT 1 FROM issue_comments c WHERE c.issue_id = i.id \
            AND lower(c.body) LIKE lower(CAST($19 AS text)) ESCAPE '\\') THEN 4 ELSE 5 END, "
    };
}

/// One statement for everything, one for what is open.
macro_rules! both {
    ($open:expr, $by:literal) => {
        if $open {
            sql!(concat!(
                "SELECT ",
                list_columns!(),
                " FROM issues i WHERE ",
                $by,
                open!(),
                filters!(),
                behind!(),
                " ORDER BY ",
                order!()
            ))
        } else {
            sql!(concat!(
                "SELECT ",
                list_columns!(),
                " FROM issues i WHERE ",
                $by,
                filters!(),
                behind!(),
                " ORDER BY ",
                order!()
            ))
        }
    };
}

/// Returns the issues of a company that a filter lets through, at most [`MOST_LISTED`] and one more.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Issue>, StoreError> {
    let mut params = p![
        company,
        filter.status_list(),
        &filter.assignee_agent_id,
        &filter.assignee_user_id,
        &filter.project_id,
        &filter.parent_id,
        &filter.label_id,
        &filter.origin_kind,
        &filter.origin_id,
        filter.without_routine_executions,
        &filter.execution_workspace_id,
        &filter.workspace_id,
        &filter.participant_agent_id,
        &filter.touched_by_user_id,
        &filter.inbox_of_user_id,
        &filter.unread_for_user_id,
        &filter.descendant_of,
        limit.clamp(0, MOST_LISTED + 1)
    ];
    let open = filter.is_open_only();
    if filter.pattern().is_none() {
        let Place { rank, last_activity_at, updated_at, id } =
            filter.after.clone().unwrap_or_else(Place::start);
        params.0.extend(p![rank, last_activity_at, updated_at, id].0);
    }
    // The company's own index is of no use beside a narrower one, so it is joined with nothing there.
    let sql = if let Some(pattern) = filter.pattern() {
        params.0.push(format!("%{pattern}%").into());
        params.0.push(format!("{pattern}%").into());
        if open {
            sql!(concat!(
                "SELECT ",
                list_columns!(),
                " FROM issues i WHERE i.company_id = $1",
                open!(),
                filters!(),
                found!(),
                order!()
            ))
        } else {
            sql!(concat!(
                "SELECT ",
                list_columns!(),
                " FROM issues i WHERE i.company_id = $1",
                filters!(),
                found!(),
                order!()
            ))
        }
    } else if filter.parent_id.is_some() {
        both!(open, "i.parent_id = $6 AND i.company_id || '' = $1")
    } else if filter.origin_kind.is_some() && filter.origin_id.is_some() {
        both!(open, "i.company_id = $1 AND i.origin_kind = $8 AND i.origin_id = $9")
    } else if filter.assignee_agent_id.is_some() {
        both!(open, "i.assignee_agent_id = $3 AND i.company_id || '' = $1")
    } else if filter.assignee_user_id.is_some() {
        both!(open, "i.assignee_user_id = $4 AND i.company_id || '' = $1")
    } else if filter.project_id.is_some() {
        both!(open, "i.project_id = $5 AND i.company_id || '' = $1")
    } else {
        both!(open, "i.company_id = $1")
    };
    tx.rows_as(sql, params).await
}

/// Returns what an agent is to work on: its own issues that are to do, under way, in review or blocked, in the
/// order of lists. Who reviews is assigned, so a reviewer that is woken without a task finds its work here (D20).
pub async fn inbox_lite(tx: &mut Tx<'_>, agent: &AgentId, limit: i64) -> Result<Vec<Issue>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_i!(),
            " FROM issues i WHERE i.assignee_agent_id = $1 AND \
             i.status IN ('todo', 'in_progress', 'in_review', 'blocked') \
             AND i.hidden_at IS NULL \
             ORDER BY i.priority_rank, i.last_activity_at DESC, i.updated_at DESC, i.id LIMIT $2"
        )),
        p![agent, limit.clamp(0, MOST_LISTED)],
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_cards_of_a_search_are_taken_literally() {
        let filter = Filter { search: Some("  50%_a\\b ".into()), ..Filter::default() };
        assert_eq!(filter.pattern().as_deref(), Some("50\\%\\_a\\\\b"));
        assert_eq!(Filter { search: Some("  ".into()), ..Filter::default() }.pattern(), None);
    }

    #[test]
    fn history_is_left_out_only_when_no_status_asks_for_it() {
        let of = |words: &[&str]| Filter {
            statuses: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        assert!(!of(&[]).is_open_only());
        assert!(of(&["todo", "blocked"]).is_open_only());
        assert!(!of(&["todo", "done"]).is_open_only());
        assert_eq!(of(&["todo", "done"]).status_list().as_deref(), Some(",todo,done,"));
    }
}
