//! Companies as people found and change them. Their budgets and pauses for a budget are `budgets`.

use std::collections::BTreeMap;

use domain::access::{self, LOCAL_USER, MemberRole, MembershipStatus};
use domain::agent::{PauseReason, issue_prefix};
use domain::budget::{Policy, Scope, ScopeKind};
use domain::ids::CompanyId;
use serde_json::json;
use store::companies::{self, Company};
use store::pauses::{self, CompanyPause};
use store::users::{self, Membership};
use store::{StoreError, Tx, audit, overview};

use crate::activity::{Author, Scribe};
use crate::agents::problem;
use crate::issues::Locks;
use crate::monthly::{self, Monthly};
use crate::{Engine, EngineError, budgets, hiring, stops};

/// The longest text about a company.
const TEXT: usize = 20_000;

/// A change of a company: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompanyPatch {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    /// The company's monthly policy follows.
    pub budget_monthly_cents: Option<i64>,
    /// It is proven that a person asks: only then a budget is loosened, or the approval of new agents given up (D19).
    pub is_proven: bool,
    /// `active`, `paused` or `archived`.
    pub status: Option<String>,
    pub require_approval: Option<bool>,
    /// `#rrggbb`.
    pub brand_color: Option<Option<String>>,
}

/// How many agents and issues a company has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompanyStats {
    pub agents: i64,
    pub issues: i64,
}

impl Engine {
    /// Founds a company. Who founds it owns it; a budget becomes a policy.
    pub async fn found_company(
        &self,
        name: &str,
        description: Option<String>,
        budget_monthly_cents: i64,
        by: &Author,
    ) -> Result<Company, EngineError> {
        check(Some(name), description.as_deref(), None)?;
        let now = self.now();
        let company = Company {
            id: CompanyId(self.new_id()),
            name: name.trim().to_owned(),
            description,
            status: "active".to_owned(),
            issue_prefix: issue_prefix(name),
            issue_counter: 0,
            budget_monthly_cents,
            require_approval: false,
            brand_color: None,
            created_at: now,
            updated_at: now,
        };
        let founded = self.inner.change(by, Locks::default(), company, |tx, mut scribe, _, company| {
            Box::pin(async move { found(tx, &mut scribe, company).await })
        });
        founded.await
    }

    /// Changes a company, with the budget in the patch and all that follows from it; returns it with whether it may work.
    /// What is refused changes nothing.
    pub async fn patch_company(
        &self,
        company: &CompanyId,
        patch: CompanyPatch,
        by: &Author,
    ) -> Result<(Company, CompanyPause), EngineError> {
        let color = patch.brand_color.as_ref().and_then(|color| color.as_deref());
        let description = patch.description.as_ref().and_then(|text| text.as_deref());
        check(patch.name.as_deref(), description, color)?;
        let changed = self.inner.change(
            by,
            Locks::default(),
            (company.clone(), patch),
            |tx, mut scribe, _, (id, patch)| {
                Box::pin(async move { change(tx, &mut scribe, &id, patch).await })
            },
        );
        let (mut row, mut pause, policy) = changed.await?;
        if let Some(policy) = policy {
            self.after_policy(company, policy).await?;
            let found = self.inner.read(company.clone(), |tx, id| {
                Box::pin(
                    async move { Ok((companies::get(tx, &id).await?, pauses::of_company(tx, &id).await?)) },
                )
            });
            let (Some(now), Some(paused)) = found.await? else {
                return Err(EngineError::NotFound("Company"));
            };
            (row, pause) = (now, paused);
        }
        self.inner.timers.notify_one();
        self.inner.lifted();
        self.inner.look_again(company).await;
        Ok((row, pause))
    }

