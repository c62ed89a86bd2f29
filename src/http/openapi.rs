//! The OpenAPI document at `/api/openapi.json` and the page that browses it at `/api/docs`.
//!
//! The document is derived from the handlers as OpenAPI 3.1 and turned into 3.0.3 here, which more generators read. What differs
//! between the two is the schema dialect: 3.0 has `nullable`, boolean `exclusiveMinimum`, one `example`, no `const`, no type
//! lists, and nothing beside a `$ref`.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::Shared;
use super::api::{blocks, calls, cdrs, ladder, lists, phone_calls, registrations, subscribers, tokens};
use super::error::ApiError;

/// Swagger UI writes styles into the page; nothing else is let in.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        description = "Control of the switch: phone calls into rooms, what lives now, tokens and subscribers. Every route asks for \
            an API key as `Authorization: Bearer KEY`. Errors have one shape: `{\"error\":{\"code\",\"message\"}}`."
    ),
    paths(
        lists::calls, calls::hang_up, calls::transfer, ladder::of_call, ladder::of_call_id, registrations::list,
        registrations::remove, lists::trunks, lists::rooms, lists::clients,
        phone_calls::start, phone_calls::state, phone_calls::stop, tokens::issue, cdrs::recent,
        subscribers::list, subscribers::add, subscribers::remove,
        blocks::list, blocks::lift,
    ),
    tags(
        (name = "phone calls", description = "Call a phone into a room"),
        (name = "calls", description = "Calls that live and calls that were"),
        (name = "sight", description = "What the switch sees"),
        (name = "users", description = "App users"),
        (name = "subscribers", description = "Desk phones and gateways"),
    ),
    security(("key" = [])),
    modifiers(&Keys),
)]
struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let key =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key of the operator")).build();
        components.add_security_scheme("key", SecurityScheme::Http(key));
    }
}

/// The routes.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], text()) }))
        .route("/api/docs", get(|| async { Redirect::permanent("/api/docs/") }))
        .route("/api/docs/", get(|| async { page("index.html") }))
        .route("/api/docs/{*file}", get(|Path(file): Path<String>| async move { page(&file) }))
}

/// The document as served, made once.
fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

/// The document, OpenAPI 3.0.3.
pub(super) fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    lower(&mut document);
    document
}

