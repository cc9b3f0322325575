//! What waits for a person's decision, in one list, and the one door to decide it. Each kind has its own routes, too.

use axum::Json;
use axum::response::Response;
use domain::gate::{Answer, GateKind};
use domain::ids::looks_like_id;
use domain::moment::Moment;
use engine::{AnyGate, GateAnswer, MOST_GATES};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{Asked, cursor_of, page};
use crate::reach::Reach;
use crate::shape::gate::Gate;

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(decide))
}

/// What waits for a person in a company, oldest first; all of it, page by page. `kind`: only these, with commas between.
#[utoipa::path(get, path = "/companies/{company}/gates", tag = "automations",
    params(("company" = String, Path), ("kind" = Option<String>, Query, description = "`node`, `permission`, `question`, `approval`"),
        ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Gate>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let kinds = kinds(asked.get("kind"))?;
    // The engine lists a thousand at most; one of them tells that there are more.
    let limit = asked.limit(MOST_GATES).min(MOST_GATES - 1);
    let after = asked.place()?.unwrap_or((Moment::from_micros(0), String::new()));
    let rows = reach.engine().pending_gates(&company, kinds, after, limit + 1).await?;
    let place = |gate: &AnyGate| cursor_of(gate.asked_at(), gate.id());
    Ok(page(rows, limit, place, |rows| rows.into_iter().map(Gate::from).collect::<Vec<_>>()))
}

fn kinds(asked: Option<&str>) -> Result<Vec<GateKind>, ApiError> {
    let words = asked.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|it| !it.is_empty());
    let read = |word: &str| {
        GateKind::parse(word).ok_or_else(|| {
            let known: Vec<&str> = GateKind::ALL.iter().map(|kind| kind.as_str()).collect();
            ApiError::bad_request("bad_query", format!("kind: '{}' is not known", word.escape_default()))
                .hint(format!("one of: {}", known.join(", ")))
        })
    };
    words.map(read).collect()
}

/// One of them, with exactly what is decided about.
#[utoipa::path(get, path = "/gates/{gate}", tag = "automations", params(("gate" = String, Path)),
    responses((status = 200, body = Gate), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(reach: Reach, Named(gate): Named<String>) -> Result<Json<Gate>, ApiError> {
    Ok(Json(found(&reach, &gate).await?.into()))
}

/// A decision.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct DecisionBody {
    /// One of the `decisions` of the gate: `approve`, `reject`, `rework`, `cancel` or `respond`.
    decision: String,
    /// Of the gate as it was shown; another one means that something else was seen.
    hash: String,
    /// Why; with `respond` a summary of the answers.
    reason: Option<String>,
    /// For rework of an automation: the nodes that it begins at.
    targets: Option<Vec<String>>,
    /// With `respond`: at most 20 of `{questionId, optionIds}`.
    #[schema(value_type = Option<Vec<Object>>)]
    answers: Option<Vec<Value>>,
    /// Of suggested tasks only these; absent: all.
    selected_client_keys: Option<Vec<String>>,
}

/// Decides it, once. For people who prove that they are.
#[utoipa::path(post, path = "/gates/{gate}/decide", tag = "automations", request_body = DecisionBody,
    params(("gate" = String, Path)),
    responses((status = 200, body = Gate), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn decide(
    reach: Reach,
    Named(gate): Named<String>,
    Payload(bytes): Payload,
) -> Result<Json<Gate>, ApiError> {
    let gate = found(&reach, &gate).await?;
    // Before anything of the request is looked at (D19).
    reach.caller.person(gate.company())?;
    let by = reach.author(gate.company())?;
    let mut fields = Fields::read(&bytes)?;
    let has_answers = fields.has("answers");
    let decision = fields.required_word("decision", Answer::ALL, Answer::as_str);
    let said = GateAnswer {
        // What is missing is refused below.
        answer: decision.unwrap_or(Answer::Cancel),
        hash: fields.required_text("hash"),
        reason: fields.text("reason"),
        targets: fields.texts("targets").unwrap_or_default(),
        answers: fields.array("answers").map(Value::Array),
        selected: fields.texts("selectedClientKeys"),
    };
    if said.answer == Answer::Respond && !has_answers {
        fields.mistake("invalid_type", "answers", "Required");
    }
    fields.refuse_rest()?;
    Ok(Json(reach.engine().answer_gate(gate.id(), said, &by).await?.into()))
}

async fn found(reach: &Reach, id: &str) -> Result<AnyGate, ApiError> {
    if !looks_like_id(id) {
        return Err(ApiError::not_found("Gate"));
    }
    let gate = reach.engine().any_gate(&id.to_ascii_lowercase()).await?;
    reach.of(gate.company())?;
    Ok(gate)
}
