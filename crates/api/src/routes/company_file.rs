//! A whole company as a file: reading it, and bringing a company in line with one.
//!
//! A file may do whatever a person may do in a company, so that applying one needs the proof that a person asks (D19);
//! looking at what it would do does not.

use axum::Json;
use axum::extract::State;
use domain::ids::CompanyId;
use engine::{ApplyAsk, Author};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::shape::company_file::Applied;

/// The routes that answer at once.
pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Those that take as long as there is to do.
pub(crate) fn mount_unhurried() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(apply)).routes(routes!(apply_new))
}

/// Lets people through who may see, and change, all that is in a file: agents and environments as they are configured.
fn let_in(caller: &Caller, company: &CompanyId) -> Result<(), ApiError> {
    caller.board_manager(company)?;
    caller.environment_manager(company)
}

/// A company as a file: what is configured, under names, without ids, statuses and the values of secrets.
#[utoipa::path(get, path = "/companies/{company}/export", tag = "companies", operation_id = "export_company_file",
    params(("company" = String, Path)),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn export(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let_in(&caller, &company)?;
    Ok(Json(state.engine.export_company(&company).await?))
}

/// A file to apply to a company.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplyBody {
    /// What the file says, as an object.
    #[schema(value_type = Object)]
    document: Value,
    /// Only say what would be done.
    dry_run: Option<bool>,
    /// Remove what the file does not have, in the sections that it has.
    prune: Option<bool>,
    /// The company keeps its name, whatever the file says.
    keep_name: Option<bool>,
    /// The fingerprint of the changes that were looked at: others are refused with 409.
    expect: Option<String>,
}

impl ApplyBody {
    fn read(fields: &mut Fields) -> ApplyBody {
        ApplyBody {
            document: fields.document("document"),
            dry_run: fields.boolean("dryRun"),
            prune: fields.boolean("prune"),
            keep_name: fields.boolean("keepName"),
            expect: fields.text("expect"),
        }
    }

    fn ask(self) -> ApplyAsk {
        ApplyAsk {
            document: self.document,
            prune: self.prune.unwrap_or(false),
            dry_run: self.dry_run.unwrap_or(false),
            keep_name: self.keep_name.unwrap_or(false),
            expect: self.expect,
        }
    }
}

/// Brings a company in line with a file. Everything is looked at before the first change; what was stopped in the middle
/// is mended by applying again.
#[utoipa::path(post, path = "/companies/{company}/apply", tag = "companies", operation_id = "apply_company_file",
    request_body = ApplyBody, params(("company" = String, Path)),
    responses((status = 200, body = Applied), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn apply(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Json<Applied>, ApiError> {
    let mut fields = Fields::read(&body)?;
    let ask = ApplyBody::read(&mut fields).ask();
    fields.refuse_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let_in(&caller, &company)?;
    if !ask.dry_run {
        caller.person(&company)?;
    }
    let by = caller.author(&company)?;
    let applied = state.engine.apply_company_file(&company, &ask, &by).await;
    Ok(Json(applied.map_err(ApiError::in_file)?.into()))
}

/// A file to found a company with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundBody {
    /// The name of the new company; that of the file when it is absent.
    name: Option<String>,
    /// What the file says, as an object.
    #[schema(value_type = Object)]
    document: Value,
    /// Only say what would be done.
    dry_run: Option<bool>,
}

/// Founds a company that is what a file says. A file that is wrong founds none.
#[utoipa::path(post, path = "/companies/apply", tag = "companies", operation_id = "found_from_company_file",
    request_body = FoundBody,
    responses((status = 200, body = Applied), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn apply_new(
    State(state): State<ApiState>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Json<Applied>, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = FoundBody {
        name: fields.text("name"),
        document: fields.document("document"),
        dry_run: fields.boolean("dryRun"),
    };
    fields.refuse_rest()?;
    caller.company_creator()?;
    let user = caller.board()?.user.clone();
    let is_dry = read.dry_run.unwrap_or(false);
    if !is_dry {
        // It is nobody's company yet: who may found one is asked for the proof alone.
        caller.person(&CompanyId(String::new()))?;
    }
    let said = read.document.pointer("/company/name").and_then(Value::as_str).map(str::to_owned);
    let name = read.name.or(said).unwrap_or_default();
    let ask = ApplyAsk { document: read.document, dry_run: is_dry, ..ApplyAsk::default() };
    let by = Author::Board { user: Some(user), may_assign: true };
    let applied = state.engine.apply_to_new_company(&name, &ask, &by).await;
    Ok(Json(applied.map_err(ApiError::in_file)?.into()))
}
