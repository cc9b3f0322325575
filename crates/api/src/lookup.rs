//! From what stands in a path to the row it means: ids, short names of agents, and the first digits of runs.
//!
//! Whoever finds a row here belongs to its company: a caller of another one is refused before the row is given out.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use domain::agent::url_key;
use domain::ids::{AgentId, CompanyId, RunId, looks_like_id};
use engine::Engine;
use serde::de::DeserializeOwned;
use store::agents::{self, Agent};
use store::companies::{self, Company};
use store::runs::{self, Run};

use crate::actor::Caller;
use crate::errors::ApiError;
use crate::paging::Asked;

/// The named parts of a path.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Named(named)),
            Err(_) => Err(ApiError::bad_request("bad_path", "Path is not valid text")),
        }
    }
}

/// Fewer digits of a run's id are not looked for.
const SHORTEST_PREFIX: usize = 8;
/// Companies of one instance that a prefix is looked for in.
const MOST_COMPANIES: i64 = 1000;

/// Finds a company by its id.
pub(crate) async fn company(engine: &Engine, caller: &Caller, id: &str) -> Result<Company, ApiError> {
    let found = any_company(engine, id).await?;
    caller.company(&found.id)?;
    Ok(found)
}

/// The same for routes with a guard of their own.
pub(crate) async fn any_company(engine: &Engine, id: &str) -> Result<Company, ApiError> {
    let id = CompanyId(id.to_ascii_lowercase());
    let found = engine
        .store()
        .read(move |tx| {
            let id = id.clone();
            Box::pin(
                async move { if looks_like_id(&id.0) { companies::get(tx, &id).await } else { Ok(None) } },
            )
        })
        .await?;
    found.ok_or_else(|| ApiError::not_found("Company"))
}

/// Finds an agent by its id, or by its short name in the company that the query names, the caller belongs to, or that is
/// the only one.
pub(crate) async fn agent(
    engine: &Engine,
    caller: &Caller,
    reference: &str,
    asked: &Asked,
) -> Result<Agent, ApiError> {
    let found = any_agent(engine, caller, reference, asked).await?;
    caller.company(&found.company_id)?;
    Ok(found)
}

async fn any_agent(
    engine: &Engine,
    caller: &Caller,
    reference: &str,
    asked: &Asked,
) -> Result<Agent, ApiError> {
    if looks_like_id(reference) {
        let id = AgentId(reference.to_ascii_lowercase());
        let found = engine
            .store()
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { agents::get(tx, &id).await })
            })
            .await?;
        return found.ok_or_else(|| ApiError::not_found("Agent"));
    }
    let company = match (asked.get("companyId"), caller.home()) {
        (Some(id), _) => company(engine, caller, id).await?.id,
        (None, Some(home)) => home.clone(),
        (None, None) => only_company(engine, caller).await?,
    };
    agent_named(engine, &company, reference).await
}

/// Finds an agent of a company by its short name or name.
pub(crate) async fn agent_named(engine: &Engine, company: &CompanyId, name: &str) -> Result<Agent, ApiError> {
    let (company, name, key) = (company.clone(), name.trim().to_owned(), url_key(name));
    // No name holds a NUL, and PostgreSQL takes none in a question either.
    if name.contains('\0') {
        return Err(ApiError::not_found("Agent"));
    }
    let mut found = engine
        .store()
        .read(move |tx| {
            let (company, name, key) = (company.clone(), name.clone(), key.clone());
            Box::pin(async move { agents::named(tx, &company, &name, &key).await })
        })
        .await?;
    match (found.pop(), found.is_empty()) {
        (None, _) => {
            Err(ApiError::not_found("Agent").hint("GET /api/companies/:companyId/agents lists all agents"))
        }
        (Some(agent), true) => Ok(agent),
        (Some(_), false) => Err(ApiError::conflict(
            "agent_ambiguous",
            "Agent shortname is ambiguous in this company. Use the agent ID.",
        )),
    }
}

/// The ids of all companies.
pub(crate) async fn all_companies(engine: &Engine) -> Result<Vec<CompanyId>, ApiError> {
    let all =
        engine.store().read(|tx| Box::pin(async move { companies::list(tx, MOST_COMPANIES).await })).await?;
    Ok(all.into_iter().map(|company| company.id).collect())
}

async fn only_company(engine: &Engine, caller: &Caller) -> Result<CompanyId, ApiError> {
    caller.anybody()?;
    let mut found = match caller.companies() {
        Some(theirs) => theirs,
        None => {
            let listed =
                engine.store().read(|tx| Box::pin(async move { companies::list(tx, 2).await })).await?;
            listed.into_iter().map(|company| company.id).collect()
        }
    };
    match (found.pop(), found.is_empty()) {
        (Some(company), true) => Ok(company),
        (None, _) => Err(ApiError::not_found("Agent").hint("there is no company yet")),
        (Some(_), false) => Err(ApiError::unprocessable(
            "company_required",
            "Agent shortname lookup requires companyId query parameter",
        )
        .hint("there are several companies: add ?companyId=, or use the id of the agent")),
    }
}

/// Finds a run by its id, or by the first digits of it where they mean one run only.
pub(crate) async fn run(engine: &Engine, caller: &Caller, reference: &str) -> Result<Run, ApiError> {
    let found = any_run(engine, caller, reference).await?;
    caller.company(&found.company_id)?;
    Ok(found)
}

async fn any_run(engine: &Engine, caller: &Caller, reference: &str) -> Result<Run, ApiError> {
    let nobody = || ApiError::not_found("Heartbeat run");
    let reference = reference.to_ascii_lowercase();
    let id = if looks_like_id(&reference) {
        RunId(reference)
    } else {
        let digits = reference.bytes().filter(u8::is_ascii_hexdigit).count();
        let is_prefix = reference.len() < 36 && reference.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !is_prefix || digits < SHORTEST_PREFIX {
            return Err(nobody());
        }
        let theirs = caller.companies();
        let mut found = engine
            .store()
            .read(move |tx| {
                let (reference, theirs) = (reference.clone(), theirs.clone());
                Box::pin(async move {
                    let mut found = Vec::new();
                    let looked_in = match theirs {
                        Some(theirs) => theirs,
                        None => {
                            let all = companies::list(tx, MOST_COMPANIES).await?;
                            all.into_iter().map(|company| company.id).collect()
                        }
                    };
                    for company in looked_in {
                        found.extend(runs::with_prefix(tx, &company, &reference, 2).await?);
                        if found.len() > 1 {
                            break;
                        }
                    }
                    Ok(found)
                })
            })
            .await?;
        match (found.pop(), found.is_empty()) {
            (None, _) => return Err(nobody()),
            (Some(id), true) => id,
            (Some(_), false) => {
                return Err(ApiError::conflict(
                    "run_ambiguous",
                    "Run prefix is ambiguous. Use more digits of its id.",
                ));
            }
        }
    };
    let found = engine
        .store()
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move { runs::get(tx, &id).await })
        })
        .await?;
    found.ok_or_else(nobody)
}
