//! HTTP: paths and verbs in, JSON out. Everything that decides lives below this module.

mod discovery;
mod list;
mod openapi;
mod options;
mod path;
mod render;
mod table;
mod watch;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::status::Status;
use crate::store::Store;

use options::Options;
use path::{Target, Verbs};
use render::Shape;

/// Upstream's limit of a request body.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The router over a store.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new().fallback(answer).with_state(store)
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    route(&store, request)
        .await
        .unwrap_or_else(|status| failure(&status))
}

async fn route(store: &Arc<Store>, request: Request) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let is_get = parts.method == Method::GET || parts.method == Method::HEAD;
    let target = match path::parse(parts.uri.path()) {
        Target::Fixed(text) if is_get => return Ok(plain(StatusCode::OK, text)),
        Target::Json(build) if is_get => return Ok(json(StatusCode::OK, &build())),
        Target::Fixed(_) | Target::Json(_) => return Err(Status::method_not_allowed()),
        Target::Nowhere => return Ok(plain(StatusCode::NOT_FOUND, "404 page not found\n")),
        Target::NoResource => return Err(Status::no_such_resource()),
        Target::Resource(target) => target,
    };
    let shape = Shape::from_accept(parts.headers.get(header::ACCEPT))?;
    let options = Options::parse(
        &target,
        &parts.method,
        parts.uri.query().unwrap_or_default(),
    )?;
    let verbs = target.verbs();
    if is_get {
        return match (&target.name, verbs) {
            (Some(_), _) if !options.watch => list::get(store, &target, shape),
            _ if options.watch => Ok(watch::watch(store, &target, &options, shape)),
            _ => list::list(store, &target, &options, shape),
        };
    }
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let content_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let body = to_bytes(body, BODY_LIMIT)
        .await
        .map_err(|_| Status::too_large(BODY_LIMIT))?;
    let request = write::Request {
        target: &target,
        options: &options,
        content_type: &content_type,
        body: &body,
        shape,
    };
    match (parts.method.as_str(), verbs) {
        ("POST", Verbs::Collection) => write::create(store, &request),
        ("PUT", Verbs::Item) => write::replace(store, &request),
        ("PATCH", Verbs::Item) => write::patch(store, &request),
        ("DELETE", Verbs::Item) if target.part == crate::lifecycle::Part::Main => {
            write::delete(store, &request)
        }
        ("DELETE", Verbs::Collection) => write::delete_collection(store, &request),
        _ => Err(Status::method_not_allowed()),
    }
}

/// A `Status` body with its code.
fn failure(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &status.to_json());
    if status.code == 504 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json(code: StatusCode, value: &Value) -> Response {
    json_text(code, value.to_string())
}

fn json_text(code: StatusCode, text: String) -> Response {
    respond(code, "application/json", Body::from(text))
}

fn plain(code: StatusCode, text: &'static str) -> Response {
    respond(code, "text/plain; charset=utf-8", Body::from(text))
}

fn respond(code: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}