fn page(path: &str) -> Response {
    let config = utoipa_swagger_ui::Config::from("/api/openapi.json");
    let file = match utoipa_swagger_ui::serve(path, Arc::new(config)) {
        Ok(Some(file)) => file,
        Ok(None) => return ApiError::not_found("there is no such file").into_response(),
        Err(error) => return ApiError::internal(error.to_string()).into_response(),
    };
    let mut response = (StatusCode::OK, file.bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(CONTENT_TYPE, kind);
    }
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Turns a 3.1 document into a 3.0.3 one, in place.
fn lower(document: &mut Value) {
    if let Value::Object(root) = document {
        root.insert("openapi".into(), json!("3.0.3"));
        root.remove("webhooks");
        root.remove("jsonSchemaDialect");
        root.remove("$self");
        if let Some(Value::Object(info)) = root.get_mut("info") {
            info.remove("summary");
            if let Some(Value::Object(license)) = info.get_mut("license") {
                license.remove("identifier");
            }
        }
        if let Some(Value::Object(components)) = root.get_mut("components") {
            components.remove("pathItems");
            if let Some(Value::Object(schemas)) = components.get_mut("schemas") {
                schemas.values_mut().for_each(lower_schema);
            }
        }
    }
    lower_schemas_below(document);
}

/// Finds every `schema` outside `components.schemas`: parameters, headers, media types.
fn lower_schemas_below(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match key.as_str() {
                    "schema" => lower_schema(value),
                    // Data, not description; component schemas are done.
                    "example" | "examples" | "default" | "enum" | "schemas" => {}
                    _ => lower_schemas_below(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(lower_schemas_below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns one JSON Schema 2020-12 into a schema object of OpenAPI 3.0.
fn lower_schema(schema: &mut Value) {
    // `true` and `false` are schemas in 3.1 only.
    if let Value::Bool(anything) = *schema {
        *schema = if anything { json!({}) } else { json!({ "not": {} }) };
    }
    let Value::Object(object) = schema else { return };
    lower_type(object);
    lower_null_branches(object);
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(limit) = object.get(exclusive).filter(|limit| limit.is_number()).cloned() {
            object.insert(bound.into(), limit);
            object.insert(exclusive.into(), json!(true));
        }
    }
    if let Some(value) = object.remove("const") {
        object.insert("enum".into(), json!([value]));
    }
    if let Some(Value::Array(examples)) = object.remove("examples")
        && let Some(first) = examples.into_iter().next()
    {
        object.entry("example").or_insert(first);
    }
    for unknown in
        ["propertyNames", "contentMediaType", "contentEncoding", "$schema", "$id", "$defs", "patternProperties"]
    {
        object.remove(unknown);
    }
    // Siblings of a $ref are ignored in 3.0: it goes into an allOf of its own.
    if object.len() > 1
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".into(), json!([{ "$ref": reference }]));
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(lower_schema),
            ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => branches.iter_mut().for_each(lower_schema),
            ("additionalProperties", Value::Bool(_)) => {}
            ("items" | "not" | "additionalProperties", below) => lower_schema(below),
            _ => {}
        }
    }
}

/// `"type": ["string", "null"]` becomes `"type": "string", "nullable": true`.
fn lower_type(object: &mut Map<String, Value>) {
    let types = match object.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(Value::String(only)) if only == "null" => vec![json!("null")],
        _ => return,
    };
    object.remove("type");
    if types.contains(&json!("null")) {
        object.insert("nullable".into(), json!(true));
    }
    let mut real: Vec<Value> = types.into_iter().filter(|kind| *kind != json!("null")).collect();
    match real.len() {
        0 => {
            object.insert("enum".into(), json!([null]));
        }
        1 => {
            object.insert("type".into(), real.remove(0));
        }
        _ => {
            let branches: Vec<Value> = real.into_iter().map(|kind| json!({ "type": kind })).collect();
            object.insert("anyOf".into(), Value::Array(branches));
        }
    }
}

/// `"oneOf": [{"type": "null"}, X]` becomes X, nullable.
fn lower_null_branches(object: &mut Map<String, Value>) {
    for key in ["oneOf", "anyOf"] {
        let Some(Value::Array(branches)) = object.get(key) else { continue };
        let null = json!("null");
        let real: Vec<Value> = branches.iter().filter(|branch| branch.get("type") != Some(&null)).cloned().collect();
        if real.len() == branches.len() {
            continue;
        }
        object.remove(key);
        object.insert("nullable".into(), json!(true));
        match <[Value; 1]>::try_from(real) {
            Ok([only]) => {
                object.insert("allOf".into(), json!([only]));
            }
            Err(several) => {
                object.insert(key.into(), Value::Array(several));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(mut schema: Value) -> Value {
        lower_schema(&mut schema);
        schema
    }

    #[test]
    fn each_word_of_the_newer_dialect_has_its_older_one() {
        assert_eq!(lowered(json!({"type": ["string", "null"]})), json!({"type": "string", "nullable": true}));
        assert_eq!(
            lowered(json!({"oneOf": [{"type": "null"}, {"$ref": "#/x", "description": "y"}]})),
            json!({"nullable": true, "allOf": [{"allOf": [{"$ref": "#/x"}], "description": "y"}]})
        );
        assert_eq!(
            lowered(json!({"type": "integer", "exclusiveMinimum": 0})),
            json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true})
        );
        assert_eq!(lowered(json!({"const": "a"})), json!({"enum": ["a"]}));
        assert_eq!(
            lowered(json!({"type": "string", "examples": ["a", "b"]})),
            json!({"type": "string", "example": "a"})
        );
        assert_eq!(
            lowered(json!({"type": ["string", "integer"]})),
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}]})
        );
        assert_eq!(
            lowered(json!({"type": "array", "items": {"type": ["null", "number"]}})),
            json!({"type": "array", "items": {"type": "number", "nullable": true}})
        );
    }

    #[test]
    fn data_is_left_alone() {
        let mut document = json!({"paths": {"/x": {"example": {"schema": {"type": ["a", "null"]}}}}});
        let before = document.get("paths").cloned();
        lower(&mut document);
        assert_eq!(document.get("paths"), before.as_ref());
    }

    #[test]
    fn every_route_is_in_the_document_and_no_other() {
        let document = document();
        let mut documented: Vec<(String, String)> = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("a path item").keys() {
                documented.push((method.clone(), path.clone()));
            }
        }
        let mut routes: Vec<(String, String)> =
            super::super::api::ROUTES.iter().map(|(method, path)| (method.to_string(), path.to_string())).collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn the_document_keeps_the_rules_of_openapi_3_0() {
        let document = document();
        assert_eq!(document["openapi"], "3.0.3");
        for key in document.as_object().expect("an object").keys() {
            let known = ["openapi", "info", "servers", "paths", "components", "security", "tags", "externalDocs"];
            assert!(known.contains(&key.as_str()), "{key} is not of 3.0");
        }
        assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
        assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
        let mut seen = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                let at = format!("{method} {path}");
                let id = operation["operationId"].as_str().expect("an operation id").to_owned();
                assert!(!seen.contains(&id), "{id} twice");
                seen.push(id);
                let responses = operation["responses"].as_object().expect("responses");
                assert!(responses.contains_key("401"), "{at} has no 401");
                for (status, response) in responses {
                    assert!(response["description"].is_string(), "{at} {status} has no description");
                }
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let declared =
                        parameters.iter().any(|p| p["name"] == name && p["in"] == "path" && p["required"] == true);
                    assert!(declared, "{at} does not declare {name}");
                }
            }
        }
        check_schemas(&document, &document, "#");
    }

    /// No word of the newer dialect anywhere, and every reference leads somewhere.
    fn check_schemas(root: &Value, value: &Value, at: &str) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a local reference");
                    assert!(root.pointer(pointer).is_some(), "{at}: {reference} leads nowhere");
                    assert_eq!(object.len(), 1, "{at}: something stands beside a reference");
                }
                assert!(!matches!(object.get("type"), Some(Value::Array(_))), "{at}: a list of types");
                assert_ne!(object.get("type"), Some(&json!("null")), "{at}: type null");
                assert!(!object.get("exclusiveMinimum").is_some_and(Value::is_number), "{at}: exclusiveMinimum");
                for newer in ["const", "propertyNames", "prefixItems", "contentMediaType", "$defs"] {
                    assert!(!object.contains_key(newer), "{at}: {newer}");
                }
                if object.get("type") == Some(&json!("array")) {
                    assert!(object.contains_key("items"), "{at}: an array without items");
                }
                object.iter().for_each(|(key, below)| check_schemas(root, below, &format!("{at}/{key}")));
            }
            Value::Array(list) => list.iter().for_each(|below| check_schemas(root, below, at)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
