//! Environments: the machines that runs work on, and the leases that runs have on them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::environment::lease::LeaseStatus;
use engine::environments::{EnvironmentDraft, EnvironmentPatch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::environments::Environment as Row;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody, Issue, Mistakes};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::shape::runtime_environment::{Environment, EnvironmentLease, ProbeResult};

const STATUSES: [&str; 2] = ["active", "archived"];

fn shaped(reach: &Reach, row: Row) -> Environment {
    let is_whole = reach.caller.may_manage_environments(&row.company_id);
    Environment::new(row, &reach.engine().settings().drivers, is_whole)
}

async fn found(reach: &Reach, id: &str) -> Result<Row, ApiError> {
    let id = id_of_path(id, "Environment")?;
    let row = reach.engine().environment(&id).await?;
    reach.of(&row.company_id)?;
    Ok(row)
}

/// The environments of a company, oldest first. Those who may not manage them see neither configuration nor metadata.
#[utoipa::path(get, path = "/companies/{company}/environments", tag = "environments",
    params(("company" = String, Path), ("status" = Option<String>, Query), ("driver" = Option<String>, Query)),
    responses((status = 200, body = Vec<Environment>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<Environment>>, ApiError> {
    let company = reach.company(&company).await?;
    let text = |name: &str| asked.get(name).map(str::to_owned);
    let found = reach.engine().environments(&company, text("status"), text("driver")).await?;
    Ok(Json(found.into_iter().map(|row| shaped(&reach, row)).collect()))
}

/// What can be done here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Capabilities {
    /// The kinds of environments that this server knows: for each whether it is supported, and runs elsewhere.
    #[schema(value_type = Object)]
    drivers: Value,
    /// For each kind of agent, the kinds of environments that its runs can work in.
    #[schema(value_type = Vec<Object>)]
    adapters: Value,
}

/// Which agents can work in which environments.
#[utoipa::path(get, path = "/companies/{company}/environments/capabilities", tag = "environments",
    params(("company" = String, Path)),
    responses((status = 200, body = Capabilities), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn capabilities(
    reach: Reach,
    Named(company): Named<String>,
) -> Result<Json<Capabilities>, ApiError> {
    reach.company(&company).await?;
    let known = &reach.engine().settings().drivers;
    let mut drivers = Map::new();
    for driver in known.iter() {
        let row = json!({ "supported": true, "remote": driver.is_remote() });
        drivers.insert(driver.kind().to_owned(), row);
    }
    let rows = adapters::registry().iter().map(|adapter| {
        let works_in: Vec<&str> = known
            .iter()
            .filter(|driver| !driver.is_remote() || adapter.travels())
            .map(|driver| driver.kind())
            .collect();
        json!({ "adapterType": adapter.kind(), "drivers": works_in })
    });
    let adapters = Value::Array(rows.collect());
    Ok(Json(Capabilities { drivers: Value::Object(drivers), adapters }))
}

/// An environment, new or changed: what is absent stays or has its default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvironmentBody {
    /// Required for a new one.
    #[schema(min_length = 1)]
    name: Option<String>,
    description: Option<Option<String>>,
    /// `local` or `ssh`. Required for a new one.
    driver: Option<String>,
    /// `active` (default) or `archived`.
    status: Option<String>,
    /// Of a changed one, laid over what there is unless the driver changes; null removes a key.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
}

impl EnvironmentBody {
    fn read(bytes: &[u8], is_new: bool) -> Result<EnvironmentBody, ApiError> {
        let mut fields = Fields::read(bytes)?;
        let required = |fields: &mut Fields, key: &str| {
            if is_new {
                Some(fields.required_text(key))
            } else {
                let text = fields.text(key);
                fields.not_blank(key, text)
            }
        };
        let body = EnvironmentBody {
            name: required(&mut fields, "name"),
            driver: required(&mut fields, "driver"),
            description: fields.nullable_text("description"),
            status: fields.word("status", &STATUSES, |word| word).map(str::to_owned),
            config: fields.object("config"),
            metadata: fields.nullable_object("metadata"),
        };
        fields.refuse_rest()?;
        Ok(body)
    }
}

/// Makes an environment.
#[utoipa::path(post, path = "/companies/{company}/environments", tag = "environments", request_body = EnvironmentBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Environment), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let body = EnvironmentBody::read(&bytes, true)?;
    let company = reach.company(&company).await?;
    reach.caller.environment_manager(&company)?;
    let draft = EnvironmentDraft {
        name: body.name.unwrap_or_default(),
        description: body.description.flatten(),
        driver: body.driver.unwrap_or_default(),
        status: body.status.unwrap_or_else(|| "active".to_owned()),
        config: Value::Object(body.config.unwrap_or_default()),
        metadata: body.metadata.flatten().map(Value::Object),
    };
    let made = reach.engine().create_environment(&company, draft, &reach.author(&company)?).await?;
    Ok((StatusCode::CREATED, Json(shaped(&reach, made))).into_response())
}

