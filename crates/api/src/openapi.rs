//! The description of the surface, made from the routes themselves: what is mounted is described.

use serde_json::Value;
use utoipa::OpenApi;

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Bugle",
        description = "Wakes, runs and watches AI agents. Lists are arrays; when there is more, the `Bugle-Cursor` header of \
                       an answer is the cursor of the next page, sent back in the same header or as `?cursor=`."
    ),
    tags(
        (name = "companies", description = "tenants"),
        (name = "agents", description = "configured workers"),
        (name = "wakes", description = "asks to work, each with its fate"),
        (name = "runs", description = "pieces of work, with what they did and said"),
        (name = "streams", description = "the same, live"),
        (name = "instance", description = "health, audit, backup, figures")
    )
)]
struct Description;

/// The description as an OpenAPI document.
pub fn openapi() -> Value {
    let mut routes = crate::ordinary().merge(crate::unhurried());
    let mut document = Description::openapi();
    document.merge(routes.to_openapi());
    let mut document = serde_json::to_value(document).expect("a description is JSON");
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, methods) in paths.iter_mut().filter(|(path, _)| !path.starts_with("/api/")) {
            // Second doors to a handler: its operation id belongs to the first.
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                if let Some(id) = operation.get_mut("operationId") {
                    *id = Value::from(format!("{method}{}", path.replace(['/', '{', '}', '-'], "_")));
                }
            }
        }
    }
    document
}
