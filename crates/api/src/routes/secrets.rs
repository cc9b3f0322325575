//! Secrets of a company, for people alone (spec/api.md 4.8, K-01 to K-05). Values go in; none ever comes out.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::CompanyId;
use engine::{Author, MOST_SECRETS, PROVIDERS, SecretDraft, SecretPatch, SecretValue};
use serde::Deserialize;
use store::secrets::Secret as Row;
use utoipa::ToSchema;

use super::{Done, naming};
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::{Reach, id_of_path};
use crate::shape::secret::{Secret, SecretProvider};

impl Reach {
    /// The company of a path, for its people.
    async fn company_of_board(&self, id: &str) -> Result<CompanyId, ApiError> {
        let company = self.company(id).await?;
        self.caller.board_of(&company)?;
        Ok(company)
    }

    /// The secret of a path, for the people of its company, and in whose name it is changed.
    async fn secret(&self, id: &str) -> Result<(Row, Author), ApiError> {
        let secret = self.engine().secret(&id_of_path(id, "Secret")?).await?;
        self.of(&secret.company_id)?;
        self.caller.board_of(&secret.company_id)?;
        let author = self.author(&secret.company_id)?;
        Ok((secret, author))
    }
}

/// The secrets of a company, newest first, without their values.
#[utoipa::path(get, path = "/companies/{company}/secrets", tag = "secrets",
    params(("company" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Secret>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company_of_board(&company).await?;
    // One more than is given tells whether there are more.
    let found = reach.engine().secrets(&company, asked.place()?, MOST_SECRETS).await?;
    let place = |row: &Row| cursor_of(row.created_at, &row.id);
    Ok(paging::page(found, MOST_SECRETS - 1, place, |rows| rows.into_iter().map(Secret::from).collect()))
}

/// Where values of secrets can be kept.
#[utoipa::path(get, path = "/companies/{company}/secret-providers", tag = "secrets",
    params(("company" = String, Path)),
    responses((status = 200, body = Vec<SecretProvider>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn providers(
    reach: Reach,
    Named(company): Named<String>,
) -> Result<Json<Vec<SecretProvider>>, ApiError> {
    reach.company_of_board(&company).await?;
    Ok(Json(vec![SecretProvider::local()]))
}

/// A new secret.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; values are read into a type of their own")]
pub(crate) struct SecretBody {
    #[schema(min_length = 1)]
    name: String,
    /// At least 8 bytes. Never shown again.
    #[schema(min_length = 8)]
    value: String,
    /// `local_encrypted`, the default.
    provider: Option<String>,
    description: Option<Option<String>>,
    external_ref: Option<Option<String>>,
}

/// Stores a value under a name.
#[utoipa::path(post, path = "/companies/{company}/secrets", tag = "secrets", request_body = SecretBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Secret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let draft = SecretDraft {
        name: fields.required_text("name"),
        value: SecretValue::new(fields.required_text("value")),
        provider: fields
            .word("provider", &PROVIDERS, |word| word)
            .unwrap_or(engine::LOCAL_PROVIDER)
            .to_owned(),
        description: fields.nullable_text("description").flatten(),
        external_ref: fields.nullable_text("externalRef").flatten(),
    };
    let ignored = fields.drop_rest()?;
    let company = reach.company_of_board(&company).await?;
    let made = reach.engine().create_secret(&company, draft, &reach.author(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Secret::from(made)))))
}

/// A new value of a secret.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; values are read into a type of their own")]
pub(crate) struct RotateBody {
    /// At least 8 bytes. Never shown again.
    #[schema(min_length = 8)]
    value: String,
    external_ref: Option<Option<String>>,
}

/// Gives a secret a new value; processes that start from now on get it.
#[utoipa::path(post, path = "/secrets/{secret}/rotate", tag = "secrets", request_body = RotateBody,
    params(("secret" = String, Path)),
    responses((status = 200, body = Secret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn rotate(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let value = SecretValue::new(fields.required_text("value"));
    let external_ref = fields.nullable_text("externalRef");
    let ignored = fields.drop_rest()?;
    let (secret, author) = reach.secret(&id).await?;
    let rotated = reach.engine().rotate_secret(&secret.id, value, external_ref, &author).await?;
    Ok(naming(&ignored, Json(Secret::from(rotated))))
}

/// What is said about a secret: what is absent stays, null clears. A value is dropped: rotate the secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body")]
pub(crate) struct SecretPatchBody {
    name: Option<String>,
    description: Option<Option<String>>,
    external_ref: Option<Option<String>>,
}

/// Changes what a secret is called and what is said about it.
#[utoipa::path(patch, path = "/secrets/{secret}", tag = "secrets", request_body = SecretPatchBody,
    params(("secret" = String, Path)),
    responses((status = 200, body = Secret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let name = fields.text("name");
    let patch = SecretPatch {
        name: fields.not_blank("name", name),
        description: fields.nullable_text("description"),
        external_ref: fields.nullable_text("externalRef"),
    };
    let ignored = fields.drop_rest()?;
    let (secret, author) = reach.secret(&id).await?;
    let changed = reach.engine().patch_secret(&secret.id, patch, &author).await?;
    Ok(naming(&ignored, Json(Secret::from(changed))))
}

/// Removes a secret with all its versions; refused as long as an agent or a project refers to it.
#[utoipa::path(delete, path = "/secrets/{secret}", tag = "secrets", params(("secret" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Done>, ApiError> {
    let (secret, author) = reach.secret(&id).await?;
    reach.engine().delete_secret(&secret.id, &author).await?;
    Ok(Json(Done::new()))
}