/// One environment.
#[utoipa::path(get, path = "/environments/{environment}", tag = "environments", params(("environment" = String, Path)),
    responses((status = 200, body = Environment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(reach: Reach, Named(id): Named<String>) -> Result<Json<Environment>, ApiError> {
    let row = found(&reach, &id).await?;
    Ok(Json(shaped(&reach, row)))
}

/// Changes an environment. Runs that work in it go on as they began.
#[utoipa::path(patch, path = "/environments/{environment}", tag = "environments", request_body = EnvironmentBody,
    params(("environment" = String, Path)),
    responses((status = 200, body = Environment), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Json<Environment>, ApiError> {
    let body = EnvironmentBody::read(&bytes, false)?;
    let row = found(&reach, &id).await?;
    reach.caller.environment_manager(&row.company_id)?;
    let patch = EnvironmentPatch {
        name: body.name,
        description: body.description,
        driver: body.driver,
        status: body.status,
        config: body.config,
        metadata: body.metadata.map(|object| object.map(Value::Object)),
    };
    let author = reach.author(&row.company_id)?;
    let changed = reach.engine().patch_environment(&row.id, patch, &author).await?;
    Ok(Json(shaped(&reach, changed)))
}

/// Removes an environment that nobody works in. The local one stays.
#[utoipa::path(delete, path = "/environments/{environment}", tag = "environments", params(("environment" = String, Path)),
    responses((status = 200, body = Environment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Environment>, ApiError> {
    let row = found(&reach, &id).await?;
    reach.caller.environment_manager(&row.company_id)?;
    let author = reach.author(&row.company_id)?;
    let removed = reach.engine().delete_environment(&row.id, &author).await?;
    Ok(Json(shaped(&reach, removed)))
}

/// Looks whether runs could work in an environment.
#[utoipa::path(post, path = "/environments/{environment}/probe", tag = "environments", params(("environment" = String, Path)),
    responses((status = 200, body = ProbeResult), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn probe(reach: Reach, Named(id): Named<String>) -> Result<Json<ProbeResult>, ApiError> {
    let row = found(&reach, &id).await?;
    reach.caller.environment_manager(&row.company_id)?;
    let author = reach.author(&row.company_id)?;
    let (row, report) = reach.engine().probe_environment(&row.id, &author).await?;
    Ok(Json(ProbeResult::new(row.driver, report)))
}

/// Looks whether runs could work in an environment before it is kept.
#[utoipa::path(post, path = "/companies/{company}/environments/probe-config", tag = "environments", request_body = EnvironmentBody,
    params(("company" = String, Path)),
    responses((status = 200, body = ProbeResult), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn probe_config(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Json<ProbeResult>, ApiError> {
    let body = EnvironmentBody::read(&bytes, false)?;
    let company = reach.company(&company).await?;
    reach.caller.environment_manager(&company)?;
    let Some(driver) = body.driver else {
        let mut mistakes = Mistakes::default();
        mistakes.note(|| Issue::new("invalid_type", "driver", "Required"));
        return Err(ApiError::validation(mistakes));
    };
    let config = Value::Object(body.config.unwrap_or_default());
    let author = reach.author(&company)?;
    let report = reach.engine().probe_environment_config(&company, &driver, &config, &author).await?;
    Ok(Json(ProbeResult::new(driver, report)))
}

/// The leases on an environment, newest first.
#[utoipa::path(get, path = "/environments/{environment}/leases", tag = "environments",
    params(("environment" = String, Path), ("status" = Option<String>, Query)),
    responses((status = 200, body = Vec<EnvironmentLease>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn leases(
    reach: Reach,
    Named(id): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<EnvironmentLease>>, ApiError> {
    let row = found(&reach, &id).await?;
    reach.caller.environment_manager(&row.company_id)?;
    let status = match asked.get("status") {
        None => None,
        Some(word) => Some(LeaseStatus::parse(word).ok_or_else(|| {
            let known: Vec<&str> = LeaseStatus::ALL.iter().map(|status| status.as_str()).collect();
            ApiError::bad_request("bad_status", format!("Status must be one of {}", known.join(", ")))
        })?),
    };
    let found = reach.engine().environment_leases(&row.id, status).await?;
    Ok(Json(found.into_iter().map(EnvironmentLease::from).collect()))
}

/// One lease.
#[utoipa::path(get, path = "/environment-leases/{lease}", tag = "environments", params(("lease" = String, Path)),
    responses((status = 200, body = EnvironmentLease), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn lease(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<Json<EnvironmentLease>, ApiError> {
    let id = id_of_path(&id, "Environment lease")?;
    let lease = reach.engine().environment_lease(&id).await?;
    reach.of(&lease.company_id)?;
    reach.caller.environment_manager(&lease.company_id)?;
    Ok(Json(lease.into()))
}