    /// Whether a company may work, and since when not.
    pub async fn company_pause(&self, company: &CompanyId) -> Result<CompanyPause, EngineError> {
        let found = self
            .inner
            .read(company.clone(), |tx, id| Box::pin(async move { pauses::of_company(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// How many agents and issues each of these companies has.
    pub async fn company_stats(
        &self,
        of: &[CompanyId],
    ) -> Result<BTreeMap<CompanyId, CompanyStats>, EngineError> {
        let counted = self.inner.read(of.to_vec(), |tx, companies| {
            Box::pin(async move {
                let mut stats = BTreeMap::new();
                for company in companies {
                    let agents = overview::agents(tx, &company).await?.iter().map(|(_, count)| count).sum();
                    let issues = overview::issues(tx, &company).await?.iter().map(|(_, count)| count).sum();
                    stats.insert(company, CompanyStats { agents, issues });
                }
                Ok(stats)
            })
        });
        Ok(counted.await?)
    }
}

pub(crate) fn check(
    name: Option<&str>,
    description: Option<&str>,
    color: Option<&str>,
) -> Result<(), EngineError> {
    let mut problems = Vec::new();
    let is_name =
        |name: &str| !name.trim().is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
    if name.is_some_and(|name| !is_name(name)) {
        problems.push(problem("name", "is not a name", "1 to 200 bytes, no control characters"));
    }
    if description.is_some_and(|text| text.len() > TEXT) {
        problems.push(problem("description", "is too long", "at most 20000 bytes"));
    }
    let is_color = |text: &str| {
        text.strip_prefix('#')
            .is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if color.is_some_and(|color| !is_color(color)) {
        problems.push(problem("brandColor", "is not a color", "write it like #1a2b3c"));
    }
    if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
}

async fn found(tx: &mut Tx<'_>, scribe: &mut Scribe, mut company: Company) -> Result<Company, EngineError> {
    while !companies::insert(tx, &company).await? {
        company.issue_prefix.push('A');
    }
    let founder = scribe.by.user_id().filter(|user| user != LOCAL_USER);
    if let Some(user) = founder
        && users::get(tx, &user).await?.is_some()
    {
        let membership = Membership {
            id: scribe.id(),
            company_id: company.id.clone(),
            principal_type: "user".to_owned(),
            principal_id: user,
            status: MembershipStatus::Active.as_str().to_owned(),
            role: Some(MemberRole::Owner.as_str().to_owned()),
            is_untrusted: false,
            created_at: scribe.now,
            updated_at: scribe.now,
        };
        users::save_membership(tx, &membership).await?;
    }
    if company.budget_monthly_cents > 0 {
        let draft = hiring::monthly(ScopeKind::Company, company.id.as_str(), company.budget_monthly_cents);
        budgets::save_policy(tx, &company.id, &draft, scribe.clone(), true).await?;
        scribe.skip();
    }
    tell(tx, scribe, &company, "company.created").await?;
    Ok(company)
}

async fn change(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    id: &CompanyId,
    patch: CompanyPatch,
) -> Result<(Company, CompanyPause, Option<Policy>), EngineError> {
    let found = companies::get(tx, id).await?.ok_or(EngineError::NotFound("Company"))?;
    if found.require_approval && patch.require_approval == Some(false) && !patch.is_proven {
        // It is a decision on all approvals that would come.
        return Err(access::Refusal::BoardTokenRequired.into());
    }
    let mut policy = None;
    if let Some(cents) = patch.budget_monthly_cents {
        let scope = Scope { kind: ScopeKind::Company, id: id.0.clone() };
        let asked = Monthly { shown: found.budget_monthly_cents, cents, is_proven: patch.is_proven };
        policy = monthly::set(tx, scribe, id, scope, asked).await?;
    }
    // Behind policies and counters, as wherever a budget pauses a company.
    let mut company = companies::lock(tx, id).await?.ok_or(EngineError::NotFound("Company"))?;
    let before = company.clone();
    if let Some(name) = &patch.name {
        company.name = name.trim().to_owned();
    }
    if let Some(description) = patch.description {
        company.description = description;
    }
    // Without a proof it was off a moment ago, and stays what it is now.
    if let Some(is_required) = patch.require_approval.filter(|is_required| *is_required || patch.is_proven) {
        company.require_approval = is_required;
    }
    if let Some(color) = patch.brand_color {
        company.brand_color = color.map(|color| color.to_ascii_lowercase());
    }
    company.updated_at = scribe.now;
    let wanted = patch.status.filter(|status| *status != before.status);
    if let Some(wanted) = &wanted {
        match move_to(tx, scribe, &before, wanted).await {
            Ok(()) => company.status.clone_from(wanted),
            // The new budget has decided that already; the answer shows how.
            Err(EngineError::Conflict { .. }) if policy.is_some() => {}
            Err(refused) => return Err(refused),
        }
    }
    companies::update(tx, &company).await?;
    let is_archived = wanted.as_deref() == Some("archived");
    tell(tx, scribe, &company, if is_archived { "company.archived" } else { "company.updated" }).await?;
    let pause = pauses::of_company(tx, id).await?.ok_or(EngineError::NotFound("Company"))?;
    Ok((company, pause, policy))
}

/// Moves a company to another status. What a budget has paused only a budget lets go.
async fn move_to(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    company: &Company,
    wanted: &str,
) -> Result<(), EngineError> {
    let (id, now) = (&company.id, scribe.now);
    let has_moved = match (company.status.as_str(), wanted) {
        ("active", "paused") => pauses::pause_company(tx, id, PauseReason::Manual, now).await?,
        ("paused", "active") => pauses::resume_company(tx, id, PauseReason::Manual, now).await?,
        ("archived", "paused") => {
            companies::set_status(tx, id, "archived", "active", now).await?
                && pauses::pause_company(tx, id, PauseReason::Manual, now).await?
        }
        (from, to) => companies::set_status(tx, id, from, to, now).await?,
    };
    if has_moved {
        return Ok(());
    }
    let message = "Company is paused by its budget; raise the budget to resume it".to_owned();
    Err(EngineError::Conflict { message, details: None })
}

async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &Company,
    action: &str,
) -> Result<(), StoreError> {
    let details = json!({ "name": company.name, "status": company.status });
    scribe.tell(tx, &company.id, action, ("company", company.id.as_str()), details).await?;
    let (actor, id) = (scribe.by.actor(), company.id.as_str());
    audit::append(tx, stops::record(&company.id, &actor, action, id, &company.name, scribe.now)).await
}
